"""The numbers of a signal agree with alphalens, and its page opens anywhere with everything escaped."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from support import REPO

from qtnb.evaluation.signal_tearsheet import render_signal_tearsheet
from qtnb.features.signals.quality import examine, information_coefficient
from qtnb.features.signals.signal import Signal

THEIRS = json.loads((REPO / "tests/references/data/alphalens.json").read_text(encoding="utf-8"))


def invented() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The signal and the prices of `make_alphalens.py`, drawn in the same order."""
    rng = np.random.default_rng(THEIRS["seed"])
    days = pd.bdate_range("2020-01-01", periods=80, tz="UTC")
    names = [f"N{i:02d}" for i in range(20)]
    signal = pd.DataFrame(rng.normal(size=(80, 20)), days, names)
    drift = 0.004 * signal.shift(1).fillna(0.0)
    return signal, 100.0 * (1.0 + drift + rng.normal(0.0, 0.01, (80, 20))).cumprod()


@pytest.mark.parametrize("horizon", [1, 5])
def test_coefficients_and_quantiles_are_those_of_alphalens(horizon: int) -> None:
    """Same definitions: Spearman across names; five equal groups, less the mean of the day; the position opens at the price that the signal used."""
    signal, prices = invented()
    found, theirs = examine(Signal(signal, horizon, "s"), prices, quantiles=5, delay=0), THEIRS[f"{horizon}D"]
    ours = found.ic.iloc[: theirs["rows"]]  # alphalens keeps the rows that every horizon has
    assert np.allclose(ours, theirs["ic"], atol=1e-10)
    assert np.allclose(found.quantiles.iloc[: theirs["rows"]].mean(), theirs["quantiles"], atol=1e-10)


def test_the_autocorrelation_of_ranks_is_that_of_alphalens() -> None:
    signal, _ = invented()
    ours = information_coefficient(signal, signal.shift(1)).iloc[: len(THEIRS["autocorrelation"])]
    theirs = np.array(THEIRS["autocorrelation"], dtype=float)
    assert np.allclose(ours.iloc[1:], theirs[1:], atol=1e-10)


def test_the_page_of_what_examine_finds() -> None:
    signal, prices = invented()
    one = examine(Signal(signal, 1, "<script>alert(1)</script>"), prices, horizons=(1, 5))
    two = examine(Signal(-signal, 5, "=cmd()"), prices, horizons=(1, 5))
    page = render_signal_tearsheet([one, two], sectors={'"><img src=x onerror=alert(1)>': one})
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert len(page.encode()) < 2_500_000
    assert f"{one.summary['ic_mean']:.4f}" in page
    assert "By sector" in page
    assert page == render_signal_tearsheet([one, two], sectors={'"><img src=x onerror=alert(1)>': one})
