"""Files into a store: every kind of table, bad rows beside the good ones, and what became known when."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd
import pytest

from qtnb.api.cli import main
from qtnb.config.settings import load_settings
from qtnb.core.errors import SchemaError
from qtnb.data.ingest import ingest
from qtnb.data.providers.filesystem import FilesystemProvider
from qtnb.data.storage.memory import MemoryStore
from qtnb.data.storage.open import workspace_store
from qtnb.data.universe import universe

ALL = (-(2**62), 2**62)
HEADER = "date,open,high,low,close,volume\n"
BAD = HEADER + "2020-01-02,10,11,9,10.5,100\n2020-01-03,10,9,11,10.5,100\n2020-01-06,10,11,9,,100\n2020-01-07,10,11,9,10.5,100\n"


def quietly(*arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ingest(*arguments, progress=False, **options)


def test_bad_rows_lie_beside_the_good_ones(tmp_path: Path) -> None:
    (tmp_path / "X.csv").write_text(BAD)
    store, mapping = MemoryStore(), {"calendar": "XNYS"}
    with pytest.raises(SchemaError, match="X.csv"):
        ingest(FilesystemProvider(tmp_path / "X.csv", mapping), store, progress=False)
    assert store.intervals() == []
    report = quietly(FilesystemProvider(tmp_path / "X.csv", mapping | {"quarantine": True}), store)
    assert (report.bars.new, report.refused) == (2, 2) and "set aside: 2 row(s)" in report.summary()
    kept = store.read_table("quarantine")
    assert set(kept["row"]) == {"line 3", "line 4"} and kept["source"].str.contains("X.csv").all() and kept["cells"].str.contains("10.5|11").all()
    assert quietly(FilesystemProvider(tmp_path / "X.csv", mapping | {"quarantine": True}), store).bars.unchanged == 2
    assert len(store.read_table("quarantine")) == len(kept)  # the same rows again are not written twice


def test_what_became_known_when(tmp_path: Path) -> None:
    rows = ["2020-01-02,10,11,9,10.5,100,2020-01-03", "2020-01-03,11,12,10,11.5,100,2020-01-04", "2020-01-02,10,11,9,10.6,100,2020-02-01"]
    (tmp_path / "X.csv").write_text(HEADER.strip() + ",collected\n" + "\n".join(rows) + "\n")
    provider = FilesystemProvider(tmp_path / "X.csv", {"calendar": "XNYS", "columns": {"known_at": "collected"}, "sort": True})
    store = MemoryStore()
    report = quietly(provider, store)
    assert (report.bars.new, report.bars.revised) == (2, 1)
    days = ("2020-01-02", "2020-01-10", "2020-02-02")
    as_of = {day: store.read_bars(["X"], *ALL, as_of=pd.Timestamp(f"{day}T23:59Z").value)["close"].tolist() for day in days}
    assert as_of["2020-01-02"] == [] and as_of["2020-01-10"] == [10.5, 11.5] and as_of["2020-02-02"] == [10.6, 11.5]
    before = store.fingerprint()
    quietly(provider, store)
    assert store.fingerprint() == before


def test_trades_go_where_trades_are(tmp_path: Path) -> None:
    (tmp_path / "tape.csv").write_text("time,symbol,price,quantity\n1578009600000,X,10,1\n1578009600000,X,11,2\n")
    store = MemoryStore()
    report = quietly(FilesystemProvider(tmp_path / "tape.csv", {"kind": "trades", "time_unit": "ms"}), store)
    table = store.read("trades", ["X"], *ALL)
    assert report.bars.dataset == "trades" and table["price"].tolist() == [10, 11] and table["seq"].tolist() == [0, 1]


def test_the_command_line_sets_aside_on_request(workspace: Path, capsys) -> None:
    (workspace / "X.csv").write_text(BAD)
    assert main(["fetch", "filesystem", "X.csv"]) == 2 and main(["fetch", "filesystem", "X.csv", "--quarantine"]) == 0
    assert main(["data", "quarantine"]) == 0 and main(["data", "coverage"]) == 0
    said = capsys.readouterr()
    assert "set aside: 2 row(s)" in said.out and "high is the highest of the bar" in said.out and "2020-01-07" in said.out


def test_the_sample_brings_its_universe(workspace: Path) -> None:
    assert main(["fetch", "sample"]) == 0
    assert universe("sp500", "2008-09-12") == universe("sp500", "2008-09-12", source="sample") and len(universe("sp500", "2008-09-12")) > 480


def test_the_setting_store_decides_where_the_lake_is(workspace: Path, capsys) -> None:
    (workspace / "settings.ini").write_text("[workspace]\nname = test\n[services]\nstore = duckdb\n")
    assert main(["fetch", "sample"]) == 0 and main(["backtest", "--symbols", "IBM", "--start", "2015-01-02", "--source", "lake"]) == 0
    store = workspace_store(load_settings())
    assert store.coverage().loc["IBM", "rows"] == 5849 and "final equity" in capsys.readouterr().out
