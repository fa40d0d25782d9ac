"""Published results of other engines come out of qtnb to the published digit, or every cent of the difference has a name."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import peers  # noqa: E402
import record  # noqa: E402
from cases import CASES, OPTIMISED, Case  # noqa: E402


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reference(case: Case) -> None:
    """Final equity, fees and fills are the published ones; what is not is explained line by line."""
    if not case.available:
        pytest.skip(f"{case.needs} cannot be shipped; see `data_file` in tests/references/peers.py for where it is looked for.")
    result = case.run()
    lines = case.lines(result) if case.lines else {}
    assert all(amount != 0.0 for amount in lines.values())
    assert f"{float(result.equity.iloc[-1]) + sum(lines.values()):.{case.digits}f}" == f"{case.published:.{case.digits}f}"
    if case.fees is not None:
        assert round(float(result.fills["fee"].sum()) + 1e-9, 2) == case.fees
    if case.fills is not None:
        assert len(result.fills) == case.fills


def test_backtrader_optimised() -> None:
    """Forty periods, forty published final values."""
    if peers.data_file(peers.INDEX) is None:
        pytest.skip(f"{peers.INDEX} cannot be shipped; set QTNB_SHARED_DATA to a folder with index/{peers.INDEX}.")
    ours = [float(peers.backtrader(period, futures=True, hold=True).equity.iloc[-1]) for period in range(5, 45)]
    np.testing.assert_array_equal(np.round(ours, 2), OPTIMISED)


def test_what_the_page_records_is_what_comes_out() -> None:
    """The table for data that cannot be shipped is the one that `record.py` would write."""
    if not all(case.available for case in CASES):
        pytest.skip("the data of all references are needed; see `data_file` in tests/references/peers.py.")
    with record.FILE.open(encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [{k: str(v) for k, v in row.items()} for row in record.rows()]


def test_the_excerpts_are_small_and_accounted_for() -> None:
    """Every file of data is named in its provenance, and all together stay below a megabyte."""
    folder = Path(__file__).parent / "data"
    text = (folder / "PROVENANCE.md").read_text(encoding="utf-8")
    files = [path for path in folder.iterdir() if path.name != "PROVENANCE.md"]
    assert all(f"`{path.name}`" in text for path in files)
    assert sum(path.stat().st_size for path in files) < 1_000_000
