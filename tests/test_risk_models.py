"""Risk figures against independent libraries, integrals, regressions and published tables."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from qtnb.core.errors import DataError, QtnbError
from qtnb.data.loader import get_bars
from qtnb.evaluation import performance
from qtnb.risk.components import historical_components, tail_components, tail_factors, volatility_components
from qtnb.risk.drawdown import DrawdownTracker, average_drawdown, conditional_drawdown, drawdowns, ulcer_index
from qtnb.risk.filtered import ewma_filter, filtered_var, fit_garch
from qtnb.risk.losses import empirical_tail
from qtnb.risk.simulated import monte_carlo_var
from qtnb.risk.stress import historical_stress, nearest_correlation, propagate_shocks
from qtnb.risk.var import (
    cornish_fisher,
    cornish_fisher_moments,
    cornish_fisher_valid,
    cornish_fisher_var,
    fit_student,
    historical_var,
    match_cornish_fisher,
    normal_var,
    student_tail,
    student_var,
)
from qtnb.risk.var_tests import independence_test, kupiec_test, shortfall_tests

# Made by skfolio 1.12.2, Riskfolio-Lib 7.4.0, arch 8.0.0 and scipy 1.17.1 on the returns within; see tests/payloads/README.md.
GOLDEN = json.loads((Path(__file__).parent / "payloads" / "risk_goldens.json").read_text(encoding="utf-8"))
RETURNS, WEIGHTS = np.array(GOLDEN["returns"]), np.array(GOLDEN["weights"])
BOOK = RETURNS @ WEIGHTS


@pytest.mark.parametrize("level", [0.95, 0.97, 0.99])
def test_historical_tail_against_two_libraries(level: float) -> None:
    """500 rows hold a whole tail at these levels: VaR is the last loss within it, as in Riskfolio-Lib; skfolio takes the next one. ES is one for all."""
    seen, ours = GOLDEN["tails"][str(level)], historical_var(RETURNS, WEIGHTS, level=level)
    count = round(500 * (1 - level))
    assert ours.var == pytest.approx(seen["riskfolio_var"], abs=1e-12)
    assert np.sort(-BOOK)[::-1][count] == pytest.approx(seen["skfolio_var"], abs=1e-12) and seen["skfolio_var"] < ours.var
    assert [seen["skfolio_cvar"], seen["riskfolio_cvar"]] == pytest.approx([ours.es] * 2, abs=1e-12)


def test_historical_tail_with_a_fraction() -> None:
    """3.3 observations: all three agree on both figures."""
    seen, ours = GOLDEN["tails"]["330 rows, 0.99"], historical_var(BOOK[:330])
    assert [seen["skfolio_var"], seen["riskfolio_var"]] == pytest.approx([ours.var] * 2, abs=1e-12)
    assert [seen["skfolio_cvar"], seen["riskfolio_cvar"]] == pytest.approx([ours.es] * 2, abs=1e-12)


@pytest.mark.parametrize("level", [0.9, 0.95, 0.975, 0.99])
def test_the_report_and_the_risk_figure_are_one(level: float) -> None:
    """`evaluation.performance` tells the same numbers with the sign of returns."""
    ours = historical_var(BOOK, level=level)
    assert ours.var == pytest.approx(-performance.value_at_risk(BOOK, level), abs=1e-15)
    assert ours.es == pytest.approx(-performance.expected_shortfall(BOOK, level), abs=1e-15)


@pytest.mark.parametrize("level", [0.9, 0.975, 0.999])
@pytest.mark.parametrize("degrees", [1.5, 3.0, 8.0, 200.0])
def test_student_tail_is_an_integral(level: float, degrees: float) -> None:
    """The closed form of ES against scipy's quadrature of the density."""
    q, mean = student_tail(degrees, level)
    area, _ = integrate.quad(lambda x: x * stats.t.pdf(x, degrees), q, math.inf, epsabs=1e-13, epsrel=1e-11, limit=500)
    assert q == pytest.approx(stats.t.ppf(level, degrees)) and mean == pytest.approx(area / (1 - level), rel=1e-6)


