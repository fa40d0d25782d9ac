"""The quality checks on recorded tables with known defects, on stores of every kind, and on input that breaks the schema."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from quality.measure import FOUND_BY_US, MEASURED, REPAIRED, check_cases, measure, measure_repairs, read_listed, yahoo_defects, zipline_csvdir

from qtnb.core.errors import DataError, SchemaError
from qtnb.data.quality import DEFECTS, FINDING_COLUMNS, SEVERITIES, check_quality, check_store, summary
from qtnb.data.reference import normalise_events
from qtnb.data.repair import apply_repairs, propose_repairs
from qtnb.data.sample import sample_bars, sample_events, sample_instruments, sample_store
from qtnb.data.schema import table_frame
from qtnb.data.storage.memory import MemoryStore
from qtnb.data.storage.parquet import ParquetStore
from qtnb.data.synthetic import synthetic_bars

PAYLOADS = Path(__file__).parent / "payloads" / "quality"
DAY = 86_400_000_000_000


# -- the measured table ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found():
    """Findings of the recorded tables."""
    return check_cases(chain(yahoo_defects(PAYLOADS), zipline_csvdir(PAYLOADS)))


def test_the_documented_figures_are_those_of_the_recorded_tables(found) -> None:
    """Recall and false alarms per kind, measured again, are what the page shows."""
    again = measure(found, read_listed())
    shown = pd.read_csv(MEASURED).fillna({"note": ""})
    shown = shown[shown["dataset"].isin(found)]
    key = ["dataset", "half", "kind"]
    pd.testing.assert_frame_equal(again.sort_values(key, ignore_index=True), shown.sort_values(key, ignore_index=True), check_dtype=False)


def test_the_documented_repairs_are_those_of_the_recorded_tables() -> None:
    """Cells that are wrong before and after the repairs, counted again, are what the page shows."""
    pd.testing.assert_frame_equal(measure_repairs(PAYLOADS), pd.read_csv(REPAIRED), check_dtype=False)


def test_nearly_everything_listed_is_found() -> None:
    """Recall is nine tenths or more, except for the kinds whose misses the page explains."""
    table = pd.read_csv(MEASURED).groupby("kind")[["listed", "found"]].sum()
    recall = (table["found"] / table["listed"])[table["listed"] > 0]
    assert set(recall[recall < 0.9].index) == {"wrong_zone", "split_partial"}
    assert table["found"].sum() / table["listed"].sum() > 0.95


def test_suspicious_dividends_that_are_right_raise_no_alarm(found) -> None:
    """The four tables of the repair's own false-positive tests."""
    findings, _ = found["yahoo_defects"]
    wrong = ["dividend_error", "adjust_missing", "unit_error"]
    about_money = findings[findings["defect"].isin(wrong) | findings["defect"].str.startswith("split_")]
    assert not set(about_money["symbol"]) & {"EA", "EWG", "IBE-MC", "TISG-MI"}


def test_the_list_is_well_formed() -> None:
    """Known kinds, first before last, a source; and our own findings never count as listed."""
    listed = read_listed()
    assert {word for kind in listed["defect"] for word in kind.split("|")} <= set(DEFECTS)
    assert (listed["first"] <= listed["last"]).all() and (listed["source"] != "").all() and not listed.duplicated().any()
    none = listed.assign(source=FOUND_BY_US)
    holed = synthetic_bars("VIX", 100, calendar="XNYS", start="1990-01-02").iloc[[*range(50), *range(55, 100)]]
    findings = {"vix": (check_quality(holed, calendar="XNYS"), 100)}
    assert measure(findings, none)["listed"].sum() == 0 and measure(findings, listed)["listed"].sum() > 0


# -- stores ---------------------------------------------------------------------------------------------------------------


def test_every_store_gives_the_same_findings(tmp_path) -> None:
    """The check reads what any store offers."""
    lake = ParquetStore(tmp_path / "lake")
    lake.upsert_bars(sample_bars(), calendar="XNYS")
    lake.upsert_events(sample_events())
    lake.upsert_instruments(sample_instruments())
    findings = check_store(lake)
    pd.testing.assert_frame_equal(findings, check_store(sample_store()))
    assert set(findings["severity"]) <= set(SEVERITIES) and list(findings.columns) == list(FINDING_COLUMNS)
    assert summary(findings)[list(SEVERITIES)].to_numpy().sum() == len(findings)


def test_quote_bars_of_a_store_are_checked_by_their_sides() -> None:
    """A crossed quote is found in the store's other kind of table."""
    ts = np.arange(1, 61) * 3_600_000_000_000 + 18_262 * DAY
    values = np.tile([1.09, 1.09, 1.09, 1.09, 1.1, 1.1, 1.1, 1.1, 5.0, 5.0], (60, 1))
    values[30, 3] = values[30, 1] = 1.105
    store = MemoryStore()
    store.upsert("quote_bars", table_frame("quote_bars", ts, np.zeros(60, int), ["EURUSD"], values, interval="1h"), interval="1h")
    findings = check_store(store, interval="1h", kind="quote_bars")
    assert findings.loc[findings["severity"] == "error", "defect"].tolist() == ["crossed_quote"]


def test_intraday_bars_of_a_store() -> None:
    """A missing hour is found without reading all symbols at once."""
    ts = np.delete(np.arange(1, 24 * 20 + 1), [50]) * 3_600_000_000_000 + 18_262 * DAY
    values = np.column_stack([100 + np.sin(ts), 102 + np.sin(ts), 98 + np.sin(ts), 100 + np.sin(ts), np.full(len(ts), 9.0)])
    store = MemoryStore()
    store.upsert_bars(table_frame("bars", ts, np.zeros(len(ts), int), ["BTC-USD"], values, interval="1h"), interval="1h", calendar="24/7")
    assert check_store(store, interval="1h")["defect"].tolist() == ["missing_bar"]


