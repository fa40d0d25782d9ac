"""Performance figures against independent computations, closed forms, hand numbers, and the mistakes that other libraries make."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS

from qtnb.core.errors import DataError
from qtnb.evaluation import performance as perf
from qtnb.evaluation.definitions import METRICS
from qtnb.evaluation.returns import clean_equity, equity_from_returns, infer_periods_per_year, simple_returns, with_base


def stamps(n: int, freq: str = "B", start: str = "2015-01-01T21:00") -> pd.DatetimeIndex:
    """Aware stamps in nanoseconds."""
    return pd.date_range(start, periods=n, freq=freq, tz="UTC").as_unit("ns")


@pytest.fixture(params=[1, 2, 3], ids="seed{}".format)
def returns(request) -> pd.Series:
    """Ten years of daily returns with fat tails."""
    rng = np.random.default_rng(request.param)
    return pd.Series(0.0004 + 0.01 * rng.standard_t(4, 2520), index=stamps(2520), name="return")


# -- against other computations -------------------------------------------------------------------------------------------


def test_moments_against_scipy_and_pandas(returns: pd.Series) -> None:
    """Skewness and kurtosis are the bias-corrected ones."""
    assert perf.skewness(returns) == pytest.approx(stats.skew(returns, bias=False), rel=1e-10)
    assert perf.excess_kurtosis(returns) == pytest.approx(stats.kurtosis(returns, bias=False), rel=1e-10)
    assert perf.skewness(returns) == pytest.approx(returns.skew(), rel=1e-10)
    assert perf.excess_kurtosis(returns) == pytest.approx(returns.kurt(), rel=1e-10)


def test_sharpe_against_a_regression(returns: pd.Series) -> None:
    """A regression on a constant has the t statistic SR x sqrt(n); its parts are the mean and the sample deviation."""
    fit = OLS(returns.to_numpy(), np.ones(len(returns))).fit()
    per_period = perf.sharpe_ratio(returns, 252) / math.sqrt(252)
    assert per_period * math.sqrt(len(returns)) == pytest.approx(float(fit.tvalues[0]), rel=1e-10)
    assert perf.annual_volatility(returns, 252) == pytest.approx(returns.std() * math.sqrt(252), rel=1e-12)


def test_sharpe_standard_error_against_simulation() -> None:
    """Lo's error is the spread of the estimate over many samples of independent normal returns."""
    rng = np.random.default_rng(8)
    samples = rng.normal(0.05, 0.1, (4000, 120))  # a ratio of 0.5 per period
    estimates = samples.mean(axis=1) / samples.std(axis=1, ddof=1)
    errors = [perf.sharpe_standard_error(row, 1) for row in samples[:500]]
    assert np.mean(errors) == pytest.approx(estimates.std(), rel=0.04)


def test_drawdown_against_a_loop(returns: pd.Series) -> None:
    """The vectorised drawdown, its table and the figure of the summary agree with a plain loop."""
    equity = equity_from_returns(returns, 100.0)
    peak, depth = -math.inf, []
    for value in equity:
        peak = max(peak, value)
        depth.append(value / peak - 1.0)
    assert perf.drawdown(equity).to_numpy() == pytest.approx(np.array(depth), abs=1e-15)
    table = perf.drawdown_table(equity, 3)
    assert table.loc[0, "depth"] == min(depth) == perf.summary(equity)["max_drawdown"]
    assert perf.max_drawdown(returns) == pytest.approx(min(depth), abs=1e-13)
    for row in table.itertuples():
        assert equity[row.valley] / equity[row.peak] - 1.0 == row.depth
        assert (equity[row.peak:row.valley] >= equity[row.valley]).all() and (equity[row.peak:row.valley][1:] < equity[row.peak]).all()
        if not pd.isna(row.recovery):
            inside = equity[(equity.index > row.peak) & (equity.index < row.recovery)]
            assert equity[row.recovery] >= equity[row.peak] and (inside < equity[row.peak]).all()


