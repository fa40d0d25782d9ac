"""Files that are wrong: one clear error, or good rows and bad ones with their reason; never a silent drop."""

from __future__ import annotations

import gzip
import io
import json
import struct
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qtnb.core.errors import ConfigError, DataError, DataWarning, SchemaError
from qtnb.data.providers.files_mapping import FileMapping, load_mapping
from qtnb.data.providers.files_reading import FileTable, read_table_file
from qtnb.data.providers.files_reference import read_market_hours, read_reference_file, read_series_file
from qtnb.data.providers.filesystem import FilesystemProvider, read_bar_file, read_event_file
from qtnb.data.schema import check_table
from qtnb.data.storage.memory import MemoryStore
from qtnb.utils.time import to_ns

HEADER = "date,open,high,low,close,volume\n"
DAYS = ("2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07")
ROWS = [f"{day},{10 + i},{11 + i},{9 + i},{10.5 + i},{100 * i}\n" for i, day in enumerate(DAYS)]
TEXT = HEADER + "".join(ROWS)
XNYS = {"calendar": "XNYS"}
NOW = to_ns("2021-01-01T00:00:00Z")


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path: Path, **keys) -> FileTable:
    return read_table_file(path, load_mapping(XNYS | keys), now=NOW)


# -- the whole file is wrong: an error in either way -------------------------------------------------------------------------

WHOLE = {
    "empty": ("X.csv", b"", "`X.csv` is empty"),
    "blank": ("X.csv", b" \n\t\n", "`X.csv` is empty"),
    "header only": ("X.csv", HEADER.encode(), "has a header and no rows"),
    "web page": ("X.csv", b"<!DOCTYPE html><html>Plan expired</html>", "holds HTML or XML, not CSV text"),
    "web page behind a BOM": ("X.csv", b"\xef\xbb\xbf\n<html>", "holds HTML or XML"),
    "json": ("X.csv", b'{"error": "expired"}', "holds JSON"),
    "cut json": ("X.csv", b'[{"o": 1, "h": 2}, {"o": 1, "h', "holds JSON"),
    "zip": ("X.csv", b"PK\x03\x04....", "holds a zip archive"),
    "binary": ("X.csv", struct.pack("<8d", *range(8)), "holds binary"),
    "utf-16": ("X.csv", TEXT.encode("utf-16"), "holds binary"),
    "latin-1": ("X.csv", TEXT.replace("date", "d\xe4te").encode("latin-1"), "cannot be read to its end as UTF-8.*`encoding: latin-1`"),
    "cut gzip": ("X.csv.gz", gzip.compress((HEADER + "".join(ROWS) * 500).encode())[:-40], "cannot be read to its end"),
    "damaged gzip": ("X.csv.gz", gzip.compress(TEXT.encode())[:-8] + b"\0" * 8, "cannot be read to its end"),
    "web page in gzip": ("X.csv.gz", gzip.compress(b"<html>502</html>"), "holds HTML or XML inside"),
    "nothing in gzip": ("X.csv.gz", gzip.compress(b""), "holds nothing inside"),
    "plain as gzip": ("X.csv.gz", TEXT.encode(), "holds plain text, not gzip"),
    "cut parquet": ("X.parquet", b"PAR1" + b"\0" * 60, "cannot be read to its end"),
    "open quotation": ("X.csv", (TEXT + '2020-01-08,"10,11,9,10,100\n').encode(), "cannot be read to its end"),
    "every line longer": ("X.csv", (HEADER + "".join(row.replace("\n", ",7\n") for row in ROWS)).encode(), "cannot be read to its end|6 cells"),
    "no column": ("X.csv", TEXT.replace("close", "clos").encode(), "column 'close' is missing.*Did you mean 'clos'"),
    "every time wrong": ("X.csv", TEXT.replace("2020-", "Jan ").encode(), "breaks the rule"),
    "every time a clock": ("X.csv", (HEADER + "".join(row.replace(",", " 16:00,", 1) for row in ROWS)).encode(), "clock time"),
}


