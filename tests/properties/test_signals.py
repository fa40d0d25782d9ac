"""Signals against independent sources: other libraries, closed forms, published conventions; and no look into the future."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from qtnb.core.errors import DataError
from qtnb.data.loader import get_bars
from qtnb.features.signals.mean_reversion import fit_ou
from qtnb.features.signals.microstructure import amihud_illiquidity, bulk_share, kyle_lambda, roll_spread, vpin
from qtnb.features.signals.momentum import cross_sectional_momentum, residual_momentum, time_series_momentum
from qtnb.features.signals.pairs import find_pairs, johansen, pair_signal
from qtnb.features.signals.quality import earned_returns, examine, information_coefficient, mean_test, quantile_returns, signal_turnover
from qtnb.features.signals.registry import SIGNALS, future_rows, make_signal, options_of, panels_of
from qtnb.features.signals.signal import Signal, combine, rank_names, standardise


def _panel(seed: int, rows: int = 80, names: int = 5, gaps: float = 0.05) -> pd.DataFrame:
    "Random prices with gaps."
    rng = np.random.default_rng(seed)
    values = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, (rows, names)), axis=0))
    values[rng.random(values.shape) < gaps] = np.nan
    return pd.DataFrame(values, index=pd.date_range("2024-01-01", periods=rows), columns=[f"S{n}" for n in range(names)])


# -- momentum -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lookback", "skip"), [(252, 21), (126, 0), (60, 5)])
@pytest.mark.filterwarnings("ignore::qtnb.core.errors.DataWarning")
def test_cross_sectional_momentum_is_a_ratio_of_bridged_prices_to_the_bit(lookback: int, skip: int) -> None:
    """With holes of up to five rows filled from behind, and nothing where there is no price now."""
    symbols = ["AIG", "BAC", "EEM", "GOOGL", "IBM", "QQQ", "USO", "WMI"]
    closes = get_bars(symbols, "1999-03-10", "2021-03-31", source="sample")["close"].unstack("symbol")
    for prices in (closes, _panel(3, 400)):
        known = prices.ffill(limit=5)
        expected = (known.shift(skip) / known.shift(lookback) - 1.0).where(prices.notna())
        np.testing.assert_array_equal(cross_sectional_momentum(prices, lookback, skip, bridge=5).to_numpy(), expected.to_numpy())


def test_time_series_momentum_of_a_steady_trend_has_the_target_volatility() -> None:
    """With independent returns of known deviation the bet is target / (deviation * sqrt(261)), by definition of the target."""
    rng = np.random.default_rng(0)
    returns = rng.choice([0.011, -0.009], 3000)  # mean 0.1%, deviation exactly 1%
    prices = 100 * np.cumprod(1 + returns)
    bets = np.abs(time_series_momentum(prices, 252))[1000:]
    assert bets.mean() == pytest.approx(0.40 / (0.01 * np.sqrt(261)), rel=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_residual_momentum_is_least_squares(seed: int) -> None:
    """Against numpy's least squares, row by row, with gaps in prices and factors."""
    prices, rng = _panel(seed, 90, 3), np.random.default_rng(seed)
    factors = pd.DataFrame(rng.normal(0, 0.01, (90, 2)), index=prices.index)
    factors.iloc[11, 1] = np.nan
    scores = residual_momentum(prices, factors, 20, 4, estimate=40, minimum=25)
    returns = prices.pct_change(fill_method=None).to_numpy()
    design = np.column_stack([np.ones(90), factors.to_numpy()])
    told = 0
    for t in range(39, 90):
        for n in range(3):
            window = np.arange(t - 39, t + 1)
            use = window[~np.isnan(returns[window, n]) & ~np.isnan(design[window]).any(axis=1)]
            if len(use) < 25 or np.isnan(prices.iloc[t, n]):
                assert np.isnan(scores.iloc[t, n])
                continue
            slopes = np.linalg.lstsq(design[use], returns[use, n], rcond=None)[0]
            measured = use[(use > t - 20) & (use <= t - 4)]
            if len(measured) < 10:  # 16 rows * 25 / 40
                assert np.isnan(scores.iloc[t, n])
                continue
            rest = returns[measured, n] - design[measured] @ slopes
            assert scores.iloc[t, n] == pytest.approx(rest.mean() / rest.std(ddof=1), rel=1e-8, abs=1e-10)
            told += 1
    assert told > 100


