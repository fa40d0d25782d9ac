"""Features look back only, keep the kind of their panel, and follow one rule for what is missing or wrong."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from qtnb.core.errors import DataError, ParameterError
from qtnb.features.cross_section import cross_rank, cross_zscore, neutralise_by_beta, neutralise_by_sector, winsorise
from qtnb.features.fractional import fractional_difference
from qtnb.features.indicators import (
    average_true_range,
    bollinger_bands,
    exponential_average,
    macd,
    on_balance_volume,
    relative_strength,
    stochastic,
    true_range,
    williams_r,
)
from qtnb.features.indicators_channels import bollinger_percent_b, bollinger_width, donchian_channel, ichimoku, keltner_channel
from qtnb.features.indicators_trend import (
    aroon,
    commodity_channel,
    directional_movement,
    linear_average,
    parabolic_sar,
    rate_of_change,
    stochastic_rsi,
    trix,
    typical_price,
)
from qtnb.features.indicators_volume import money_flow, rolling_vwap, session_vwap
from qtnb.features.ranges import garman_klass_volatility, parkinson_volatility, rogers_satchell_volatility, yang_zhang_volatility
from qtnb.features.returns import drawdown, log_returns, simple_returns
from qtnb.features.rolling import rolling_kurtosis, rolling_mean, rolling_skew, rolling_sum, rolling_volatility, rolling_zscore
from qtnb.features.rolling_order import rolling_highest, rolling_lowest, rolling_median, rolling_quantile, rolling_rank
from qtnb.features.rolling_pairs import rolling_beta, rolling_correlation
from qtnb.features.signals.mean_reversion import half_life, ou_score, reversion_score
from qtnb.features.signals.microstructure import bulk_share, roll_spread, tick_signs
from qtnb.features.signals.momentum import cross_sectional_momentum, ex_ante_volatility, time_series_momentum
from qtnb.features.weighted import weighted_beta, weighted_correlation, weighted_mean, weighted_volatility, weighted_zscore


def _to_a_wave(feature: Callable[..., Any]) -> Callable[..., Any]:
    """A feature of pairs, against a fixed wave as the benchmark."""

    def against(panel: Any, window: int, minimum: int | None = None) -> Any:
        return feature(panel, np.sin(np.arange(len(panel)) + 0.5), window, minimum=minimum)

    return against


def _of_bars(feature: Callable[..., Any]) -> Callable[..., Any]:
    """A feature of bars, on bars made around the closes."""

    def around(closes: Any, window: int, minimum: int | None = None) -> Any:
        return feature(closes * 1.001, closes * 1.01, closes * 0.99, closes, window, minimum=minimum)

    return around


def _parkinson(closes: Any, window: int, minimum: int | None = None) -> Any:
    """Parkinson's estimate on bars made around the closes."""
    return parkinson_volatility(closes * 1.01, closes * 0.99, window, minimum=minimum)


def _on_bars(feature: Callable[..., Any], line: str | None = None, **options: Any) -> Callable[[Any], Any]:
    """An indicator of highs, lows and closes, or one of its lines, on bars made around the closes."""

    def around(closes: Any) -> Any:
        found = feature(closes * 1.01, closes * 0.99, closes, **options)
        return found if line is None else getattr(found, line)

    return around


