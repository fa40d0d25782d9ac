"""Benchmarks: each figure is a ratio of medians, measured in one process and one run.

`make bench` prints the tables. The engine is compared with a bare Python loop that calls the same strategy and does nothing else (the
floor for any design that calls Python once per bar), reading bars with plain pyarrow on the same files. A second table compares runs of
the engine with others ten times as long: what an event costs must not depend on how many came before (`tests/test_scaling.py` counts
the same without a clock). Nothing here passes or fails.
"""

import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

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
        want = self.averages.wants(bars.closes[0])
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


class Idle(Strategy):
    """Look at a close and do nothing."""

    name = "bench_idle"

    def on_data(self, ctx, bars) -> None:
        """One number is read."""
        self.seen = bars.closes[0]


class Turning(Strategy):
    """A market order at every bar: in, and out again."""

    name = "bench_turning"

    def on_data(self, ctx, bars) -> None:
        """Every order fills at the next open."""
        ctx.order("X", -SIZE if bars.row % 2 else SIZE)


class Resting(Strategy):
    """At every bar a limit order on every symbol, far below the market: they pile up."""

    name = "bench_resting"

    def on_data(self, ctx, bars) -> None:
        """None of them is ever hit."""
        for symbol, close in zip(ctx.symbols, bars.closes, strict=True):
            ctx.order(symbol, 1.0, limit_price=round(0.01 * close, 2), time_in_force="gtc")


class Bracketing(Strategy):
    """Buy every symbol that is flat; around the fill a target and a stop, of which one ends the other."""

    name = "bench_bracketing"

    def on_start(self, ctx) -> None:
        """Every symbol is flat."""
        self.flat, self.entries = list(ctx.symbols), set()

    def on_fill(self, ctx, fill) -> None:
        """An entry gets its exits; an exit makes room for the next entry."""
        if fill.client_order_id not in self.entries:
            self.flat.append(fill.symbol)
            return
        self.entries.remove(fill.client_order_id)
        group = ctx.group_name()
        ctx.order(fill.symbol, -1.0, limit_price=round(fill.price * 1.002, 2), time_in_force="gtc", group=group)
        ctx.order(fill.symbol, -1.0, stop_price=round(fill.price * 0.998, 2), time_in_force="gtc", group=group)

    def on_data(self, ctx, bars) -> None:
        """Enter again wherever nothing is held."""
        for symbol in self.flat:
            self.entries.add(ctx.order(symbol, 1.0))
        self.flat.clear()


def panel(rows: int = ROWS, symbols: int = 1) -> Bars:
    """Wandering prices, one minute a bar."""
    rng = np.random.default_rng(11)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 5e-4, (rows, symbols)), axis=0))
    opened = np.vstack([close[:1], close[:-1]]) * (1.0 + rng.normal(0.0, 1e-5, (rows, symbols)))
    high, low = np.maximum(opened, close) * 1.0002, np.minimum(opened, close) * 0.9998
    ts, names = np.arange(1, rows + 1) * MINUTE, ["X"] if symbols == 1 else [f"X{n}" for n in range(symbols)]
    return Bars(ts, names, open=opened, high=high, low=low, close=close, volume=np.full((rows, symbols), 1e6), interval="1m")


def seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """What a piece of work takes by a clock."""
    gc.collect()
    begun = clock()
    work()
    return clock() - begun


def medians(first: Callable[[], object], second: Callable[[], object], clock: Callable[[], float]) -> tuple[float, float]:
    """Seconds of two pieces of work: run each once, then alternate."""
    for work in (first, second):
        work()
    pairs = [(seconds(first, clock), seconds(second, clock)) for _ in range(REPEATS)]
    one, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    return one, other


def compare(
    title: str, ours: Callable[[], object], floor: Callable[[], object], what: str, clock: Callable[[], float] = time.process_time
) -> tuple[str, str, str, str, str]:
    """One row of the first table: ours, the floor, their ratio."""
    mine, least = medians(ours, floor, clock)
    return title, f"{mine * 1e3:.1f}", f"{least * 1e3:.1f}", f"{mine / least:.2f}x", what


def grow(title: str, strategy: type[Strategy], rows: int, symbols: int = 1) -> tuple[str, str, str, str]:
    """One row of the second table: a run, one of ten times the bars, and how much more than ten times it takes."""
    short, long = panel(rows, symbols), panel(10 * rows, symbols)

    def run(bars: Bars) -> Any:
        return Backtest(strategy(), bars, cash=10_000_000.0, costs=Bps(5)).run()

    less, more = medians(lambda: run(short), lambda: run(long), time.process_time)
    orders = [len(run(bars).orders) for bars in (short, long)]
    size = orders[1] / orders[0] if orders[0] else 10.0
    counts = title.format(*(f"{n:,}" for n in (orders if orders[0] else (rows, 10 * rows))))
    return counts, f"{less * 1e3:.1f}", f"{more * 1e3:.1f}", f"{more / less / size:.2f}"


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

        return compare(
            "get_bars, one of 13 symbols, 20 years, adjusted", lambda: get_bars(["IBM"], None, None, source=store), plain, "plain pyarrow", time.perf_counter
        )


def show(rows: list[tuple[str, ...]]) -> None:
    """Print a table; the first and the fifth column are text."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(w) if n in (0, 4) else cell.rjust(w) for n, (cell, w) in enumerate(zip(row, widths, strict=True))))


def main() -> None:
    """Print the tables."""
    print(f"qtnb {__version__}, CPython {sys.version.split()[0]}, medians of {REPEATS} alternating runs; processor time, reading: wall time")
    show([("what", "qtnb ms", "floor ms", "ratio", "floor"), callback_row(), read_row()])
    print("\nten times the work; the last column is the ratio of the times over that of the sizes: 1 = the same cost per event, less = what is done once")
    show([
        ("what", "short ms", "long ms", "time/size"),
        grow("{} and {} bars without orders", Idle, 20_000),
        grow("{} and {} market orders, one symbol", Turning, 2_000),
        grow("{} and {} limit orders that rest, 50 symbols", Resting, 20, 50),
        grow("{} and {} entries, targets and stops, 50 symbols", Bracketing, 200, 50),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
