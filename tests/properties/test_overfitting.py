"""The statistics of a search: identities that hold for any numbers, the promise they make to searches without skill, and another library."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from effort import EFFORT
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from qtnb.evaluation.crossvalidation import cross_validate
from qtnb.evaluation.deflation import (
    adjust_p_values,
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    haircut_sharpe,
    maximum_trials,
    minimum_backtest_length,
    minimum_track_record_length,
    probabilistic_sharpe_ratio,
    sharpe_deviation,
)
from qtnb.evaluation.overfitting import overfitting_from_figures, overfitting_report
from qtnb.evaluation.performance import sharpe_standard_error
from qtnb.evaluation.trials import group_trials, trial_moments

RATIOS = st.floats(-0.5, 0.5)
COUNTS = st.integers(1, 100_000)
P_VALUES = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30)


# -- one ratio ------------------------------------------------------------------------------------------------------------


@EFFORT
@given(RATIOS, RATIOS, st.integers(2, 10_000), st.floats(-1.0, 1.0), st.floats(0.0, 8.0))
def test_the_probability_is_that_of_the_estimate_and_its_error(sharpe, benchmark, observations, skewness, excess) -> None:
    """The definition, with scipy's normal distribution; turned around it is the length of the record."""
    shape = {"skewness": skewness, "excess_kurtosis": excess}
    deviation = sharpe_deviation(sharpe, observations, **shape)
    probability = probabilistic_sharpe_ratio(sharpe, observations, benchmark=benchmark, **shape)
    assert probability == pytest.approx(stats.norm.cdf(sharpe, loc=benchmark, scale=deviation), abs=1e-12)
    if sharpe > benchmark + 1e-3:
        needed = minimum_track_record_length(sharpe, benchmark=benchmark, **shape)
        assert math.isinf(needed) is False
        assert (observations >= needed) == (probability >= 0.95) or probability == pytest.approx(0.95, abs=1e-6)


def test_for_normal_returns_the_error_is_that_of_lo() -> None:
    """Two modules, one figure: up to n or n - 1 in the denominator."""
    returns = np.random.default_rng(0).normal(0.001, 0.01, 400)
    sharpe = returns.mean() / returns.std(ddof=1)
    assert sharpe_deviation(sharpe, 401) == pytest.approx(sharpe_standard_error(returns, 1.0), rel=1e-12)


def test_the_error_is_right_for_skewed_returns() -> None:
    """Ratios of 20,000 records of a skewed law scatter as the formula says; the normal formula would be off by a fifth."""
    drawn = np.random.default_rng(2).gamma(2.0, size=(20_000, 250))  # skewness 1.41, excess kurtosis 3
    ratios = (drawn - 1.5).mean(axis=1) / drawn.std(axis=1, ddof=1)
    true = 0.5 / math.sqrt(2.0)
    assert ratios.std() == pytest.approx(sharpe_deviation(true, 250, skewness=math.sqrt(2.0), excess_kurtosis=3.0), rel=0.03)
    assert abs(ratios.std() / sharpe_deviation(true, 250) - 1.0) > 0.1


# -- many trials ----------------------------------------------------------------------------------------------------------


@EFFORT
@given(RATIOS, st.integers(10, 5000), COUNTS, COUNTS, st.floats(0.0, 0.01))
def test_more_trials_never_help(sharpe, observations, one, other, variance) -> None:
    """The bar rises with the count, and one trial has none."""
    few, many = sorted((one, other))
    values = [deflated_sharpe_ratio(sharpe, observations, trials=n, variance=variance) for n in (1, few, many)]
    assert values == sorted(values, reverse=True)
    assert values[0] == probabilistic_sharpe_ratio(sharpe, observations)


@EFFORT
@given(st.floats(0.2, 30.0), st.floats(0.3, 3.0))
def test_the_number_of_trials_is_the_inverse_of_the_length(years, annual) -> None:
    """The last number that fits, fits; the next one does not."""
    count = maximum_trials(years, annual_sharpe=annual)
    assert minimum_backtest_length(count, annual_sharpe=annual) <= years or count == 1
    assert count == 10_000_000 or minimum_backtest_length(count + 1, annual_sharpe=annual) > years