INDICATORS: list[Callable[[Any], Any]] = [
    partial(exponential_average, window=5),
    partial(relative_strength, window=5),
    lambda closes: macd(closes, 3, 6, 4).histogram,
    lambda closes: bollinger_bands(closes, 3).upper,
    lambda closes: on_balance_volume(closes, np.abs(closes)),
    _on_bars(true_range),
    _on_bars(average_true_range, window=5),
    _on_bars(stochastic, "d", window=3, smooth=2, again=2),
    _on_bars(williams_r, window=4),
    partial(linear_average, window=3),
    partial(rate_of_change, window=3),
    partial(trix, window=3),
    lambda closes: stochastic_rsi(closes, 5, 3, 2, 2).d,
    _on_bars(typical_price),
    _on_bars(commodity_channel, window=4),
    *(_on_bars(directional_movement, line, window=4) for line in ("adx", "plus", "minus")),
    lambda closes: aroon(closes * 1.01, closes * 0.99, 3).oscillator,
    lambda closes: parabolic_sar(closes * 1.01, closes * 0.99),
    lambda closes: donchian_channel(closes * 1.01, closes * 0.99, 3).middle,
    _on_bars(keltner_channel, "upper", window=4, range_window=3),
    partial(bollinger_percent_b, window=3),
    partial(bollinger_width, window=3),
    *(lambda closes, line=line: getattr(ichimoku(closes * 1.01, closes * 0.99, 2, 3, 4, 2), line) for line in ("base", "leading_a", "leading_b")),
    lambda closes: money_flow(closes * 1.01, closes * 0.99, closes, np.abs(closes), 3),
    lambda closes: rolling_vwap(closes, np.abs(closes), 3),
    lambda closes: session_vwap(closes, np.abs(closes), np.arange(len(closes)) // 7),
]


def _quartile(panel: Any, window: int, minimum: int | None = None) -> Any:
    """The lower quartile."""
    return rolling_quantile(panel, window, 0.25, minimum=minimum)


ORDERED: list[Callable[..., Any]] = [rolling_lowest, rolling_highest, rolling_median, _quartile, rolling_rank]
RANGES = [_parkinson, *map(_of_bars, (garman_klass_volatility, rogers_satchell_volatility, yang_zhang_volatility))]
WINDOWED: list[Callable[..., Any]] = [
    rolling_mean,
    rolling_sum,
    rolling_volatility,
    rolling_skew,
    rolling_kurtosis,
    rolling_zscore,
    *ORDERED,
    _to_a_wave(rolling_beta),
    _to_a_wave(rolling_correlation),
    *RANGES,
]
FEATURES: list[Callable[[Any], Any]] = [
    *INDICATORS,
    simple_returns,
    log_returns,
    drawdown,
    partial(fractional_difference, order=0.4, window=4),
    *(partial(feature, window=7, minimum=4) for feature in WINDOWED),
    partial(weighted_mean, halflife=5),
    partial(weighted_volatility, halflife=2.5),
    partial(weighted_zscore, halflife=4),
    lambda panel: weighted_beta(panel, np.sin(np.arange(len(panel)) + 0.5), 4),
    lambda panel: weighted_correlation(panel, np.sin(np.arange(len(panel)) + 0.5), 4),
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


def _within_two(panel: Any) -> Any:
    """Without the mean of a sector: the columns by turns are of one and of the other."""
    return neutralise_by_sector(panel, [j % 2 for j in range(np.shape(panel)[1] if np.ndim(panel) == 2 else 1)])


def _without_beta(panel: Any) -> Any:
    """Without beta, which differs from column to column and from row to row."""
    return neutralise_by_beta(panel, np.sin(np.arange(np.size(panel)) + 0.5).reshape(np.shape(panel)))


ACROSS: list[Callable[[Any], Any]] = [partial(winsorise, share=0.2), cross_zscore, cross_rank, _within_two, _without_beta]


def _prices(seed: int) -> pd.DataFrame:
    "A random panel with gaps and one column without any value."
    rng = np.random.default_rng(seed)
    values = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, (60, 4)), axis=0))
    values[rng.random(values.shape) < 0.1] = np.nan
    values[:, 3] = np.nan
    return pd.DataFrame(values, index=pd.date_range("2024-01-01", periods=60), columns=list("ABCD"))


@pytest.mark.parametrize("feature", [*FEATURES, *ACROSS])
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


@pytest.mark.parametrize("feature", [*FEATURES, *ACROSS])
def test_unsorted_and_infinite_panels_are_refused(feature: Callable[[Any], Any]) -> None:
    prices = _prices(3)
    with pytest.raises(DataError, match="does not rise"):
        feature(prices.iloc[::-1])
    with pytest.raises(DataError, match="infinite at row 0"):
        feature(np.array([np.inf, 1.0]))


@pytest.mark.parametrize("feature", [*FEATURES, *ACROSS])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e8 + 1 / 3, 1e-200, 1e200])
def test_a_constant_never_gives_an_infinity(feature: Callable[[Any], Any], constant: float) -> None:
    values = np.full((40, 2), constant)
    values[5:9, 1] = np.nan
    assert not np.isinf(feature(values)).any()
    values[20:, 0] *= -3
    assert not np.isinf(feature(values)).any()


