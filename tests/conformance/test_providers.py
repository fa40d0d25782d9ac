"""Every provider gives the same kind of table, and refuses what it cannot read with one clear error."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qtnb.core.errors import ConfigError, DataError, SchemaError
from qtnb.data.providers.base import PROVIDERS, BarProvider
from qtnb.data.providers.files_cells import scaled
from qtnb.data.providers.filesystem import FileMapping, FilesystemProvider, load_mapping, read_bar_file
from qtnb.data.schema import BAR_COLUMNS, check_bars
from qtnb.data.storage.memory import MemoryStore

HEADER = "date,open,high,low,close,volume\n"
DAYS = ["2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07"]
ROWS = [f"{day},{10 + i},{11 + i},{9 + i},{10.5 + i},{100 * i}\n" for i, day in enumerate(DAYS)]
TEXT = HEADER + "".join(ROWS)
XNYS = FileMapping.model_validate({"calendar": "XNYS"})


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture(params=["csv", "csv.gz", "parquet", "one file for many"])
def provider(request, tmp_path) -> BarProvider:
    "The same bars of A and B, in each kind of file."
    table = pd.read_csv(io.StringIO(TEXT))
    if request.param == "one file for many":
        pd.concat([table.assign(Symbol=s) for s in "BA"]).to_csv(tmp_path / "all.csv", index=False)
    for symbol in "AB":
        if request.param == "csv":
            write(tmp_path / f"{symbol}.csv", TEXT)
        elif request.param == "csv.gz":
            write(tmp_path / f"{symbol}.csv.gz", gzip.compress(TEXT.encode()))
        elif request.param == "parquet":
            table.assign(date=pd.to_datetime(table["date"])).to_parquet(tmp_path / f"{symbol}.parquet")
    return FilesystemProvider(tmp_path, XNYS)


def test_registry():
    assert PROVIDERS.get("filesystem") is FilesystemProvider


def test_protocol(provider):
    assert isinstance(provider, BarProvider) and provider.calendar == "XNYS" and provider.interval == "1d"


def test_symbols_and_batches(provider):
    assert provider.symbols() == ["A", "B"]
    assert sorted(sum(provider.batches(), [])) == ["A", "B"] and provider.batches(["B"]) == [["B"]]
    with pytest.raises(LookupError, match="symbol 'AA' is not known. Did you mean 'A'"):
        provider.batches(["AA"])


def test_bars_are_canonical_and_at_the_close(provider):
    frame = provider.fetch_bars(["B", "A"])
    assert check_bars(frame) == [] and len(frame) == 8 and frame.attrs == {"interval": "1d", "adjust": "none"}
    assert list(frame.index.get_level_values("ts").unique().strftime("%Y-%m-%dT%H:%M")) == [f"{d}T21:00" for d in DAYS]
    assert frame.xs("A", level="symbol").to_numpy().tolist() == frame.xs("B", level="symbol").to_numpy().tolist()
    assert frame.xs("A", level="symbol")["close"].tolist() == [10.5, 11.5, 12.5, 13.5]


def test_range_has_both_ends_inside(provider):
    stamps = provider.fetch_bars(["A"]).index.get_level_values("ts")
    part = provider.fetch_bars(["A"], stamps[1].value, stamps[2].value)
    assert list(part.index.get_level_values("ts")) == [stamps[1], stamps[2]]
    assert len(provider.fetch_bars(["A"], stamps[-1].value + 1)) == 0


def test_a_store_takes_the_table(provider):
    assert MemoryStore().upsert_bars(provider.fetch_bars(provider.symbols())).new == 8


def test_events_are_canonical(provider):
    assert len(provider.fetch_events()) == 0 and "kind" in provider.fetch_events()


def localised(number: float, thousands: str, decimal: str) -> str:
    return f"{number:,.2f}".replace(",", "\0").replace(".", decimal).replace("\0", thousands)


DIALECTS = {
    "thousands": (",", {"thousands": ","}, lambda v: f'"{localised(v, ",", ".")}"', "%Y-%m-%d"),
    "decimal comma": (";", {"delimiter": ";", "decimal": ",", "thousands": "."}, lambda v: localised(v, ".", ","), "%Y-%m-%d"),
    "decimal comma alone": (";", {"delimiter": ";", "decimal": ","}, lambda v: localised(v, "", ","), "%Y-%m-%d"),
    "apostrophes": (",", {"thousands": "'"}, lambda v: localised(v, "'", "."), "%Y-%m-%d"),
    "cents": (",", {"scale": 0.01}, lambda v: str(round(v * 100)), "%Y-%m-%d"),
    "american dates": (",", {"time_format": "%m/%d/%Y"}, str, "%m/%d/%Y"),
    "dates in words": (",", {"time_format": "%b %d %Y"}, str, "%b %d %Y"),
    "compact dates": (",", {}, str, "%Y%m%d"),
    "tabs": ("\t", {"delimiter": "\t"}, str, "%Y-%m-%d"),
    "prose around": (",", {"skiprows": 2, "footer": 1}, str, "%Y-%m-%d"),
    "remarks": (",", {"comment": "#"}, str, "%Y-%m-%d"),
    "latin-1": (",", {"encoding": "latin-1"}, str, "%Y-%m-%d"),
    "no header": (",", {"names": ("date", "open", "high", "low", "close", "volume")}, str, "%Y-%m-%d"),
    "newest first": (",", {"sort": True}, str, "%Y-%m-%d"),
    "a further column": (",", {}, str, "%Y-%m-%d"),
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("quarantine", [False, True], ids=["strict", "quarantine"])
def test_the_same_bars_in_every_dialect(tmp_path, dialect, quarantine):
    delimiter, keys, number, day_format = DIALECTS[dialect]
    values = [[1010.25 + 1000 * i, 1011.5 + 1000 * i, 1009.75 + 1000 * i, 1010.5 + 1000 * i] for i in range(4)]
    plain = HEADER + "".join(f"{d},{','.join(map(str, v))},{100 * i}\n" for i, (d, v) in enumerate(zip(DAYS, values, strict=True)))
    expected = read_bar_file(write(tmp_path / "plain/X.csv", plain), XNYS)
    rows = [delimiter.join([pd.Timestamp(d).strftime(day_format), *map(number, v), str(100 * i)]) for i, (d, v) in enumerate(zip(DAYS, values, strict=True))]
    rows = rows[::-1] if dialect == "newest first" else rows
    lines = [HEADER.strip().replace(",", delimiter), *rows]
    lines = lines[1:] if dialect == "no header" else lines
    lines = ["Prices", "by hand", *lines, "Copyright"] if dialect == "prose around" else lines
    lines = ["# by hand", "", lines[0], "# more", *lines[1:]] if dialect == "remarks" else lines
    lines = [line + (",d\xe9tail" if i else ",note") for i, line in enumerate(lines)] if dialect in ("latin-1", "a further column") else lines
    encoded = "\n".join(lines).encode("latin-1" if dialect == "latin-1" else "utf-8")
    frame = FilesystemProvider(write(tmp_path / "X.csv", encoded), {"calendar": "XNYS"} | keys, quarantine=quarantine).fetch_bars(["X"])
    pd.testing.assert_frame_equal(frame, expected, check_exact=True)


def test_the_vendors_names_cents_and_order(tmp_path):
    rows = "\n".join(f"{d.replace('-', '')};{1050 + 100 * i};{1000 + 100 * i};{1100 + 100 * i};{900 + 100 * i};{i}" for i, d in reversed(list(enumerate(DAYS))))
    write(tmp_path / "X.csv", "Day;Last;First;Top;Bottom;Lots\n" + rows + "\n\n")
    mapping = write(tmp_path / "vendor.yaml", """