@pytest.mark.parametrize("quarantine", [False, True], ids=["strict", "quarantine"])
@pytest.mark.parametrize(("name", "content", "message"), WHOLE.values(), ids=WHOLE.keys())
def test_a_file_that_is_wrong_as_a_whole(tmp_path, name, content, message, quarantine):
    with pytest.raises(DataError, match=message) as caught:
        read(write(tmp_path / name, content), quarantine=quarantine)
    assert name in str(caught.value) and caught.value.exit_code == 2


def test_parquet_cut_at_every_length_is_an_error(tmp_path):
    pd.read_csv(io.StringIO(TEXT)).to_parquet(tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 40)):
        with pytest.raises(DataError):
            read(write(tmp_path / "X.parquet", whole[:length]), quarantine=True)


def test_gzip_cut_at_every_length_is_an_error(tmp_path):
    whole = gzip.compress(TEXT.encode())
    for length in range(len(whole)):
        with pytest.raises(DataError):
            read(write(tmp_path / "X.csv.gz", whole[:length]), quarantine=True)


# -- some rows are wrong: an error that lists them, or the good ones and the reasons ------------------------------------------

SOME = {
    "empty cell": (TEXT.replace("11.5", ""), ["line 3"], "the cell is not empty"),
    "word": (TEXT.replace("11.5", "n/a"), ["line 3"], "the cell is a plain number"),
    "nan": (TEXT.replace("11.5", "nan"), ["line 3"], "the cell is a plain number"),
    "infinite": (TEXT.replace("11.5", "inf"), ["line 3"], "the number is finite"),
    "thousands": (TEXT.replace("11.5", '"1,011.5"'), ["line 3"], "the cell is a plain number"),
    "decimal comma": (TEXT.replace("11.5", '"11,5"'), ["line 3"], "the cell is a plain number"),
    "negative price": (TEXT.replace("11.5", "-11.5"), ["line 3"], "the price is above 0"),
    "negative volume": (TEXT.replace(",100\n", ",-1\n"), ["line 3"], "the volume is 0 or more"),
    "high below low": (TEXT.replace(",12,10,", ",10,12,"), ["line 3"], "high is the highest of the bar"),
    "no date": (TEXT.replace("2020-01-03", "3 Jan"), ["line 3"], "the time is written as in ISO 8601, such as 2020-01-02"),
    "another century": (TEXT.replace("2020-01-03", "0020-01-03"), ["line 3"], "the time is written as in ISO 8601, such as 2020-01-02"),
    "no session": (TEXT.replace("2020-01-03", "2020-01-04"), ["line 3"], "the date is a session of XNYS"),
    "clock among dates": (TEXT.replace("2020-01-03", "2020-01-03T16:00"), ["line 3"], "a row names its session by a plain date"),
    "copy": (TEXT + ROWS[-1], ["line 6"], "each row stands once; this one is a copy"),
    "contradiction": (TEXT + ROWS[-1].replace("13.5", "13.6"), ["line 5", "line 6"], "one key has one row; these contradict each other"),
    "backward": (HEADER + ROWS[1] + ROWS[0] + ROWS[2], ["line 3"], "the rows of a symbol run forward in time"),
    "future": (TEXT + "2021-01-04,10,11,9,10,1\n", ["line 6"], "the row is not later than now, 2021-01-01T00:00:00Z"),
    "long line": (TEXT + "2020-01-08,10,11,9,10,1,7\n", ["line 6"], "a line has 6 cells, as its header"),
    "short line": (TEXT + "2020-01-08,10,11\n", ["line 6"], "the cell is not empty"),
    "blank line": (HEADER + ROWS[0] + "\n" + ROWS[1], ["line 3"], "the cell is not empty"),
    "header again": (TEXT + HEADER + "2020-01-08,10,11,9,10,1\n", ["line 6"], "a header stands once, at the top"),
}


@pytest.mark.parametrize(("text", "rows", "rule"), SOME.values(), ids=SOME.keys())
def test_bad_rows_are_set_aside(tmp_path, text, rows, rule):
    path = write(tmp_path / "X.csv", text)
    with pytest.raises(DataError, match="X.csv"):
        read(path)
    found = read(path, quarantine=True)
    lines = len([line for line in text.splitlines()]) - 1
    assert sorted(found.refused["row"].unique()) == rows and rule in set(found.refused["rule"])
    assert found.rows + len(rows) == lines and check_table(found.frame) == []
    assert (found.refused["source"] == "X.csv").all() and (found.refused["dataset"] == "bars/1d").all()
    assert all(json.loads(cells) for cells in found.refused["cells"])


