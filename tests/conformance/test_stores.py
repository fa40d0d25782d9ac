"""Every store keeps the same promises; those that last keep them through crashes, full disks and second writers."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from services import PostgresServer, schema_of_its_own, start_postgres, stop_postgres
from support import wait_for

from qtnb.core.errors import DataError, MissingExtraError, SchemaError, StorageError
from qtnb.data.reference import REFERENCE, normalise_events
from qtnb.data.schema import bars_frame, find_schema, table_frame
from qtnb.data.storage.base import STORES, BarStore
from qtnb.data.storage.duckdb import DuckDBStore, query_lake
from qtnb.data.storage.memory import MemoryStore
from qtnb.data.storage.parquet import ParquetStore
from qtnb.data.storage.postgres import PostgresStore

DAY = 86_400_000_000_000
NOW = 30_000 * DAY
ALL = (-(2**62), 2**62)
KINDS = ["memory", "parquet", "duckdb", "postgres"]
LASTING = KINDS[1:]
SQL = KINDS[2:]

Make = Callable[..., BarStore]


@contextlib.contextmanager
def stores_of(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[Make]:
    "How to make stores of a kind: each name is another store, the same name the same one."
    with contextlib.ExitStack() as stack:
        schemas: dict[str, str] = {}

        def make(name: str = "lake", clock: Callable[[], int] = lambda: NOW, **how) -> BarStore:
            if kind == "memory":
                return MemoryStore(clock=clock)
            if kind == "parquet":
                return ParquetStore(folder / name, clock=clock)
            if kind == "duckdb":
                return DuckDBStore(folder / f"{name}.duckdb", clock=clock, **how)
            server: PostgresServer = request.getfixturevalue("postgres_server")
            if name not in schemas:
                schemas[name] = stack.enter_context(schema_of_its_own(server))
            return stack.enter_context(PostgresStore(server.url(), schema=schemas[name], clock=clock, **how))

        yield make


@pytest.fixture(params=KINDS)
def make(request, tmp_path) -> Iterator[Make]:
    with stores_of(request.param, tmp_path, request) as found:
        yield found


@pytest.fixture
def store(make) -> BarStore:
    return make()


def bars(symbol: str = "IBM", first: int = 18_000, count: int = 5, price: float = 10.0, interval: str = "1d") -> pd.DataFrame:
    "Bars of one symbol on consecutive days, all at one price."
    ts = np.arange(first, first + count, dtype=np.int64) * DAY
    return bars_frame(ts, np.zeros(count, int), [symbol], np.full((count, 5), float(price)), interval=interval)


def merged(*frames: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(frames).sort_index()


def closes(store: BarStore, symbol: str = "IBM", **how) -> list[float]:
    return store.read_bars([symbol], *ALL, **how)["close"].tolist()


def test_registry_has_every_store():
    assert set(KINDS) <= set(STORES.names())
    assert [STORES.get(k) for k in KINDS] == [MemoryStore, ParquetStore, DuckDBStore, PostgresStore]


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


def test_dated_archives_commute(make):
    archives = [(20_000 * DAY, 10), (21_000 * DAY, 11), (22_000 * DAY, 10)]
    prints = []
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0, 1]):
        fresh = make("-".join(map(str, order)))
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


# ---- quote bars, trades, quotes ----

WORDS = ["", "N", "P,\"Q\"", "Ünï", "a\tb\nc\\.", "NULL", " ", "'; DROP TABLE trades_rows; --"]


def drawn(kind: str, seed: int = 0, symbols: tuple[str, ...] = ("A", "B/C", "é"), first: int = 18_000, count: int = 30) -> pd.DataFrame:
    "A valid table of any kind, with the oddities that its schema allows."
    rng, schema = np.random.default_rng(seed), find_schema(kind)
    days = np.arange(first, first + count)
    if schema.sequenced:  # several rows share an instant
        days = np.sort(rng.choice(days, count))
    ts, codes = np.repeat(days * DAY + 1, len(symbols)), np.tile(np.arange(len(symbols)), count)
    size = len(ts)
    price = {"price": rng.uniform(1, 2, size), "open": np.full(size, 2.0), "high": rng.uniform(3, 4, size), "low": rng.uniform(0.1, 1, size)}
    tiny = np.where(rng.random(size) < 0.2, np.nextafter(0, 1), rng.uniform(1, 1e300, size))

    def column(name: str) -> np.ndarray:
        if name == "aggressor":
            return rng.choice([-1.0, 0.0, 1.0], size)
        if name.endswith(("size", "volume", "quantity")):
            return np.where(rng.random(size) < 0.2, -0.0, tiny)
        return price.get(name.partition("_")[2] if name.startswith(("bid_", "ask_")) else name, rng.uniform(1, 3, size))

    values = {name: column(name) for name in schema.numbers}
    if kind in ("quotes", "quote_bars"):
        side = rng.integers(0, 3, size)  # both sides, only bids, only offers
        for name in values:
            values[name] = np.where(side == (2 if name.startswith("bid") else 1), np.nan, values[name])
    seq = np.zeros(size, np.int64)
    for i in range(1, size):  # counts up within (ts, symbol)
        same = np.flatnonzero((ts[:i] == ts[i]) & (codes[:i] == codes[i]))
        seq[i] = seq[same[-1]] + int(rng.integers(1, 2**40)) if len(same) else 0
    labels = {name: rng.choice(WORDS, size) for name in schema.labels}
    order = np.lexsort((seq, codes, ts))
    table = table_frame(kind, ts[order], codes[order], list(symbols), np.column_stack(list(values.values()))[order], seq=seq[order],
                        labels={k: v[order] for k, v in labels.items()}, interval="1d")
    return table


def same_bits(left: pd.DataFrame, right: pd.DataFrame) -> None:
    "Two tables are equal, the sign of zero included."
    pd.testing.assert_frame_equal(left, right, check_exact=True)
    for name in left.select_dtypes("float64"):
        assert (np.signbit(left[name]) == np.signbit(right[name]))[left[name].notna()].all()


@pytest.mark.parametrize("kind", ["bars", "quote_bars", "trades", "quotes"])
def test_every_kind_of_table_comes_back_bit_by_bit(store, kind):
    table = drawn(kind)
    report = store.upsert(kind, table, calendar="XNYS")
    assert (report.new, report.revised, report.unchanged) == (len(table), 0, 0)
    same_bits(store.read(kind, ["é", "A", "B/C"], *ALL), table)
    assert store.upsert(kind, table).unchanged == len(table)
    coverage = store.coverage(kind=kind)
    assert coverage["rows"].sum() == len(table) and set(coverage["calendar"]) == {"XNYS"}
    assert store.intervals(kind) == [find_schema(kind).sequenced and "tick" or "1d"]
    part = store.read(kind, ["A"], 18_005 * DAY, 18_010 * DAY)
    same_bits(part, store.read(kind, ["A", "NONE"], 18_005 * DAY, 18_010 * DAY))
    assert 0 < len(part) == ((table.index.get_level_values("symbol") == "A") & (table.index.get_level_values("ts").asi8 // DAY < 18_010)
                             & (table.index.get_level_values("ts").asi8 // DAY >= 18_005)).sum()


def test_trades_of_one_instant_are_told_apart_and_revised_one_by_one(store):
    ts, codes = np.full(3, 18_000 * DAY), np.zeros(3, int)
    values = np.array([[10.0, 1, 1], [11, 2, -1], [12, 3, 0]])
    tape = table_frame("trades", ts, codes, ["IBM"], values, seq=np.array([1, 2, 2**60]), labels={"exchange": ["N", "P", ""], "conditions": ["", "@ T", "Z"]})
    store.upsert("trades", tape)
    corrected = tape.copy()
    corrected.iloc[1, corrected.columns.get_loc("conditions")] = "@"
    report = store.upsert("trades", corrected)
    assert (report.new, report.revised, report.unchanged) == (0, 1, 2)
    pd.testing.assert_frame_equal(store.read("trades", ["IBM"], *ALL), corrected)
    pd.testing.assert_frame_equal(store.read("trades", ["IBM"], *ALL, as_of=NOW - 1), tape)
    assert store.coverage(kind="trades").loc["IBM", "rows"] == 3


def test_each_row_has_its_own_known_at(store):
    frame = bars(count=3)
    known = np.array([20_000, 20_010, 20_005]) * DAY
    store.upsert_bars(frame, known_at=known)
    for day, count in ((19_999, 0), (20_000, 1), (20_005, 2), (20_010, 3)):
        assert len(closes(store, as_of=day * DAY)) == count
    assert store.upsert_bars(bars(count=3, price=12), known_at=known + DAY).revised == 3
    assert closes(store) == [12] * 3 and closes(store, as_of=20_005 * DAY) == [12, 10]
    with pytest.raises(DataError, match="had shape"):
        store.upsert_bars(frame, known_at=known[:2])


def test_instants_are_exact(store):
    ts = np.array([-(2**61), -1, 1, 2**53 + 1, 2**61 + 1])
    frame = bars_frame(ts, np.zeros(5, int), ["X"], np.full((5, 5), 3.0))
    store.upsert_bars(frame, known_at=ts + 1)
    assert store.read_bars(["X"], *ALL).index.get_level_values("ts").asi8.tolist() == ts.tolist()
    assert [len(closes(store, "X", as_of=int(t))) for t in ts + 1] == [1, 2, 3, 4, 5] and len(closes(store, "X", as_of=int(ts[-1]))) == 4


# ---- reference tables ----

INSTANT = pd.to_datetime(["2020-01-02T03:04:05.000000007Z", "2020-06-01T00:00:00Z"], format="ISO8601")
TABLES = {
    "events": pd.DataFrame({"symbol": ["A", "B"], "ts": INSTANT, "kind": ["split", "delisting"], "value": [2.0, np.nan], "text": ["", "bankrupt; 'Ünï'"]}),
    "instruments": pd.DataFrame({"symbol": ["B", "A"], "ticker": ["b", "a"], "tick_size": [0.01, np.nan], "note": ["", "x\n\"y\""]}),
    "sessions": pd.DataFrame({"calendar": "XNYS", "session": pd.to_datetime(["1969-12-31", "2020-01-03"]), "open": [-2, 2**60], "close": [-1, 2**60 + 1]}),
    "members": pd.DataFrame({"universe": "big", "symbol": ["A", "B"], "start": ["2000-01-03", "2001-01-02"], "end": ["", "2002-01-02"]}),
    "fetched": pd.DataFrame({"provider": "p", "dataset": "bars/1d", "symbol": ["A", "B"], "first": [0, 5], "last": [2**62, 6], "known_at": [1, 2]}),
    "quarantine": pd.DataFrame({"source": "f.csv", "dataset": "bars/1d", "symbol": ["", "B"], "row": ["3", "4"], "rule": "r", "cells": ["{\"a\": 1}", ""],
                                "known_at": INSTANT}),
    "repairs": pd.DataFrame({"dataset": "bars/1d", "symbol": ["A", "B"], "ts": INSTANT, "column": "close", "old": [1.0, -0.0], "new": [0.1 + 0.2, np.nan],
                             "reason": ["", "typo"], "known_at": INSTANT}),
}
OTHER_VALUE = {"events": {"known_at": INSTANT + pd.Timedelta("1D"), "value": 3.0}, "instruments": {"note": "n"}, "sessions": {"close": 2**60 + 9},
               "members": {"end": "2030-01-02"}, "fetched": {"known_at": 7}, "quarantine": {"value": "9"}, "repairs": {"reason": "asked"}}


@pytest.mark.parametrize("name", list(REFERENCE))
def test_reference_tables_are_those_of_the_store_in_memory(store, name):
    plain, table = MemoryStore(clock=lambda: NOW), TABLES[name]
    changed = table.iloc[[1]].assign(**{k: v[1:] if isinstance(v, pd.DatetimeIndex) else v for k, v in OTHER_VALUE[name].items()})
    for offered in (table, table, changed):
        assert store.upsert_table(name, offered) == plain.upsert_table(name, offered)
        found, expected = store.read_table(name), plain.read_table(name)
        pd.testing.assert_frame_equal(found, expected, check_exact=True, check_dtype=name != "sessions" or not isinstance(store, ParquetStore))
        assert store.fingerprint() == plain.fingerprint()


def test_a_bad_reference_row_leaves_the_table_as_it_was(store):
    store.upsert_table("members", TABLES["members"])
    before = store.fingerprint()
    for bad in (TABLES["members"].assign(symbol=" A"), TABLES["members"].assign(size=1), TABLES["members"][["symbol"]]):
        with pytest.raises(DataError):
            store.upsert_table("members", bad)
    with pytest.raises(LookupError, match="reference table 'member' is not known"):
        store.read_table("member")
    assert store.fingerprint() == before


def test_the_same_content_has_the_same_fingerprint_in_every_store(make):
    store, plain = make(clock=iter(range(NOW, NOW + 99)).__next__), MemoryStore(clock=iter(range(NOW, NOW + 99)).__next__)
    for target in (store, plain):
        for kind in ("bars", "quote_bars", "trades", "quotes"):
            target.upsert(kind, drawn(kind), calendar="XNYS")
        target.upsert_bars(bars(price=5), interval="1m", known_at=NOW)
        target.upsert_bars(drawn("bars", seed=1, symbols=("A", "Z"), first=18_010), calendar="24/7")
        for name, table in TABLES.items():
            target.upsert_table(name, table)
    assert store.fingerprint() == plain.fingerprint() != MemoryStore().fingerprint()
    pd.testing.assert_frame_equal(store.coverage(), plain.coverage())


# ---- stores that last ----


class Place:
    "Where a lasting store is, for this process and for others."

    def __init__(self, kind: str, make: Make, name: str = "lake"):
        self.kind, self.make, self.name = kind, make, name

    def open(self, **how) -> BarStore:
        return self.make(self.name, **how)

    @property
    def recipe(self) -> str:
        "What another process needs to open it."
        store = self.open()
        if isinstance(store, PostgresStore):
            return json.dumps(["postgres", [store._connections.url], {"schema": store.schema}])
        return json.dumps([self.kind, [str(store.root if isinstance(store, ParquetStore) else store.path)], {}])

    def script(self, body: str, *arguments: object, **how) -> subprocess.Popen:
        "Start a Python process that has a store and bars over three years."
        command = [sys.executable, "-c", PRELUDE + textwrap.dedent(body), *map(str, arguments)]
        environment = os.environ | {"TEST_STORE": self.recipe}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **how)


PRELUDE = """
import json, os, resource, sys
import numpy as np
from qtnb.core.errors import StorageError
from qtnb.data.schema import bars_frame
from qtnb.data.storage.base import STORES
DAY = 86_400_000_000_000
kind, place, options = json.loads(os.environ["TEST_STORE"])
store = STORES.get(kind)(*place, **options)