def test_published_tails() -> None:
    """McNeil, Frey and Embrechts, table 2.1: VaR and ES of $10,000 at 20% a year by normal and t(4) with that variance; 250 days, 95% to 99.5%."""
    scale = 10_000 * 0.2 / math.sqrt(250)
    seen = {level: [round(scale * f, 1) for law in (None, 4) for f in tail_factors(level, law)] for level in (0.9, 0.95, 0.975, 0.99, 0.995)}
    assert [seen[k][0] for k in seen] == [162.1, 208.1, 247.9, 294.3, 325.8]
    assert [seen[k][2] for k in seen] == [137.1, 190.7, 248.3, 335.1, 411.8]
    assert [seen[k][1] for k in seen] == [222.0, 260.9, 295.7, 337.1, 365.8]
    assert [seen[k][3] for k in seen] == [223.5, 286.5, 357.2, 466.9, 565.7]


def test_student_fit_against_scipy() -> None:
    """The likelihood is not below scipy's, and the parameters are the same to its tolerance."""
    degrees, location, scale = GOLDEN["student"]
    spread = GOLDEN["student_std"]
    center, wide, nu = fit_student(-BOOK)
    assert (center, wide, nu) == pytest.approx((location * spread, scale * spread, degrees), rel=2e-3)
    best, theirs = (stats.t.logpdf(-BOOK, *x).sum() for x in ((nu, center, wide), (degrees, location * spread, scale * spread)))
    assert best >= theirs - 1e-9


@pytest.mark.parametrize(("skew", "kurtosis"), [(0.0, 0.0), (0.2, 1.0), (-0.5, 2.5), (1.0, 4.0)])
@pytest.mark.parametrize("level", [0.95, 0.99])
def test_cornish_fisher_is_an_integral(skew: float, kurtosis: float, level: float) -> None:
    """Moments and tail mean of the expansion against quadrature over the normal density."""
    def area(function: object, low: float = -12.0) -> float:
        return integrate.quad(lambda z: function(z) * stats.norm.pdf(z), low, 12.0, epsabs=1e-12, limit=400)[0]  # type: ignore[operator]

    mean = area(lambda z: float(cornish_fisher(z, skew, kurtosis)))
    second, third, fourth = (area(lambda z, k=k: (float(cornish_fisher(z, skew, kurtosis)) - mean) ** k) for k in (2, 3, 4))
    assert cornish_fisher_moments(skew, kurtosis) == pytest.approx((math.sqrt(second), third / second**1.5, fourth / second**2 - 3), abs=1e-8)
    losses = _sample_with(skew, kurtosis)
    ours = cornish_fisher_var(-losses, level=level)
    s, k = float(stats.skew(losses)), float(stats.kurtosis(losses))
    tail = area(lambda z: float(cornish_fisher(z, s, k)), float(stats.norm.ppf(level))) / (1 - level)
    assert ours.es == pytest.approx(losses.mean() + losses.std(ddof=1) * tail, rel=1e-8)


def _sample_with(skew: float, kurtosis: float) -> np.ndarray:
    """Quantiles of the expansion itself: a sample whose own moments lie near, and in the domain."""
    z = stats.norm.ppf((np.arange(400) + 0.5) / 400)
    return 0.005 * (z + 0.1 * skew * (z**2 - 1) + 0.015 * max(kurtosis, 0.5) * (z**3 - 3 * z))


@pytest.mark.parametrize("skew", np.linspace(-2.4, 2.4, 9))
def test_the_domain_is_where_the_expansion_rises(skew: float) -> None:
    """The inequality against a look at the slope over a wide and fine range of quantiles."""
    z = np.linspace(-60, 60, 240_001)
    for kurtosis in np.linspace(-1, 12, 40):
        rises = bool((np.diff(cornish_fisher(z, skew, kurtosis)) > -1e-12).all())
        assert rises == cornish_fisher_valid(skew, kurtosis), (skew, kurtosis)


def test_the_largest_skewness_is_maillards() -> None:
    """6 (sqrt 2 - 1) bounds the parameter of skewness."""
    bound = 6 * (math.sqrt(2) - 1)
    grid = np.linspace(0, 12, 20_001)
    assert any(cornish_fisher_valid(bound - 1e-3, k) for k in grid) and not any(cornish_fisher_valid(bound + 1e-3, k) for k in grid)


@pytest.mark.parametrize(("level", "skew", "kurtosis", "published"), [
    (0.5, 1.0, 0.0, -0.1666667), (0.5, -1.0, 0.0, 0.1666667), (0.9, 0.1, 0.0, 1.292868), (0.9, 0.1, 1.0, 1.220374), (0.9, 0.1, -1.0, 1.365363),
    (0.99, 0.1, 0.0, 2.396116), (0.99, 0.1, 1.0, 2.629904), (0.99, 0.1, -1.0, 2.162328), (0.01, 0.1, 1.0, -2.482841)])
