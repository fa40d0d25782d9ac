"""Benchmarks: each figure is a ratio of medians, measured in one process and one run.

`make bench` prints the table. The engine is compared with a bare Python loop that calls the same strategy and does nothing else (the
floor for any design that calls Python once per bar), reading bars with plain pyarrow on the same files. Nothing here passes or fails.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

from qtnb import __version__
from qtnb.backtest.costs import Bps
from qtnb.backtest.engine import Backtest
from qtnb.core.bars import Bars
from qtnb.strategies.base import Strategy

ROWS, FAST, SLOW, SIZE, REPEATS = 200_000, 10, 30, 1_000.0, 5
MINUTE = 60_000_000_000


class Averages:
    """Two running means over closes, updated bar by bar in plain Python."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        self.fast = self.slow = 0.0

    def wants(self, close: float) -> bool:
        """Whether the fast mean is above the slow one, once there are enough bars."""
        self.seen.append(close)
        self.fast += close
        self.slow += close
        count = len(self.seen)
        if count > FAST:
            self.fast -= self.seen[count - 1 - FAST]
        if count > SLOW:
            self.slow -= self.seen[count - 1 - SLOW]
        return count >= SLOW and self.fast * SLOW > self.slow * FAST


class Callback(Strategy):
    """Hold a fixed size while the fast mean is above the slow one; market orders."""

    name = "bench_callback"

    def on_start(self, ctx) -> None:
        """Begin flat."""
        self.averages, self.long = Averages(), False

    def on_data(self, ctx, bars) -> None:
        """Order on a change of mind."""
        want = self.averages.wants(bars.close.item(0))
        if want is not self.long:
            self.long = want
            ctx.order("X", SIZE if want else -SIZE)


def bare_loop(opens: list[float], closes: list[float]) -> float:
    """The same strategy with no engine: what calling Python once per bar costs."""
    averages, cash, held, want = Averages(), 10_000_000.0, 0.0, False
    for at, close in zip(opens, closes, strict=True):
        if want and held == 0.0:
            cash, held = cash - SIZE * at * 1.0005, SIZE
        elif not want and held > 0.0:
            cash, held = cash + SIZE * at * 0.9995, 0.0
        want = averages.wants(close)
    return cash + held * closes[-1]


def panel(rows: int = ROWS) -> Bars:
    """A wandering price, one minute a bar."""
    rng = np.random.default_rng(11)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 5e-4, rows)))[:, None]
    opened = np.vstack([close[:1], close[:-1]]) * (1.0 + rng.normal(0.0, 1e-5, (rows, 1)))
    high, low = np.maximum(opened, close) * 1.0002, np.minimum(opened, close) * 0.9998
    ts = np.arange(1, rows + 1) * MINUTE
    return Bars(ts, ["X"], open=opened, high=high, low=low, close=close, volume=np.full((rows, 1), 1e6), interval="1m")


def seconds(work: Callable[[], object], repeats: int = REPEATS) -> list[float]:
    """Wall times of a piece of work."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return times


def compare(title: str, ours: Callable[[], object], floor: Callable[[], object], what: str) -> tuple[str, str, str, str, str]:
    """One row of the table: alternate the two, take medians, form the ratio."""
    ours(), floor()
    pairs = [(seconds(ours, 1)[0], seconds(floor, 1)[0]) for _ in range(REPEATS)]
    mine, least = (statistics.median(side) for side in zip(*pairs, strict=True))
    return title, f"{mine * 1e3:.1f}", f"{least * 1e3:.1f}", f"{mine / least:.2f}x", what


def callback_row() -> tuple[str, str, str, str, str]:
    """The event engine against a bare loop; both must end with the same money."""
    bars = panel()
    opens, closes = bars.open[:, 0].tolist(), bars.close[:, 0].tolist()
    result = Backtest(Callback(), bars, cash=10_000_000.0, costs=Bps(5)).run()
    if abs(result.equity.iloc[-1] / bare_loop(opens, closes) - 1.0) > 1e-9:
        sys.exit(f"bench: the engine ended with {result.equity.iloc[-1]!r}, the bare loop with {bare_loop(opens, closes)!r}")

    def engine() -> None:
        Backtest(Callback(), bars, cash=10_000_000.0, costs=Bps(5)).run()

    return compare(f"event back-test, {ROWS:,} bars, {len(result.fills):,} fills", engine, lambda: bare_loop(opens, closes), "bare Python loop")


def read_row() -> tuple[str, str, str, str, str]:
    """`get_bars` for one symbol against plain pyarrow on the same files."""
    from pathlib import Path

    import pyarrow.dataset as dataset

    from qtnb.data.loader import get_bars
    from qtnb.data.pipelines import load_sample
    from qtnb.data.storage.parquet import ParquetStore

    with tempfile.TemporaryDirectory() as folder:
        store = ParquetStore(folder)
        load_sample(store)
        files = [str(p) for p in Path(folder).rglob("*.parquet") if "1d" in str(p)]

        def plain() -> None:
            dataset.dataset(files).to_table(filter=dataset.field("symbol") == "IBM").to_pandas()

        return compare("get_bars, one of 13 symbols, 20 years, adjusted", lambda: get_bars(["IBM"], None, None, source=store), plain, "plain pyarrow")


def main() -> None:
    """Print the table."""
    rows = [("what", "qtnb ms", "floor ms", "ratio", "floor"), callback_row(), read_row()]
    widths = [max(len(row[n]) for row in rows) for n in range(5)]
    print(f"qtnb {__version__}, CPython {sys.version.split()[0]}, medians of {REPEATS} alternating runs")
    for row in rows:
        print("  ".join(cell.ljust(w) if n in (0, 4) else cell.rjust(w) for n, (cell, w) in enumerate(zip(row, widths, strict=True))))


if __name__ == "__main__":
    main()