def three_years(symbol, price):
    ts = np.arange(17_000, 18_000, dtype=np.int64) * DAY
    return bars_frame(ts, np.zeros(len(ts), int), [symbol], np.full((len(ts), 5), float(price)))
"""


@pytest.fixture(params=LASTING)
def place(request, tmp_path) -> Iterator[Place]:
    with stores_of(request.param, tmp_path, request) as found:
        yield Place(request.param, found)


@pytest.fixture(params=SQL)
def database(request, tmp_path) -> Iterator[Place]:
    with stores_of(request.param, tmp_path, request) as found:
        yield Place(request.param, found)


def finish(process: subprocess.Popen) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def test_two_writers_lose_nothing(place):
    body = """
    for i in range(8):
        store.upsert_bars(three_years(f"{sys.argv[1]}{i:02d}", i + 1))
        store.upsert_bars(three_years("BOTH", 1)[i * 100:i * 100 + 50 + 50 * (sys.argv[1] == "A")])
        store.upsert_table("members", __import__("pandas").DataFrame({"universe": [sys.argv[1]], "symbol": [str(i)], "start": ["2000-01-03"]}))
    """
    for process in [place.script(body, name) for name in "AB"]:
        finish(process)
    store = place.open()
    coverage = store.coverage()
    assert coverage["rows"].to_dict() == {f"{name}{i:02d}": 1000 for name in "AB" for i in range(8)} | {"BOTH": 800}
    assert len(store.read_bars(list(coverage.index), *ALL)) == coverage["rows"].sum() and len(store.read_table("members")) == 16
    again = MemoryStore()
    again.upsert_bars(store.read_bars(list(coverage.index), *ALL))
    assert again._row_sums("bars/1d") == store._row_sums("bars/1d")  # no row stands there twice
    if place.kind == "parquet":
        listed = json.loads((store.root / "bars/1d/catalog.json").read_text())["parts"].values()
        assert {f["file"] for f in listed} == {str(p.relative_to(store.root / "bars/1d")) for p in (store.root / "bars/1d").rglob("*.parquet")}


def test_readers_never_see_half_a_write(place):
    writer = place.script("for price in range(1, 16): store.upsert_bars(three_years('X', price))")
    store, seen = place.open(), set()
    while writer.poll() is None:
        read = store.read_bars(["X"], *ALL)["close"]
        assert len(read) in (0, 1000) and read.nunique() <= 1
        seen.update(read.unique())
    finish(writer)
    assert closes(store, "X") == [15.0] * 1000 and len(seen) > 1


@pytest.mark.slow
def test_killed_writers_leave_the_old_or_the_new_state(place):
    store, rng, reached = place.open(), random.Random(5), 0.0
    body = """
    for line in sys.stdin:  # one writer after the other, forked, since starting Python takes longer than writing
        writer = os.fork()
        if writer == 0:
            print(os.getpid(), flush=True)
            for price in range(int(line) + 1, 10_000):
                store.upsert_bars(three_years("X", price))
                print(f"{price}\\n", end="", flush=True)  # the number and its end in one write
        os.waitpid(writer, 0)
        print("gone", flush=True)
    """
    nursery = place.script(body, stdin=subprocess.PIPE)
    for _ in range(10):
        nursery.stdin.write(f"{int(reached)}\n")
        nursery.stdin.flush()
        writer = int(nursery.stdout.readline())
        written = [float(nursery.stdout.readline()) for _ in range(rng.randrange(4))]
        with pytest.raises(subprocess.TimeoutExpired):  # the moment is set by what was written, then by chance within the next write
            nursery.wait(rng.random() * 0.06)
        os.kill(writer, signal.SIGKILL)
        written += [float(line) for line in iter(nursery.stdout.readline, "gone\n")]
        state = store.read_bars(["X"], *ALL)["close"]
        assert len(state) in (0, 1000) and state.nunique() <= 1  # one state, never a mixture of years
        price = float(state.iloc[0]) if len(state) else 0.0
        assert price >= max([reached, *written])  # what was reported as written is there
        reached = price
    nursery.stdin.close()
    assert nursery.wait(60) == 0
    report = store.upsert_bars(store.read_bars(["X"], *ALL) + 1)
    assert report.revised == 1000  # the next writer goes on
    if place.kind == "parquet":
        assert not list(store.root.rglob("*.tmp"))  # and sweeps up


# ---- the lake of files ----


def contents(root: Path) -> dict[str, bytes]:
    "Every file of a lake but its locks."
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file() and p.name != ".lock"}


def lake_place(folder: Path) -> Place:
    return Place("parquet", lambda name, **how: ParquetStore(folder, **how))


def test_a_full_disk_leaves_the_lake_as_it_was(tmp_path):
    lake = ParquetStore(tmp_path)
    lake.upsert_bars(bars("OLD"))
    before = contents(tmp_path)
    body = """
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
    rng = np.random.default_rng(0)
    frame = three_years("X", 1)
    frame[:] = rng.random(len(frame))[:, None] + 1
    try:
        store.upsert_bars(frame)
    except StorageError as error:
        print(error)
    """
    for limit in (0, 1000, 16_000):  # nothing fits; the same; the first of four parts fits
        message = finish(lake_place(tmp_path).script(body, limit))
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
        for place in (store, type(store)(store.root / "new")):
            try:
                place.upsert_bars(three_years("X", 1))
            except StorageError as error:
                print(error)
        print(len(store.read_bars(["OLD"], 0, 2**62)))
        """
        lines = finish(lake_place(root / "lake").script(body)).splitlines()
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