@pytest.mark.parametrize("feature", WINDOWED)
def test_a_window_longer_than_the_data_has_no_value(feature: Callable[..., Any]) -> None:
    assert feature(_prices(1), 61).isna().all(axis=None)
    assert feature(np.zeros((0, 2)), 5).shape == (0, 2)
    assert feature(_prices(1), 10**12, minimum=4).notna().any().any()


@pytest.mark.parametrize("feature", WINDOWED)
@pytest.mark.parametrize("window", [0, -3, 2.5, True, None, "20"])
def test_a_window_out_of_bounds_is_refused(feature: Callable[..., Any], window: object) -> None:
    with pytest.raises(ParameterError, match="`window` was"):
        feature(_prices(1), window)


WINDOWED_INDICATORS: list[Callable[[Any, Any], Any]] = [
    linear_average,
    rate_of_change,
    trix,
    lambda closes, window: stochastic_rsi(closes, window).k,
    lambda closes, window: commodity_channel(closes * 1.01, closes * 0.99, closes, window),
    lambda closes, window: directional_movement(closes * 1.01, closes * 0.99, closes, window).plus,
    lambda closes, window: aroon(closes * 1.01, closes * 0.99, window).up,
    lambda closes, window: donchian_channel(closes * 1.01, closes * 0.99, window).lower,
    lambda closes, window: keltner_channel(closes * 1.01, closes * 0.99, closes, window).lower,
    bollinger_percent_b,
    bollinger_width,
    lambda closes, window: money_flow(closes * 1.01, closes * 0.99, closes, closes, window),
    lambda closes, window: rolling_vwap(closes, closes, window),
]


@pytest.mark.parametrize("indicator", WINDOWED_INDICATORS)
def test_an_indicator_longer_than_the_data_has_no_value_and_bad_windows_are_refused(indicator: Callable[[Any, Any], Any]) -> None:
    assert indicator(_prices(1), 61).isna().all(axis=None)
    assert indicator(np.zeros((0, 2)), 5).shape == (0, 2)
    assert indicator(_prices(1), 3)["A"].notna().any() and indicator(_prices(1), 10**12).isna().all(axis=None)
    for window in (0, -3, 2.5, True, None, "20"):
        with pytest.raises(ParameterError, match="`window` was"):
            indicator(_prices(1), window)


@pytest.mark.parametrize("feature", WINDOWED[:11])
@pytest.mark.parametrize("window", [4, 7, 20])
def test_nothing_stays_behind_of_what_has_left_the_window(feature: Callable[..., Any], window: int) -> None:
    values = np.random.default_rng(window).normal(0, 1, (90, 3))
    values[30, 0], values[31:33, 1] = 1e12, -1e12
    rolled = feature(values, window)
    for end in range(33 + window, 90):
        np.testing.assert_allclose(rolled[end], feature(values[end - window + 1 : end + 1], window)[-1], rtol=1e-10, atol=1e-12)


def test_a_constant_has_no_volatility_and_no_zscore() -> None:
    for constant in (0.1, 1e8 + 1 / 3, 1e-9):
        values = np.full((40, 1), constant)
        assert (rolling_mean(values, 7)[6:] == constant).all() and (rolling_volatility(values, 7)[6:] == 0).all()
        assert np.isnan(rolling_zscore(values, 7)).all() and np.isnan(rolling_skew(values, 7)).all()


@pytest.mark.parametrize("feature", WINDOWED[:8])
def test_a_wide_panel_has_the_bits_of_its_columns(feature: Callable[..., Any]) -> None:
    """Wide panels are worked through in blocks of columns, whatever their layout in memory."""
    rng = np.random.default_rng(1)
    values = np.where(rng.random((40, 300)) < 0.1, np.nan, rng.normal(0, 1, (40, 300)))
    alone = np.column_stack([feature(values[:, j], 7, minimum=4) for j in range(300)])
    for panel in (values, np.asfortranarray(values), pd.DataFrame(values), pd.DataFrame({j: values[:, j] for j in range(300)})):
        np.testing.assert_array_equal(feature(panel, 7, minimum=4), alone)


MOMENTS = [(rolling_sum, "sum"), (rolling_mean, "mean"), (rolling_volatility, "std"), (rolling_skew, "skew"), (rolling_kurtosis, "kurt")]