def test_cornish_fisher_as_published(level: float, skew: float, kurtosis: float, published: float) -> None:
    """Values in the documentation of mir-stat's cornishFisherInvCDF."""
    assert float(cornish_fisher(stats.norm.ppf(level), skew, kurtosis)) == pytest.approx(published, abs=1e-6)


def test_matched_parameters_reproduce_the_moments() -> None:
    """The law that is used has the skewness and kurtosis that were asked for."""
    for target in ((0.0, 10.0), (0.8, 6.0), (-0.8, 6.0), (0.0, 0.0)):
        assert cornish_fisher_moments(*match_cornish_fisher(*target))[1:] == pytest.approx(target, abs=1e-6)


def test_garch_against_arch() -> None:
    """Parameters, likelihood, variances and forecast of a zero-mean GARCH(1,1)."""
    seen = GOLDEN["garch"]
    ours = fit_garch(BOOK, seen["backcast"])
    variances = ours.variances(BOOK, seen["backcast"])
    assert (ours.omega, ours.alpha, ours.beta) == pytest.approx((seen["omega"], seen["alpha"], seen["beta"]), rel=1e-5)
    assert (variances[0], variances[-2], variances[-1]) == pytest.approx((seen["first"], seen["last"], seen["forecast"]), rel=1e-5)
    assert stats.norm.logpdf(BOOK, scale=np.sqrt(variances[:-1])).sum() == pytest.approx(seen["loglik"], abs=1e-6)


def test_ewma_against_arch() -> None:
    """Variances of the exponentially weighted filter with decay 0.94."""
    variances = ewma_filter(0.94).variances(BOOK, GOLDEN["garch"]["backcast"])
    assert variances[GOLDEN["ewma"]["rows"]] == pytest.approx(GOLDEN["ewma"]["variances"], rel=1e-10)


def test_filtered_tail_by_hand() -> None:
    """Each loss times the volatility to come over that of its day."""
    now, rows = GOLDEN["garch"]["backcast"], []
    for x in BOOK:
        rows.append(now)
        now = 0.94 * now + 0.06 * x * x
    scaled = -BOOK * np.sqrt(now / np.array(rows))
    ours = filtered_var(BOOK, level=0.95)
    assert (ours.var, ours.es) == pytest.approx(empirical_tail(scaled, 0.95), rel=1e-10)


def test_simulated_errors_are_errors() -> None:
    """Over many seeds, the spread of VaR and ES is the one that is reported."""
    covariance = np.cov(RETURNS.T)
    runs = [monte_carlo_var(covariance, WEIGHTS, draws=5000, seed=seed, degrees=5) for seed in range(60)]
    for figure, error in (("var", "var_error"), ("es", "es_error")):
        spread = np.std([getattr(r, figure) for r in runs], ddof=1)
        assert 0.7 < np.mean([getattr(r, error) for r in runs]) / spread < 1.4


def test_components_against_two_libraries() -> None:
    """Contributions to volatility and to ES, which the libraries find by differences, so to about 1e-6."""
    seen = GOLDEN["contributions"]
    volatility = volatility_components(np.cov(RETURNS.T), WEIGHTS)["component_volatility"]
    shortfall = historical_components(RETURNS, WEIGHTS, level=0.95)["component_es"]
    for library in ("skfolio_SD", "MV"):
        assert volatility.to_numpy() == pytest.approx(seen[library], rel=1e-6)
    for library in ("skfolio_CVaR", "CVaR"):
        assert shortfall.to_numpy() == pytest.approx(seen[library], rel=1e-6)


def test_components_under_a_law_sum_to_it() -> None:
    """The parts of the normal VaR of a history sum to that VaR, mean and all."""
    parts = tail_components(np.cov(RETURNS.T), WEIGHTS, mean=RETURNS.mean(axis=0))
    whole = normal_var(RETURNS, WEIGHTS)
    assert (parts["component_var"].sum(), parts["component_es"].sum()) == pytest.approx((whole.var, whole.es), rel=1e-9)


