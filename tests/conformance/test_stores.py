"""Every store keeps the same promises; the one on disk keeps them through crashes, full disks and second writers."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qtnb.core.errors import DataError, SchemaError, StorageError
from qtnb.data.reference import normalise_events
from qtnb.data.schema import bars_frame
from qtnb.data.storage.base import STORES, BarStore
from qtnb.data.storage.memory import MemoryStore
from qtnb.data.storage.parquet import ParquetStore

DAY = 86_400_000_000_000
NOW = 30_000 * DAY
ALL = (-(2**62), 2**62)


@pytest.fixture(params=["memory", "parquet"])
def store(request, tmp_path) -> BarStore:
    return MemoryStore(clock=lambda: NOW) if request.param == "memory" else ParquetStore(tmp_path / "lake", clock=lambda: NOW)


def bars(symbol: str = "IBM", first: int = 18_000, count: int = 5, price: float = 10.0, interval: str = "1d") -> pd.DataFrame:
    "Bars of one symbol on consecutive days, all at one price."
    ts = np.arange(first, first + count, dtype=np.int64) * DAY
    return bars_frame(ts, np.zeros(count, int), [symbol], np.full((count, 5), float(price)), interval=interval)


def merged(*frames: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(frames).sort_index()


def closes(store: BarStore, symbol: str = "IBM", **how) -> list[float]:
    return store.read_bars([symbol], *ALL, **how)["close"].tolist()


def test_registry_has_every_store():
    assert {"memory", "parquet"} <= set(STORES.names())
    assert STORES.get("parquet") is ParquetStore


def test_protocol(store):
    assert isinstance(store, BarStore)


def test_round_trip_is_exact(store):
    rng = np.random.default_rng(0)
    prices = 100 * np.exp(rng.standard_normal(900).cumsum() / 50)
    ts = np.arange(17_000, 17_900) * DAY
    frame = bars_frame(ts, np.zeros(900, int), ["X.Y"], np.column_stack([prices, prices * 1.01, prices * 0.99, prices, rng.random(900)]))
    report = store.upsert_bars(frame, calendar="XNYS")
    assert (report.new, report.revised, report.unchanged, report.dataset) == (900, 0, 0, "bars/1d")
    pd.testing.assert_frame_equal(store.read_bars(["X.Y"], *ALL), frame, check_exact=True)
    row = store.coverage().loc["X.Y"]
    assert (row["first"].value, row["last"].value, row["rows"], row["calendar"]) == (ts[0], ts[-1], 900, "XNYS")


def test_reading_chooses_symbols_and_range(store):
    store.upsert_bars(merged(bars("B"), bars("A"), bars("C", first=18_002)))
    read = store.read_bars(["C", "A", "NONE"], 18_001 * DAY, 18_003 * DAY)
    assert [(int(t.value // DAY), s) for t, s in read.index] == [(18_001, "A"), (18_002, "A"), (18_002, "C"), (18_003, "A"), (18_003, "C")]
    assert store.read_bars(["A"], 18_001 * DAY, 18_001 * DAY).shape == (1, 5)
    assert len(store.read_bars(["A"], 0, 1)) == 0


def test_same_rows_again_change_nothing(store):
    store.upsert_bars(bars())
    before = store.fingerprint()
    assert store.upsert_bars(bars()).unchanged == 5
    assert store.upsert_bars(bars(count=3)).unchanged == 3
    assert store.fingerprint() == before


def test_new_rows_are_added_between_old_ones(store):
    store.upsert_bars(bars(first=18_000, count=3))
    store.upsert_bars(bars(first=17_998, count=8))
    assert store.coverage().loc["IBM", "rows"] == 8 and len(closes(store)) == 8


def test_a_correction_is_a_revision_known_now(store):
    store.upsert_bars(bars(price=10))
    report = store.upsert_bars(bars(price=11, count=2))
    assert (report.new, report.revised) == (0, 2)
    assert closes(store) == [11, 11, 10, 10, 10]
    assert closes(store, as_of=NOW - 1) == [10] * 5
    assert closes(store, as_of=18_001 * DAY) == [10, 10]
    assert store.coverage().loc["IBM", "rows"] == 5


def test_a_correction_of_a_correction(store):
    for price in (10, 11, 10, 12):
        store.upsert_bars(bars(price=price, count=1))
    assert closes(store) == [12] and closes(store, as_of=NOW) == [11] and closes(store, as_of=NOW + 1) == [10]


def test_dated_archives_commute(store, tmp_path):
    archives = [(20_000 * DAY, 10), (21_000 * DAY, 11), (22_000 * DAY, 10)]
    prints = []
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0, 1]):
        fresh = MemoryStore() if isinstance(store, MemoryStore) else ParquetStore(tmp_path / "-".join(map(str, order)))
        for i in order:
            fresh.upsert_bars(bars(price=archives[i][1]), known_at=archives[i][0])
        assert [closes(fresh, as_of=known)[0] for known, _ in archives] == [10, 11, 10]
        assert closes(fresh, as_of=19_999 * DAY) == []
        prints.append(fresh.fingerprint())
    assert len(set(prints)) == 1


def test_a_contradiction_is_refused(store):
    store.upsert_bars(bars(price=10), known_at=20_000 * DAY)
    before = store.fingerprint()
    with pytest.raises(DataError, match="given twice with different values"):
        store.upsert_bars(bars(price=11), known_at=20_000 * DAY)
    assert store.fingerprint() == before


@pytest.mark.parametrize("change", [
    lambda f: f.assign(close=-1.0), lambda f: f.assign(high=1.0), lambda f: f.assign(low=np.nan), lambda f: f.assign(volume=np.inf),
    lambda f: f.iloc[::-1], lambda f: f.iloc[[0, 0, 1]], lambda f: f[["close"]], lambda f: f.reset_index(),
    lambda f: f.set_axis(f.index.set_levels(f.index.levels[0].tz_localize(None), level=0)),
    lambda f: f.set_axis(f.index.set_levels(f.index.levels[0].as_unit("us"), level=0)),
    lambda f: f.assign(volume=f["volume"].astype("int64")),
], ids=["negative", "high<low", "nan", "inf", "unsorted", "duplicate", "missing", "no-index", "naive", "microseconds", "integer"])
def test_bad_bars_leave_the_store_as_it_was(store, change):
    store.upsert_bars(bars(price=10))
    before = store.fingerprint()
    with pytest.raises(SchemaError):
        store.upsert_bars(change(bars(price=20)))
    assert store.fingerprint() == before and closes(store) == [10] * 5


def test_adjusted_prices_and_early_knowledge_are_refused(store):
    adjusted = bars()
    adjusted.attrs["adjust"] = "splits"
    with pytest.raises(DataError, match="a store keeps raw prices"):
        store.upsert_bars(adjusted)
    with pytest.raises(DataError, match="before the close of a bar"):
        store.upsert_bars(bars(), known_at=18_000 * DAY)
    assert store.intervals() == []


def test_intervals_are_apart(store):
    store.upsert_bars(bars("BTC/USDT", interval="1m"), interval="1m")
    store.upsert_bars(bars("BTC/USDT", price=20))
    assert store.intervals() == ["1d", "1m"]
    assert closes(store, "BTC/USDT", interval="1m") == [10] * 5 and closes(store, "BTC/USDT") == [20] * 5
    assert store.read_bars(["BTC/USDT"], *ALL, interval="1m").attrs["interval"] == "1m"


def test_odd_symbols(store):
    names = ["..", "a b", "CON", "Ünïcode", "x" * 60, "A/B\\C", "é", "e\u0301"]
    store.upsert_bars(merged(*[bars(n, price=i + 1, interval="1m") for i, n in enumerate(names)]), interval="1m")
    assert [closes(store, n, interval="1m")[0] for n in names] == list(range(1, len(names) + 1))


def test_empty_store(store):
    assert store.intervals() == [] and len(store.coverage()) == 0 and len(store.read_bars(["IBM"], *ALL)) == 0
    assert len(store.read_events()) == 0 and len(store.read_instruments()) == 0 and len(store.read_sessions("XNYS")) == 0
    assert store.upsert_bars(bars(count=0)).rows == 0


def test_events(store):
    times = pd.to_datetime([5 * DAY, 3 * DAY], utc=True)
    events = normalise_events(pd.DataFrame({"symbol": ["A", "B"], "ts": times, "kind": ["split", "dividend"], "value": [2.0, 0.5]}))
    assert store.upsert_events(events).new == 2 and store.upsert_events(events).unchanged == 2
    pd.testing.assert_frame_equal(store.read_events(), events)
    assert store.read_events(["A"])["value"].tolist() == [2.0] and len(store.read_events(as_of=4 * DAY)) == 1
    corrected = events.assign(value=3.0, known_at=events["known_at"] + pd.Timedelta(days=9)).iloc[[1]]
    assert store.upsert_events(corrected).revised == 1
    assert store.read_events(["A"])["value"].tolist() == [3.0] and store.read_events(["A"], as_of=6 * DAY)["value"].tolist() == [2.0]
    before = store.fingerprint()
    with pytest.raises(DataError, match="given twice"):
        store.upsert_events(corrected.assign(value=4.0))
    with pytest.raises(SchemaError):
        store.upsert_events(events.assign(value=-1.0))
    assert store.fingerprint() == before


def test_instruments_and_sessions(store):
    rows = pd.DataFrame({"symbol": ["A"], "ticker": ["A"], "valid_from": ["2000-01-03"], "note": ["first"]})
    assert store.upsert_instruments(rows).new == 1 and store.upsert_instruments(rows).unchanged == 1
    assert store.upsert_instruments(rows.assign(note="second")).revised == 1
    assert store.read_instruments()["note"].tolist() == ["second"] and store.read_instruments()["name"].tolist() == [""]
    days = pd.DataFrame({"session": pd.to_datetime(["2020-01-02", "2020-01-03"]), "open": [1, 3], "close": [2, 4]})
    store.upsert_sessions("XNYS", days.iloc[1:])
    store.upsert_sessions("XNYS", days)
    assert store.read_sessions("XNYS")["close"].tolist() == [2, 4] and len(store.read_sessions("XLON")) == 0


# ---- the lake on disk ----


def contents(root: Path) -> dict[str, bytes]:
    "Every file of a lake but its locks."
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file() and p.name != ".lock"}


PRELUDE = """
import os, resource, sys
import numpy as np
from qtnb.core.errors import StorageError
from qtnb.data.schema import bars_frame
from qtnb.data.storage.parquet import ParquetStore
DAY = 86_400_000_000_000
lake = ParquetStore(sys.argv[1])