def test_bom_crlf_and_blank_lines_at_the_end_are_nothing(tmp_path):
    plain = read(write(tmp_path / "X.csv", TEXT)).frame
    odd = b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode() + b"\r\n\r\n"
    pd.testing.assert_frame_equal(read(write(tmp_path / "X.csv", odd)).frame, plain)
    pd.testing.assert_frame_equal(read(write(tmp_path / "X.csv", TEXT.replace("\n", "\r"))).frame, plain)
    named = TEXT.replace("volume", "volume,d\xe9tail").replace("\n2020", ",\xe9\n2020").rstrip() + ",\xe9\n"
    pd.testing.assert_frame_equal(read(write(tmp_path / "X.csv", named.encode("latin-1")), encoding="latin-1").frame, plain)


def test_the_fast_and_the_careful_way_agree(tmp_path):
    r = np.random.default_rng(7)
    close = r.uniform(1, 1000, 500).round(4)
    times = pd.date_range("2020-01-02", periods=500, freq="min").strftime("%Y-%m-%d %H:%M:%S")
    frame = pd.DataFrame({"time": times, "open": close, "high": close, "low": close, "close": close, "volume": r.integers(0, 9, 500)})
    frame.to_csv(tmp_path / "X.csv", index=False)
    keys = {"interval": "1m", "label": "start", "timezone": "UTC"}
    fast, careful = read(tmp_path / "X.csv", **keys).frame, read(tmp_path / "X.csv", footer=0, comment="#", **keys).frame
    pd.testing.assert_frame_equal(fast, careful, check_exact=True)
    assert fast["close"].tolist() == close.tolist()


@pytest.mark.parametrize(("cell", "keys", "value"), [
    ('"1,145.25"', {"thousands": ","}, 1145.25), ('"46,54,40,831.85"', {"thousands": ","}, 465440831.85),
    ('"1.145,25"', {"decimal": ",", "thousands": "."}, 1145.25),
    ('"1145,25"', {"decimal": ","}, 1145.25), ("1 145.25", {"thousands": " "}, 1145.25), ("1'145.25", {"thousands": "'"}, 1145.25),
    ("1.5e3", {"thousands": ","}, 1500.0),
])
def test_separators_that_are_named(tmp_path, cell, keys, value):
    path = write(tmp_path / "X.csv", HEADER + f"2020-01-02,{cell},{cell},{cell},{cell},5\n")
    assert read(path, **keys).frame["close"].tolist() == [value]


@pytest.mark.parametrize(("cell", "key"), [
    ('"1,145.25"', '`thousands: ","`'), ('"1.145,25"', '`decimal: ","`'), ('"134,5"', '`decimal: ","`'), ('"1,145"', "`thousands"), ("1'145.25", "`thousands"),
])
def test_separators_that_are_not_named_name_their_key(tmp_path, cell, key):
    with pytest.raises(SchemaError, match="the cell is a plain number") as caught:
        read(write(tmp_path / "X.csv", HEADER + f"2020-01-02,{cell},{cell},{cell},{cell},5\n"))
    assert key in str(caught.value)


@pytest.mark.parametrize("keys", [{"thousands": ","}, {"decimal": ","}])
def test_separators_in_wrong_places_are_no_numbers(tmp_path, keys):
    with pytest.raises(SchemaError, match="the cell is a plain number"):
        read(write(tmp_path / "X.csv", HEADER + '2020-01-02,"11,4,5.25","1.1.1","1,,1",5,5\n'), **keys)


