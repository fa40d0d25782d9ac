"""What must hold of risk figures whatever the returns: coherence where it is due, parts that sum, and reverse stress that loses what was asked."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qtnb.risk.components import historical_components, tail_components, volatility_components
from qtnb.risk.drawdown import DrawdownTracker, drawdowns
from qtnb.risk.filtered import filtered_var
from qtnb.risk.losses import empirical_tail
from qtnb.risk.reverse import reverse_stress
from qtnb.risk.stress import factor_stress, stress_correlations
from qtnb.risk.var import historical_var, normal_var, student_var

LEVELS = st.sampled_from([0.6, 0.75, 0.9, 0.95])
RETURN = st.floats(-0.5, 0.5, allow_nan=False, width=64).map(lambda x: round(x, 6))
BOOKS = hnp.arrays(np.float64, st.integers(20, 60), elements=RETURN)
PAIRS = hnp.arrays(np.float64, st.tuples(st.integers(20, 60), st.just(2)), elements=RETURN)
WEIGHT = st.floats(-2, 2).map(lambda x: round(x, 3))
WEIGHTS = st.lists(WEIGHT, min_size=3, max_size=3).filter(lambda w: sum(map(abs, w)) > 0.05)


def covariance(seed: int, rank: int = 3) -> np.ndarray:
    """A covariance of three assets, of a rank."""
    roots = np.random.default_rng(seed).normal(0, 0.01, (3, rank))
    return roots @ roots.T


@given(BOOKS, LEVELS)
def test_es_is_never_below_var(book: np.ndarray, level: float) -> None:
    """The mean of a tail is not below its edge, and both lie within the losses."""
    var, es = empirical_tail(-book, level)
    assert es >= var - 1e-15 and (-book).min() <= var <= (-book).max() and es <= (-book).max() + 1e-15


@given(BOOKS, LEVELS, st.floats(0, 3), st.floats(-0.2, 0.2))
def test_scale_and_cash(book: np.ndarray, level: float, scale: float, cash: float) -> None:
    """A book of twice the size risks twice as much; a sure gain lowers the risk by itself."""
    one, other = empirical_tail(-book, level), empirical_tail(-(scale * book + cash), level)
    assert other == pytest.approx((scale * one[0] - cash, scale * one[1] - cash), abs=1e-12)


@given(PAIRS, LEVELS)
def test_es_is_subadditive(pair: np.ndarray, level: float) -> None:
    """Two books together never have more ES than apart."""
    (_, one), (_, other), (_, both) = (empirical_tail(-x, level) for x in (pair[:, 0], pair[:, 1], pair.sum(axis=1)))
    assert both <= one + other + 1e-12


def test_var_is_not_subadditive() -> None:
    """Why ES is told beside it: two rare losses, each beyond its own tail, meet within the tail of both."""
    one, other = np.zeros(100), np.zeros(100)
    one[:4], other[4:8] = -0.5, -0.5
    (a, _), (b, _), (both, _) = (empirical_tail(-x, 0.95) for x in (one, other, one + other))
    assert a == b == 0.0 < both == 0.5


@given(BOOKS, LEVELS)
def test_no_worse_row_no_higher_risk(book: np.ndarray, level: float) -> None:
    """Returns that are at least as good at every row have at most the risk."""
    better = book + np.linspace(0, 0.1, len(book))
    assert all(x <= y + 1e-12 for x, y in zip(empirical_tail(-better, level), empirical_tail(-book, level), strict=True))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 5), st.floats(-0.01, 0.01))
def test_laws_scale_and_shift_too(seed: int, scale: float, cash: float) -> None:
    """Positive homogeneity and translation of the fitted laws; filters scale, but do not shift."""
    book = np.random.default_rng(seed).standard_t(5, 300) * 0.005
    for measure in (normal_var, student_var):
        one, other = measure(book), measure(scale * book + cash)
        assert other.var == pytest.approx(scale * one.var - cash, rel=1e-4, abs=1e-5) and one.es > one.var
    assert filtered_var(scale * book).var == pytest.approx(scale * filtered_var(book).var, rel=1e-9)


@given(st.integers(0, 10_000), WEIGHTS, LEVELS, st.integers(0, 6))
def test_parts_sum_to_the_whole(seed: int, weights: list[float], level: float, neighbours: int) -> None:
    """Components of volatility, VaR and ES, under a law and in history."""
    returns = np.random.default_rng(seed).normal(0.0005, 0.01, (120, 3))
    cov, held = np.cov(returns.T), np.array(weights)
    sigma = np.sqrt(held @ cov @ held)
    assert volatility_components(cov, held)["component_volatility"].sum() == pytest.approx(sigma, rel=1e-9)
    law = tail_components(cov, held, level=level, mean=returns.mean(axis=0), degrees=5)
    assert (law["marginal_var"] * law["weight"]).sum() == pytest.approx(law["component_var"].sum(), rel=1e-9)
    whole = historical_var(returns, held, level=level)
    assume(whole.var > 1e-4)
    past = historical_components(returns, held, level=level, neighbours=neighbours)
    assert (past["component_var"].sum(), past["component_es"].sum()) == pytest.approx((whole.var, whole.es), rel=1e-9)
    assert past["share_es"].sum() == pytest.approx(1.0)


@given(st.integers(0, 10_000), st.sampled_from([1, 2, 3]), WEIGHTS, st.floats(0.001, 0.9))
def test_reverse_stress_loses_what_was_asked(seed: int, rank: int, weights: list[float], loss: float) -> None:
    """Exactly x, and no other move within the covariance that loses as much is nearer, singular covariance or not."""
    cov, held = covariance(seed, rank), np.array(weights)
    assume(held @ cov @ held > 1e-6 * np.abs(cov).max() * (held @ held))
    found = reverse_stress(cov, held, loss)
    assert -held @ found.moves.to_numpy() == pytest.approx(loss, rel=1e-9) and found.losses.sum() == pytest.approx(loss, rel=1e-9)
    sizes, directions = np.linalg.eigh(cov)
    known = sizes > 1e-9 * sizes.max()
    root = directions[:, known] * np.sqrt(sizes[known])  # a move is root @ u, and its distance is the length of u
    pull, rng = -root.T @ held, np.random.default_rng(seed + 1)
    for u in rng.normal(size=(20, int(known.sum()))):
        reach = float(pull @ u)
        if abs(reach) > 1e-9 * np.linalg.norm(pull) * np.linalg.norm(u):
            assert np.linalg.norm(u * loss / reach) >= found.distance * (1 - 1e-6)


@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(-0.5, 1), st.floats(-1, 1), st.floats(0.2, 3))
@settings(deadline=None)
def test_broken_correlations_stay_correlations(seed: int, share: float, target: float, pair: float, scale: float) -> None:
    """Positive semidefinite with the deviations that were asked for, and untouched when what was asked is possible."""
    frame = pd.DataFrame(covariance(seed) + 1e-6 * np.eye(3), index=list("ABC"), columns=list("ABC"))
    found = stress_correlations(frame, share=share, target=target, pairs={("A", "C"): pair}, scale=scale)
    values = found.correlation.to_numpy()
    assert np.linalg.eigvalsh(values)[0] > -1e-9 and np.allclose(np.diag(values), 1.0) and np.abs(values).max() <= 1 + 1e-9
    assert np.allclose(np.diag(found.covariance), scale**2 * np.diag(frame), rtol=1e-9)
    if found.distance == 0.0:
        assert values[0, 2] == pytest.approx(pair)


@given(st.integers(0, 10_000), WEIGHTS, st.floats(-0.5, 0.5))
def test_factor_losses_are_linear(seed: int, weights: list[float], shock: float) -> None:
    """Twice the shock loses twice as much, propagated or not."""
    rng = np.random.default_rng(seed)
    betas = pd.DataFrame(rng.normal(1, 0.5, (3, 3)), index=list("XYZ"), columns=list("ABC"))
    cov = pd.DataFrame(covariance(seed) + 1e-6 * np.eye(3), index=list("ABC"), columns=list("ABC"))
    for known in (None, cov):
        one, two = (factor_stress(betas, weights, {"B": k * shock}, covariance=known).to_numpy() for k in (1, 2))
        assert np.allclose(two, 2 * one, atol=1e-12)


@given(hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(-5, 200).map(lambda x: round(x, 3))))
def test_drawdown_row_by_row_is_drawdown_at_once(equity: np.ndarray) -> None:
    """Also through ruin; a state kept in the middle goes on as if nothing had happened."""
    assume(equity[0] > 0)
    depth, state = drawdowns(equity), DrawdownTracker.begin(equity[0])
    for t, value in enumerate(equity[1:], start=1):
        state = state.update(value)
        assert state.drawdown == depth[t]
    assert state.deepest == depth.min() and -1.0 <= depth.min() <= depth.max() <= 0.0
    assert state.ulcer == pytest.approx(np.sqrt(np.mean(depth**2)))
