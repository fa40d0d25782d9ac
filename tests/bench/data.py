"""Benchmarks of the data layer: checking, writing and reading, as ratios in one run.

`make bench ARGS=...` runs this after the engine's. The floor is plain pyarrow on the same files; the peer is ArcticDB, in an environment of
its own whose Python `make bench` finds in `$QTNB_BENCH_ARCTIC` (see `arctic.py`). `--small` shrinks the data a hundredfold for a trial.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import prices
import pyarrow
import pyarrow.dataset as dataset

from qtnb.data.loader import get_bars
from qtnb.data.reference import normalise_events
from qtnb.data.schema import bars_frame, check_bars
from qtnb.data.storage.parquet import ParquetStore

REPEATS = 9
Row = tuple[str, str, str, str, str]


def medians(repeats: int, *works: Callable[[], object]) -> list[float]:
    """Median wall times in ms of pieces of work that take turns."""
    for work in works:
        work()
    times: list[list[float]] = [[] for _ in works]
    for _ in range(repeats):
        for work, own in zip(works, times, strict=True):
            begun = time.perf_counter()
            work()
            own.append(time.perf_counter() - begun)
    return [statistics.median(own) * 1e3 for own in times]


def table_of(ts: np.ndarray, names: list[str], values: np.ndarray, interval: str) -> pd.DataFrame:
    """The canonical bar table of a panel."""
    count = len(names)
    return bars_frame(np.repeat(ts, count), np.tile(np.arange(count), len(ts)), names, values.reshape(5, -1).T, interval=interval)


def events_of(ts: np.ndarray, names: list[str]) -> pd.DataFrame:
    """A dividend a quarter and two splits for each symbol."""
    opens = ts - 6 * 60 * prices.MINUTE
    paid = np.arange(30, len(ts), 63)
    rows = [pd.DataFrame({"symbol": n, "ts": opens[paid], "kind": "dividend", "value": 0.01}) for n in names]
    rows += [pd.DataFrame({"symbol": n, "ts": opens[[len(ts) // 3, len(ts) // 2]], "kind": "split", "value": 2.0}) for n in names]
    table = pd.concat(rows, ignore_index=True)
    return normalise_events(table.assign(ts=pd.DatetimeIndex(table["ts"]).tz_localize("UTC")))


def arctic(folder: Path, what: str, symbols: int, rows: int) -> dict[str, float]:
    """ArcticDB's figures, or nothing where it is not installed."""
    python = os.environ.get("QTNB_BENCH_ARCTIC", "")
    if not python:
        return {}
    script = Path(__file__).with_name("arctic.py")
    done = subprocess.run([python, script, folder, what, str(symbols), str(rows), str(REPEATS)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"bench: {python} could not run ArcticDB:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def row(title: str, ours: float, floor: float | None, peer: float | None, unit: str = "ms") -> Row:
    """One line: ours, then the ratios."""

    def ratio(other: float | None) -> str:
        return "" if other is None else f"{ours / other:.2f}x"

    return title, f"{ours:.1f} {unit}", "" if floor is None else f"{floor:.1f} {unit}", ratio(floor), ratio(peer)


def files_of(store: ParquetStore) -> list[str]:
    """The part files that the catalogs list."""
    return [str(p) for p in (store.root / "bars").rglob("*.parquet")]


def size_mb(folder: Path) -> float:
    """Room on the disk."""
    return sum(p.stat().st_blocks * 512 for p in folder.rglob("*") if p.is_file()) / 1e6


def daily_rows(folder: Path, symbols: int, days: int) -> list[Row]:
    """500 symbols over 20 years."""
    ts, names, values = prices.daily(symbols, days)
    frame, store = table_of(ts, names, values, "1d"), ParquetStore(folder / "daily")
    begun = time.perf_counter()
    store.upsert_bars(frame)
    written = time.perf_counter() - begun
    store.upsert_events(events_of(ts, names))
    store.upsert_instruments(pd.DataFrame({"symbol": names, "events_from": "2000-01-03"}))
    files, middle, first = files_of(store), names[symbols // 2], pd.Timestamp(ts[-252], tz="UTC")
    peer = arctic(folder / "arctic-daily", "daily", symbols, days)

    def plain_one() -> pd.DataFrame:
        return dataset.dataset(files).to_table(filter=dataset.field("symbol") == middle).to_pandas()

    def plain_year() -> pd.DataFrame:
        return dataset.dataset(files).to_table(filter=dataset.field("ts") >= first).to_pandas()

    one, one_raw, one_floor = medians(REPEATS, lambda: get_bars(middle, source=store), lambda: get_bars(middle, source=store, adjust="none"), plain_one)
    year, year_floor = medians(5, lambda: get_bars(names, first, source=store), plain_year)
    assert len(get_bars(middle, source=store)) == len(plain_one()) == days and len(plain_year()) == 252 * symbols
    what = f"{symbols} x {days:,} daily bars"
    return [
        row(f"read one symbol of {what}, adjusted", one, one_floor, peer.get("one_ms")),
        row("the same, raw", one_raw, one_floor, peer.get("one_ms")),
        row(f"read one year of all {symbols}, adjusted", year, year_floor, peer.get("year_ms")),
        row(f"write {what}", written, None, peer.get("write_s"), "s"),
        row(f"room of {what}", size_mb(store.root / "bars"), None, peer.get("mb"), "MB"),
    ]


def minute_rows(folder: Path, symbols: int, bars: int) -> list[Row]:
    """20 symbols with half a million minutes each, written by a process of its own, so that its memory can be told."""
    ts, names, values = prices.minutes(symbols, bars)
    frame, store = table_of(ts, names, values, "1m"), ParquetStore(folder / "minutes")
    del values
    check, *_ = medians(3, partial(check_bars, frame))
    begun = time.perf_counter()
    store.upsert_bars(frame, interval="1m")
    written = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begun = time.perf_counter()
    assert store.upsert_bars(frame, interval="1m").unchanged == len(frame)
    again = time.perf_counter() - begun
    del frame
    peer, middle = arctic(folder / "arctic-minutes", "minutes", symbols, bars), names[symbols // 2]
    files = [f for f in files_of(store) if f"symbol={middle}~" in f]

    def plain() -> pd.DataFrame:
        return dataset.dataset(files).to_table().to_pandas()

    one, floor = medians(REPEATS, lambda: get_bars(middle, source=store, interval="1m"), plain)
    assert len(get_bars(middle, source=store, interval="1m")) == len(plain()) == bars
    size = f"{symbols * bars:,} minute bars"
    return [
        row(f"check {size}", check / 1e3, None, None, "s"),
        row(f"write {size}", written, None, peer.get("write_s"), "s"),
        row("write them again (nothing is new)", again, None, None, "s"),
        row("peak memory of these", peak, None, None, "MB"),
        row(f"read one symbol of {symbols} x {bars:,}", one, floor, peer.get("one_ms")),
        row(f"room of {size}", size_mb(store.root / "bars"), None, peer.get("mb"), "MB"),
    ]


def main() -> None:
    """Print the table; the minutes run first in a process of their own, whose peak memory is theirs alone."""
    small = 100 if "--small" in sys.argv else 1
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        if "--minutes" in sys.argv:
            print(json.dumps(minute_rows(Path(folder), max(2, 20 // small), 500_000 // small)))
            return
        done = subprocess.run([sys.executable, __file__, "--minutes", *sys.argv[1:]], stdout=subprocess.PIPE, text=True, check=True)
        rows: list[Row] = [("what", "qtnb", "plain pyarrow", "ratio", "to ArcticDB")]
        rows += daily_rows(Path(folder), max(5, 500 // small), 5_040) + [tuple(r) for r in json.loads(done.stdout.splitlines()[-1])]
    print(f"data layer, pyarrow {pyarrow.__version__}, pandas {pd.__version__}, medians of alternating runs")
    widths = [max(len(r[n]) for r in rows) for n in range(5)]
    for line in rows:
        print("  ".join(cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(line, widths, strict=True))))


if __name__ == "__main__":
    main()