@pytest.mark.parametrize("trials", [5, 50, 500])
def test_the_expected_maximum_is_what_dice_show(trials: int) -> None:
    """Mean of the best of as many normal numbers, within its own error and the three per cent of the approximation."""
    best = np.random.default_rng(trials).normal(size=(20_000, trials)).max(axis=1)
    assert expected_maximum_sharpe(trials) == pytest.approx(best.mean(), rel=0.04)


def test_another_library_gives_the_same() -> None:
    """skfolio 1.12.2 on the same draws; its moments are not corrected for bias, so they are passed."""
    returns = np.random.default_rng(7).standard_t(5, size=(750, 40)) * 0.01 + 0.0003
    sharpes = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
    best = int(sharpes.argmax())
    shape = {"skewness": float(stats.skew(returns[:, best])), "excess_kurtosis": float(stats.kurtosis(returns[:, best]))}
    assert sharpes[best] == pytest.approx(0.11213214030157248, rel=1e-12)
    assert probabilistic_sharpe_ratio(sharpes[best], 750, benchmark=0.02, **shape) == pytest.approx(0.9944971211053918, rel=1e-9)
    assert expected_maximum_sharpe(40, deviation=sharpes.std(ddof=1)) == pytest.approx(0.07194691813277736, rel=1e-9)
    deflated = deflated_sharpe_ratio(sharpes[best], 750, trials=40, variance=sharpes.var(ddof=1), **shape)
    assert deflated == pytest.approx(0.8662779432649202, rel=1e-9)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6, 0.9])
def test_a_search_without_skill_is_seldom_called_significant(correlation: float) -> None:
    """The promise of the strict figure, at any likeness of the trials; the ratio as if alone breaks it."""
    dice, strict, alone = np.random.default_rng(11), 0, 0
    for _ in range(150):
        shared = math.sqrt(correlation) * dice.normal(size=(250, 1))
        ratios = trial_moments(shared + math.sqrt(1.0 - correlation) * dice.normal(size=(250, 60))).sharpe
        report = overfitting_from_figures(ratios * math.sqrt(252), 250, periods_per_year=252)
        strict, alone = strict + report.is_significant, alone + (report["probabilistic_sharpe"] > 0.95)
    assert strict <= 15  # 5% of 150 is 7.5; 16 or more would come by chance once in 300
    assert alone > 20


# -- haircuts -------------------------------------------------------------------------------------------------------------


@EFFORT
@given(P_VALUES, st.integers(0, 50))
def test_adjusted_p_values_are_larger_ordered_and_independent_of_the_order(values, more) -> None:
    """What every adjustment must do; Holm is never stricter than Bonferroni."""
    trials = len(values) + more
    found = {m: adjust_p_values(values, m, trials=trials) for m in ("bonferroni", "sidak", "holm", "bhy")}
    for adjusted in found.values():
        assert (adjusted >= np.minimum(values, 1.0) - 1e-12).all() and (adjusted <= 1.0).all()
        assert (np.diff(adjusted[np.argsort(values, kind="stable")]) >= -1e-12).all()
    assert (found["holm"] <= found["bonferroni"] + 1e-12).all() and (found["sidak"] <= found["bonferroni"] + 1e-12).all()
    for method, adjusted in found.items():
        np.testing.assert_allclose(adjust_p_values(values[::-1], method, trials=trials)[::-1], adjusted, atol=1e-15)


@EFFORT
@given(st.lists(st.floats(-0.3, 1.0), min_size=1, max_size=20), st.integers(5, 3000))
def test_a_haircut_takes_and_never_gives(sharpes, observations) -> None:
    """Between nothing and the ratio itself, and nothing for a loss."""
    for method in ("bonferroni", "sidak", "holm", "bhy"):
        left = haircut_sharpe(sharpes, observations, method=method)
        assert (left >= 0.0).all() and (left <= np.maximum(sharpes, 0.0) + 1e-12).all()