# -- mean reversion and pairs ---------------------------------------------------------------------------------------------


def test_half_life_of_simulated_processes_lies_within_its_error() -> None:
    """Long paths with half-lives of 5, 20 and 60 rows: the truth is within three standard errors, most within two."""
    misses = []
    for seed, life in enumerate([5, 20, 60] * 10):
        rng, b = np.random.default_rng(seed), 0.5 ** (1 / life)
        path = np.empty(6000)
        path[0] = 0.0
        for t, shock in enumerate(rng.normal(size=5999)):
            path[t + 1] = b * path[t] + shock
        fit = fit_ou(path)
        misses.append(abs(fit.half_life - life) / fit.half_life_error)
    assert max(misses) < 4
    assert np.mean(np.array(misses) < 2) > 0.8


def test_johansen_rank_counts_common_trends() -> None:
    """N prices that share k random walks have N - k stationary combinations."""
    rng = np.random.default_rng(1)
    walks = np.cumsum(rng.normal(0, 0.01, (2000, 4)), axis=0)
    for trends in (1, 2, 3):
        mix = rng.normal(size=(trends, 4))
        prices = pd.DataFrame(np.exp(walks[:, :trends] @ mix + rng.normal(0, 0.005, (2000, 4))))
        assert johansen(prices, level=0.01).rank == 4 - trends


def test_the_search_finds_a_made_pair_among_walks_and_nothing_else() -> None:
    """One true pair among seven names survives the correction for 42 tests."""
    rng = np.random.default_rng(5)
    logs = np.cumsum(rng.normal(0, 0.01, (1000, 7)), axis=0)
    logs[:, 6] = 0.8 * logs[:, 0] + rng.normal(0, 0.01, 1000)
    table = find_pairs(pd.DataFrame(np.exp(logs), columns=list("ABCDEFG")))
    assert {frozenset(p) for p in table.loc[table["chosen"], ["left", "right"]].to_numpy()} == {frozenset("AG")}
    assert table.loc[table["right"] == "A", "ratio"].iloc[0] == pytest.approx(0.8, abs=0.05)


# -- microstructure -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spread", [0.05, 0.1, 0.2])
def test_roll_finds_the_spread_of_a_simulated_bounce(spread: float) -> None:
    """R. Roll 1984: cov = -s^2/4 under his assumptions."""
    rng = np.random.default_rng(7)
    trades = np.cumsum(rng.normal(0, 0.02, 50_000)) + spread / 2 * rng.choice([-1, 1], 50_000) + 100
    assert roll_spread(trades, 49_998)[-1] == pytest.approx(spread, rel=0.03)


def test_kyle_and_amihud_scale_with_their_units() -> None:
    """Ten times the volume is a tenth of the impact."""
    rng = np.random.default_rng(8)
    flow = rng.normal(0, 100, 300)
    prices = 50 + np.cumsum(0.001 * flow + rng.normal(0, 0.01, 300))
    one, ten = kyle_lambda(prices, flow, 100), kyle_lambda(prices, 10 * flow, 100)
    np.testing.assert_allclose(one, 10 * ten, rtol=1e-9)
    assert one[-1] == pytest.approx(0.001, rel=0.05)
    np.testing.assert_allclose(amihud_illiquidity(prices, np.abs(flow), 20), 10 * amihud_illiquidity(prices, 10 * np.abs(flow), 20), rtol=1e-9)


def _slow_vpin(prices: np.ndarray, volume: np.ndarray, bucket: float, buckets: int, window: int) -> np.ndarray:
    "VPIN share by share: every unit of volume is a coin of its bar's side, cut into buckets."
    changes, sides, result = np.r_[np.nan, np.diff(prices)], [], np.full(len(prices), np.nan)
    for t in range(window, len(prices)):
        sides += [2 * norm.cdf(changes[t] / np.std(changes[t - window + 1 : t + 1], ddof=1)) - 1] * int(volume[t])
        full = len(sides) // int(bucket)
        if full >= buckets:
            parts = np.array(sides[: full * int(bucket)]).reshape(full, int(bucket)).sum(axis=1)
            result[t] = np.abs(parts[-buckets:]).sum() / (buckets * bucket)
    return result


