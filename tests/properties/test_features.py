"""Features look back only, keep the kind of their panel, and follow one rule for what is missing or wrong."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from qtnb.core.errors import DataError
from qtnb.features.returns import drawdown, log_returns, simple_returns
from qtnb.features.signals.mean_reversion import half_life, ou_score, reversion_score
from qtnb.features.signals.microstructure import bulk_share, roll_spread, tick_signs
from qtnb.features.signals.momentum import cross_sectional_momentum, ex_ante_volatility, time_series_momentum

FEATURES: list[Callable[[Any], Any]] = [
    simple_returns,
    log_returns,
    drawdown,
    partial(cross_sectional_momentum, lookback=10, skip=2),
    partial(cross_sectional_momentum, lookback=10, skip=2, bridge=3),
    partial(ex_ante_volatility, minimum=10),
    partial(time_series_momentum, lookback=5, centre=5.0, minimum=10),
    partial(reversion_score, window=8, minimum=4),
    partial(half_life, window=20, minimum=10),
    partial(ou_score, window=20, minimum=10, longest=30.0),
    partial(roll_spread, window=20, minimum=8),
    tick_signs,
    partial(bulk_share, window=20, minimum=8),
]


def _prices(seed: int) -> pd.DataFrame:
    "A random panel with gaps and one column without any value."
    rng = np.random.default_rng(seed)
    values = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, (60, 4)), axis=0))
    values[rng.random(values.shape) < 0.1] = np.nan
    values[:, 3] = np.nan
    return pd.DataFrame(values, index=pd.date_range("2024-01-01", periods=60), columns=list("ABCD"))


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("seed", range(5))
def test_cutting_the_future_never_changes_the_past(feature: Callable[[Any], Any], seed: int) -> None:
    prices = _prices(seed)
    whole = feature(prices)
    for rows in (1, 2, 17, 59):
        pd.testing.assert_frame_equal(feature(prices.iloc[:rows]), whole.iloc[:rows], check_exact=True, check_freq=False)


@pytest.mark.parametrize("feature", FEATURES)
def test_missing_stays_missing_and_kinds_are_kept(feature: Callable[[Any], Any]) -> None:
    prices = _prices(7)
    before = prices.copy()
    result = feature(prices)
    assert result.isna()[prices.isna()].where(prices.isna(), True).all(axis=None)
    assert result["D"].isna().all() and result[["A", "B", "C"]].notna().any().all()
    np.testing.assert_array_equal(feature(prices.to_numpy()), result.to_numpy())
    pd.testing.assert_series_equal(feature(prices["A"]), result["A"])
    pd.testing.assert_frame_equal(prices, before)


@pytest.mark.parametrize("feature", FEATURES)
def test_unsorted_and_infinite_panels_are_refused(feature: Callable[[Any], Any]) -> None:
    prices = _prices(3)
    with pytest.raises(DataError, match="does not rise"):
        feature(prices.iloc[::-1])
    with pytest.raises(DataError, match="infinite at row 0"):
        feature(np.array([np.inf, 1.0]))
