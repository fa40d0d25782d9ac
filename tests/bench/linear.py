"""Measure how the cost of a back-test and of a sweep grows with bars, symbols and trials, for the page that plans a large sweep.

    python tests/bench/linear.py            # writes nbs/explanations/planning_a_sweep_scaling.csv; a minute or two on one core

Each axis is measured at 1, 2, 5 and 10 times its smallest size, everything else being equal. Seconds are CPU time of the only thread, the smallest of
five runs after one that loads machine code, so that a busy machine disturbs little. The same strategy, moving averages of one length of history in
bars, decides in proportion to bars and to symbols. Nothing is asserted here: the page shows what came out, also where it is not linear.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from qtnb.backtest.batches import run_batch
from qtnb.backtest.costs import Bps
from qtnb.backtest.engine import Backtest
from qtnb.backtest.trials import Trial, make_plan
from qtnb.core.bars import DAY_NS, Bars
from qtnb.strategies.sma_cross import SmaCross

TABLE = Path(__file__).resolve().parents[2] / "nbs" / "explanations" / "planning_a_sweep_scaling.csv"
FACTORS = (1, 2, 5, 10)


def panel(bars: int, symbols: int) -> Bars:
    """Prices of independent walks, in minutes of 390-minute days, so that a million of them fit the calendar."""
    dice = np.random.default_rng(7)
    close = 100.0 * np.exp(np.cumsum(dice.normal(0.0, 0.001, (bars, symbols)), axis=0))
    opened = np.vstack([close[:1], close[:-1]])
    day, minute = np.divmod(np.arange(bars), 390)
    ts = day * DAY_NS + (14 * 60 + 31 + minute) * 60_000_000_000
    volume = np.full(close.shape, 1e6)
    return Bars(ts, [f"S{n:03}" for n in range(symbols)], open=opened, high=np.maximum(opened, close), low=np.minimum(opened, close), close=close,
                volume=volume, interval="1m")


def one(bars: int, symbols: int, trials: int) -> Callable[[], Any]:
    """A back-test with its complete result, looked at."""
    data = panel(bars, symbols)

    def work() -> float:
        result = Backtest(SmaCross(fast=10, slow=60), data, cash=1e8, costs=Bps(5.0), path="compiled").run()
        return float(result.equity.iloc[-1]) + len(result.fills) + len(result.orders) + float(result.positions.iloc[-1].sum())

    return work


def many(bars: int, symbols: int, trials: int) -> Callable[[], Any]:
    """Trials of a sweep, each a row with figures."""
    plan = make_plan(SmaCross, panel(bars, symbols), {"fast": 5}, cash=1e8, costs=Bps(5.0), keep_returns=False)
    asked = [Trial(n, {"fast": 5 + n % 50, "slow": 60 + n // 50 % 50, "exposure": 0.95}) for n in range(trials)]
    return lambda: run_batch(plan, asked)


CASES: dict[str, tuple[Callable[[int, int, int], Callable[[], Any]], dict[str, tuple[int, int, int]]]] = {
    "a back-test": (one, {"bars": (300_000, 1, 1), "symbols": (5_000, 50, 1)}),
    "a sweep": (many, {"bars": (20_000, 1, 200), "symbols": (2_000, 10, 200), "trials": (5_000, 1, 1_000)}),
}


def cpu_seconds(work: Callable[[], Any], times: int = 5) -> float:
    """The least CPU time of some runs."""
    work()
    found = []
    for _ in range(times):
        before = time.process_time()
        work()
        found.append(time.process_time() - before)
    return min(found)


def measured() -> Iterator[dict[str, Any]]:
    """One row per size."""
    for what, (build, axes) in CASES.items():
        for axis, smallest in axes.items():
            place = ("bars", "symbols", "trials").index(axis)
            for factor in FACTORS:
                size = tuple(n * factor if k == place else n for k, n in enumerate(smallest))
                seconds = cpu_seconds(build(*size))
                row = {"what": what, "axis": axis, "factor": factor, **dict(zip(("bars", "symbols", "trials"), size, strict=True)), "seconds": f"{seconds:.4g}"}
                print(row)
                yield row


def main() -> None:
    """Measure, and write the table."""
    rows = list(measured())
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