def test_vpin_is_what_it_says_unit_by_unit() -> None:
    """Against a count of single units, with bars smaller and larger than a bucket."""
    rng = np.random.default_rng(9)
    prices, volume = 100 + np.cumsum(rng.normal(size=200)), rng.integers(0, 60, 200).astype(float)
    volume[120] = 5000.0  # more than all buckets at once
    np.testing.assert_allclose(vpin(prices, volume, 25.0, 6, window=20), _slow_vpin(prices, volume, 25.0, 6, 20), rtol=1e-9)


# -- no look-ahead for what takes two panels ------------------------------------------------------------------------------


def _volume(prices: pd.DataFrame) -> pd.DataFrame:
    "A volume for each row that depends on its place only."
    return pd.DataFrame(np.arange(1.0, prices.size + 1).reshape(prices.shape) % 97 + 1, index=prices.index, columns=prices.columns)


TWO_PANELS: list[Callable[[pd.DataFrame], pd.DataFrame]] = [
    lambda p: residual_momentum(p, _volume(p)["S0"] / 1000, 10, 2, estimate=20, minimum=12),
    lambda p: amihud_illiquidity(p, _volume(p), 10, minimum=5),
    lambda p: kyle_lambda(p, _volume(p) - 50, 10, minimum=5),
    lambda p: vpin(p, _volume(p), 50.0, 5, window=10, minimum=5),
    lambda p: pair_signal(p, "S0", "S1", 15, minimum=10).values,
    lambda p: combine([Signal(p.pct_change(fill_method=None), 5, "a"), Signal(-p, 2, "b")], minimum=1).values,
    lambda p: signal_turnover(p, 3).to_frame(),
]


@pytest.mark.parametrize("number", range(len(TWO_PANELS)))
@pytest.mark.parametrize("seed", range(3))
def test_cutting_the_future_never_changes_the_past(number: int, seed: int) -> None:
    """Exactly, to the last bit."""
    feature, prices = TWO_PANELS[number], _panel(seed)
    whole = feature(prices)
    assert whole.notna().any(axis=None)
    for rows in (1, 2, 33, 79):
        pd.testing.assert_frame_equal(feature(prices.iloc[:rows]), whole.iloc[:rows], check_exact=True, check_freq=False)


@pytest.mark.parametrize("number", range(5))
def test_missing_rows_and_wrong_panels_follow_the_one_rule(number: int) -> None:
    """A missing price has no value, all-missing columns none at all, and unsorted or infinite panels are refused."""
    feature, prices = TWO_PANELS[number], _panel(4).assign(S1=np.nan)
    result = feature(prices)
    for name in result.columns.intersection(prices.columns):
        assert result[name].isna()[prices[name].isna()].all()
    with pytest.raises(DataError, match="does not rise"):
        feature(_panel(4).iloc[::-1])
    infinite = _panel(4)
    infinite.iloc[3, 0] = np.inf
    with pytest.raises(DataError, match="infinite at row 3"):
        feature(infinite)


