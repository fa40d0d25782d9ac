"""Reading from stores of every kind: point in time, events with and without references, many symbols, missing sessions, errors."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pandas as pd
import pytest

from qtnb.core.errors import DataError, DataWarning, UnknownNameError
from qtnb.data.adjust import adjust_bars
from qtnb.data.calendars import sessions
from qtnb.data.loader import get_bars, get_coverage, get_events, missing_bars, open_store
from qtnb.data.reference import normalise_events
from qtnb.data.schema import bars_frame
from qtnb.data.storage.memory import MemoryStore
from qtnb.data.storage.parquet import ParquetStore
from qtnb.data.symbols import find_symbol, ticker_of
from qtnb.data.ticks import get_trades
from qtnb.data.universe import load_universe, universe, universe_history

SYMBOLS = ["A", "B", "C", "D"]
CALENDAR = sessions("XNYS", "2015-01-02", "2019-12-31")


def market(seed: int = 3) -> tuple[pd.DataFrame, pd.DataFrame]:
    "Five years of four symbols, with splits, dividends and a spin-off, none of which states its reference."
    rng = np.random.default_rng(seed)
    close = np.round(40 * np.exp(rng.normal(0, 0.01, (len(CALENDAR), 4)).cumsum(axis=0)), 2)
    flat = close.ravel()
    values = np.column_stack([flat, flat * 1.01, flat * 0.99, flat, rng.integers(100, 999, flat.size).astype(float)])
    frame = bars_frame(np.repeat(CALENDAR["close"].to_numpy(), 4), np.tile(np.arange(4), len(CALENDAR)), SYMBOLS, values)
    days = CALENDAR["open"].to_numpy()
    rows = [("A", 100, "split", 2.0), ("B", 400, "split", 0.1), ("B", 700, "spin_off", 4.0), ("C", 900, "delisting", np.nan)]
    rows += [("D", 900, "symbol_change", np.nan)]
    rows += [(s, int(i), "dividend", 0.25) for s in "ABD" for i in range(30, 1250, 61)]
    table = pd.DataFrame(rows, columns=["symbol", "row", "kind", "value"])
    table = table.assign(ts=pd.to_datetime(days[table.pop("row").to_numpy()], utc=True), text=np.where(table["kind"] == "symbol_change", "DD", ""))
    return frame, normalise_events(table)


@pytest.fixture(scope="module", params=["memory", "parquet"])
def store(request, tmp_path_factory):
    frame, events = market()
    made = MemoryStore() if request.param == "memory" else ParquetStore(tmp_path_factory.mktemp("lake"))
    made.upsert_bars(frame, calendar="XNYS")
    made.upsert_events(events)
    made.upsert_sessions("XNYS", CALENDAR)
    made.upsert_sessions("XLON", CALENDAR.assign(close=CALENDAR["close"] - 1))
    made.upsert_instruments(pd.DataFrame({"symbol": SYMBOLS, "ticker": SYMBOLS, "events_from": ["2015-01-02", "2015-01-02", "", ""]}))
    return made


@functools.cache
def plain(mode: str) -> pd.DataFrame:
    "The definition, one event after the other."
    frame, events = market()
    wide = frame.copy()
    index = wide.index.get_level_values("ts"), wide.index.get_level_values("symbol")
    raw = frame["close"].unstack("symbol")
    for e in events.sort_values("ts", ascending=False, kind="stable").itertuples():
        if e.kind not in {"none": (), "splits": ("split", "spin_off"), "all": ("split", "spin_off", "dividend")}[mode]:
            continue
        before = (index[0] < e.ts) & (index[1] == e.symbol)
        factor = 1 / e.value if e.kind == "split" else 1 - e.value / raw.loc[raw.index < e.ts, e.symbol].iloc[-1]
        wide.loc[before, ["open", "high", "low", "close"]] *= factor
        if e.kind == "split":
            wide.loc[before, "volume"] *= e.value
    return wide


@pytest.mark.filterwarnings("ignore::qtnb.core.errors.DataWarning")
@pytest.mark.parametrize("mode", ["none", "splits", "all"])
@pytest.mark.parametrize("years", [(None, None), ("2016-03-01", "2016-09-30"), (None, "2015-03-31"), ("2019-06-03", None)])
def test_adjusted_bars_are_what_the_definition_says(store, mode, years):
    expected = plain(mode)
    start, end = years
    ts = expected.index.get_level_values("ts")
    keep = (ts >= (start or "2000-01-01")) & (ts < pd.Timestamp(end or "2030-01-01", tz="UTC") + pd.Timedelta(days=1))
    for symbols in (["A"], ["C"], SYMBOLS, ["D", "A"]):
        got = get_bars(symbols, start, end, adjust=mode, source=store)
        want = expected[keep & expected.index.get_level_values("symbol").isin(symbols)]
        np.testing.assert_allclose(got.to_numpy(), want.to_numpy(), rtol=1e-12)
        assert got.index.get_level_values("symbol").tolist() == want.index.get_level_values("symbol").tolist() and got.attrs["adjust"] == mode


@pytest.mark.filterwarnings("ignore::qtnb.core.errors.DataWarning")
def test_one_symbol_among_many_is_read_as_when_alone(store):
    together = get_bars(SYMBOLS, "2016-01-04", "2018-12-31", source=store)
    for symbol in SYMBOLS:
        alone = get_bars(symbol, "2016-01-04", "2018-12-31", source=store)
        np.testing.assert_array_equal(alone.to_numpy(), together.xs(symbol, level="symbol").to_numpy())
    assert store.coverage(symbols=["B", "NONE"]).index.tolist() == ["B"] and len(store.coverage(symbols=[])) == 0
    whole, part = store.read_events(), store.read_events(["B", "NONE"])
    pd.testing.assert_frame_equal(part, whole[whole["symbol"] == "B"].reset_index(drop=True))
    assert store.read_instruments(["D"])["symbol"].tolist() == ["D"] and len(store.read_instruments()) == 4 and len(store.read_events(["NONE"])) == 0
    assert store.read_sessions("XNYS")["close"].tolist() == CALENDAR["close"].tolist() and len(store.read_sessions("XTKS")) == 0


@pytest.mark.filterwarnings("ignore::qtnb.core.errors.DataWarning")
def test_what_a_reader_does_to_his_tables_stays_there(store):
    before = store.fingerprint()
    some = (lambda: store.read_sessions("XNYS"), lambda: store.read_events(["A"]), lambda: store.read_instruments(["A"]))
    for read in (*some, store.read_events, store.read_instruments):
        table, again = read(), read()
        for column in table.columns:
            if table[column].dtype.kind in "if":
                table.loc[:, column] = 0
        pd.testing.assert_frame_equal(read(), again)
    bars = get_bars("A", source=store)
    bars.iloc[:, :] = 1.0
    assert get_bars("A", source=store)["close"].iloc[0] != 1.0 and store.fingerprint() == before


@pytest.mark.filterwarnings("ignore::qtnb.core.errors.DataWarning")
def test_as_of_a_day_before_a_split_prices_are_unsplit(store):
    frame, events = market()
    split = events[(events["symbol"] == "B") & (events["kind"] == "split")]["ts"].iloc[0]
    eve = str((split - pd.Timedelta(days=1)).date())
    raw = get_bars("B", "2015-01-02", eve, adjust="none", source=store)
    then, now = (get_bars("B", "2015-01-02", eve, adjust="splits", source=store, as_of=as_of) for as_of in (eve, None))
    pd.testing.assert_frame_equal(then.assign(), raw.assign())
    spin = 1 - 4.0 / get_bars("B", adjust="none", source=store)["close"].droplevel("symbol").iloc[699]
    np.testing.assert_allclose(now["close"], raw["close"] * 10 * spin, rtol=1e-12)


def test_a_corrected_event_is_read_as_it_was_known(tmp_path):
    frame, events = market()
    for made in (MemoryStore(), ParquetStore(tmp_path / "lake")):
        made.upsert_bars(frame)
        made.upsert_events(events)
        wrong = events[events["kind"] == "split"].iloc[:1]
        made.upsert_events(wrong.assign(value=4.0, known_at=wrong["known_at"] + pd.Timedelta(days=30)))
        assert made.read_events([wrong["symbol"].iloc[0]]).query("kind == 'split'")["value"].tolist() == [4.0]
        day = wrong["ts"].iloc[0] + pd.Timedelta(days=7)
        first = get_bars("A", None, "2015-02-27", adjust="splits", source=made)["close"].iloc[0]
        early = get_bars("A", None, "2015-02-27", adjust="splits", source=made, as_of=day)["close"].iloc[0]
        assert early == 2 * first and len(made.read_events()) == len(events)


def test_missing_sessions_are_counted_for_each_symbol_of_many():
    frame, _ = market()
    ts, symbol = frame.index.get_level_values("ts"), frame.index.get_level_values("symbol")
    hole = ((symbol == "B") & ts.isin(ts.unique()[[10, 11, 12, 500]])) | ((symbol == "C") & (ts < ts.unique()[20]))
    hole |= (symbol == "D") & (ts == ts.unique()[30])
    made = MemoryStore()
    odd = frame[~hole]
    # a bar at no session's close replaces no session
    extra = bars_frame(np.array([CALENDAR["close"].iloc[30] + 7]), np.array([0]), ["D"], np.array([[10.0, 10, 10, 10, 1]]))
    made.upsert_bars(pd.concat([odd, extra]).sort_index(), calendar="XNYS")
    made.upsert_sessions("XNYS", CALENDAR)
    with pytest.warns(DataWarning) as caught:
        get_bars(SYMBOLS, adjust="none", source=made)
    lines = str(caught[0].message).splitlines()[1:]
    assert [line.strip().split(";")[0].split(" sessions have")[0] for line in lines] == ["B: 4 of 1258", "D: 1 of 1258"]
    assert "2015-01-16 to 2015-01-21, 3 sessions; 2016-12-27" in lines[0]
    with pytest.warns(DataWarning, match="C: bars begin 2015-02-02"):
        get_bars(SYMBOLS, "2015-01-02", adjust="none", source=made)
    closes = CALENDAR["close"].to_numpy()
    assert missing_bars(CALENDAR, closes[:5], int(closes[0]), int(closes[6]))[0][0][2] == 2


@pytest.mark.filterwarnings("ignore::qtnb.core.errors.DataWarning")
def test_events_of_every_kind_are_read_and_only_some_move_prices(store):
    kinds = get_events(source=store)["kind"].value_counts()
    assert kinds["delisting"] == kinds["symbol_change"] == kinds["spin_off"] == 1 and kinds["split"] == 2
    pd.testing.assert_frame_equal(get_bars("C", source=store).assign(), get_bars("C", adjust="none", source=store).assign())
    with pytest.warns(DataWarning, match="C: no splits or dividends are known"):  # a delisting is neither
        get_bars("C", source=store)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        get_bars(["A", "B", "D"], source=store)  # D's dividends are there, whatever its reference row forgot to say


def test_errors_say_what_there_is(store):
    for question, error, words in [
        (dict(symbols="Z"), UnknownNameError, "symbol 'Z' is not known"),
        (dict(symbols=["A", "AA"]), UnknownNameError, "Did you mean 'A'"),
        (dict(symbols="A", interval="1m"), DataError, "holds bars of 1d only"),
        (dict(symbols="A", start="2030-01-01"), DataError, "there are bars from 2015-01-02T21:00:00Z to 2019-12-31T21:00:00Z"),
        (dict(symbols="A", start="2015-07-04", end="2015-07-05"), DataError, "no bar of A lies between"),
        (dict(symbols=()), DataError, "`symbols` was empty"),
    ]:
        with pytest.raises(error, match=words):
            get_bars(**question, source=store)
    with pytest.raises(DataError, match="holds no trades"):
        get_trades("A", source=store)
    with pytest.raises(DataError, match="holds no bars; load some first"):
        get_bars("A", source=MemoryStore())
    with pytest.raises(DataError, match="a spin-off is smaller than the price"):
        adjust_bars(*[t.assign(**c) for t, c in zip(market(), ({}, {"reference": 3.0}), strict=True)])


def test_a_path_is_as_good_as_the_store(store, tmp_path):
    lake = ParquetStore(tmp_path / "lake")
    lake.upsert_bars(market()[0])
    pd.testing.assert_frame_equal(get_bars("A", source=str(tmp_path / "lake")), get_bars("A", source=lake))
    assert repr(open_store(tmp_path / "lake")) == repr(lake) and len(get_coverage(tmp_path / "lake")) == 4


@pytest.mark.parametrize("kind", ["memory", "parquet"])
def test_universes_are_stored_and_asked(kind, tmp_path):
    made = MemoryStore() if kind == "memory" else ParquetStore(tmp_path / "lake")
    spells = universe_history("sp500", source="sample")
    assert len(spells) == 1230
    load_universe(made, "sp500", spells)
    announced = {"known_at": pd.to_datetime(["1999-12-01"] * 2, utc=True)}
    load_universe(made, "two", pd.DataFrame({"symbol": ["A", "B"], "start": "2000-01-03", "end": [None, "2001-01-02"]} | announced))
    for day in ("1996-01-02", "2008-09-12", "2017-06-16", "2017-06-19", "2025-07-09"):
        members = universe("sp500", day, source=made)
        assert members == universe("sp500", day, source="sample")
        rows = spells[(spells["start"] <= day) & ((spells["end"] == "") | (spells["end"] >= day))]
        assert members == sorted(rows["symbol"])
    assert "LEHMQ" in universe("sp500", "2008-09-12", source=made) and "LEHMQ" not in universe("sp500", "2008-09-17", source=made)
    friday, monday = (set(universe("sp500", day, source=made)) for day in ("2017-06-16", "2017-06-19"))
    assert "AABA" in friday - monday and "ALGN" in monday - friday  # Align took the place of Yahoo
    ends = universe_history("sp500", "2008-09-12", "2008-09-12", known="2008-09-12", source=made)["end"]
    assert set(ends) == {""} and len(ends) == 496  # on that day nobody knew who would leave
    assert universe("two", "2001-06-01", known="2000-06-01", source=made) == ["A"]  # this source had announced it


def test_tickers_of_the_sample_lead_to_symbols_with_bars():
    for ticker, day, symbol in [("GOOG", "2010-01-04", "GOOGL"), ("GOOG", "2020-01-02", "GOOG"), ("QQQQ", "2007-01-03", "QQQ"),
                                ("USO", "1998-06-01", "USO.1998"), ("NB", "1998-06-01", "BAC"), ("BAC", "1998-06-01", "BAC.1998"),
                                ("BAC", "2008-09-12", "BAC")]:
        assert find_symbol(ticker, day, source="sample") == symbol and ticker_of(symbol, day, source="sample") == ticker
    with pytest.raises(UnknownNameError, match="'QQQQ' is not known, but it was the ticker of QQQ"):
        get_bars("QQQQ", source="sample")
    with pytest.raises(UnknownNameError, match="it was the ticker of BAC"):
        get_events("NB", source="sample")