# -- halves ---------------------------------------------------------------------------------------------------------------


def slow_probability(values: np.ndarray, blocks: int) -> float:
    """Share of splits at or below the median, by sorting."""
    pieces, low = np.array_split(values, blocks), []
    for past in itertools.combinations(range(blocks), blocks // 2):
        before, after = (np.vstack([pieces[k] for k in range(blocks) if (k in past) == inside]) for inside in (True, False))
        best = int(np.argmax(before.mean(axis=0) / before.std(axis=0, ddof=1)))
        future = after.mean(axis=0) / after.std(axis=0, ddof=1)
        low.append(sorted(future).index(future[best]) + 1 <= (len(future) + 1) / 2)
    return float(np.mean(low))


@EFFORT
@given(st.integers(0, 10_000), st.sampled_from([2, 4, 6, 8]), st.integers(2, 9))
def test_splits_from_sums_are_splits_of_the_record(seed, blocks, trials) -> None:
    """Against vstack and sort, one split at a time; all blocks of one length."""
    values = np.random.default_rng(seed).normal(0.0005, 0.01, (blocks * 12, trials))
    test = cross_validate(values, blocks=blocks)
    assert test.probability == pytest.approx(slow_probability(values, blocks))
    assert len(test.logits) == math.comb(blocks, blocks // 2)
    np.testing.assert_allclose(test.chosen_below[-1], 1.0)
    back = cross_validate(values[::-1], blocks=blocks)  # time reversed: every half is still a half
    np.testing.assert_allclose(np.sort(back.in_sample), np.sort(test.in_sample), rtol=1e-9)


def test_on_noise_the_probability_is_one_half_on_average() -> None:
    """One record says little; four hundred have a mean of one half with an error of one per cent."""
    found = [cross_validate(np.random.default_rng(seed).normal(size=(120, 20)), blocks=6).probability for seed in range(400)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.035)
    assert np.std(found) > 0.1


def test_large_offsets_cost_no_digits() -> None:
    """Returns with a large mean and a small spread: the sums are of standardised returns."""
    small = np.random.default_rng(3).normal(0.0, 1e-6, (160, 6))
    left, right = cross_validate(small + 0.5, blocks=8), cross_validate(small, blocks=8, rate=-0.5)
    np.testing.assert_allclose(left.in_sample, right.in_sample, rtol=1e-6)
    part = small[:80] + 0.5
    assert (part.mean(axis=0) / part.std(axis=0, ddof=1)).max() == pytest.approx(left.in_sample[0], rel=1e-9)


# -- the report -----------------------------------------------------------------------------------------------------------


def test_both_entries_agree() -> None:
    """What needs no returns is the same from returns and from their figures."""
    returns = pd.DataFrame(np.random.default_rng(4).standard_t(4, size=(400, 30)) * 0.01)
    moments = trial_moments(returns)
    full = overfitting_report(returns, periods_per_year=252, blocks=8, trials=45)
    plain = overfitting_from_figures(pd.Series(moments.sharpe * math.sqrt(252)), 400, periods_per_year=252, trials=45,
                                     skewness=moments.skewness, excess_kurtosis=moments.excess_kurtosis)  # fmt: skip
    assert full.best == plain.best and {k: full[k] for k in plain.values} == pytest.approx(dict(plain.values), rel=1e-12)
    assert full["effective_trials"] == group_trials(returns).count + 15


def test_the_order_and_the_scale_of_the_trials_change_nothing() -> None:
    """Columns shuffled and levered: the same figures under the same name."""
    returns = pd.DataFrame(np.random.default_rng(5).normal(0.0002, 0.01, (320, 12)), columns=list("abcdefghijkl"))
    mixed = returns.iloc[:, ::-1] * np.arange(1, 13)
    one, other = (overfitting_report(r, periods_per_year=252) for r in (returns, mixed))
    assert one.best == other.best and dict(one.values) == pytest.approx(dict(other.values), rel=1e-9)
