"""Properties of the data layer: writes commute and repeat, the past stays as it was, adjustment keeps what it should."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from effort import EFFORT
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from services import PostgresServer, schema_of_its_own

from qtnb.core.errors import DataError, SchemaError
from qtnb.data.adjust import adjust_bars
from qtnb.data.loader import get_bars, get_events
from qtnb.data.reference import normalise_events
from qtnb.data.schema import bars_frame, check_bars, normalise_bars, table_frame
from qtnb.data.storage.duckdb import DuckDBStore
from qtnb.data.storage.memory import MemoryStore
from qtnb.data.storage.parquet import ParquetStore
from qtnb.data.storage.postgres import PostgresStore
from qtnb.data.synthetic import synthetic_bars, synthetic_cross_section, synthetic_pair

DAY = 86_400_000_000_000
ALL = (-(2**62), 2**62)
PAYLOADS = Path(__file__).parents[1] / "payloads"

symbols = st.sampled_from(["A", "B", "C.1998", "D/E"])
cells = st.dictionaries(st.tuples(st.integers(364, 368), symbols), st.integers(1, 5), min_size=1, max_size=8)  # around New Year: two parts


def table(content: dict[tuple[int, str], int]) -> pd.DataFrame:
    "A bar table from {(day, symbol): price}."
    keys = sorted(content)
    names = sorted({s for _, s in keys})
    ts = np.array([d * DAY for d, _ in keys], dtype=np.int64)
    codes = np.array([names.index(s) for _, s in keys])
    return bars_frame(ts, codes, names, np.repeat(np.array([[float(content[k])] for k in keys]), 5, axis=1))


def content_of(frame: pd.DataFrame) -> dict[tuple[int, str], int]:
    return {(int(t.value // DAY), str(s)): int(c) for (t, s), c in frame["close"].items()}


def read(store, as_of=None):
    return content_of(store.read_bars(["A", "B", "C.1998", "D/E"], *ALL, as_of=as_of))


@contextlib.contextmanager
def fresh_store(kind: str, clock=lambda: 0, server: PostgresServer | None = None):
    "An empty store of a kind."
    with contextlib.ExitStack() as stack:
        if kind == "postgres":
            schema = stack.enter_context(schema_of_its_own(server))
            yield stack.enter_context(PostgresStore(server.url(), schema=schema, clock=clock))
            return
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        yield {"memory": lambda: MemoryStore(clock=clock), "parquet": lambda: ParquetStore(folder / "lake", clock=clock),
               "duckdb": lambda: DuckDBStore(folder / "lake.duckdb", clock=clock)}[kind]()


kinds = st.sampled_from(["memory"] * 14 + ["parquet"] * 5 + ["duckdb"])  # those on disk wait for the disk: try them less often


@settings(EFFORT)
@given(kinds, st.lists(cells, min_size=1, max_size=4))
def test_upserts_follow_a_dictionary_and_repeat_without_effect(kind, writes):
    now = [10_000 * DAY]
    with fresh_store(kind, lambda: now[0]) as store:
        expected, history = {}, []
        for content in writes:
            now[0] += DAY
            report = store.upsert_bars(table(content))
            new = sum(k not in expected for k in content)
            same = sum(expected.get(k) == v for k, v in content.items())
            assert (report.new, report.unchanged, report.revised) == (new, same, len(content) - new - same)
            expected |= content
            history.append((now[0], dict(expected)))
            before = store.fingerprint()
            assert store.upsert_bars(table(content)).unchanged == len(content) and store.fingerprint() == before
            assert read(store) == expected
        seen_new: set = set()
        for instant, state in history:  # each bar that is new is known since its close, each correction since its write
            seen_new |= set(state)
            assert {k: v for k, v in read(store, as_of=instant).items() if k in state} == state


@settings(EFFORT)
@given(kinds, st.lists(st.tuples(st.integers(400, 405), cells), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_dated_upserts_commute(kind, writes, random):
    said: dict[tuple[int, int, str], int] = {}
    for known, content in writes:  # one instant of knowledge has one value
        for (day, symbol), price in content.items():
            assume(said.setdefault((known, day, symbol), price) == price)
    shuffled = [*writes, writes[0]]
    random.shuffle(shuffled)
    with fresh_store(kind) as one, fresh_store(kind) as other:
        for known, content in writes:
            one.upsert_bars(table(content), known_at=known * DAY)
        for known, content in shuffled:
            other.upsert_bars(table(content), known_at=known * DAY)
        assert one.fingerprint() == other.fingerprint()
        for as_of in range(399, 407):
            expected = {}
            for (known, day, symbol), price in sorted(said.items()):
                if known <= as_of:
                    expected[(day, symbol)] = price
            assert read(one, as_of=as_of * DAY) == expected


# ---- every store does what the one in memory does ----

quotes = st.dictionaries(st.tuples(st.integers(364, 366), symbols, st.integers(0, 2)), st.sampled_from([1.0, 2.0, np.nan]), min_size=1, max_size=8)
dates = st.one_of(st.none(), st.integers(400, 403), st.just("by row"))
steps = st.lists(st.one_of(st.tuples(st.just("bars"), cells, dates), st.tuples(st.just("quotes"), quotes, dates)), min_size=1, max_size=5)


def quote_table(content: dict[tuple[int, str, int], float]) -> pd.DataFrame:
    "A table of quotes from {(day, symbol, seq): bid}; a missing bid leaves the offer."
    keys = sorted(content)
    names = sorted({s for _, s, _ in keys})
    bid = np.array([content[k] for k in keys])
    values = np.column_stack([bid, np.where(np.isnan(bid), 9.0, np.nan), bid, np.zeros(len(keys))])
    return table_frame("quotes", np.array([d * DAY for d, _, _ in keys]), np.array([names.index(s) for _, s, _ in keys]), names, values,
                       seq=np.array([q for _, _, q in keys]), labels={"exchange": ["" if b == 1 else "N" for b in bid]})


def take_step(store, step) -> object:
    "Write; the report, or the refusal."
    kind, content, date = step
    frame = table(content) if kind == "bars" else quote_table(content)
    known = (401 + np.arange(len(frame)) % 3) * DAY if date == "by row" else None if date is None else date * DAY
    try:
        return store.upsert(kind, frame, known_at=known, calendar="XNYS" if date is None else "")
    except DataError as error:
        return str(error)


@pytest.mark.parametrize("kind", ["parquet", "duckdb", "postgres"])
def test_random_histories_are_those_of_the_store_in_memory(kind, request):
    server = request.getfixturevalue("postgres_server") if kind == "postgres" else None
    now = [10_000 * DAY]

    @settings(EFFORT, max_examples=EFFORT.max_examples // 5)
    @given(steps, st.integers(398, 405))
    def compare(history, as_of):
        with fresh_store(kind, lambda: now[0], server) as store, fresh_store("memory", lambda: now[0]) as plain:
            for step in history:
                now[0] += DAY
                assert take_step(store, step) == take_step(plain, step)
            for name in ("bars", "quotes"):
                pd.testing.assert_frame_equal(store.coverage(kind=name), plain.coverage(kind=name))
                for then in (None, as_of * DAY, now[0] - 1):
                    read = [s.read(name, ["A", "C.1998", "D/E"], 364 * DAY, 366 * DAY, as_of=then) for s in (store, plain)]
                    pd.testing.assert_frame_equal(*read, check_exact=True)
            assert store.fingerprint() == plain.fingerprint()

    compare()


@settings(EFFORT)
@given(cells, st.integers(0, 7), st.sampled_from([np.nan, np.inf, -1.0, 0.0]), st.sampled_from(["open", "high", "low", "close"]))
def test_one_bad_cell_is_found_and_stops_the_write(content, at, value, column):
    frame = table(content)
    at %= len(frame)
    frame.iloc[at, frame.columns.get_loc(column)] = value
    found = check_bars(frame)
    assert any(v.row == at and v.column in (column, "high", "low") for v in found) and {v.row for v in found} == {at}
    store = MemoryStore()
    with pytest.raises(SchemaError):
        store.upsert_bars(frame)
    assert store.intervals() == []


@settings(EFFORT)
@given(cells, st.randoms(use_true_random=False))
def test_sorting_is_only_done_when_asked(content, random):
    frame = table(content)
    order = list(range(len(frame)))
    random.shuffle(order)
    shuffled = frame.iloc[order]
    pd.testing.assert_frame_equal(normalise_bars(shuffled, sort=True), frame)
    if order != sorted(order):
        with pytest.raises(SchemaError, match="rows are sorted"):
            normalise_bars(shuffled)


events_of_x = st.lists(st.tuples(st.integers(1, 11), st.sampled_from(["split", "dividend"]), st.floats(0.1, 4.0)), max_size=5, unique_by=lambda e: e[:2])


def path(prices: list[float]) -> pd.DataFrame:
    "Daily bars of X at days 1, 2, ..."
    ts = np.arange(1, len(prices) + 1, dtype=np.int64) * DAY
    return bars_frame(ts, np.zeros(len(prices), int), ["X"], np.array([[p, p * 1.1, p * 0.9, p, 100.0] for p in prices]))


def happen(events: list[tuple[int, str, float]]) -> pd.DataFrame:
    "Events at the open of the given days."
    return normalise_events(pd.DataFrame([{"symbol": "X", "ts": pd.Timestamp(d * DAY - 1, tz="UTC"), "kind": k, "value": v} for d, k, v in events],
                                         columns=["symbol", "ts", "kind", "value"]).astype({"ts": "datetime64[ns, UTC]", "value": float}))


@settings(EFFORT)
@given(st.lists(st.floats(10.0, 100.0), min_size=2, max_size=10), events_of_x)
def test_adjusted_returns_are_those_of_a_holder(prices, events):
    events = [e for e in events if e[0] <= len(prices)]
    raw, table_of_events = path(prices), happen(events)
    adjusted = adjust_bars(raw, table_of_events, mode="all")
    assert check_bars(adjusted) == [] and adjusted["close"].iloc[-1] == raw["close"].iloc[-1]
    shares, value = 1.0, prices[0]  # one share; a dividend buys back at the close before the ex-date, as the factor does
    growth = [1.0]
    for i in range(1, len(prices)):
        today = [(k, v) for d, k, v in sorted(events) if d == i + 1]
        for _, cash in [e for e in today if e[0] == "dividend"]:
            shares /= 1.0 - cash / prices[i - 1]
        for _, ratio in [e for e in today if e[0] == "split"]:
            shares *= ratio
        growth.append(shares * prices[i] / value)
    np.testing.assert_allclose(adjusted["close"] / adjusted["close"].iloc[0], growth, rtol=1e-10)


@settings(EFFORT)
@given(st.lists(st.floats(10.0, 100.0), min_size=2, max_size=10), events_of_x, st.integers(1, 11))
def test_the_past_does_not_know_later_events(prices, events, day):
    raw = path(prices)
    then = adjust_bars(raw, happen(events), as_of=pd.Timestamp(day * DAY, tz="UTC"))
    pd.testing.assert_frame_equal(then, adjust_bars(raw, happen([e for e in events if e[0] <= day]), mode="all"))


@settings(EFFORT)
@given(st.integers(0, 2**32), st.integers(1, 60), st.sampled_from([synthetic_bars, synthetic_pair, synthetic_cross_section]), st.booleans())
def test_synthetic_bars_are_valid_and_repeat(seed, count, draw, real_calendar):
    how = {"count": count, "seed": seed, "calendar": "XNYS" if real_calendar else None}
    frame = draw(**how)
    assert check_bars(frame) == [] and len(frame.index.levels[0]) == count
    pd.testing.assert_frame_equal(frame, draw(**how))


# ---- the bundled sample against the vendor's own factors ----


def quietly(*args, **how) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_bars(*args, source="sample", **how)


@pytest.mark.parametrize("mode", ["splits", "all"])
def test_adjusted_sample_equals_the_vendors_factors(mode):
    factors = pd.read_csv(PAYLOADS / "lean_us_factor_files.csv", parse_dates=["date"])
    compared = 0
    for symbol, own in factors.groupby("symbol"):
        raw, adjusted = (quietly(symbol, adjust=a).droplevel("symbol") for a in ("none", mode))
        day = raw.index.tz_convert("America/New_York").tz_localize(None).normalize().as_unit("s")
        row = np.searchsorted(own["date"].to_numpy().astype("M8[s]"), day.to_numpy())  # first row with date >= the bar's
        factor = own["split_factor"].to_numpy()[row] * (own["price_factor"].to_numpy()[row] if mode == "all" else 1.0)
        for column in ("open", "high", "low", "close"):
            np.testing.assert_allclose(adjusted[column], raw[column] * factor, rtol=1e-5)  # the factors have six decimals
        compared += len(raw)
    assert compared == 38_287


def test_events_match_the_bars_before_them():
    events = get_events(source="sample")
    closes = quietly(sorted(set(events["symbol"])), adjust="none")["close"].unstack()
    matched = 0
    for event in events.itertuples():
        before = closes.loc[closes.index < event.ts, event.symbol]
        if len(before) and not np.isnan(before.iloc[-1]):  # QQQ's hole and NationsBank have no bar
            assert before.iloc[-1] == pytest.approx(event.reference, abs=0.011)
            matched += 1
    assert matched == 348


@pytest.mark.parametrize("day", ["2005-06-08", "2008-07-23", "2009-06-30", "2014-04-02"])
def test_the_day_before_a_split_is_unsplit(day):
    symbol = {"2005": "EEM", "2008": "EEM", "2009": "AIG", "2014": "GOOGL"}[day[:4]]
    raw, then = quietly(symbol, day, day, adjust="none"), quietly(symbol, day, day, as_of=day)
    assert then["close"].tolist() == raw["close"].tolist()
    assert quietly(symbol, day, day, adjust="splits")["close"].iloc[0] != raw["close"].iloc[0]


def test_as_of_gives_only_what_had_closed():
    then = quietly("IBM", "2019-12-02", "2020-12-31", as_of="2020-01-02")
    assert then.index[-1][0] == pd.Timestamp("2020-01-02T21:00Z")
    just_before = quietly("IBM", "2019-12-02", as_of=pd.Timestamp("2020-01-02T20:59:59Z"))
    assert just_before.index[-1][0] == pd.Timestamp("2019-12-31T21:00Z")
    with pytest.raises(DataError, match="as known on"):
        quietly("IBM", "2020-12-01", "2020-12-31", as_of="2020-01-02")