class Interrupted(Exception):
    """The process dies here."""


def test_an_interrupted_repair_is_completed_by_repeating_it(tmp_path, monkeypatch) -> None:
    """The line was recorded, the revision was not written: the second call writes it and records nothing twice."""
    right = synthetic_bars("A", 120, calendar="XNYS", start="2018-01-02").round({c: 2 for c in ("open", "high", "low", "close")})
    wrong = right.copy()
    wrong.iloc[60:65, :4] *= 100
    lake = ParquetStore(tmp_path / "lake")
    lake.upsert_bars(wrong, calendar="XNYS")
    proposals = propose_repairs(wrong, None, check_quality(wrong, calendar="XNYS"), calendar="XNYS")
    with monkeypatch.context() as patch:
        def die(*_, **__):
            raise Interrupted
        patch.setattr(ParquetStore, "upsert_bars", die)
        with pytest.raises(Interrupted):
            apply_repairs(lake, proposals)
    again = apply_repairs(lake, proposals)
    first, last = right.index[0][0].value, right.index[-1][0].value
    assert set(again["outcome"]) == {"applied"} and len(lake.read_table("repairs")) == len(proposals)
    pd.testing.assert_frame_equal(lake.read_bars(["A"], first, last), right, check_exact=True)


def test_a_repair_that_breaks_the_schema_is_refused_whole() -> None:
    """Half of a repair would leave a high below its close; then nothing is written and nothing recorded."""
    right = synthetic_bars("A", 120, calendar="XNYS", start="2018-01-02")
    wrong = right.copy()
    wrong.iloc[60:65, :4] *= 100
    store = MemoryStore()
    store.upsert_bars(wrong, calendar="XNYS")
    proposals = propose_repairs(wrong, None, check_quality(wrong, calendar="XNYS"), calendar="XNYS")
    with pytest.raises(SchemaError, match="the repaired table"):
        apply_repairs(store, proposals[proposals["column"] == "high"])
    assert store.read_table("repairs").empty


# -- input that breaks the schema -----------------------------------------------------------------------------------------


def test_a_file_as_it_came_is_checked() -> None:
    """Plain dates, columns in any case, newest first, numbers as text, gaps, copies: findings, not an exception."""
    days = pd.bdate_range("2019-01-02", periods=60)
    days = days[~days.isin(pd.to_datetime(["2019-01-21", "2019-02-18"]))]  # holidays
    price = [f"{100 + i % 7}" for i in range(len(days))]
    table = pd.DataFrame(dict.fromkeys(["Open", "High", "Low", "Close", "Adj Close"], price)).assign(Date=days.astype(str), Symbol="X", Volume=10)
    table.loc[5, "Close"] = "1,050"
    table = pd.concat([table.drop(10), table.iloc[[20]]]).iloc[::-1]
    findings = check_quality(table, calendar="XNYS")
    assert {"missing_value", "missing_session", "duplicate", "flat_bar"} <= set(findings["defect"])
    assert findings.loc[findings["defect"] == "missing_value", "first"].dt.strftime("%Y-%m-%d").tolist() == [str(days[5].date())]


@pytest.mark.parametrize("columns", [["ts", "symbol", "price"], ["ts", "symbol", "bid", "ask"]])
def test_ticks_are_checked(columns) -> None:
    """Trades and quotes have no bars to miss and no close to stay."""
    table = pd.DataFrame({c: 10.0 for c in columns[2:]}, index=range(100)).assign(symbol="T", ts=pd.to_datetime(np.arange(100) * 10**9, utc=True))
    table.loc[7, columns[2]] = -1.0
    kinds = set(check_quality(table, interval="tick")["defect"])
    assert kinds & {"missing_value", "one_sided_quote"} and "stale_run" not in kinds


def test_a_table_that_is_none() -> None:
    """What cannot be read is said in one sentence."""
    with pytest.raises(DataError, match="the table has no times"):
        check_quality(pd.DataFrame({"a": [1]}))
    with pytest.raises(DataError, match="column 'price' is missing"):
        check_quality(pd.DataFrame({"date": ["2020-01-02"], "symbol": ["A"]}))
    with pytest.raises(DataError, match="instants carry a zone"):
        check_quality(pd.DataFrame({"ts": pd.to_datetime(["2020-01-02"]), "close": [1.0]}))


def test_the_record_of_a_calendar_may_begin_later() -> None:
    """Days before the calendar knows anything are not called closed."""
    old = synthetic_bars("A", 40, start="1960-01-04")
    assert check_quality(old, calendar="XBOM").empty


def test_events_of_other_symbols_do_no_harm() -> None:
    """Events of a symbol that is not in the table, and events before and after all bars, are not looked at."""
    bars = synthetic_bars("A", 100, calendar="XNYS", start="2018-01-02")
    when = [pd.Timestamp("2010-01-01", tz="UTC"), pd.Timestamp("2030-01-01", tz="UTC"), pd.Timestamp("2018-02-01", tz="UTC")]
    events = normalise_events(pd.DataFrame({"symbol": ["A", "A", "Z"], "ts": when, "kind": "split", "value": 2.0}))
    assert check_quality(bars, events=events, calendar="XNYS").empty
