"""Every mapping in configs/mappings reads its kind of file; with a folder of data, every file of it is loaded and every row accounted for."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent / "recipes"))

from excerpts import EXCERPTS  # noqa: E402
from load_all import MAPPINGS, READERS, RECIPES, Loaded, find_recipe, listed_rows, load  # noqa: E402

from qtnb.data.providers.files_mapping import FileMapping, ReferenceMapping, SeriesMapping, build_mapping  # noqa: E402
from qtnb.data.providers.files_reading import read_table_file  # noqa: E402
from qtnb.data.providers.files_reference import read_reference_file, read_series_file  # noqa: E402
from qtnb.data.schema import check_table  # noqa: E402

NAMES = sorted(path.stem for path in MAPPINGS.glob("*.yaml"))
READER_OF = {name: READERS[recipe.reader] for recipe in RECIPES for name in recipe.mappings}
DATA = os.environ.get("QTNB_SHARED_DATA", "")
LISTED = listed_rows(Path(DATA)) if DATA else {}


def test_every_mapping_has_an_excerpt_and_a_recipe() -> None:
    """No mapping is left over, and none is missing."""
    assert NAMES == sorted(EXCERPTS) == sorted(READER_OF)


@pytest.mark.parametrize("name", NAMES)
def test_a_mapping_says_what_it_reads(name: str) -> None:
    """The first line is a remark, and it names the model."""
    head = [line for line in (MAPPINGS / f"{name}.yaml").read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert head and f"A {READER_OF[name].__name__}" in " ".join(head)


@pytest.mark.parametrize("name", sorted(n for n in NAMES if READER_OF[n] is FileMapping))
def test_prices(name: str, tmp_path: Path) -> None:
    """Good and refused rows, the first instant, a valid table."""
    excerpt = EXCERPTS[name]
    (tmp_path / excerpt.file).write_text(excerpt.text)
    read = read_table_file(tmp_path / excerpt.file, build_mapping(MAPPINGS / f"{name}.yaml", FileMapping))
    assert (read.rows, read.refused["row"].nunique()) == (excerpt.good, excerpt.refused)
    assert read.frame.index[0][0] == pd.Timestamp(excerpt.first)
    assert check_table(read.frame, build_mapping(MAPPINGS / f"{name}.yaml", FileMapping).kind) == []


@pytest.mark.parametrize("name", sorted(n for n in NAMES if READER_OF[n] is SeriesMapping))
def test_series(name: str, tmp_path: Path) -> None:
    """Rows, the first number, the unit."""
    excerpt = EXCERPTS[name]
    (tmp_path / excerpt.file).write_text(excerpt.text)
    keys = yaml.safe_load((MAPPINGS / f"{name}.yaml").read_text(encoding="utf-8")) | excerpt.keys
    frame = read_series_file(tmp_path / excerpt.file, keys)
    assert (int(frame.notna().to_numpy().sum()) if "pivot" in keys else len(frame)) == excerpt.good
    assert frame.attrs["unit"] == keys["unit"] and frame.index.is_monotonic_increasing
    assert np.isnan(frame.iloc[0, 0]) if excerpt.first is None else frame.iloc[0, 0] == pytest.approx(excerpt.first, rel=1e-12)


@pytest.mark.parametrize("name", sorted(n for n in NAMES if READER_OF[n] is ReferenceMapping))
def test_reference(name: str, tmp_path: Path) -> None:
    """Rows, the first cell."""
    excerpt = EXCERPTS[name]
    (tmp_path / excerpt.file).write_text(excerpt.text)
    table, refused = read_reference_file(tmp_path / excerpt.file, MAPPINGS / f"{name}.yaml")
    assert (len(table), refused["row"].nunique()) == (excerpt.good, excerpt.refused)
    assert excerpt.first is None or table.iloc[0, 0] == excerpt.first


def test_a_lost_row_would_be_seen() -> None:
    """The count of the big run has teeth."""
    assert Loaded("x", 9, 1, 10, {}).fits and not Loaded("x", 9, 0, 10, {}).fits
    with pytest.raises(LookupError, match="no recipe"):
        find_recipe("equities_daily/unknown.csv")


@pytest.mark.skipif(not LISTED, reason="QTNB_SHARED_DATA names no folder of data")
@pytest.mark.parametrize("path", sorted(LISTED))
def test_every_row_of_every_file(path: str) -> None:
    """Good and refused rows add up to the rows of the README."""
    found = load(Path(DATA), path, LISTED[path])
    assert found.fits, f"{path}: {found.good} good and {found.refused} refused rows, {found.expected} expected"
    assert found.good > 0