@pytest.mark.parametrize(("values", "rule"), [
    (["10.5", "n/a", "12.5", "13.5"], "the cell is a plain number"), ([True, False, True, True], "the cell is a plain number"),
    (list(pd.to_datetime(DAYS)), "the cell is a plain number"), ([10.5, None, 12.5, 13.5], "the cell is not empty"),
])
def test_parquet_columns_of_a_wrong_type(tmp_path, values, rule):
    pd.read_csv(io.StringIO(TEXT)).assign(close=pd.Series(values)).to_parquet(tmp_path / "X.parquet")
    with pytest.raises(SchemaError, match=f"column `close`: .* breaks the rule '{rule}'"):
        read(tmp_path / "X.parquet")


def test_parquet_columns_of_an_unusual_type_are_numbers(tmp_path):
    table = pd.read_csv(io.StringIO(TEXT))
    table.assign(close=[Decimal(str(v)) for v in table["close"]], volume=table["volume"].astype("Int32")).to_parquet(tmp_path / "X.parquet")
    assert read(tmp_path / "X.parquet").frame["close"].tolist() == [10.5, 11.5, 12.5, 13.5]


# -- times ------------------------------------------------------------------------------------------------------------------

CLOCK = "time,open,high,low,close,volume\n"
ROW = ",10,11,9,10,1\n"


def clock(path: Path, *times: str, **keys) -> list[str]:
    write(path, CLOCK + "".join(t + ROW for t in times))
    frame = read_table_file(path, load_mapping({"interval": "1m", "label": "close"} | keys), now=NOW).frame
    return list(frame.index.get_level_values("ts").strftime("%Y-%m-%dT%H:%M"))


def test_offsets_that_change_with_daylight_saving(tmp_path):
    assert clock(tmp_path / "X.csv", "2020-03-06 09:30:00-05:00", "2020-03-09 09:30:00-04:00") == ["2020-03-06T14:30", "2020-03-09T13:30"]
    assert clock(tmp_path / "X.csv", "2020-03-06 09:30:00-05", "2020-03-09T13:30:00Z") == ["2020-03-06T14:30", "2020-03-09T13:30"]


@pytest.mark.parametrize("times", [("2020-01-02 09:30Z", "2020-01-02 09:31"), ("2020-01-02 09:30", "2020-01-02 09:31+01:00")])
def test_times_with_and_without_an_offset_in_one_column(tmp_path, times):
    with pytest.raises(SchemaError, match="mixes times with an offset and times without"):
        clock(tmp_path / "X.csv", *times, timezone="America/New_York")


def test_local_times_that_come_twice_or_never(tmp_path):
    twice, never = "2020-11-01 01:30", "2020-03-08 02:30"
    for time in (twice, never):
        with pytest.raises(DataError, match="give times with their offset"):
            clock(tmp_path / "X.csv", "2020-01-02 10:00", time, timezone="America/New_York", sort=True)
    assert clock(tmp_path / "X.csv", twice, timezone="America/New_York", repeated_hour="earlier") == ["2020-11-01T05:30"]
    assert clock(tmp_path / "X.csv", twice, timezone="America/New_York", repeated_hour="later") == ["2020-11-01T06:30"]
    assert clock(tmp_path / "X.csv", never, timezone="America/New_York", skipped_hour="forward") == ["2020-03-08T07:00"]
    aside = clock(tmp_path / "X.csv", "2020-01-02 10:00", never, timezone="America/New_York", quarantine=True)
    assert aside == ["2020-01-02T15:00"]


def test_zones_by_venue(tmp_path):
    text = "venue,time,bid,ask\noanda,2014-05-02 12:30,1,1.1\nfxcm,2014-05-02 07:30,1,1.1\nebs,2014-05-02 07:30,1,1.1\n"
    keys = {"kind": "quotes", "symbol": "NZDUSD.{venue}", "timezone": {"column": "venue", "oanda": "UTC", "fxcm": "-05:00"}}
    path = write(tmp_path / "fx.csv", text)
    with pytest.raises(SchemaError, match="line 4, column `timezone`: 'ebs'.*it knows oanda, fxcm"):
        read_table_file(path, load_mapping(keys))
    found = read_table_file(path, load_mapping(keys | {"quarantine": True}))
    assert found.refused["row"].tolist() == ["line 4"] and found.refused["column"].tolist() == ["timezone"]
    assert set(found.frame.index.get_level_values("ts")) == {pd.Timestamp("2014-05-02T12:30Z")}
    with pytest.raises(DataError, match="column 'broker' is missing"):
        read_table_file(path, load_mapping(keys | {"timezone": {"column": "broker", "oanda": "UTC"}}))
    with pytest.raises(DataError, match="cannot be read in the zone 'Mars'"):
        read_table_file(path, load_mapping(keys | {"timezone": {"column": "venue", "oanda": "Mars", "fxcm": "UTC", "ebs": "UTC"}}))