def test_drawdown_measures_against_two_libraries() -> None:
    """They count the rows after the base only, we count the base as a row too."""
    seen, equity = GOLDEN["drawdown"], np.append(1.0, np.cumprod(1.0 + BOOK))
    n = len(BOOK)
    dar, cdar = empirical_tail(-drawdowns(equity)[1:], 0.95)
    ours = [ulcer_index(equity) * math.sqrt((n + 1) / n), average_drawdown(equity) * (n + 1) / n, cdar]
    for library in ("riskfolio", "skfolio"):
        assert ours == pytest.approx([seen[f"{library}_{figure}"] for figure in ("ulcer", "add", "cdar")], rel=1e-10)
    assert dar == pytest.approx(seen["riskfolio_dar"], rel=1e-10) and -drawdowns(equity).min() == pytest.approx(seen["riskfolio_mdd"], rel=1e-10)
    assert conditional_drawdown(equity)[1] == pytest.approx(cdar, rel=1e-3)


def test_drawdown_agrees_with_the_report() -> None:
    """The path of `evaluation.performance`, row by row and at once."""
    equity = pd.Series(np.append(1.0, np.cumprod(1.0 + BOOK)), index=pd.date_range("2020-01-01", periods=501, tz="UTC"))
    state = DrawdownTracker.begin(1.0)
    for value in equity.iloc[1:]:
        state = state.update(value)
    assert np.allclose(drawdowns(equity), performance.drawdown(equity), atol=1e-15) and state.deepest == pytest.approx(performance.max_drawdown(BOOK))
    assert state.ulcer == pytest.approx(ulcer_index(equity)) and state.longest == _longest(drawdowns(equity))


def _longest(depth: np.ndarray) -> int:
    """Most rows in a row below zero."""
    return max(len(run) for run in "".join("x" if d < 0 else " " for d in depth).split(" "))


def test_kupiec_against_the_binomial() -> None:
    """The likelihood ratio is that of two binomials, whose coefficient cancels."""
    for rows, count, level in ((250, 7, 0.99), (1000, 0, 0.99), (500, 40, 0.95), (10, 10, 0.9)):
        ratio = 2 * (stats.binom.logpmf(count, rows, count / rows) - stats.binom.logpmf(count, rows, 1 - level))
        assert kupiec_test(np.arange(rows) < count, level).statistic == pytest.approx(ratio, abs=1e-8)


def test_independence_is_a_logistic_regression() -> None:
    """Two rates against one: the deviance that statsmodels takes off by regressing each row on the one before."""
    import statsmodels.api as sm

    rng = np.random.default_rng(5)
    passed = np.zeros(800, bool)
    for t in range(1, 800):
        passed[t] = rng.random() < (0.3 if passed[t - 1] else 0.04)
    one = sm.GLM(passed[1:].astype(float), np.ones(799), family=sm.families.Binomial()).fit()
    two = sm.GLM(passed[1:].astype(float), sm.add_constant(passed[:-1].astype(float)), family=sm.families.Binomial()).fit()
    found = independence_test(passed)
    assert found.statistic == pytest.approx(2 * (two.llf - one.llf), rel=1e-7) and found.p_value < 0.001


def test_shortfall_tests_are_honest_and_see() -> None:
    """Under the right law p-values are uniform; a model that knows half of the risk is found out."""
    rng, level = np.random.default_rng(8), 0.975
    q, mean = student_tail(5, level)
    scale = 0.01 * np.exp(0.5 * np.sin(np.arange(250) / 20))
    runs = [shortfall_tests(scale * rng.standard_t(5, 250), scale * q, scale * mean, level=level, degrees=5, draws=400, seed=k) for k in range(150)]
    p_values = np.array([[test.p_value for test in run] for run in runs])
    assert stats.kstest(p_values[:, 1], "uniform").pvalue > 0.001 and stats.kstest(p_values[~np.isnan(p_values[:, 0]), 0], "uniform").pvalue > 0.001
    low = shortfall_tests(2 * scale * rng.standard_t(5, 250), scale * q, scale * mean, level=level, degrees=5)
    assert low[1].p_value < 0.001 and low[1].statistic < -0.7


def test_propagation_is_a_regression() -> None:
    """The other factors move by the slopes of an ordinary least squares fit."""
    import statsmodels.api as sm

    frame = pd.DataFrame(RETURNS, columns=list("ABC"))
    moves = propagate_shocks({"A": -0.1, "C": 0.05}, frame.cov())
    slopes = sm.OLS(frame["B"], sm.add_constant(frame[["A", "C"]])).fit().params
    assert moves["B"] == pytest.approx(-0.1 * slopes["A"] + 0.05 * slopes["C"], rel=1e-9)