def test_sql_over_the_lake_reads_what_the_catalog_lists(tmp_path):
    lake = ParquetStore(tmp_path, clock=lambda: NOW)
    for kind in ("bars", "quote_bars", "trades", "quotes"):
        lake.upsert(kind, drawn(kind))
    lake.upsert_bars(bars("é", price=7), known_at=NOW)
    for name, table in TABLES.items():
        lake.upsert_table(name, table)
    before = contents(tmp_path)
    (tmp_path / "trades/tick/stray.parquet").write_bytes(next((tmp_path / "trades").rglob("*.parquet")).read_bytes())
    for kind in ("bars", "quote_bars", "trades", "quotes"):
        view = kind if find_schema(kind).sequenced else f"{kind}_1d"
        answer = query_lake(tmp_path, f"SELECT * EXCLUDE (known_at) FROM {view} ORDER BY ts, symbol" + (", seq" if find_schema(kind).sequenced else ""))
        expected = lake.read(kind, ["A", "B/C", "é"], *ALL).reset_index()
        pd.testing.assert_frame_equal(answer[expected.columns], expected, check_exact=True, check_dtype=False)
        assert query_lake(tmp_path, f"SELECT ts FROM {view}_rows")["ts"].dtype == "int64"
    for name in REFERENCE:
        assert query_lake(tmp_path, f"SELECT count(*) AS n FROM {name}")["n"].tolist() == [2]
    assert query_lake(tmp_path, "SELECT known_at FROM quarantine ORDER BY 1")["known_at"].tolist() == list(INSTANT)
    assert contents(tmp_path) == before | {"trades/tick/stray.parquet": (tmp_path / "trades/tick/stray.parquet").read_bytes()}