columns: {time: Day, open: First, high: Top, low: Bottom, close: Last, volume: Lots}
time_format: "%Y%m%d"
delimiter: ";"
calendar: XNYS
scale: 0.01
volume_scale: 100
sort: true
""")
    frame = FilesystemProvider(tmp_path / "X.csv", mapping).fetch_bars(["X"])
    assert frame["close"].tolist() == [10.5, 11.5, 12.5, 13.5] and frame["volume"].tolist() == [0, 100, 200, 300]


@pytest.mark.parametrize("label, time, expected", [
    ("start", "2020-07-01 09:30", "2020-07-01T13:31:00Z"), ("close", "2020-07-01 09:30", "2020-07-01T13:30:00Z"),
    ("start", "2020-01-02 09:30", "2020-01-02T14:31:00Z"), ("close", "2020-07-01T09:30:00-04:00", "2020-07-01T13:30:00Z"),
    ("start", "2020-07-01T13:30:00Z", "2020-07-01T13:31:00Z"),
])
def test_minutes_in_zones(tmp_path, label, time, expected):
    path = write(tmp_path / "M.csv", HEADER.replace("date", "time") + f"{time},10,11,9,10,1\n")
    frame = read_bar_file(path, load_mapping({"interval": "1m", "label": label, "timezone": "America/New_York"}))
    assert frame.index[0][0] == pd.Timestamp(expected)


@pytest.mark.parametrize("unit, factor", [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_counts_from_1970_are_exact(tmp_path, unit, factor):
    path = write(tmp_path / "M.csv", HEADER.replace("date", "time") + f"{1_577_959_260 * factor},10,11,9,10,1\n")
    frame = read_bar_file(path, load_mapping({"interval": "1m", "label": "close", "time_unit": unit}))
    assert frame.index[0][0].value == 1_577_959_260 * 10**9


def test_a_table_of_qtnb_comes_back(tmp_path):
    frame = read_bar_file(write(tmp_path / "A.csv", TEXT), XNYS)
    frame.to_parquet(tmp_path / "table.parquet")
    frame.to_csv(tmp_path / "text.csv")
    for name in ("table.parquet", "text.csv"):
        pd.testing.assert_frame_equal(read_bar_file(tmp_path / name), frame)


def test_events_file(tmp_path):
    write(tmp_path / "A.csv", TEXT)
    write(tmp_path / "actions.csv", "symbol,date,kind,value\nA,2020-01-03,split,2\n")
    provider = FilesystemProvider(tmp_path, {"calendar": "XNYS", "events": "actions.csv"})
    assert provider.symbols() == ["A"]
    assert provider.fetch_events().loc[0, ["kind", "value"]].tolist() == ["split", 2.0]
    assert provider.fetch_events().loc[0, "ts"] == pd.Timestamp("2020-01-03T14:30Z")  # the open of the ex-date
    write(tmp_path / "actions.csv", "symbol,date,kind,value\nA,2020-01-04,split,2\n")
    with pytest.raises(DataError, match="no session of XNYS"):
        provider.fetch_events()


BAD_FILES = {
    "empty": ("", "X.csv", "`X.csv` is empty"),
    "blank": ("\n \n", "X.csv", "`X.csv` is empty"),
    "header only": (HEADER, "X.csv", "has a header and no rows"),
    "web page": ("<html><body>502 Bad Gateway</body></html>", "X.csv", "holds HTML or XML, not CSV text"),
    "json": ('{"error": "expired key"}', "X.csv", "holds JSON, not CSV text"),
    "gzip as csv": (gzip.compress(TEXT.encode()), "X.csv", "holds gzip, not CSV text"),
    "csv as gzip": (TEXT, "X.csv.gz", "holds plain text, not gzip"),
    "csv as parquet": (TEXT, "X.parquet", "holds plain text, not Parquet"),
    "zip as csv": (b"PK\x03\x04junk", "X.csv", "holds a zip archive"),
    "binary": (b"\x01\x00\x02\x00", "X.csv", "holds binary"),
    "cut gzip": (gzip.compress((HEADER + "".join(ROWS) * 50).encode())[:-20], "X.csv.gz", "cannot be read to its end"),
    "cut parquet": (b"PAR1" + b"\x00" * 60, "X.parquet", "cannot be read to its end"),
    "not utf-8": (TEXT.replace("date", "d\xe4te").encode("latin-1"), "X.csv", "cannot be read to its end"),
    "no column": (TEXT.replace("close", "clos"), "X.csv", "column 'close' is missing in `X.csv`.*Did you mean 'clos'"),
    "no time": (TEXT.replace("date", "when"), "X.csv", "column 'date' is missing"),
    "extra cell": (TEXT + "2020-01-08,1,2,1,1,1,7\n", "X.csv", "cannot be read to its end.*line 6"),
    "naive clock": (TEXT.replace("2020-01-03", "2020-01-03 16:00"), "X.csv", "line 3 was '2020-01-03 16:00:00', a clock time"),
    "weekend": (TEXT.replace("2020-01-03", "2020-01-04"), "X.csv", "1 date.* no session of XNYS.*2020-01-04"),
    "not a date": (TEXT.replace("2020-01-03", "3 Jan"), "X.csv", "line 3, column `time`: '3 Jan' breaks the rule"),
    "negative": (TEXT.replace("11.5", "-11.5"), "X.csv", r"line 3, column `close`: -11.5 breaks the rule 'the price is above 0'"),
    "nan": (TEXT.replace("11.5", "nan"), "X.csv", "line 3, column `close`: 'nan' breaks the rule"),
    "blank cell": (TEXT.replace("11.5", ""), "X.csv", "line 3, column `close`: .*breaks the rule 'the cell is not empty'"),
    "infinite": (TEXT.replace("11.5", "inf"), "X.csv", "line 3, column `close`: inf breaks the rule 'the number is finite'"),
    "thousands": (TEXT.replace(",11.5,", ',"1,011.5",'), "X.csv", "'1,011.5' breaks the rule 'the cell is a plain number'"),
    "high<low": (TEXT.replace(",12,10,", ",10,12,"), "X.csv", "line 3, column `high`: 10.0 breaks the rule 'high is the highest of the bar'"),
    "negative volume": (TEXT.replace(",100\n", ",-100\n"), "X.csv", "line 3, column `volume`: -100.0 breaks the rule"),
    "duplicated": (TEXT + ROWS[-1], "X.csv", "line 6, column `time`: .* breaks the rule 'a symbol has one row for a time'"),
    "unsorted": (HEADER + "".join(ROWS[::-1]), "X.csv", "line 3, column `time`: .* run forward in time"),
    "blank line inside": (HEADER + ROWS[0] + "\n" + ROWS[1], "X.csv", "line 3, column"),
    "wrong ending": (TEXT, "X.txt", "holds no file that ends with"),
}


@pytest.mark.parametrize("content, name, message", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_bad_files(tmp_path, content, name, message):
    write(tmp_path / name, content)
    with pytest.raises(DataError, match=message) as caught:
        FilesystemProvider(tmp_path, XNYS).symbols()
    assert caught.value.exit_code == 2
    if isinstance(caught.value, SchemaError):
        assert all(v.rule and v.column for v in caught.value.violations)


def test_duplicates_are_refused_even_when_sorting(tmp_path):
    path = write(tmp_path / "X.csv", TEXT + ROWS[0])
    with pytest.raises(SchemaError, match="line 6"):
        read_bar_file(path, load_mapping({"calendar": "XNYS", "sort": True}))


def test_a_parquet_column_of_the_wrong_type(tmp_path):
    table = pd.read_csv(io.StringIO(TEXT)).astype({"close": "str"}).assign(close="high")
    table.to_parquet(tmp_path / "X.parquet")
    with pytest.raises(SchemaError, match="row 0, column `close`: 'high' breaks the rule 'the cell is a plain number'"):
        FilesystemProvider(tmp_path, XNYS).symbols()


def test_dates_need_a_calendar_and_a_known_one(tmp_path):
    path = write(tmp_path / "X.csv", TEXT)
    with pytest.raises(DataError, match="names no calendar.*add `calendar: XNYS`"):
        read_bar_file(path)
    with pytest.raises(LookupError, match="Did you mean .*'XNYS'"):
        read_bar_file(path, load_mapping({"calendar": "XNYX"}))


def test_clock_times_need_a_known_zone(tmp_path):
    path = write(tmp_path / "X.csv", HEADER + "2020-01-02T10:00,10,11,9,10,1\n")
    with pytest.raises(DataError, match="without a zone; a clock time needs one; add `timezone: America/New_York`"):
        read_bar_file(path, load_mapping({"label": "close"}))
    with pytest.raises(DataError, match="cannot be read in the zone 'America/Newyork'"):
        read_bar_file(path, load_mapping({"label": "close", "timezone": "America/Newyork"}))
    path = write(tmp_path / "Y.csv", HEADER + "2020-11-01T01:30,10,11,9,10,1\n")  # an hour that comes twice
    with pytest.raises(DataError, match="times with their offset"):
        read_bar_file(path, load_mapping({"label": "close", "timezone": "America/New_York"}))


@pytest.mark.parametrize("text, error, message", [
    ("calender: XNYS", LookupError, "mapping key 'calender' is not known. Did you mean 'calendar'"),
    ("columns: {price: Last}", ConfigError, "`columns.price"),
    ("interval: 1day", ConfigError, "`interval` of mapping .* was '1day'"),
    ("scale: 0", ConfigError, "`scale` of mapping"),
    ("- a\n- b", ConfigError, "was a list; it is a YAML file of `key: value` lines"),
    ("a: [", ConfigError, "cannot be read"),
])
def test_bad_mappings(tmp_path, text, error, message):
    with pytest.raises(error, match=message):
        load_mapping(write(tmp_path / "m.yaml", text))
    with pytest.raises(ConfigError, match="cannot be read"):
        load_mapping(tmp_path / "none.yaml")


def test_scaling_rounds_once():
    cents = np.arange(1, 20_001)
    path_values = pd.Series(cents / 100)
    assert (scaled(cents.astype(float), 0.01) == path_values.to_numpy()).all()
    assert tuple(BAR_COLUMNS) == ("open", "high", "low", "close", "volume")
