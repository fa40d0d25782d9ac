"""Workloads W1 and W2 of the peer benchmark through the compiled path: target weights, orders, fills, a whole result.

What is timed is `Backtest(...).run()` as a user calls it, with the last equity and the number of fills looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import common as C  # type: ignore[import-not-found]
import numpy as np
from run_qtnb_bars import panel

from qtnb.backtest.costs import Bps
from qtnb.backtest.engine import Backtest
from qtnb.core.bars import Bars
from qtnb.evaluation.results import Result
from qtnb.strategies.base import Decisions, WeightStrategy
from qtnb.strategies.sma_cross import SmaCross

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
        strategy = SmaCross(fast=C.FAST, slow=C.SLOW, exposure=C.W1_FRAC)
        return told(Backtest(strategy, bars, cash=C.W1_CASH, costs=Bps(C.FEE * 1e4), instruments=instruments, path="compiled").run())

    return run, bars.close.size


def w2() -> Build:
    """Five hundred symbols, a ranking every 21 days."""
    bars, instruments = panel("W2")

    def run() -> dict[str, Any]:
        return told(Backtest(Ranking(), bars, cash=C.W2_CASH, costs=Bps(C.FEE * 1e4), instruments=instruments, path="compiled").run())

    return run, bars.close.size


WORKS: dict[str, Callable[[], Build]] = {"W1": w1, "W2": w2}