def test_sql_over_the_lake_while_it_changes(tmp_path):
    writer = lake_place(tmp_path).script("for price in range(1, 25): store.upsert_bars(three_years('X', price))")
    while writer.poll() is None:
        if (tmp_path / "bars/1d/catalog.json").exists():
            answer = query_lake(tmp_path, "SELECT count(*) AS n, count(DISTINCT close) AS states FROM bars_1d")
            assert answer.iloc[0].tolist() == [1000, 1]
    finish(writer)


# ---- stores in a database ----


def run_sql(store: BarStore, statement: str) -> None:
    "Change a database behind the store's back."
    if isinstance(store, DuckDBStore):
        import duckdb

        with contextlib.closing(duckdb.connect(str(store.path))) as connection:
            connection.execute(statement)
    else:
        import psycopg

        with psycopg.connect(store._connections.url) as connection:
            connection.execute(f'SET search_path = "{store.schema}"')
            connection.execute(statement)


@pytest.mark.parametrize(("found", "said"), [(99, "has format 99, this version of qtnb reads up to 1; it was written by a newer version; upgrade qtnb"),
                                             (0, "has format 0, this version of qtnb reads 1; it was written by an early version; move it aside")])
def test_another_format_is_refused(database, found, said):
    store = database.open()
    store.upsert_bars(bars())
    store.upsert_table("members", TABLES["members"])
    before = store.fingerprint()
    run_sql(store, f"UPDATE store_format SET format = {found}")
    calls = [lambda: closes(store), lambda: store.upsert_bars(bars(price=3)), store.coverage, lambda: store.read_table("members"),
             lambda: store.upsert_table("members", TABLES["members"].assign(universe="x")), store.intervals, store.fingerprint]
    for call in calls:
        with pytest.raises(StorageError, match=said):
            call()
    run_sql(store, "UPDATE store_format SET format = 1")
    assert store.fingerprint() == before