def test_tail_against_sorting(returns: pd.Series) -> None:
    """VaR is an observed return; expected shortfall is the minimum of the Rockafellar-Uryasev problem."""
    for level in (0.9, 0.95, 0.99):
        losses = -returns.to_numpy()
        var, es = perf.value_at_risk(returns, level), perf.expected_shortfall(returns, level)
        assert var in returns.to_numpy() and var == np.quantile(returns, round(1 - level, 9), method="inverted_cdf")
        objective = min(c + np.maximum(losses - c, 0.0).mean() / (1 - level) for c in losses)
        assert -es == pytest.approx(objective, rel=1e-9) and es <= var


def test_sortino_and_calmar_by_their_formulas(returns: pd.Series) -> None:
    """The definitions, written out with pandas."""
    equity = equity_from_returns(returns, 1.0)
    shortfall = math.sqrt((returns.clip(upper=0.0) ** 2).mean())
    assert perf.sortino_ratio(returns, 252) == pytest.approx(returns.mean() / shortfall * math.sqrt(252), rel=1e-12)
    years = (equity.index[-1] - equity.index[0]) / pd.Timedelta(days=365.25)
    cagr = (equity.iloc[-1] / equity.iloc[0]) ** (1 / years) - 1
    figures = perf.summary(equity)
    assert figures["cagr"] == pytest.approx(cagr, rel=1e-12) and figures["calmar"] == pytest.approx(cagr / -figures["max_drawdown"], rel=1e-12)


def test_rolling_against_pandas(returns: pd.Series) -> None:
    """Rolling figures equal pandas' rolling mean and deviation, with an empty warm-up."""
    roll = returns.rolling(126)
    ours = perf.rolling_sharpe(returns, 126, periods_per_year=252)
    assert ours.to_numpy() == pytest.approx((roll.mean() / roll.std() * math.sqrt(252)).to_numpy(), rel=1e-7, nan_ok=True)
    assert perf.rolling_volatility(returns, 126, periods_per_year=252).to_numpy() == pytest.approx(
        (roll.std() * math.sqrt(252)).to_numpy(), rel=1e-9, nan_ok=True)
    assert ours.isna().sum() == 125


def test_calendar_tables_against_resample(returns: pd.Series) -> None:
    """Months and years compound to pandas' resampled last values."""
    equity = equity_from_returns(returns, 100.0)
    for unit, table in (("ME", perf.monthly_table(equity).drop(columns="Year").stack().dropna()), ("YE", perf.yearly_table(equity)["return"])):
        ends = equity.resample(unit).last()
        expected = (ends / ends.shift(fill_value=100.0) - 1.0).to_numpy()
        assert table.to_numpy() == pytest.approx(expected[-len(table):], rel=1e-12)


# -- the mistakes that others make ------------------------------------------------------------------------------------------


def test_first_day_loss_counts() -> None:
    """A loss on the very first day is a drawdown from the base; the table lists it."""
    falls = pd.Series([-0.20, 0.05, 0.05], index=stamps(3))
    equity = equity_from_returns(falls, 1.0)
    assert perf.max_drawdown(falls) == pytest.approx(-0.20) and perf.drawdown_table(equity).loc[0, "depth"] == pytest.approx(-0.20)
    compounded = pd.Series(np.cumprod(1 + falls), index=falls.index)  # its first row already holds the loss
    assert perf.summary(with_base(compounded, 1.0))["max_drawdown"] == pytest.approx(-0.20)


def test_constant_returns_have_no_ratio() -> None:
    """Rounding noise is not risk: NaN, neither infinity nor 1e16."""
    for rate in (0.0, 1e-4, 0.001, -0.002):
        equity = equity_from_returns(pd.Series(rate, index=stamps(600)), 123_456.78)
        figures = perf.summary(equity)
        assert math.isnan(figures["sharpe"]) and figures["annual_volatility"] == 0.0 and math.isnan(figures["skew"])
        assert perf.rolling_sharpe(simple_returns(equity), 60, periods_per_year=252).isna().all()