@pytest.mark.parametrize(("ours", "theirs"), MOMENTS)
@pytest.mark.parametrize(("window", "minimum"), [(5, 5), (20, 20), (20, 6), (90, 9)])
def test_moments_are_those_of_pandas(ours: Callable[..., Any], theirs: str, window: int, minimum: int) -> None:
    """Reference: pandas' own rolling windows, masked where the row has no value."""
    prices = _prices(window)
    expected = getattr(prices.rolling(window, min_periods=minimum), theirs)().where(prices.notna())
    pd.testing.assert_frame_equal(ours(prices, window, minimum=minimum), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("feature", [rolling_beta, rolling_correlation])
def test_nothing_stays_behind_of_a_pair_that_has_left_the_window(feature: Callable[..., Any]) -> None:
    values = np.random.default_rng(5).normal(0, 1, (90, 3))
    market = np.random.default_rng(6).normal(0, 1, 90)
    values[30, 0], market[31] = 1e12, -1e12
    rolled = feature(values, market, 10)
    for end in range(42, 90):
        last = slice(end - 9, end + 1)
        np.testing.assert_allclose(rolled[end], feature(values[last], market[last], 10)[-1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("halflife", [0.5, 3, 40])
def test_exponential_weights_are_those_of_pandas(halflife: float) -> None:
    """Reference: pandas' ewm with ignore_na, masked where the row has no value."""
    prices = _prices(9)
    theirs = prices.ewm(halflife=halflife, ignore_na=True)
    pd.testing.assert_frame_equal(weighted_mean(prices, halflife), theirs.mean().where(prices.notna()), rtol=1e-12)
    pd.testing.assert_frame_equal(weighted_volatility(prices, halflife), theirs.std().where(prices.notna()), rtol=1e-10)
    pd.testing.assert_frame_equal(weighted_zscore(prices, halflife), ((prices - theirs.mean()) / theirs.std()), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("halflife", [0.5, 3, 40])
def test_weighted_pairs_are_those_of_pandas(halflife: float) -> None:
    """Reference: pandas' ewm of the rows in which both sides have a value."""
    returns, market = _prices(11).pct_change(fill_method=None), _prices(12)["A"].pct_change(fill_method=None)
    beta, correlation = weighted_beta(returns, market, halflife), weighted_correlation(returns, market, halflife)
    for name in "ABC":
        both = returns[name].notna() & market.notna()
        x, y = returns.loc[both, name], market[both]
        theirs = x.ewm(halflife=halflife)
        expected = theirs.cov(y, bias=True) / y.ewm(halflife=halflife).var(bias=True)
        pd.testing.assert_series_equal(beta[name].dropna(), expected[1:], check_names=False, check_freq=False, rtol=1e-8)
        pd.testing.assert_series_equal(correlation[name].dropna(), theirs.corr(y)[1:], check_names=False, check_freq=False, rtol=1e-8)


@pytest.mark.parametrize(("window", "minimum"), [(1, 1), (5, 5), (20, 6), (90, 9)])
@pytest.mark.parametrize("digits", [0, 6])
def test_order_is_that_of_pandas(window: int, minimum: int, digits: int) -> None:
    """Reference: pandas' own rolling windows, masked where the row has no value; rounded prices have equals."""
    prices = _prices(window).round(digits)
    theirs = prices.rolling(window, min_periods=minimum)
    expected = [theirs.min(), theirs.max(), theirs.median(), theirs.quantile(0.25), theirs.rank(pct=True)]
    for feature, wanted in zip(ORDERED, expected, strict=True):
        pd.testing.assert_frame_equal(feature(prices, window, minimum=minimum), wanted.where(prices.notna()), rtol=1e-12)


@pytest.mark.parametrize("feature", ACROSS)
def test_a_cross_section_keeps_kind_and_gaps_and_knows_one_row_only(feature: Callable[[Any], Any]) -> None:
    prices = _prices(7)
    before = prices.copy()
    result = feature(prices)
    pd.testing.assert_index_equal(result.columns, prices.columns)
    assert result.isna()[prices.isna()].where(prices.isna(), True).all(axis=None) and result["A"].notna().any()
    np.testing.assert_array_equal(feature(prices.to_numpy()), result.to_numpy())
    assert feature(prices["A"]).index.equals(prices.index) and feature(np.zeros((0, 3))).shape == (0, 3)
    other = prices.copy()
    other.iloc[30:] *= 5
    pd.testing.assert_frame_equal(feature(other).iloc[:30], result.iloc[:30], check_exact=True)
    pd.testing.assert_frame_equal(prices, before)
