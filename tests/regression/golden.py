"""The bundled strategies on the bundled sample: what is run, and how its summary is written down.

Renew the summary after a change that is meant to move results (a strategy, a rule of filling, the sample), look at the difference,
and commit it with the change that caused it:

    python tests/regression/golden.py
    git diff tests/regression/golden.json
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from pathlib import Path
from typing import Any

from qtnb.backtest.costs import Bps, PerShare, Sum
from qtnb.backtest.engine import Backtest
from qtnb.backtest.execution_sim import BarFill
from qtnb.backtest.slippage import BpsSlippage
from qtnb.core.errors import DataWarning
from qtnb.data.loader import get_bars
from qtnb.strategies.registry import STRATEGIES

FILE = Path(__file__).with_name("golden.json")
STOCKS = ["AIG", "BAC", "GOOGL", "IBM", "USO", "WMI"]

# One plain case and one with every assumption on, for each bundled strategy.
CASES: dict[str, dict[str, Any]] = {
    "sma_cross": {"symbols": ["IBM"], "adjust": "all", "parameters": {"fast": 10, "slow": 30}},
    "sma_cross, dividends left out, costs, slippage and a cap": {
        "symbols": ["IBM", "BAC", "AIG"], "adjust": "splits", "parameters": {"fast": 20, "slow": 100, "exposure": 0.9}, "rough": True,
    },
    "xmom_crosssec": {"symbols": STOCKS, "adjust": "all", "parameters": {"top": 2}},
    "xmom_crosssec, short side, costs, slippage and a cap": {
        "symbols": STOCKS, "adjust": "all", "parameters": {"top": 2, "short": True, "lookback": 120, "skip": 10}, "rough": True,
    },
    "xmom_crosssec, sectors, a buffer, costs, slippage and a cap": {
        "symbols": STOCKS, "adjust": "all", "rough": True,
        "parameters": {"top": 1, "buffer": 1, "sectors": {"AIG": "a", "BAC": "a", "IBM": "b", "GOOGL": "b", "USO": "b", "WMI": "b"}},
    },
    "trend": {"symbols": STOCKS, "adjust": "all", "parameters": {}},
    "trend, without short sales, costs, slippage and a cap": {
        "symbols": STOCKS, "adjust": "all", "parameters": {"short": False, "lookback": 126, "centre": 20.0}, "rough": True,
    },
    "optimized_portfolio": {"symbols": STOCKS, "adjust": "all", "parameters": {"most": 0.5}},
    "optimized_portfolio, mean-variance with limited turnover, costs, slippage and a cap": {
        "symbols": STOCKS, "adjust": "all", "rough": True,
        "parameters": {"method": "mean_variance", "window": 120, "covariance": "exponential", "turnover": 0.3, "most": 0.5, "costs_bps": 7.0},
    },
    "mr_pairs": {"symbols": STOCKS, "adjust": "all", "parameters": {"candidates": 3, "level": 0.2}},
    "mr_pairs, monthly, nearly by distance alone, costs, slippage and a cap": {
        "symbols": STOCKS, "adjust": "all", "parameters": {"renew": "month", "formation": 120, "level": 0.5, "correction": "none", "exit": 0.0}, "rough": True,
    },
    "market_maker": {"symbols": ["IBM"], "adjust": "all", "parameters": {"gamma": 1e-4, "kappa": 0.02, "horizon": 86_400.0, "window": 20}},
    "market_maker, costs, slippage and a cap": {
        "symbols": ["IBM", "BAC", "AIG"], "adjust": "splits", "rough": True,
        "parameters": {"gamma": 1e-4, "kappa": 0.05, "horizon": 86_400.0, "window": 60, "size": 100.0, "limit": 20, "requote": 5},
    },
    "machine_learning": {"symbols": STOCKS, "adjust": "all", "parameters": {"refit": "year"}},
    "machine_learning, classes by barriers, without short sales, costs, slippage and a cap": {
        "symbols": STOCKS, "adjust": "all", "parameters": {"label": "triple_barrier", "refit": "year", "short": False, "history": 504}, "rough": True,
    },
}  # fmt: skip


def summary(name: str) -> dict[str, Any]:
    """Run a case and write down its end: equity to the last bit, counts, fees, and a hash over every fill and every equity."""
    case = CASES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        bars = get_bars(case["symbols"], "2000-01-03", "2020-12-31", adjust=case["adjust"], source="sample")
    rough = {
        "costs": Sum(Bps(2.0), PerShare(0.005, minimum=1.0)), "slippage": BpsSlippage(5.0), "fill": BarFill(participation=0.01),
    } if case.get("rough") else {}  # fmt: skip
    strategy = STRATEGIES.get(name.split(",")[0])(**case["parameters"])
    result = Backtest(strategy, bars, cash=1_000_000.0, **rough).run()
    fills = result.fills
    content = [fills[c].tolist() for c in ("symbol", "side", "quantity", "price", "fee", "rule")] + [[t.value for t in fills["ts"]]]
    digest = hashlib.sha256(repr([content, result.equity.tolist()]).encode()).hexdigest()
    return {
        "final_equity": repr(float(result.equity.iloc[-1])),
        "bars": len(result.equity),
        "orders": len(result.orders),
        "fills": len(fills),
        "fees": repr(math.fsum(fills["fee"].tolist())),
        "sha256": digest[:16],
    }


def main() -> None:
    """Write the file anew."""
    FILE.write_text(json.dumps({name: summary(name) for name in CASES}, indent=2) + "\n", encoding="utf-8")
    print(FILE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