def test_a_write_is_one_transaction(database, monkeypatch):
    store = database.open()
    store.upsert_bars(bars())
    before = store.fingerprint()

    def broken(*_):
        raise RuntimeError("the power went")

    monkeypatch.setattr(store, "_keep_facts", broken)
    with pytest.raises(RuntimeError, match="the power went"):  # after the rows were sent, before the end
        store.upsert_bars(merged(bars(price=11), bars("NEW")))
    with pytest.raises(RuntimeError, match="the power went"):
        store.upsert_bars(bars(interval="1m"), interval="1m")
    fresh = database.open()
    assert fresh.fingerprint() == before and fresh.intervals() == ["1d"] and closes(fresh) == [10] * 5


def test_threads_share_a_store(database):
    store, trouble = database.open(), []

    def work(name: str) -> None:
        try:
            for i in range(4):
                store.upsert_bars(bars(f"{name}{i}"))
                assert closes(store, f"{name}{i}") == [10] * 5
        except BaseException as error:  # shown below, in the test's own thread
            trouble.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not trouble and len(store.coverage()) == 12 and store.coverage()["rows"].tolist() == [5] * 12


def test_many_symbols_in_pieces(database, monkeypatch):
    from qtnb.data.storage import sql

    names = tuple(f"S{i:03d}" for i in range(40))
    monkeypatch.setattr(sql, "pieces", lambda rows, cut=sql.pieces: cut(rows, 100))
    store, plain = database.open(), MemoryStore(clock=lambda: NOW)
    for table in (drawn("bars", symbols=names), drawn("bars", seed=1, symbols=names[10:30], first=18_020), drawn("bars", symbols=names)):
        assert store.upsert_bars(table) == plain.upsert_bars(table)
    assert store.fingerprint() == plain.fingerprint()
    same_bits(store.read_bars(names, *ALL), plain.read_bars(names, *ALL))