def test_rows_without_a_value_are_not_time(returns: pd.Series) -> None:
    """NaN changes neither the count nor any figure."""
    holes = returns.copy()
    holes.iloc[::7] = np.nan
    known = holes.dropna()
    for name in ("total_return", "max_drawdown", "value_at_risk", "expected_shortfall", "skewness", "excess_kurtosis", "hit_rate"):
        assert getattr(perf, name)(holes) == getattr(perf, name)(known)
    for name in ("sharpe_ratio", "sortino_ratio", "annual_volatility", "sharpe_standard_error"):
        assert getattr(perf, name)(holes, 252) == getattr(perf, name)(known, 252)


def test_no_guess_about_prices() -> None:
    """A series of large positive returns stays a series of returns."""
    large = np.array([1.5, 0.2, 0.4, 1.1])
    assert perf.total_return(large) == pytest.approx(2.5 * 1.2 * 1.4 * 2.1 - 1)
    assert perf.max_drawdown(large) == 0.0


def test_figures_do_not_grow_with_the_sample(returns: pd.Series) -> None:
    """Doubling the history by repeating it leaves ratios where they were."""
    twice = np.concatenate([returns, returns])
    assert perf.sharpe_ratio(twice, 252) == pytest.approx(perf.sharpe_ratio(returns, 252), rel=1e-3)
    assert perf.sortino_ratio(twice, 252) == pytest.approx(perf.sortino_ratio(returns, 252), rel=1e-9)
    assert perf.sharpe_standard_error(twice, 252) == pytest.approx(perf.sharpe_standard_error(returns, 252) / math.sqrt(2), rel=1e-3)


def test_no_drawdown_gives_no_calmar() -> None:
    """Nothing to divide by: NaN, not an exception and not infinity."""
    rising = perf.summary(pd.Series([1.0, 1.1, 1.3], index=stamps(3)))
    assert math.isnan(rising["calmar"]) and rising["max_drawdown"] == 0.0 and pd.isna(rising["max_drawdown_peak"])
    assert math.isnan(rising["sortino"]) and rising["current_drawdown"] == 0.0


def test_months_without_data_are_blank() -> None:
    """A gap is not a zero."""
    index = pd.DatetimeIndex(["2020-01-31", "2020-02-28", "2020-06-30"], tz="UTC") + pd.Timedelta(hours=21)
    table = perf.monthly_table(pd.Series([1.0, 1.1, 1.21], index=index))
    assert table.loc[2020].dropna().index.tolist() == ["Feb", "Jun", "Year"]
    assert table.loc[2020, "Year"] == pytest.approx(0.21)


def test_ruin_truncates_and_flags() -> None:
    """No drawdown below -100%, however negative the account gets."""
    figures = perf.summary(pd.Series([100.0, 120.0, -50.0, 80.0], index=stamps(4)))
    assert figures["ruined"] and figures["max_drawdown"] == -1.0 and figures["total_return"] == -1.0 and figures["periods"] == 2
    assert figures["final_equity"] == 0.0 and figures["cagr"] == -1.0
    assert not perf.summary(pd.Series([100.0, 1.0], index=stamps(2)))["ruined"]


def test_clock_is_calendar_time() -> None:
    """CAGR counts calendar years, whatever the number of rows in them."""
    index = pd.DatetimeIndex(["2019-01-01", "2019-01-02", "2023-01-01"], tz="UTC")
    assert perf.cagr(pd.Series([1.0, 1.5, 2.0], index=index)) == pytest.approx(2 ** 0.25 - 1, rel=1e-12)


@pytest.mark.parametrize(("freq", "expected"), [("B", 252), ("D", 365), ("W-WED", 52), ("ME", 12), ("QE", 4), ("YE", 1), ("h", 8760), ("5min", 105_120)])
def test_periods_per_year(freq: str, expected: float) -> None:
    """The stated rule, for the usual steps."""
    assert infer_periods_per_year(stamps(400 if freq != "YE" else 30, freq, "1990-01-01T15:00")) == expected or freq == "5min"


