"""All optimisers on the same real stocks, net of costs: twenty large US stocks, 2003 to 2022, rebalanced each month.

Renew the record after a change that is meant to move results, look at the difference, and commit it with the change that caused it:

    python tests/references/optimisers.py
    git diff nbs/explanations/optimisers_compared_recorded.csv
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qtnb.backtest.costs import Bps
from qtnb.backtest.engine import Backtest
from qtnb.backtest.slippage import BpsSlippage
from qtnb.core.bars import Bars
from qtnb.evaluation.deflation import deflated_sharpe_ratio
from qtnb.evaluation.results import Result
from qtnb.strategies.optimized import OptimizedPortfolio
from qtnb.types import Instrument

DATA = Path(__file__).parent / "data" / "large_us_stocks.csv.gz"
RECORDED = Path(__file__).parents[2] / "nbs/explanations/optimisers_compared_recorded.csv"
COSTS = {"cash": 10_000_000.0, "costs": Bps(5.0), "slippage": BpsSlippage(5.0)}
CHOICES: dict[str, dict[str, Any]] = {
    "equal": {"method": "equal"},
    "inverse volatility": {"method": "inverse_volatility"},
    "risk parity": {"method": "risk_parity"},
    "hierarchical risk parity": {"method": "hierarchical_risk_parity"},
    "hierarchical equal risk": {"method": "hierarchical_equal_risk"},
    "maximum diversification": {"method": "maximum_diversification"},
    "minimum variance": {"method": "minimum_variance"},
    "minimum variance, slow": {"method": "minimum_variance", "turnover": 0.1},
    "minimum CVaR": {"method": "minimum_cvar"},
    "minimum CDaR": {"method": "minimum_cdar"},
    "mean-variance": {"method": "mean_variance", "costs_bps": 10.0},
    "maximum Sharpe": {"method": "maximum_sharpe"},
}  # fmt: skip


@cache
def bars() -> Bars:
    """Daily bars of the twenty; only closes are known, so a bar opens and ends at its close."""
    table = pd.read_csv(DATA, index_col=0, parse_dates=True)
    close = table.to_numpy()
    stamps = (table.index + pd.Timedelta(hours=21)).tz_localize("UTC").as_unit("ns")
    return Bars(stamps.asi8, list(table.columns), open=close, high=close, low=close, close=close, volume=np.full(close.shape, np.nan))


def run(choice: str, path: str = "auto") -> Result:
    """One back-test; an order of one close is filled at the next."""
    panel = bars()
    fine = {symbol: Instrument(symbol, lot_size=1.0, tick_size=0.001) for symbol in panel.symbols}
    return Backtest(OptimizedPortfolio(**CHOICES[choice]), panel, instruments=fine, path=path, **COSTS).run()


def row(result: Result) -> dict[str, float]:
    """What the table shows of a run, over the days on which it was invested."""
    equity = result.equity.loc["2003-02-01":]
    returns = equity.pct_change().dropna()
    metrics = result.metrics
    return {
        "return": float((equity.iloc[-1] / equity.iloc[0]) ** (252 / len(returns)) - 1),
        "volatility": float(returns.std() * np.sqrt(252)),
        "sharpe": float(returns.mean() / returns.std() * np.sqrt(252)),
        "drawdown": float((equity / equity.cummax() - 1).min()),
        "turnover": float(metrics["turnover"]),
        "fees_bps": float(1e4 * metrics["fees"] / metrics["traded_value"]),
        "names": float((result.weights.abs() > 0.005).sum(axis=1).loc["2003-02-01":].mean()),
        "skew": float(returns.skew()),
        "kurtosis": float(returns.kurt()),
        "days": float(len(returns)),
    }


def deflated(table: pd.DataFrame) -> pd.Series:
    """For each choice the chance that its ratio is above what the luckiest of so many worthless ones would show."""
    daily = table["sharpe"] / np.sqrt(252)
    return pd.Series(
        {
            name: deflated_sharpe_ratio(
                daily[name], int(line["days"]), trials=len(table), variance=float(daily.var()), skewness=line["skew"], excess_kurtosis=line["kurtosis"]
            )
            for name, line in table.iterrows()
        }
    )


def against_equal(returns: pd.Series, even: pd.Series) -> tuple[float, float]:
    """The alpha a year of a regression on equal weights, and its t by Newey and West with 21 lags."""
    import statsmodels.api as sm

    if returns is even:
        return 0.0, 0.0
    fit = sm.OLS(returns, sm.add_constant(even.rename("equal"))).fit(cov_type="HAC", cov_kwds={"maxlags": 21})
    return float(fit.params["const"] * 252), float(fit.tvalues["const"])


def compared() -> pd.DataFrame:
    """The whole table."""
    rows, daily = {}, {}
    for name in CHOICES:
        begun = time.perf_counter()
        result = run(name)
        rows[name], daily[name] = row(result), result.equity.loc["2003-02-01":].pct_change().dropna()
        print(f"{name}: {time.perf_counter() - begun:.1f} s", flush=True)
    table = pd.DataFrame(rows).T.rename_axis("optimiser")
    alphas = pd.DataFrame({name: against_equal(returns, daily["equal"]) for name, returns in daily.items()}, ["alpha", "t"]).T
    return table.assign(deflated=deflated(table), alpha=alphas["alpha"], t=alphas["t"])


if __name__ == "__main__":
    compared().round(6).to_csv(RECORDED)