# ---- one file ----


def test_a_file_that_others_keep_open_is_named(tmp_path):
    import duckdb

    store = DuckDBStore(tmp_path / "s.duckdb", wait=0.05)
    store.upsert_bars(bars())
    code = f"import duckdb, sys; c = duckdb.connect({str(store.path)!r}); print('open', flush=True); sys.stdin.read()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "open\n"
    for call in (lambda: closes(store), lambda: store.upsert_bars(bars(price=3)), lambda: store.sql("SELECT 1")):
        with pytest.raises(StorageError, match="s.duckdb was in use by another program for 0.05 s; .*close the other program"):
            call()
    holder.communicate("")
    with contextlib.closing(duckdb.connect(str(store.path), read_only=True)):  # a reader in this very process
        assert closes(store) == [10] * 5
        with pytest.raises(StorageError, match="was in use"):
            store.upsert_bars(bars(price=3))
    assert store.upsert_bars(bars(price=3)).revised == 5


def test_a_waiting_writer_gets_in_between_readers(tmp_path):
    place = Place("duckdb", lambda name, **how: DuckDBStore(tmp_path / "s.duckdb", **how))
    store = place.open()
    store.upsert_bars(bars())
    body = """
    print("ready", flush=True)
    while len(store.coverage()) == 1:
        pass
    """
    readers = [place.script(body) for _ in range(3)]
    for reader in readers:
        reader.stdout.readline()
    store.upsert_bars(bars("NEXT"))
    for reader in readers:
        finish(reader)


def test_a_half_made_file_is_made_anew(tmp_path):
    (tmp_path / ".s.duckdb.new").write_bytes(b"half")
    store = DuckDBStore(tmp_path / "s.duckdb")
    assert store.upsert_bars(bars()).new == 5 and sorted(p.name for p in tmp_path.iterdir()) == ["s.duckdb", "s.duckdb.lock"]


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "s.duckdb").write_bytes(b"ticker,close\n" * 2000)
    store = DuckDBStore(tmp_path / "s.duckdb")
    for call in (lambda: closes(store), lambda: store.upsert_bars(bars())):
        with pytest.raises(StorageError, match="s.duckdb could not be read or written .*what was stored before is unchanged"):
            call()
    assert (tmp_path / "s.duckdb").read_bytes() == b"ticker,close\n" * 2000


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path):
    place = Place("duckdb", lambda name, **how: DuckDBStore(tmp_path / "s.duckdb", **how))
    store = place.open()
    store.upsert_bars(bars("OLD"))
    before = store.fingerprint()
    body = """
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(store.path) + int(sys.argv[1]), resource.RLIM_INFINITY))
    rng = np.random.default_rng(0)
    frame = three_years("X", 1)
    frame[:] = rng.random(len(frame))[:, None] + 1
    frame = __import__("pandas").concat({f"X{i:03d}": frame.droplevel("symbol") for i in range(200)}, names=["symbol"]).swaplevel().sort_index()
    try:
        store.upsert_bars(frame)
    except StorageError as error:
        print(error)
    """
    for limit in (0, 100_000):
        assert "s.duckdb could not be read or written" in finish(place.script(body, limit))
        assert store.fingerprint() == before
    assert store.upsert_bars(bars("OLD", price=11)).revised == 5


# ---- a server ----