def test_nearest_correlation_as_published() -> None:
    """Higham (2002): the example of section 1, and distance 0.5278."""
    asked = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    found = nearest_correlation(asked)
    assert (found[0, 1], found[0, 2], found[1, 2]) == pytest.approx((0.7607, 0.1573, 0.7607), abs=5e-5)
    assert np.linalg.norm(found - asked) == pytest.approx(0.5278, abs=5e-5)


def test_real_crises() -> None:
    """Prices at the ends of each window say what a holder of IBM lost."""
    close = get_bars("IBM", "1998-01-02", "2021-03-31", source="sample", adjust="all")["close"].droplevel("symbol")
    table = historical_stress(close.pct_change().iloc[1:].to_frame("IBM"), {"IBM": 1.0})
    for name, start, end in (("dot-com bust 2000-2002", "2000-03-24", "2002-10-09"), ("Lehman 2008", "2008-09-12", "2008-10-10"),
                             ("US downgrade 2011", "2011-07-22", "2011-08-08"), ("pandemic 2020", "2020-02-19", "2020-03-23")):
        assert table.loc[name, "loss"] == pytest.approx(1 - close[end].iloc[0] / close[start].iloc[0], rel=1e-10)


@pytest.mark.parametrize("measure", [historical_var, normal_var, student_var, cornish_fisher_var, filtered_var])
def test_bad_input_is_one_clear_error(measure: object) -> None:
    """NaN, infinity, unknown names, missing weights, wrong levels and rows out of order, the same for every estimate."""
    days = pd.date_range("2020-01-01", periods=300, tz="UTC")
    panel = pd.DataFrame(RETURNS[:300], index=days, columns=list("ABC"))
    good = dict(zip("ABC", WEIGHTS, strict=True))
    holed = panel.copy()
    holed.iloc[7, 1] = np.nan
    for returns, weights, options, words in (
        (holed, good, {}, "2020-01-08 .*'B'"), (panel.replace(panel.iloc[3, 0], -2.0), good, {}, "-2.0 at"), (panel, None, {}, "3 assets"),
        (panel, {**good, "X": 1.0}, {}, "'X' is not known"), (panel, {"A": 1.0}, {}, "nothing for B, C"), (panel, [1.0, 2.0], {}, "each of the 3 assets"),
        (panel, good, {"level": 0.01}, "give 1 - level"), (panel, good, {"level": 1.0}, "below 1"), (panel, good, {"horizon": 0}, "at least 1"),
        (panel.iloc[::-1], good, {}, "does not rise"), (panel.iloc[:1], good, {}, "shape")):
        with pytest.raises(QtnbError, match=words):
            measure(returns, weights, **options)  # type: ignore[operator]


def test_a_book_that_stands_still() -> None:
    """A law needs a spread; history answers zero."""
    still = np.zeros(200)
    assert historical_var(still).var == 0.0
    for measure in (normal_var, student_var, cornish_fisher_var):
        with pytest.raises(DataError, match="do not vary"):
            measure(still)


def test_a_ruined_book_stays_ruined() -> None:
    """Two losses of more than all that is there do not multiply to a gain."""
    book = np.full(200, 0.001)
    book[100:102] = -0.9  # a lever of two loses 180% twice
    assert historical_var(book.reshape(-1, 1), [2.0], horizon=2).var == pytest.approx(0.8 + 1.0)  # 1 - (1 - 1.8)
    assert historical_var(book.reshape(-1, 1), [2.0], horizon=2).es == pytest.approx(1.8, rel=1e-3)


def test_names_stand_once() -> None:
    """Two columns of one name would share a weight."""
    panel = pd.DataFrame(RETURNS, columns=["A", "B", "A"])
    with pytest.raises(DataError, match="two columns 'A'"):
        historical_var(panel, [0.3, 0.3, 0.4])
    with pytest.raises(DataError, match="two columns 'A'"):
        volatility_components(panel.cov(), [0.3, 0.3, 0.4])


def test_stress_of_weights_in_order() -> None:
    """An array goes by the columns; one of another length is an error that says so."""
    days = pd.date_range("2020-02-10", "2020-04-01", freq="B", tz="UTC")
    panel = pd.DataFrame(RETURNS[: len(days)], index=days, columns=list("ABC"))
    one, other = (historical_stress(panel, w).loc["pandemic 2020", "loss"] for w in (WEIGHTS, dict(zip("ABC", WEIGHTS, strict=True))))
    assert one == other and np.isfinite(one)
    with pytest.raises(QtnbError, match="each of the 3 assets"):
        historical_stress(panel, [1.0, 2.0])
