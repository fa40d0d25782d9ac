"""What is measured per session: the same as bars resampled by the calendar, never changed by the future, and refused when the input is bad."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from qtnb.core.errors import DataError
from qtnb.core.sessions import Sessions
from qtnb.data.resample import resample, trading_stretches
from qtnb.data.schema import bars_frame
from qtnb.features.indicators_volume import session_vwap
from qtnb.features.realised import bipower_variation, jump_statistic, realised_kernel, realised_variance, realised_volatility, two_scale_variance
from qtnb.features.sessions import by_session, session_numbers
from qtnb.utils.time import index_to_ns, to_index

DAY = 86_400_000_000_000
LOWER, UPPER = pd.Timestamp("2020-11-23T00:00Z").value, pd.Timestamp("2020-12-05T00:00Z").value
STRETCHES = trading_stretches("XNYS", LOWER, UPPER)  # with Thanksgiving and its half-day
SESSIONS = Sessions("XNYS", STRETCHES.opens, STRETCHES.closes)
MEASURES: list[Callable[..., Any]] = [
    *(partial(by_session, how=how) for how in ("first", "highest", "lowest", "last", "sum", "mean", "count")),
    realised_variance,
    realised_volatility,
    partial(realised_variance, overnight=True),
    bipower_variation,
    jump_statistic,
    partial(two_scale_variance, scale=3, minimum=5),
    partial(realised_kernel, lags=3, minimum=5),
]


def _prices(seed: int, gaps: float = 0.1) -> pd.DataFrame:
    """Bars of fifteen minutes, before and after hours too, with gaps and a column without any value."""
    rng = np.random.default_rng(seed)
    ts = np.concatenate([np.arange(a - 4, b) for a, b in zip(STRETCHES.opens // 900_000_000_000, STRETCHES.closes // 900_000_000_000 + 5, strict=True)])
    values = 50 * np.exp(np.cumsum(rng.normal(0, 0.002, (len(ts), 3)), axis=0))
    values[rng.random(values.shape) < gaps] = np.nan
    values[:, 2] = np.nan
    return pd.DataFrame(values, index=to_index(ts * 900_000_000_000), columns=list("ABC"))


def test_prices_of_a_session_are_those_of_its_resampled_bar() -> None:
    prices = _prices(1, 0.0)[["A"]]
    inside = prices[session_numbers(prices, SESSIONS) >= 0]
    close = inside["A"].to_numpy()
    bars = bars_frame(index_to_ns(inside.index), np.zeros(len(inside), int), ["A.XNYS"], np.column_stack([close, close, close, close, close]), interval="15m")
    days = resample(bars, "1d", calendar="XNYS").droplevel("symbol")
    for column, how in {"open": "first", "high": "highest", "low": "lowest", "close": "last"}.items():
        found = by_session(prices, SESSIONS, how)["A"]
        pd.testing.assert_series_equal(found, days[column], check_names=False, check_freq=False)
    assert len(days) > 7 and (days.index.hour == 18).sum() == 1


@pytest.mark.parametrize("measure", MEASURES)
def test_cutting_the_future_only_returns_fewer_sessions(measure: Callable[..., Any]) -> None:
    prices = _prices(2)
    whole = measure(prices, SESSIONS)
    assert whole[["A", "B"]].notna().any().all() and len(whole) > 7
    for rows in (3, 40, 100, len(prices) - 1):
        part = measure(prices[:rows], SESSIONS)
        pd.testing.assert_frame_equal(part, whole[: len(part)], check_exact=True, check_freq=False)
        assert len(part) == (SESSIONS.closes[np.isin(SESSIONS.closes, index_to_ns(whole.index))] <= prices.index[rows - 1].value).sum()  # type: ignore[attr-defined]


@pytest.mark.parametrize("measure", MEASURES)
def test_kinds_columns_and_bad_input(measure: Callable[..., Any]) -> None:
    prices, numbers = _prices(3), session_numbers(_prices(3), SESSIONS)
    before = prices.copy()
    whole = measure(prices, numbers)
    pd.testing.assert_frame_equal(prices, before)
    assert (whole["C"].isna() | (whole["C"] == 0)).all()
    np.testing.assert_array_equal(measure(prices.to_numpy(), numbers), whole.to_numpy())
    pd.testing.assert_series_equal(measure(prices["A"], numbers), whole["A"])
    assert measure(prices[:0], SESSIONS).shape == (0, 3)
    with pytest.raises(DataError, match="does not rise"):
        measure(prices[::-1], numbers)
    spoiled = prices.copy()
    spoiled.iloc[0, 0] = np.inf
    with pytest.raises(DataError, match="infinite at row 0"):
        measure(spoiled, SESSIONS)
    with pytest.raises(DataError, match="never falls"):
        measure(prices, numbers[::-1])
    with pytest.raises(DataError, match="carry no times"):
        measure(prices.to_numpy(), SESSIONS)


@pytest.mark.parametrize("measure", MEASURES[7:])
@pytest.mark.parametrize("constant", [0.0, -1.0, 0.1, 1e-200, 1e200])
def test_a_constant_price_has_no_variation_and_no_infinity(measure: Callable[..., Any], constant: float) -> None:
    found = measure(np.full(60, constant), np.repeat([0, 1, 2], 20))
    assert ((found == 0) | np.isnan(found)).all()
    values = np.full(60, abs(constant))
    values[30:] *= 1e80
    assert not np.isinf(measure(values, np.repeat([0, 1, 2], 20))).any()


def test_the_average_since_the_open_is_that_of_pandas() -> None:
    prices = _prices(4)
    volumes = pd.DataFrame(np.random.default_rng(5).integers(0, 9, prices.shape) * 100.0, prices.index, prices.columns).where(prices.notna())
    numbers = session_numbers(prices, SESSIONS)
    inside = numbers >= 0
    expected = (prices * volumes)[inside].groupby(numbers[inside]).cumsum() / volumes[inside].groupby(numbers[inside]).cumsum()
    found = session_vwap(prices, volumes, SESSIONS)
    pd.testing.assert_frame_equal(found[inside], expected, rtol=1e-10)
    assert found[~inside].isna().all(axis=None)