def test_the_password_is_in_no_message(postgres_server):
    secret = "pä/ss wörd"
    from urllib.parse import quote

    for url in (postgres_server.url(password=quote(secret, safe="")), postgres_server.url(database="none"), postgres_server.url(port=9),
                f"postgresql://qtnb:{secret}@127.0.0.1:1/x", f"postgresql://qtnb@127.0.0.1:1/x?password={quote(secret)}&nonsense=1"):
        store = PostgresStore(url)
        with pytest.raises(StorageError, match="refused the operation .*nothing was changed") as refused:
            store.coverage()
        said = str(refused.value) + repr(store)
        assert refused.value.__cause__ is None and refused.value.__suppress_context__
        assert not any(word in said for word in (secret, quote(secret, safe=""), quote(secret), postgres_server.password))


@pytest.mark.parametrize(("wrong", "said"), [({"password": "wrong-one"}, "password authentication failed"),
                                             ({"database": "none"}, 'database "none" does not exist'), ({"port": 9}, "refused")])
def test_what_is_wrong_with_an_address_is_said(postgres_server, wrong, said):
    with pytest.raises(StorageError, match=f"{said}.*check that the server runs, and the user, password, host and database in QTNB_POSTGRES_URL"):
        PostgresStore(postgres_server.url(**wrong)).upsert_bars(bars())


def test_a_missing_driver_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"needs the package psycopg.*pip install 'qtnb\[postgres\]'"):
        PostgresStore("postgresql://qtnb@127.0.0.1/qtnb")


@pytest.fixture
def server_store(request, tmp_path) -> Iterator[PostgresStore]:
    with stores_of("postgres", tmp_path, request) as made:
        yield made(wait=0.2)


def test_a_writer_waits_no_longer_than_told(server_store, postgres_server):
    import psycopg

    server_store.upsert_bars(bars())
    with psycopg.connect(postgres_server.url()) as other:
        other.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 8170))", [f"{server_store.schema} bars/1d"])
        with pytest.raises(StorageError, match="another program has been writing for more than 0.2 s"):
            server_store.upsert_bars(bars(price=3))
        assert closes(server_store) == [10] * 5 and server_store.upsert("trades", drawn("trades")).new > 0  # readers and other datasets do not wait
    assert server_store.upsert_bars(bars(price=3)).revised == 5


def test_a_connection_that_the_server_ended_is_replaced(server_store, postgres_server):
    import psycopg

    server_store.upsert_bars(bars())
    (_, connection), = server_store._connections._idle
    with psycopg.connect(postgres_server.url(), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.info.backend_pid])
    assert closes(server_store) == [10] * 5 and connection.closed


