"""Bad input, from the file to the answer: one clear error with exit code 2, and the lake as it was, to the byte."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest

from qtnb.core.errors import DataError, DataWarning, QtnbError, StorageError, UnknownNameError
from qtnb.data.calendars import sessions
from qtnb.data.loader import get_bars, get_coverage, get_events, open_store
from qtnb.data.pipelines import ingest, load_sample
from qtnb.data.providers.filesystem import FilesystemProvider
from qtnb.data.storage.parquet import ParquetStore

HEADER = "date,open,high,low,close,volume\n"
GOOD = HEADER + "".join(f"2021-04-{d:02d},10,11,9,10.5,100\n" for d in (1, 5, 6))  # 2021-04-02 was Good Friday


@pytest.fixture(scope="module")
def sample_lake(tmp_path_factory) -> ParquetStore:
    store = ParquetStore(tmp_path_factory.mktemp("sample") / "lake")
    load_sample(store, progress=False)
    return store


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file() and p.name != ".lock"}


QUESTIONS = {
    "unknown symbol": (dict(symbols="IMB"), UnknownNameError, "symbol 'IMB' is not known. Did you mean 'IBM'"),
    "unknown among known": (dict(symbols=["IBM", "QQQQ"]), UnknownNameError, "symbol 'QQQQ' is not known, but it was the ticker of QQQ"),
    "lower case": (dict(symbols="ibm"), UnknownNameError, "Did you mean 'IBM'"),
    "unknown interval": (dict(symbols="IBM", interval="1day"), UnknownNameError, "interval '1day' is not known. Did you mean '1d'"),
    "absent interval": (dict(symbols="IBM", interval="5m"), DataError, "`interval` was '5m'; .* holds bars of 1d only"),
    "dates reversed": (dict(symbols="IBM", start="2020-12-31", end="2020-01-02"), DataError, "`start` was 2020-12-31, after `end` 2020-01-02"),
    "after the data": (dict(symbols="IBM", start="2021-04-01", end="2021-12-31"), DataError,
                       "outside the data; there are bars from 1998-01-02T21:00:00Z to 2021-03-31"),
    "before the data": (dict(symbols="GOOG", start="1990-01-02", end="1997-12-31"), DataError, "outside the data; there are bars from 2014-04-03"),
    "in a hole": (dict(symbols="QQQ", start="2006-01-03", end="2006-12-29"), DataError, "no bar of QQQ lies between 2006-01-03 and 2006-12-29;"),
    "naive timestamp": (dict(symbols="IBM", start="2020-01-02 16:00"), DataError, "'2020-01-02 16:00.*' without a zone"),
    "naive Timestamp": (dict(symbols="IBM", end=pd.Timestamp("2020-01-02 16:00")), DataError, "without a zone"),
    "no time at all": (dict(symbols="IBM", start="soon"), DataError, "time was 'soon'"),
    "unknown field": (dict(symbols="IBM", fields=["close", "vwap"]), UnknownNameError, "field 'vwap' is not known"),
    "unknown adjustment": (dict(symbols="IBM", adjust="dividends"), UnknownNameError, "adjustment 'dividends' is not known"),
    "no symbols": (dict(symbols=[]), DataError, "`symbols` was empty"),
}


@pytest.mark.parametrize("question, error, message", QUESTIONS.values(), ids=QUESTIONS.keys())
@pytest.mark.parametrize("source", ["sample", "lake"])
def test_questions_that_cannot_be_meant(sample_lake, source, question, error, message):
    before = contents(sample_lake.root)
    with warnings.catch_warnings(), pytest.raises(error, match=message) as caught:
        warnings.simplefilter("error")  # an error is not preceded by warnings
        get_bars(**question, source="sample" if source == "sample" else sample_lake.root)
    assert isinstance(caught.value, QtnbError) and caught.value.exit_code == 2
    assert contents(sample_lake.root) == before


def test_sources_that_are_none(tmp_path):
    with pytest.raises(DataError, match="holds no bars; load some first with `qt fetch sample`"):
        get_bars("IBM", source=tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="is a file; a lake is a folder"):
        get_bars("IBM", source=tmp_path / "file")
    with pytest.raises(DataError, match="`source` was 7"):
        open_store(7)
    assert not (tmp_path / "nothing").exists()  # asking makes no folder


def test_the_lake_and_the_sample_answer_alike(sample_lake):
    for how in (dict(), dict(adjust="none"), dict(start="2004-01-02", end="2012-12-31"), dict(as_of="2009-06-30"), dict(fields="close")):
        with warnings.catch_warnings(record=True) as of_lake:
            warnings.simplefilter("always")
            a = get_bars(["AIG", "QQQ"], source=sample_lake, **how)
        with warnings.catch_warnings(record=True) as of_sample:
            warnings.simplefilter("always")
            b = get_bars(["AIG", "QQQ"], source="sample", **how)
        pd.testing.assert_frame_equal(a, b, check_exact=True)
        assert [str(w.message) for w in of_lake] == [str(w.message) for w in of_sample]
    pd.testing.assert_frame_equal(get_events(source=sample_lake), get_events(source="sample"))
    pd.testing.assert_frame_equal(get_coverage(sample_lake), get_coverage("sample"))


def test_missing_sessions_are_counted_once_and_explained(sample_lake):
    with pytest.warns(DataWarning) as caught:
        get_bars(["QQQ", "EEM", "IBM"], "2003-01-02", "2012-12-31", source=sample_lake)
    text, total = str(caught[0].message), len(sessions("XNYS", "2003-04-11", "2012-12-31"))
    assert len(caught) == 1 and caught[0].filename == __file__
    assert "QQQ: 1588 of 2517 sessions have no bar: 2004-12-01 to 2011-03-22, 1588 sessions (traded as QQQQ" in text
    assert f"EEM: 1 of {total} sessions have no bar: 2003-08-15" in text and "EEM: bars begin 2003-04-11" in text and "IBM" not in text


def test_known_defects_are_said(sample_lake):
    with pytest.warns(DataWarning, match="WMI: no splits or dividends are known"):
        get_bars("WMI", source=sample_lake)
    with pytest.warns(DataWarning, match="WMI: bars end 2009-08-04"):
        get_bars("WMI", "2005-01-03", "2012-12-31", adjust="none", source=sample_lake)


BAD_CONTENT = {
    "empty": "", "web page": "<!DOCTYPE html><html>no</html>", "missing column": GOOD.replace("close", "last"),
    "nan": GOOD.replace("10.5", "nan", 1), "negative": GOOD.replace("10.5", "-10.5", 1), "zero": GOOD.replace(",9,", ",0,", 1),
    "high<low": GOOD.replace("11,9", "9,11", 1), "duplicated": GOOD + GOOD.splitlines()[-1] + "\n",
    "unsorted": HEADER + "\n".join(GOOD.splitlines()[:0:-1]) + "\n", "naive": GOOD.replace("2021-04-05", "2021-04-05 16:00"),
    "holiday": GOOD.replace("2021-04-01", "2021-04-02"), "text": "hello\n",
}


@pytest.mark.parametrize("content", BAD_CONTENT.values(), ids=BAD_CONTENT.keys())
def test_a_bad_file_among_good_ones_leaves_the_lake_as_it_was(tmp_path, content):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/A.csv").write_text(GOOD)
    store = ParquetStore(tmp_path / "lake")
    ingest(FilesystemProvider(tmp_path / "in", {"calendar": "XNYS"}), store, progress=False)
    before = contents(store.root)
    (tmp_path / "in/A.csv").write_text(GOOD.replace("10.5", "10.6"))  # a good change that must not get in alone
    (tmp_path / "in/B.csv").write_text(content)
    with pytest.raises(DataError, match="B.csv") as caught:
        ingest(FilesystemProvider(tmp_path / "in", {"calendar": "XNYS"}), store, progress=False)
    assert caught.value.exit_code == 2 and contents(store.root) == before


def test_a_dry_run_writes_nothing(tmp_path):
    (tmp_path / "A.csv").write_text(GOOD)
    store = ParquetStore(tmp_path / "lake")
    report = ingest(FilesystemProvider(tmp_path / "A.csv", {"calendar": "XNYS"}), store, dry_run=True, progress=False)
    assert report.dry_run and report.bars.rows == 3 and "nothing was written" in report.summary() and not store.root.exists()


def test_ingest_is_incremental_and_reports_holes(tmp_path):
    (tmp_path / "A.csv").write_text(GOOD.replace("2021-04-05,10,11,9,10.5,100\n", ""))
    store = ParquetStore(tmp_path / "lake")
    first = ingest(FilesystemProvider(tmp_path / "A.csv", {"calendar": "XNYS"}), store, progress=False)
    assert first.missing == {"A": 1} and "sessions without a bar: A 1" in first.summary()
    with pytest.warns(DataWarning, match="A: 1 of 3 sessions have no bar: 2021-04-05"):
        assert len(get_bars("A", source=store)) == 2
    (tmp_path / "A.csv").write_text(GOOD)
    second = ingest(FilesystemProvider(tmp_path / "A.csv", {"calendar": "XNYS"}), store, progress=False)
    assert (second.bars.new, second.bars.unchanged) == (1, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(get_bars("A", source=store)) == 3


def test_events_without_a_reference_use_the_bars(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/A.csv").write_text(GOOD)
    (tmp_path / "in/events.csv").write_text("symbol,date,kind,value\nA,2021-04-06,dividend,1.05\nA,2021-04-30,split,2\n")
    store = ParquetStore(tmp_path / "lake")
    ingest(FilesystemProvider(tmp_path / "in", {"calendar": "XNYS", "events": "events.csv"}), store, progress=False)
    whole = get_bars("A", source=store)
    assert whole["close"].tolist() == pytest.approx([9.45, 9.45, 10.5])  # 1 - 1.05/10.5; the split of a day without bars is not in force
    alone = get_bars("A", "2021-04-01", "2021-04-01", source=store)  # the close it is measured against lies outside the range
    assert alone["close"].tolist() == whole["close"].tolist()[:1]


def test_days_of_a_market_that_never_closes(tmp_path):
    (tmp_path / "BTC.csv").write_text(HEADER + "".join(f"2021-05-{d:02d},10,11,9,10.5,{d}\n" for d in range(1, 8)))
    store = ParquetStore(tmp_path / "lake")
    ingest(FilesystemProvider(tmp_path / "BTC.csv", {"calendar": "24/7"}), store, progress=False)
    week = get_bars("BTC", "2021-05-02", "2021-05-04", source=store)  # the bar of 4 May closes as 5 May begins
    assert week["volume"].tolist() == [2, 3, 4] and str(week.index[-1][0]) == "2021-05-05 00:00:00+00:00"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(get_bars("BTC", source=store)) == 7


def test_reading_stored_bars_imports_no_calendar(sample_lake):
    code = f"""
import sys
from qtnb.data.calendars import sessions
from qtnb.data.loader import get_bars
get_bars(["IBM", "QQQ"], "2003-01-02", "2012-12-31", source={str(sample_lake.root)!r})
assert "exchange_calendars" not in sys.modules
get_bars("IBM", source="sample")
assert "exchange_calendars" not in sys.modules and "tqdm" not in sys.modules and "pydantic" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120)


def test_the_sample_is_small_and_has_its_papers():
    from importlib import resources
    files = {p.name: p for p in resources.files("qtnb.sample").iterdir()}
    assert {"bars.parquet", "events.csv", "instruments.csv", "defects.csv", "sessions.parquet", "PROVENANCE.md", "LICENSE-Lean.txt"} <= files.keys()
    assert sum(len(p.read_bytes()) for p in files.values() if p.is_file()) < 3_000_000
    assert "24863901deff" in files["PROVENANCE.md"].read_text() and "Apache License" in files["LICENSE-Lean.txt"].read_text()
