"""Workloads W1, W2 and W3 of the peer benchmark through the compiled path.

W1 and W2: `Backtest(...).run()` as a user calls it, with the last equity and the number of fills looked at. W3: 5,000 pairs of moving averages in
one call of `kernel_sweep.sweep_rules`, five figures of each, on $QTNB_BENCH_WORKERS threads, one when it is not set. W1 and W3 order for money, so that
quantities follow from the open that fills, as in the reference; W2 is sized at the close that decides, as there.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import common as C  # type: ignore[import-not-found]
import numpy as np
from run_qtnb_bars import panel

from qtnb.backtest.costs import Bps
from qtnb.backtest.engine import Backtest
from qtnb.backtest.kernel_sweep import rules_of, sweep_rules
from qtnb.core.bars import Bars
from qtnb.core.rebalance import Rebalance
from qtnb.evaluation.results import Result
from qtnb.strategies.base import Decisions, WeightStrategy
from qtnb.strategies.sma_cross import SmaCross

WORKERS = int(os.environ.get("QTNB_BENCH_WORKERS", "1"))  # threads of W3
AT_FILL = Rebalance(sizing="fill")
Build = tuple[Callable[[], dict[str, Any]], int]


class Ranking(WeightStrategy):
    """W2: every so many days into the symbols that rose most, in equal parts."""

    name = "ranking"

    def decisions(self, bars: Bars) -> Decisions:
        """Only the rows at which the ranking is made."""
        rows = np.arange(C.W2_LOOKBACK, len(bars), C.W2_EVERY)
        momentum = bars.close[rows] / bars.close[rows - C.W2_LOOKBACK]
        cut = np.partition(momentum, -C.W2_TOP, axis=1)[:, -C.W2_TOP, None]
        return Decisions(rows, np.where(momentum >= cut, C.W2_FRAC / C.W2_TOP, 0.0))


def told(result: Result) -> dict[str, Any]:
    """What the benchmark compares."""
    return {"final_equity": float(result.equity.iloc[-1]), "n_trades": len(result.fills)}


def w1() -> Build:
    """One symbol, a crossing of moving averages."""
    bars, instruments = panel("W1")

    def run() -> dict[str, Any]:
        strategy = SmaCross(fast=C.FAST, slow=C.SLOW, exposure=C.W1_FRAC, rebalance=AT_FILL)
        return told(Backtest(strategy, bars, cash=C.W1_CASH, costs=Bps(C.FEE * 1e4), instruments=instruments, path="compiled").run())

    return run, bars.close.size


def w2() -> Build:
    """Five hundred symbols, a ranking every 21 days."""
    bars, instruments = panel("W2")

    def run() -> dict[str, Any]:
        return told(Backtest(Ranking(), bars, cash=C.W2_CASH, costs=Bps(C.FEE * 1e4), instruments=instruments, path="compiled").run())

    return run, bars.close.size


def w3() -> Build:
    """5,000 pairs of moving averages, all in, fractions of a share allowed."""
    bars, (plain,) = panel("W3")
    share = dataclasses.replace(plain, lot_size=1e-6)

    def run() -> dict[str, Any]:
        made = [SmaCross(fast=fast, slow=slow, exposure=1.0, rebalance=AT_FILL) for fast, slow in C.w3_pairs()]
        template = Backtest(made[0], bars, cash=C.W3_CASH, costs=Bps(C.FEE * 1e4), instruments=[share])
        figures = sweep_rules(template, rules_of([s.rule(1) for s in made]), per_year=1.0, workers=WORKERS).figures
        growth, fills, best = 1.0 + figures[:, 1], figures[:, 4], int(np.nanargmax(figures[:, 1]))
        return {
            "final_equity": float(growth.mean() * C.W3_CASH), "n_trades": int(fills.sum()), "best": list(C.w3_pairs()[best]),
            "subset_equity": float(growth[::500].mean() * C.W3_CASH), "subset_trades": int(fills[::500].sum()),
            "mean_sharpe": float(np.nanmean(figures[:, 2])), "mean_mdd": -float(figures[:, 3].mean()),
        }  # fmt: skip

    return run, len(C.w3_pairs()) * bars.close.size


WORKS: dict[str, Callable[[], Build]] = {"W1": w1, "W2": w2, "W3": w3}