def test_connections_are_given_back(server_store, postgres_server):
    import psycopg

    server_store.upsert_bars(bars())
    with pytest.raises(DataError):
        server_store.upsert_bars(bars(price=11), known_at=18_004 * DAY)
        server_store.upsert_bars(bars(price=12), known_at=18_004 * DAY)
    pids = [connection.info.backend_pid for _, connection in server_store._connections._idle]
    assert len(pids) == 1  # one was enough for all of that
    server_store.close()
    with psycopg.connect(postgres_server.url(), autocommit=True) as other:
        wait_for(lambda: not other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = ANY(%s)", [pids]).fetchall(), "the end of the connection")
    assert closes(server_store) == [10] * 5  # a closed store opens again


def test_connections_stay_in_their_process(server_store):
    server_store.clock = _then  # a function that can be pickled
    server_store.upsert_bars(bars())
    (_, connection), = server_store._connections._idle
    copy = pickle.loads(pickle.dumps(server_store))
    with copy:
        assert repr(copy) == repr(server_store) and closes(copy) == [10] * 5
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os._exit(0 if closes(server_store) == [10] * 5 and server_store._connections._idle[0][1] is not connection else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert closes(server_store) == [10] * 5 and server_store._connections._idle[0][1] is connection  # the child did not end it


def _then() -> int:
    return NOW


@pytest.mark.slow
def test_a_server_that_crashes_keeps_what_was_reported(require_tool):
    import psycopg

    require_tool("postgres")
    server = start_postgres(fsync="on")  # one of its own: the others would lose their connections
    try:
        store = PostgresStore(server.url())
        place, reached = Place("postgres", lambda name, **how: store), 0.0
        body = """
        try:
            for price in range(int(sys.argv[1]) + 1, 10_000):
                store.upsert_bars(three_years("X", price))
                print(f"{price}\\n", end="", flush=True)  # the number and its end in one write
        except StorageError as error:
            print(error)
        """
        for _ in range(3):
            writer = place.script(body, int(reached))
            reached = float(writer.stdout.readline())  # the first report
            with psycopg.connect(server.url(), autocommit=True) as other:
                busy: list[tuple[int]] = []
                query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'qtnb' AND state = 'active'"
                wait_for(lambda: busy.extend(other.execute(query).fetchall()) or busy, "a write")  # noqa: B023
            os.kill(busy[0][0], signal.SIGKILL)  # then the server ends every connection and recovers from its log
            *written, message = finish(writer).splitlines()
            wait_for(lambda: _answers(store), "the recovery of the server")
            state = store.read_bars(["X"], *ALL)["close"]
            last = max([reached, *map(float, written)])  # what was reported as written
            assert len(state) == 1000 and state.nunique() == 1 and last <= state.iloc[0] <= last + 1
            if "the connection was lost, so a write was kept whole or not at all; repeat it" not in message:
                # its last write was reported before the server went down, and the next one found no server: then that must be so, exactly
                assert "connection failed" in message and "nothing was changed" in message and state.iloc[0] == last
            reached = float(state.iloc[0])
        assert store.upsert_bars(store.read_bars(["X"], *ALL) + 1).revised == 1000
        store.close()
    finally:
        stop_postgres(server)


@pytest.mark.slow
def test_a_write_to_a_server_that_recovers_changed_nothing_when_it_says_so(require_tool):
    import psycopg

    require_tool("postgres")
    server = start_postgres(fsync="on")
    try:
        store = PostgresStore(server.url())
        store.upsert_bars(bars("X", price=1))
        with psycopg.connect(server.url(), autocommit=True) as victim:
            os.kill(victim.info.backend_pid, signal.SIGKILL)  # between two writes of ours: the server ends our connection too
        said = ""
        try:
            store.upsert_bars(bars("X", price=2))
        except StorageError as error:
            said = str(error)
        wait_for(lambda: _answers(store), "the recovery of the server")
        (kept,) = set(store.read_bars(["X"], *ALL)["close"])
        assert said == "" or "was kept whole or not at all" in said or "nothing was changed" in said
        assert kept in ((2,) if not said else (1,) if "nothing was changed" in said else (1, 2))
        assert store.upsert_bars(bars("X", price=9)).revised == 5
        store.close()
    finally:
        stop_postgres(server)


def _answers(store: BarStore) -> bool:
    with contextlib.suppress(StorageError):
        return store.intervals() == ["1d"]
    return False


def test_a_user_without_rights_is_told(server_store, postgres_server):
    import psycopg

    server_store.upsert_bars(bars())
    with psycopg.connect(postgres_server.url(), autocommit=True) as admin:
        admin.execute("DROP ROLE IF EXISTS guest_of_tests")
        admin.execute("CREATE ROLE guest_of_tests LOGIN PASSWORD 'visiting'")
        try:
            url = postgres_server.url(password="visiting").replace("//qtnb:", "//guest_of_tests:")
            with PostgresStore(url, schema="elsewhere") as guest:
                with pytest.raises(StorageError, match="permission denied for database qtnb.*grant it rights on the schema"):
                    guest.upsert_bars(bars())
            admin.execute(f'GRANT USAGE ON SCHEMA "{server_store.schema}" TO guest_of_tests')
            with PostgresStore(url, schema=server_store.schema) as guest:
                with pytest.raises(StorageError, match="permission denied for table store_format.*grant it rights"):
                    closes(guest)
                admin.execute(f'GRANT SELECT ON ALL TABLES IN SCHEMA "{server_store.schema}" TO guest_of_tests')
                assert closes(guest) == [10] * 5
                with pytest.raises(StorageError, match="permission denied.*grant it rights"):
                    guest.upsert_bars(bars(price=3))
        finally:
            admin.execute("DROP OWNED BY guest_of_tests")
            admin.execute("DROP ROLE guest_of_tests")


def test_the_views_are_for_people(database):
    store = database.open()
    store.upsert_bars(bars(price=10))
    store.upsert_bars(bars(price=11, count=2))
    for name, table in TABLES.items():
        store.upsert_table(name, table)
    if database.kind == "duckdb":
        assert store.sql("SELECT close FROM bars_1d ORDER BY ts")["close"].tolist() == [11, 11, 10, 10, 10]
        assert store.sql("SELECT known_at FROM quarantine ORDER BY 1")["known_at"].tolist() == list(INSTANT)
        assert [str(d)[:10] for d in store.sql("SELECT session FROM sessions ORDER BY 1")["session"]] == ["1969-12-31", "2020-01-03"]
        return
    import psycopg

    with psycopg.connect(store._connections.url) as connection:
        connection.execute(f"SET search_path = {store.schema}; SET TimeZone = 'UTC'")
        seen = connection.execute("SELECT ts, close FROM bars_1d ORDER BY ts").fetchall()
        assert [c for _, c in seen] == [11, 11, 10, 10, 10] and seen[0][0] == pd.Timestamp(18_000 * DAY, tz="UTC")
        assert connection.execute("SELECT known_at FROM quarantine ORDER BY 1").fetchall()[0][0] == INSTANT[0].floor("us")
        assert [str(d) for d, in connection.execute("SELECT session FROM sessions ORDER BY 1").fetchall()] == ["1969-12-31", "2020-01-03"]