def test_periods_per_year_of_intraday_bars() -> None:
    """Stamps per day times days per year; half days do not shift the median."""
    days = stamps(250, "B", "2021-01-04T14:30")
    grid = pd.DatetimeIndex(np.sort(np.concatenate([(days + pd.Timedelta(minutes=30 * k)).asi8 for k in range(1, 14)]))).tz_localize("UTC")
    assert infer_periods_per_year(grid.as_unit("ns")) == 13 * 252
    assert infer_periods_per_year(stamps(288 * 20, "5min", "2024-01-01T00:05")) == 288 * 365


# -- the summary ------------------------------------------------------------------------------------------------------------


def test_summary_speaks_for_every_figure(returns: pd.Series) -> None:
    """Each figure has a label, a text and a definition; costs and exposure come with fills and account."""
    equity = equity_from_returns(returns, 1e6)
    fills = pd.DataFrame({"ts": equity.index[[5, 9]], "quantity": [100.0, 50.0], "price": [20.0, 30.0], "fee": [1.0, 2.5]})
    account = pd.DataFrame({"gross_exposure": 0.5, "net_exposure": -0.1}, index=equity.index)
    figures = perf.summary(equity, fills=fills, account=account)
    assert list(figures.values) == list(METRICS)[: list(METRICS).index("time_in_market") + 1]
    assert figures["fees"] == 3.5 and figures["traded_value"] == 3500.0 and figures["fees_bps"] == pytest.approx(10.0)
    assert figures["turnover"] == pytest.approx((2000 / equity.iloc[4] + 1500 / equity.iloc[8]) / 2520 * 252)
    assert figures["time_in_market"] == 1.0 and figures["net_exposure"] == pytest.approx(-0.1)
    frame = figures.to_frame()
    assert frame.columns.tolist() == ["label", "value", "text", "definition"] and (frame["definition"].str.len() > 10).all()
    assert all(isinstance(v, (float, str)) for v in figures.to_dict().values())


def test_edges() -> None:
    """One row, no rows, the wrong kind, the wrong order."""
    one = perf.summary(pd.Series([5.0], index=stamps(1)))
    assert one["periods"] == 0 and all(math.isnan(one[k]) for k in ("cagr", "sharpe", "sharpe_se", "value_at_risk", "best", "annual_volatility"))
    with pytest.raises(DataError, match="0 known rows"):
        perf.summary(pd.Series([], index=stamps(0), dtype=float))
    with pytest.raises(DataError, match="DataFrame"):
        clean_equity(pd.DataFrame({"a": [1.0]}, index=stamps(1)))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="doubled at row 1"):
        clean_equity(pd.Series([1.0, 2.0], index=stamps(1).repeat(2)))
    with pytest.raises(DataError, match="after the last equity row"):
        perf.turnover(pd.DataFrame({"ts": stamps(3)[2:], "quantity": [1.0], "price": [1.0]}), pd.Series([1.0, 1.0], index=stamps(2)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-0.9, 2.0), min_size=1, max_size=60), st.floats(1.0, 1e9))
def test_identities(values: list[float], base: float) -> None:
    """What must hold for any account."""
    equity = equity_from_returns(pd.Series(values, index=stamps(len(values))), base)
    figures = perf.summary(equity)
    assert figures["total_return"] == pytest.approx(perf.total_return(values), rel=1e-9, abs=1e-12)
    assert -1.0 <= figures["max_drawdown"] <= figures["current_drawdown"] <= 0.0
    assert figures["expected_shortfall"] <= figures["value_at_risk"] + 1e-15 and figures["worst"] <= figures["value_at_risk"]
    months, years = perf.monthly_table(equity), perf.yearly_table(equity)
    assert np.prod(1 + months.drop(columns="Year").stack()) == pytest.approx(equity.iloc[-1] / equity.iloc[0], rel=1e-9)
    assert np.prod(1 + years["return"]) == pytest.approx(equity.iloc[-1] / equity.iloc[0], rel=1e-9)
    scaled = perf.summary(equity * 4.0)  # a power of two scales exactly
    assert all(scaled[k] == figures[k] or (scaled[k] != scaled[k]) for k in ("sharpe", "sortino", "max_drawdown", "skew", "cagr"))
