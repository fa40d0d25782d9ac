"""Damaged files: whatever happens to the bytes, there is one clear error, or every row is good or refused."""

from __future__ import annotations

import random
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))

from excerpts import EXCERPTS  # noqa: E402
from load_all import MAPPINGS, READERS, RECIPES  # noqa: E402

from qtnb.core.errors import QtnbError  # noqa: E402
from qtnb.data.providers.files_cells import read_cells  # noqa: E402
from qtnb.data.providers.files_mapping import FileMapping, ReferenceMapping, build_mapping  # noqa: E402
from qtnb.data.providers.files_reading import read_table_file  # noqa: E402
from qtnb.data.providers.files_reference import read_reference_file, read_series_file  # noqa: E402
from qtnb.data.schema import check_table  # noqa: E402

READER_OF = {name: READERS[recipe.reader] for recipe in RECIPES for name in recipe.mappings}
SCRAPS = [b",", b"\n", b'"', b"", b"nan", b"inf", b"-1", b"1e400", b"2020-01-02", b"9999-01-01", b"0", b"\x00", b"\xff", b"\xe9", b" ", b";", b"Z", b"+25:00",
          b"1,000", b"true", b"9" * 20, b"-05:00", b"\r", b"'"]


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A few places overwritten, cut out or filled with scraps."""
    whole = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(whole) + 1)
        whole[at: at + rng.choice([0, 0, 1, 2, 5, 20])] = rng.choice(SCRAPS)
    return bytes(whole)


def read_prices(path: Path, mapping: FileMapping, *, quarantine: bool) -> pd.DataFrame | None:
    """The table, checked and counted; None where there was an error of ours."""
    try:
        found = read_table_file(path, mapping, quarantine=quarantine)
    except QtnbError as error:
        assert path.name in str(error)
        return None
    assert check_table(found.frame, mapping.kind) == []
    try:
        rows = len(read_cells(path, mapping, ragged=True).table)
    except QtnbError:  # a column that nobody reads holds bytes that are no text
        return found.frame
    assert mapping.wide or found.rows + found.refused["row"].nunique() == rows
    return found.frame


@pytest.mark.parametrize("name", sorted(EXCERPTS))
def test_a_damaged_file_is_refused_or_accounted_for(name: str, tmp_path: Path) -> None:
    """No exception but ours, no row lost, and the two ways agree where nothing is wrong."""
    rng, excerpt, model = random.Random(name), EXCERPTS[name], READER_OF[name]
    mapping, path = build_mapping(MAPPINGS / f"{name}.yaml", model), tmp_path / excerpt.file
    for _ in range(25):
        path.write_bytes(damaged(excerpt.text.encode(), rng))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if isinstance(mapping, FileMapping):
                strict, aside = (read_prices(path, mapping, quarantine=way) for way in (False, True))
                if strict is not None:
                    pd.testing.assert_frame_equal(strict, aside)
                continue
            try:
                read_reference_file(path, mapping) if isinstance(mapping, ReferenceMapping) else read_series_file(path, mapping)  # type: ignore[arg-type]
            except QtnbError as error:
                assert path.name in str(error)