def three_years(symbol, price):
    ts = np.arange(17_000, 18_000, dtype=np.int64) * DAY
    return bars_frame(ts, np.zeros(len(ts), int), [symbol], np.full((len(ts), 5), float(price)))
"""


def script(body: str, *arguments: object, **how) -> subprocess.Popen:
    "Start a Python process that has a lake and bars over three years."
    command = [sys.executable, "-c", PRELUDE + textwrap.dedent(body), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)


def finish(process: subprocess.Popen) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def test_two_writers_lose_nothing(tmp_path):
    body = """
    for i in range(12):
        lake.upsert_bars(three_years(f"{sys.argv[2]}{i:02d}", i + 1))
    """
    for process in [script(body, tmp_path, name) for name in "AB"]:
        finish(process)
    coverage = ParquetStore(tmp_path).coverage()
    assert len(coverage) == 24 and (coverage["rows"] == 1000).all()
    listed = json.loads((tmp_path / "bars/1d/catalog.json").read_text())["parts"].values()
    assert {f["file"] for f in listed} == {str(p.relative_to(tmp_path / "bars/1d")) for p in (tmp_path / "bars/1d").rglob("*.parquet")}


def test_readers_never_see_half_a_write(tmp_path):
    writer = script("for price in range(1, 25): lake.upsert_bars(three_years('X', price))", tmp_path)
    lake, seen = ParquetStore(tmp_path), set()
    while writer.poll() is None:
        read = lake.read_bars(["X"], *ALL)["close"]
        assert len(read) in (0, 1000) and read.nunique() <= 1
        seen.update(read.unique())
    finish(writer)
    assert closes(lake, "X") == [24.0] * 1000


@pytest.mark.slow
def test_killed_writers_leave_the_old_or_the_new_state(tmp_path):
    lake, rng, reached = ParquetStore(tmp_path), random.Random(5), 0.0
    body = """
    print("ready", flush=True)
    for price in range(int(sys.argv[2]) + 1, 10_000):
        lake.upsert_bars(three_years("X", price))
        print(price, flush=True)
    """
    for _ in range(10):
        writer = script(body, tmp_path, int(reached))
        for _ in range(rng.randrange(1, 5)):  # the moment is set by what the writer has done, then by chance within the next write
            writer.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(rng.random() * 0.06)
        writer.send_signal(signal.SIGKILL)
        written = [int(line) for line in writer.communicate()[0].split() if line.isdigit()]
        state = lake.read_bars(["X"], *ALL)["close"]
        assert len(state) in (0, 1000) and state.nunique() <= 1  # one state, never a mixture of years
        price = float(state.iloc[0]) if len(state) else 0.0
        assert price >= max([reached, *written])  # what was reported as written is there
        reached = price
    report = lake.upsert_bars(lake.read_bars(["X"], *ALL) + 1)
    assert report.revised == 1000 and not list(tmp_path.rglob("*.tmp"))  # the next writer goes on and sweeps up


def test_a_full_disk_leaves_the_lake_as_it_was(tmp_path):
    lake = ParquetStore(tmp_path)
    lake.upsert_bars(bars("OLD"))
    before = contents(tmp_path)
    body = """
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
    rng = np.random.default_rng(0)
    frame = three_years("X", 1)
    frame[:] = rng.random(len(frame))[:, None] + 1
    try:
        lake.upsert_bars(frame)
    except StorageError as error:
        print(error)
    """
    for limit in (0, 1000, 16_000):  # nothing fits; the same; the first of four parts fits
        message = finish(script(body, tmp_path, limit))
        assert "could not be written (File too large)" in message and "make room on the disk" in message
        assert contents(tmp_path) == before


def test_an_unwritable_lake_is_named(tmp_path):
    root = Path(tempfile.mkdtemp())  # not pytest's folder, which other users may not enter
    try:
        root.chmod(0o755)
        lake = ParquetStore(root / "lake")
        lake.upsert_bars(bars("OLD"))
        for path in [root / "lake", *(root / "lake").rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        before = contents(root)
        body = """
        if os.geteuid() == 0:
            os.setuid(65534)  # root may write anywhere
        for place in (lake, ParquetStore(lake.root / "new")):
            try:
                place.upsert_bars(three_years("X", 1))
            except StorageError as error:
                print(error)
        print(len(lake.read_bars(["OLD"], 0, 2**62)))
        """
        lines = finish(script(body, root / "lake")).splitlines()
        assert len(lines) == 3 and all("Permission denied" in line and str(root) in line for line in lines[:2]) and lines[2] == "5"
        assert contents(root) == before
    finally:
        for path in [root, *root.rglob("*")]:
            if path.is_dir():
                path.chmod(0o755)
        shutil.rmtree(root)


@pytest.mark.parametrize("dataset", ["bars/1d", "events", "instruments", "sessions"])
def test_a_newer_lake_is_refused(tmp_path, dataset):
    lake = ParquetStore(tmp_path)
    lake.upsert_bars(bars())
    lake.upsert_events(pd.DataFrame({"symbol": ["IBM"], "ts": pd.to_datetime([DAY], utc=True), "kind": ["split"], "value": [2.0]}))
    lake.upsert_instruments(pd.DataFrame({"symbol": ["IBM"]}))
    lake.upsert_sessions("XNYS", pd.DataFrame({"session": pd.to_datetime(["2020-01-02"]), "open": [1], "close": [2]}))
    path = tmp_path / dataset / "catalog.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 3}))
    before = contents(tmp_path)
    calls = {"bars/1d": [lambda: closes(lake), lambda: lake.upsert_bars(bars(price=3)), lake.coverage], "events": [lake.read_events],
             "instruments": [lake.read_instruments], "sessions": [lambda: lake.read_sessions("XNYS")]}
    for call in calls[dataset]:
        with pytest.raises(StorageError, match="has format 3, this version of qtnb reads up to 2; .*newer version; upgrade qtnb"):
            call()
    assert contents(tmp_path) == before


def test_a_damaged_part_is_named(tmp_path):
    lake = ParquetStore(tmp_path)
    lake.upsert_bars(bars())
    part = next((tmp_path / "bars/1d").rglob("*.parquet"))
    part.write_bytes(part.read_bytes()[:100])
    for call in (lambda: closes(lake), lambda: lake.upsert_bars(bars(price=3))):
        with pytest.raises(StorageError, match=part.name):
            call()
    part.unlink()
    with pytest.raises(StorageError, match="is listed in the catalog but is not there"):
        closes(lake)


def test_the_same_content_gives_the_same_files(tmp_path):
    one, two = ParquetStore(tmp_path / "one"), ParquetStore(tmp_path / "two")
    one.upsert_bars(merged(bars("A"), bars("B", first=17_500)))
    two.upsert_bars(bars("B", first=17_500))
    two.upsert_bars(bars("A"))
    assert contents(one.root) == contents(two.root) and one.fingerprint() == two.fingerprint()


def test_what_dead_writers_left_is_swept_up(tmp_path):
    lake = ParquetStore(tmp_path)
    lake.upsert_bars(bars())
    stray = tmp_path / "bars/1d/decade=2010/.part.1.tmp"
    stray.write_bytes(b"half")
    (tmp_path / "bars/1d/.catalog.json.1.tmp").write_bytes(b"half")
    assert closes(lake) == [10] * 5
    lake.upsert_bars(bars(price=11))
    assert not list(tmp_path.rglob("*.tmp")) and len(list(tmp_path.rglob("*.parquet"))) == 1


def test_a_lock_is_only_a_file(tmp_path):
    lake = ParquetStore(tmp_path)
    lake.upsert_bars(bars())
    assert os.path.getsize(tmp_path / "bars/1d/.lock") == 0
