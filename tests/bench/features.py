"""Rolling features on a panel of 500 instruments and 5,040 days, against pandas' and polars' own rolling windows; bars out of a million trades.

Prints medians in milliseconds and how many times longer the other takes. Each pair is compared for equality before it is timed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from qtnb.data.schema import table_frame
from qtnb.features.rolling import rolling_kurtosis, rolling_mean, rolling_skew, rolling_sum, rolling_volatility
from qtnb.features.rolling_order import rolling_highest, rolling_median, rolling_rank
from qtnb.features.rolling_pairs import rolling_correlation
from qtnb.features.trade_bars import dollar_bars, imbalance_bars, tick_bars, volume_bars

ROWS, COLUMNS, REPEATS = 5_040, 500, 7
SLOW = 1  # repeats of what takes pandas many seconds
APPLIED = 10  # columns that rolling.apply is timed on; it takes as long for each


def median_seconds(work: Callable[[], Any], repeats: int = REPEATS) -> float:
    """The median wall time of some runs after one that does not count."""
    work()
    found = []
    for _ in range(repeats):
        before = time.perf_counter()
        work()
        found.append(time.perf_counter() - before)
    return statistics.median(found)


def line(name: str, window: int, seconds: float, *others: float) -> None:
    """Print our time and how many times longer the others take."""
    print(f"{name:<16}{window:>7}{1000 * seconds:>10.1f}" + "".join(f"{other / seconds:>10.2f}" for other in others))


def measure(panel: pd.DataFrame, pl: Any, name: str, case: tuple[Callable[..., Any], str, Callable[..., Any] | None], window: int) -> None:
    """Compare and time one feature with one window."""
    ours, theirs, plain = case
    options = {"pct": True} if theirs == "rank" else {}
    table: Any = None if pl is None else pl.from_pandas(panel)
    pd.testing.assert_frame_equal(ours(panel, window), getattr(panel.rolling(window), theirs)(**options), rtol=1e-6, atol=1e-8)
    polars = applied = float("nan")
    if pl is not None and theirs != "rank":  # its rank is no share
        word, more = ("kurtosis" if theirs == "kurt" else theirs), ({"bias": False} if theirs in ("skew", "kurt") else {})
        ask = getattr(pl.all(), f"rolling_{word}")(window, **more)
        np.testing.assert_allclose(ours(panel, window), table.select(ask).to_numpy(), rtol=1e-6, atol=1e-8)
        polars = median_seconds(lambda: table.select(ask))
    if plain is not None:
        applied = median_seconds(lambda: panel.iloc[:, :APPLIED].rolling(window).apply(plain, raw=True), 1) * COLUMNS / APPLIED
    pandas = median_seconds(lambda: getattr(panel.rolling(window), theirs)(**options), SLOW if theirs in ("median", "rank") else REPEATS)
    line(name, window, median_seconds(lambda: ours(panel, window)), pandas, polars, applied)


def measure_pairs(panel: pd.DataFrame, window: int) -> None:
    """Compare and time the correlation of every column with the first."""
    market = panel["S0"]
    pd.testing.assert_frame_equal(rolling_correlation(panel, market, window), panel.rolling(window).corr(market), rtol=1e-6, atol=1e-8)
    pandas = median_seconds(lambda: panel.rolling(window).corr(market), 1)
    line("correlation", window, median_seconds(lambda: rolling_correlation(panel, market, window)), pandas, float("nan"), float("nan"))


def measure_tape(trades: int = 1_000_000) -> None:
    """Time bars out of a tape of one symbol."""
    rng = np.random.default_rng(0)
    price = np.round(50 * np.exp(np.cumsum(rng.normal(0, 1e-4, trades))), 2)
    numbers = np.column_stack([price, rng.integers(1, 10, trades) * 100.0, np.zeros(trades)])
    tape = table_frame("trades", np.cumsum(rng.integers(1, 50_000_000, trades)), np.zeros(trades, int), ["A.X"], numbers, seq=np.arange(trades))
    works: dict[str, Callable[[], Any]] = {
        "tick bars": lambda: tick_bars(tape, 500),
        "volume bars": lambda: volume_bars(tape, 250_000),
        "dollar bars": lambda: dollar_bars(tape, 12_500_000),
        "imbalance bars": lambda: imbalance_bars(tape, 500),
    }
    for name, work in works.items():
        line(name, len(work()), median_seconds(work))


def main() -> None:
    """Measure and print the table."""
    panel = pd.DataFrame(np.random.default_rng(0).normal(0, 0.01, (ROWS, COLUMNS)), columns=[f"S{k}" for k in range(COLUMNS)])
    try:
        import polars as pl  # ty: ignore  # pyright: ignore[reportMissingImports]
    except ImportError:
        pl = None
        print("polars is not installed, so it is not in the table; `pip install polars` adds it.")
    print(f"{'feature':<16}{'window':>7}{'qtnb ms':>10}{'pandas x':>10}{'polars x':>10}{'apply x':>10}")
    cases: dict[str, tuple[Callable[..., Any], str, Callable[..., Any] | None]] = {
        "sum": (rolling_sum, "sum", np.sum),
        "mean": (rolling_mean, "mean", np.mean),
        "volatility": (rolling_volatility, "std", lambda x: np.std(x, ddof=1)),
        "skew": (rolling_skew, "skew", None),
        "kurtosis": (rolling_kurtosis, "kurt", None),
        "highest": (rolling_highest, "max", np.max),
        "median": (rolling_median, "median", np.median),
        "rank": (rolling_rank, "rank", None),
    }
    for name, case in cases.items():
        for window in (20, 60, 252):
            measure(panel, pl, name, case, window)
    for window in (20, 60, 252):
        measure_pairs(panel, window)
    print("\nA million trades; the second column is the number of bars.")
    measure_tape()


if __name__ == "__main__":
    main()