def test_an_unknown_calendar_and_counts_without_a_unit(tmp_path):
    path = write(tmp_path / "X.csv", TEXT)
    with pytest.raises(LookupError, match="Did you mean .*'XNYS'"):
        read(path, calendar="XNYX")
    with pytest.raises(SchemaError, match="`time_unit: ms`"):
        clock(tmp_path / "Y.csv", "1577959260000", timezone="UTC")
    with pytest.raises(SchemaError, match="the time counts s from 1970"):
        clock(tmp_path / "Y.csv", "1577959260000000", time_unit="s")


# -- what is beside the bars --------------------------------------------------------------------------------------------------


def test_adjusted_prices_do_not_reach_a_store(tmp_path):
    path = write(tmp_path / "X.csv", TEXT)
    provider = FilesystemProvider(path, XNYS | {"adjusted": "all"})
    with pytest.raises(DataError, match="bars adjusted for 'all'.*`fetch_bars` gives raw bars"):
        provider.fetch_bars(["X"])
    with pytest.raises(DataError, match="a store keeps raw prices"):
        MemoryStore().upsert_bars(provider.fetch_table(["X"]))
    with pytest.raises(ConfigError, match="`columns.close` was 'Adj Close', an adjusted price"):
        load_mapping({"columns": {"close": "Adj Close"}})


def test_a_split_that_the_prices_do_not_show(tmp_path):
    rows = "2014-06-06,92,93,92,92.2,100,1\n2014-06-09,92,93,92,92.7,100,7\n"
    path = write(tmp_path / "X.csv", HEADER.rstrip() + ",split\n" + rows)
    with pytest.raises(DataError, match="a split of 7, and the close went from 92.2 to 92.7"):
        read(path, columns={"split": "split"})
    with pytest.warns(DataWarning, match="a split of 7"):
        read(path, columns={"split": "split"}, quarantine=True)
    real = write(tmp_path / "Y.csv", HEADER.rstrip() + ",split\n" + rows.replace("92,93,92,92.2", "645,646,645,645.6"))
    assert read(real, columns={"split": "split"}).events["value"].tolist() == [7.0]


def test_revisions_reach_a_store_in_order(tmp_path):
    text = HEADER.rstrip() + ",seen\n2020-01-02,10,11,9,10.5,1,2020-01-02\n2020-01-02,10,11,9,10.6,1,2020-01-06\n2020-01-03,10,11,9,10,1,2020-01-03\n"
    provider = FilesystemProvider(write(tmp_path / "X.csv", text), XNYS | {"timezone": "America/New_York", "columns": {"known_at": "seen"}})
    store = MemoryStore()
    for known_at, table in provider.revisions(["X"]):
        store.upsert_bars(table, known_at=known_at)
    assert [pd.Timestamp(k, tz="UTC").strftime("%d %H") for k, _ in provider.revisions(["X"])] == ["03 05", "04 05", "07 05"]
    early = text.replace("2020-01-06\n", "2020-01-01\n")
    with pytest.raises(SchemaError, match="line 3, column `known_at`.*becomes known when it is over"):
        read(write(tmp_path / "Y.csv", early), timezone="America/New_York", columns={"known_at": "seen"})


def test_a_copy_of_a_revision_is_a_duplicate(tmp_path):
    text = HEADER.rstrip() + ",seen\n" + "2020-01-02,10,11,9,10.5,1,2020-01-02\n" * 2
    keys = {"timezone": "America/New_York", "columns": {"known_at": "seen"}}
    path = write(tmp_path / "X.csv", text)
    with pytest.raises(SchemaError, match="a symbol has one row for a time"):
        read(path, **keys)
    found = read(path, quarantine=True, **keys)
    assert found.rows == 1 and found.refused["row"].tolist() == ["line 3"]


