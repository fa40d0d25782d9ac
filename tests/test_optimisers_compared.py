"""The page that compares optimisers shows what comes out now, and both paths of the engine agree on it."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from support import REPO

sys.path.insert(0, str(REPO / "tests/references"))

import optimisers  # noqa: E402

RECORDED = pd.read_csv(optimisers.RECORDED, index_col=0)
QUICK = ["equal", "risk parity", "hierarchical risk parity", "minimum variance, slow", "mean-variance", "maximum Sharpe"]


def test_the_record_is_whole() -> None:
    """Every choice has a row, and the deflated ratios are those of the other columns."""
    assert list(RECORDED.index) == list(optimisers.CHOICES)
    assert np.abs(optimisers.deflated(RECORDED) - RECORDED["deflated"]).max() < 1e-5


@pytest.mark.parametrize("choice", QUICK)
def test_what_was_recorded(choice: str) -> None:
    """To five digits (`python tests/references/optimisers.py` makes the record)."""
    found = optimisers.row(optimisers.run(choice))
    for name, value in found.items():
        assert value == pytest.approx(RECORDED.loc[choice, name], rel=1e-4, abs=2e-6), name


@pytest.mark.parametrize("choice", ["risk parity", "mean-variance"])
def test_both_paths_agree(choice: str) -> None:
    """Orders, fills and equity of the event path and of the compiled one are the same to the last bit, with costs and slippage."""
    event, compiled = (optimisers.run(choice, path) for path in ("event", "compiled"))
    pd.testing.assert_series_equal(event.equity, compiled.equity, check_exact=True)
    pd.testing.assert_frame_equal(event.fills, compiled.fills, check_exact=True)
    assert len(event.fills) > 1_000


def test_costs_are_paid() -> None:
    """Fees are five basis points of what was traded, in every row."""
    assert np.abs(RECORDED["fees_bps"] - 5.0).max() < 1e-6