@pytest.mark.parametrize("across", [standardise, rank_names])
def test_rows_of_a_cross_section_do_not_know_one_another(across: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Any row by itself gives what it gives in the panel, and a shift or a positive factor changes nothing."""
    panel = _panel(6)
    whole = across(panel)
    for row in (0, 17, 79):
        pd.testing.assert_frame_equal(across(panel.iloc[[row]]), whole.iloc[[row]], check_exact=True, check_freq=False)
    pd.testing.assert_frame_equal(across(3 * panel + 7), whole, rtol=1e-9)
    assert whole.isna().equals(panel.isna())


# -- quality --------------------------------------------------------------------------------------------------------------


def _alphalens_data() -> tuple[pd.DataFrame, pd.DataFrame]:
    "The panel whose figures alphalens gave."
    rng = np.random.default_rng(42)
    prices, factor = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, (120, 12)), axis=0)), rng.normal(size=(120, 12))
    days, names = pd.date_range("2024-01-01", periods=120), [f"S{n:02d}" for n in range(12)]
    return pd.DataFrame(factor, days, names), pd.DataFrame(prices, days, names)


def test_quality_agrees_with_alphalens() -> None:
    """Figures of alphalens-reloaded 0.5.1 (Apache-2.0) for this panel: periods=(5,), quantiles=5, demeaned, rank autocorrelation of 5.

    alphalens buys at the price of the signal, so the delay is zero here.
    """
    factor, prices = _alphalens_data()
    quality = examine(Signal(factor, 5), prices, delay=0)
    assert quality.ic.count() == 115
    assert quality.ic.iloc[:3].to_numpy() == pytest.approx([0.3636363636363637, 0.25874125874125875, -0.6013986013986015], rel=1e-12)
    assert (quality.ic.mean(), quality.ic.std()) == pytest.approx((-0.016904834296138645, 0.3061310680110255), rel=1e-10)
    means = [0.001780871025208235, 0.0013282595627958638, -0.0002917325015637886, 0.0010092928641045808, -0.003144750975432673]
    assert quality.quantiles.mean().to_numpy() == pytest.approx(means, rel=1e-9)
    assert quality.spread.mean() == pytest.approx(-0.004925622000640909, rel=1e-9)
    assert quality.autocorrelation.iloc[:115].mean() == pytest.approx(-0.017037507946598855, rel=1e-9)  # alphalens drops the last five rows


def test_a_signal_cannot_earn_before_it_could_trade() -> None:
    """Whatever is done to the prices at and before the row after the signal changes nothing of what it earns, with the price traded at fixed."""
    prices = _panel(1, gaps=0.0)
    earned = earned_returns(prices, 5)
    for row in (10, 40):
        changed = prices.copy()
        changed.iloc[: row + 1] *= np.random.default_rng(row).uniform(0.5, 2, (row + 1, prices.shape[1]))
        pd.testing.assert_series_equal(earned_returns(changed, 5).iloc[row], earned.iloc[row], check_exact=True)


def test_a_known_correlation_is_found_with_its_error() -> None:
    """Outcomes made with a correlation of 0.1 to the signal: the mean coefficient is 0.1 within three errors, and the error is 1/sqrt(N T)."""
    rng = np.random.default_rng(3)
    signal, noise = rng.normal(size=(2001, 50)), rng.normal(size=(2001, 50))
    returns = 0.01 * (0.1 * signal + np.sqrt(0.99) * noise)
    prices = pd.DataFrame(100 * np.cumprod(1 + np.vstack([np.zeros((2, 50)), returns[:-2]]), axis=0))
    quality = examine(Signal(pd.DataFrame(signal), 1), prices, method="linear", horizons=[1, 2])
    found = quality.summary
    assert found["ic_mean"] == pytest.approx(0.1, abs=3 * found["ic_error"])
    assert found["ic_error"] == pytest.approx(1 / np.sqrt(50 * 2000), rel=0.15)
    assert quality.decay.loc[2, "mean"] == pytest.approx(0.1 / np.sqrt(2), abs=0.01)  # the second row adds noise only


@pytest.mark.parametrize("horizon", [1, 5, 21])
def test_newey_west_is_that_of_statsmodels(horizon: int) -> None:
    """The error of a regression on a constant, with the same lags and no small-sample factor."""
    import statsmodels.api as sm

    values = pd.Series(np.random.default_rng(horizon).normal(0.1, 1, 400)).rolling(horizon).mean()
    tested = mean_test(values, horizon)
    lags = max(horizon - 1, int(4 * (tested.count / 100) ** (2 / 9)))
    fit = sm.OLS(values.dropna(), np.ones(tested.count)).fit(cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": False})
    assert (tested.mean, tested.error) == pytest.approx((fit.params.iloc[0], fit.bse.iloc[0]), rel=1e-9)


def test_quantiles_are_those_of_pandas() -> None:
    """`pandas.qcut`, row by row, with gaps."""
    signal, returns = _panel(11, 30, 13), _panel(12, 30, 13)
    made = quantile_returns(signal, returns, 4)
    for t in range(30):
        known = signal.iloc[t].notna() & returns.iloc[t].notna()
        x, y = signal.iloc[t][known], returns.iloc[t][known]
        expected = y.groupby(pd.qcut(x, 4, labels=False) + 1).mean() - y.mean()
        np.testing.assert_allclose(made.iloc[t], expected, rtol=1e-9)


def test_a_monotone_change_leaves_the_rank_coefficient_alone() -> None:
    """Ranks know the order only."""
    signal, returns = _panel(13), _panel(14)
    whole = information_coefficient(signal, returns)
    pd.testing.assert_series_equal(information_coefficient(np.log(signal) ** 3, returns), whole)
    pd.testing.assert_series_equal(information_coefficient(-signal, returns), -whole)


def test_bulk_shares_are_probabilities() -> None:
    """Larger changes are more one-sided, and a falling price mirrors a rising one."""
    prices = _panel(15, gaps=0.0)
    share = partial(bulk_share, window=20)
    up, down = share(prices), share(-prices)
    np.testing.assert_allclose(up.dropna(), 1 - down.dropna(), rtol=1e-9, atol=1e-12)
    assert ((up > 0.5) == (prices.diff() > 0))[up.notna()].where(up.notna(), True).all(axis=None)


# -- by name --------------------------------------------------------------------------------------------------------------


def _market(seed: int, rows: int = 420, names: int = 5) -> dict[str, pd.DataFrame]:
    """Bars and quotes with holes; one name appears late, one stands still, one is never traded."""
    rng = np.random.default_rng(seed)
    index = pd.date_range("2020-01-01", periods=rows, freq="D", tz="UTC")
    close = pd.DataFrame(100 * np.exp(np.cumsum(rng.normal(0, 0.02, (rows, names)), axis=0)).round(4), index, list("ABCDE")[:names])
    close.iloc[:150, 1], close.iloc[:, 2] = np.nan, 50.0
    volume = pd.DataFrame(rng.integers(1, 1000, (rows, names)) * 1000.0, index, close.columns)
    volume.iloc[:, 3] = 0.0
    sizes = [pd.DataFrame(rng.integers(0, 50, (rows, names)) * 100.0, index, close.columns) for _ in range(2)]
    panels = {"close": close, "volume": volume, "bid": close - 0.01, "ask": close + 0.01, "bid_size": sizes[0], "ask_size": sizes[1]}
    holes = rng.random(close.shape) < 0.01
    return {name: panel.mask(holes) for name, panel in panels.items()}


OPTIONS = {
    "pair": {"left": "A", "right": "E"}, "residual_momentum_12_1": {"estimate": 300, "minimum": 250}, "illiquidity": {"minimum": 200},
    "low_volatility": {"minimum": 200},
}  # fmt: skip


@pytest.mark.parametrize("name", SIGNALS.registered())
@pytest.mark.parametrize("seed", range(2))
def test_a_signal_by_name_keeps_its_promises(name: str, seed: int) -> None:
    """Rows, columns and horizon as stated; the past only; no opinion without a price; the inputs are left alone."""
    market = _market(seed)
    before = {key: panel.copy() for key, panel in market.items()}
    made = make_signal(name, **market, **OPTIONS.get(name, {}))
    first = market[panels_of(name)[0]]
    assert made.values.index.equals(first.index) and made.values.columns.equals(first.columns)
    assert made.horizon == options_of(name)["horizon"] and made.values.notna().sum().sum() > 50
    assert made.values[first.isna()].isna().all(axis=None)
    assert future_rows(name, **market, **OPTIONS.get(name, {}), cuts=4).empty
    for key, panel in market.items():
        pd.testing.assert_frame_equal(panel, before[key])


@pytest.mark.parametrize("name", SIGNALS.registered())
def test_a_signal_of_nothing_is_no_opinion(name: str) -> None:
    """Missing throughout, one row, or no row at all: NaN of the right shape, never an error."""
    market, options = _market(1), OPTIONS.get(name, {})
    for panels in ({k: v * np.nan for k, v in market.items()}, {k: v.iloc[:1] for k, v in market.items()}, {k: v.iloc[:0] for k, v in market.items()}):
        made = make_signal(name, **panels, **options)
        assert made.values.shape == panels["close"].shape
        assert made.values.isna().all(axis=None) or name == "mid_lean"  # one row of quotes is enough to lean