# -- other kinds ----------------------------------------------------------------------------------------------------------------


def test_trades_that_are_wrong(tmp_path):
    text = "time,price,quantity,side,id\n2020-01-02T14:30:00Z,10,5,buy,1\n2020-01-02T14:30:00Z,10,5,cross,2\n2020-01-02T14:30:00Z,10,-5,sell,3\n"
    text += "2020-01-02T14:30:00Z,10,5,sell,c9\n2020-01-02T14:30:00Z,10,5,buy,1\n"
    keys = {"kind": "trades", "columns": {"id": "id"}, "symbol": "IBM", "quarantine": True}
    found = read_table_file(write(tmp_path / "T.csv", text), load_mapping(keys), now=NOW)
    assert found.frame["seq"].tolist() == [1] and sorted(found.refused["row"]) == ["line 3", "line 4", "line 5", "line 6"]
    assert found.refused.set_index("row")["column"].to_dict() == {"line 3": "side", "line 4": "quantity", "line 5": "id", "line 6": "ts"}
    with pytest.raises(SchemaError, match="name the word in `sides`"):
        read_table_file(write(tmp_path / "U.csv", text), load_mapping(keys | {"quarantine": False}), now=NOW)
    told = read_table_file(write(tmp_path / "V.csv", "time,price,quantity,side\n2020-01-02T14:30:00Z,10,5,LIFT\n"),
                           load_mapping({"kind": "trades", "sides": {"lift": 1}}), now=NOW)
    assert told.frame["aggressor"].tolist() == [1.0]


def test_one_sided_quotes_are_carried_within_an_exchange_only(tmp_path):
    text = "time,bid,ask,bid_size,ask_size,exchange\n" + "".join(
        f"2020-01-02T14:30:0{i}Z,{row}\n" for i, row in enumerate(["10,0,1,0,P", "0,11,0,2,Q", "0,10.9,0,3,P", "10.1,0,4,0,P"]))
    path = write(tmp_path / "Q.csv", text)
    with pytest.raises(SchemaError, match="the price is above 0"):
        read_table_file(path, load_mapping({"kind": "quotes"}))
    merged = read_table_file(path, load_mapping({"kind": "quotes", "zero_side": "unchanged"})).frame
    assert merged["bid"].fillna(0).tolist() == [10, 0, 10, 10.1] and merged["ask"].fillna(0).tolist() == [0, 11, 10.9, 10.9]
    assert merged["bid_size"].fillna(0).tolist() == [1, 0, 1, 4]
    split = read_table_file(path, load_mapping({"kind": "quotes", "zero_side": "missing"})).frame
    assert split["bid"].isna().tolist() == [False, True, True, False]


@pytest.mark.parametrize("kind", ["quote_bars", "trades", "quotes"])
def test_other_kinds_are_not_fetched_as_bars(tmp_path, kind):
    header = {"quote_bars": "bid_open,bid_high,bid_low,bid_close,ask_open,ask_high,ask_low,ask_close", "trades": "price,quantity", "quotes": "bid,ask"}[kind]
    path = write(tmp_path / "X.csv", f"time,{header}\n2020-01-02T14:30:00Z" + ",1" * (header.count(",") + 1) + "\n")
    provider = FilesystemProvider(path, {"kind": kind, "interval": "1m", "label": "close"})
    assert provider.symbols() == ["X"] and check_table(provider.fetch_table(["X"]), kind) == []
    with pytest.raises(DataError, match=f"holds {kind} by its mapping"):
        provider.fetch_bars(["X"])
    with pytest.raises(DataError, match="use `read_table_file`"):
        read_bar_file(path, FileMapping(kind=kind))


def test_refused_rows_of_several_files_reach_a_store(tmp_path):
    write(tmp_path / "A.csv", TEXT.replace("11.5", "n/a"))
    write(tmp_path / "B.csv", TEXT.replace("2020-01-03", "2020-01-04"))
    provider = FilesystemProvider(tmp_path, XNYS, quarantine=True)
    with pytest.warns(DataWarning, match="1 row.s. were set aside, 3 are good") as told:
        assert len(provider.fetch_bars(["A", "B"])) == 6
    assert len(told) == 2  # once per file
    assert sorted(provider.refused["source"]) == ["A.csv", "B.csv"]
    with pytest.raises(DataError, match="A.csv"):
        FilesystemProvider(tmp_path, XNYS).symbols()


def test_trades_of_two_files(tmp_path):
    for name in ("A.csv", "B.csv"):
        write(tmp_path / name, "symbol,time,price,quantity,id\nIBM,2020-01-02T14:30:00Z,10,5,1\n")
    counted = FilesystemProvider(tmp_path, {"kind": "trades"}).fetch_table(["IBM"])
    assert counted["seq"].tolist() == [0, 1] and check_table(counted, "trades") == []
    with pytest.raises(SchemaError, match="the same trade or quote stands in two of them"):
        FilesystemProvider(tmp_path, {"kind": "trades", "columns": {"id": "id"}}).fetch_table(["IBM"])


def test_columns_that_stand_twice(tmp_path):
    with pytest.raises(DataError, match="column 'close' stands twice in `X.csv`"):
        read(write(tmp_path / "X.csv", TEXT.replace("volume", "close")))
    both = TEXT.replace("volume", "volume,Close").replace("00\n", "00,1\n").replace(",0\n", ",0,1\n")
    with pytest.raises(DataError, match="stands twice in `X.csv`, in different letters"):
        read(write(tmp_path / "X.csv", both))
    assert read(write(tmp_path / "X.csv", both), columns={"close": "close"}).frame["close"].tolist() == [10.5, 11.5, 12.5, 13.5]


def test_event_files_that_are_wrong(tmp_path):
    head = "symbol,date,kind,value\n"
    for text, message in ((head + "A,2020-01-03,split,two\n", "line 2, column `value`: 'two'"), (head + "A,soon,split,2\n", "line 2, column `time`: 'soon'"),
                          (head + "A,2020-01-03,splt,2\n", "the kind is one of"),
                          (head.replace("value", "size") + "A,2020-01-03,split,2\n", "column 'value' is missing"),
                          ("<html>", "holds HTML"), (head + "A,2020-01-03,split,2,9\n", "cannot be read to its end")):
        with pytest.raises(DataError, match=message):
            read_event_file(write(tmp_path / "e.csv", text), "XNYS")


def test_series_and_reference_files_that_are_wrong(tmp_path):
    with pytest.raises(SchemaError, match="line 3, column `x`: 'n/a'"):
        read_series_file(write(tmp_path / "s.csv", "date,x\n2020-01-02,1\n2020-01-03,n/a\n"), {"unit": "USD"})
    with pytest.raises(SchemaError, match="dates run forward"):
        read_series_file(write(tmp_path / "s.csv", "date,x\n2020-01-03,1\n2020-01-02,2\n"), {"unit": "USD"})
    with pytest.raises(DataError, match="has no row where"):
        read_series_file(write(tmp_path / "s.csv", "date,x,f\n2020-01-03,1,M\n"), {"unit": "USD", "where": {"f": "Q"}})
    take = {"table": "members", "take": {"universe": "u", "symbol": "{t}", "start": "{s}"}}
    with pytest.raises(SchemaError, match="stands once"):
        read_reference_file(write(tmp_path / "m.csv", "t,s\nA,2020-01-02\nA,2020-01-02\n"), take)
    with pytest.raises(DataError, match="column 't' is missing"):
        read_reference_file(write(tmp_path / "m.csv", "x,s\nA,2020-01-02\n"), take)
    with pytest.raises(DataError, match="`take.since` is no column of members"):
        read_reference_file(tmp_path / "m.csv", {"table": "members", "take": {"since": "{s}"}})
    for content in (b'{"entries": {"A": {"monday": [', b"", gzip.compress(b'{"entries": {}}')[:-4], b"[]"):
        with pytest.raises(DataError, match="cannot be read to its end"):
            read_market_hours(write(tmp_path / "h.json.gz", content))
