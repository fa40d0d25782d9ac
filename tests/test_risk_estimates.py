"""Covariances and means beside those of other libraries, for the same returns: tests/references/portfolio holds them and says how they were made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtnb.core.errors import DataError
from qtnb.portfolio.black_litterman import Posterior, View, black_litterman, equilibrium_return
from qtnb.portfolio.denoise import denoised_covariance
from qtnb.portfolio.expected_returns import capm_return, mean_return, shrunk_mean
from qtnb.portfolio.factor_models import factors_by_exposures, factors_by_returns, principal_factors
from qtnb.portfolio.gerber import gerber_covariance
from qtnb.portfolio.matrices import is_semidefinite
from qtnb.portfolio.repair import nearest_covariance
from qtnb.portfolio.samples import most_likely, sample_covariance, weighted_covariance
from qtnb.portfolio.shrinkage import shrunk_to_constant_correlation, shrunk_to_identity

HERE = Path(__file__).parent / "references" / "portfolio"
RETURNS = pd.read_csv(HERE / "returns.csv", index_col=0)
OTHERS: dict[str, dict[str, Any]] = json.loads((HERE / "estimates.json").read_text())["estimates"]
COVARIANCE = RETURNS.cov()
FACTORS = pd.DataFrame({"level": RETURNS.mean(axis=1), "tilt": RETURNS.iloc[:, :4].mean(axis=1) - RETURNS.iloc[:, 4:].mean(axis=1)})
FIRST, SECOND = RETURNS.columns[:2]
EQUAL = dict.fromkeys(RETURNS.columns, 1 / RETURNS.shape[1])


def oracle_of_scikit_learn() -> np.ndarray:
    """The oracle shrinkage with the two terms in 2 / N left out, as scikit-learn documents that it does."""
    rows, size = RETURNS.shape
    away = (RETURNS - RETURNS.mean()).to_numpy()
    sample = away.T @ away / rows
    square, trace = float((sample * sample).sum()), float(np.trace(sample))
    share = (square + trace**2) / ((rows + 1) * (square - trace**2 / size))
    ours = shrunk_to_identity(RETURNS, kind="oracle").attrs["shrinkage"]
    exact = ((1 - 2 / size) * square + trace**2) / ((rows + 1 - 2 / size) * (square - trace**2 / size))
    assert abs(ours - exact) < 1e-12
    return share * trace / size * np.eye(size) + (1 - share) * sample


def with_unbiased_sample() -> np.ndarray:
    """PyPortfolioOpt mixes a sample divided by T - 1 with moments divided by T; its mistake is made again here."""
    rows, _ = RETURNS.shape
    away = (RETURNS - RETURNS.mean()).to_numpy()
    sample = COVARIANCE.to_numpy()
    deviations = np.sqrt(np.diag(sample))
    size = len(sample)
    common = ((sample / np.outer(deviations, deviations)).sum() - size) / (size * (size - 1))
    target = common * np.outer(deviations, deviations)
    np.fill_diagonal(target, np.diag(sample))
    squares = away * away
    spread = squares.T @ squares / rows - 2 * (away.T @ away) * sample / rows + sample**2
    own = (away**3).T @ away / rows
    own = own - np.diag(sample)[:, None] * (away.T @ away / rows) - sample * np.diag(away.T @ away / rows)[:, None] + np.diag(sample)[:, None] * sample
    np.fill_diagonal(own, 0.0)
    together = np.trace(spread) + common * (own * deviations[None, :] / deviations[:, None]).sum()
    share = max(0.0, min(1.0, (spread.sum() - together) / ((target - sample) ** 2).sum() / rows))
    return share * target + (1 - share) * sample


def views(prior: pd.Series) -> Posterior:
    """The posterior of two views."""
    return black_litterman(prior, COVARIANCE, [View({FIRST: 1}, 0.001), View({FIRST: 1, SECOND: -1}, 0.0005)], tau=0.05)


def confident() -> pd.Series:
    """The posterior mean of two views with confidence."""
    said = [View({FIRST: 1}, 0.001, confidence=0.8), View({SECOND: 1}, 0.0005, confidence=0.3)]
    return black_litterman(RETURNS.mean(), COVARIANCE, said, tau=0.05).expected


def by_factors() -> pd.DataFrame:
    """The regression model with residual variances divided by T - 1, as skfolio has them."""
    model = factors_by_returns(RETURNS, FACTORS)
    rows = len(RETURNS)
    return model.covariance() - np.diag(model.residual_variance) * (1 - (rows - 3) / (rows - 1))


OURS: dict[str, Callable[[], Any]] = {
    "shrunk_to_identity": lambda: shrunk_to_identity(RETURNS),
    "gerber 0.5": lambda: gerber_covariance(RETURNS, 0.5),
    "gerber 0.9": lambda: gerber_covariance(RETURNS, 0.9),
    "weighted_covariance": lambda: weighted_covariance(RETURNS, 40),
    "oracle of scikit-learn": oracle_of_scikit_learn,
    "constant_correlation ddof 1": with_unbiased_sample,
    "james_stein": lambda: shrunk_mean(RETURNS, "james_stein"),
    "bayes_stein": lambda: shrunk_mean(RETURNS, "bayes_stein", covariance=COVARIANCE),
    "mean_return": lambda: mean_return(RETURNS),
    "capm": lambda: capm_return(RETURNS, FACTORS["level"], FACTORS["level"].mean() - 0.0001, 0.0001),
    "black_litterman mean": lambda: views(RETURNS.mean()).expected,
    "black_litterman covariance": lambda: views(RETURNS.mean()).covariance,
    "black_litterman confidence": confident,
    "factors_by_returns": by_factors,
}
# skfolio's weighted covariance does not centre and corrects for its start; Riskfolio-Lib's is that of pandas with its correction of the bias.
# Its prior is the equilibrium of equal weights at a risk aversion of one.
VARIANTS: dict[tuple[str, str], Callable[[], Any]] = {
    ("skfolio", "black_litterman mean"): lambda: views(equilibrium_return(COVARIANCE, EQUAL, 1.0)).expected,
    ("skfolio", "weighted_covariance"): lambda: weighted_covariance(RETURNS, 40, centred=False),
    ("Riskfolio-Lib", "weighted_covariance"): lambda: RETURNS.ewm(alpha=1 - 0.5 ** (1 / 40)).cov().loc[RETURNS.index[-1]],
}
PAIRS = [(library, name) for library, estimates in OTHERS.items() for name in estimates]


@pytest.mark.parametrize(("library", "name"), PAIRS)
def test_estimates_are_those_of_other_libraries(library: str, name: str) -> None:
    """To nine digits of the largest number."""
    theirs = np.array(OTHERS[library][name])
    ours = np.asarray(VARIANTS.get((library, name), OURS[name])())
    assert np.abs(ours - theirs).max() <= 1e-9 * np.abs(theirs).max()


def test_shrinkage_is_that_of_scikit_learn() -> None:
    """Its own function, where it is installed."""
    covariance = pytest.importorskip("sklearn.covariance")
    theirs, share = covariance.ledoit_wolf(RETURNS.to_numpy())
    ours = shrunk_to_identity(RETURNS)
    assert abs(ours.attrs["shrinkage"] - share) < 1e-12
    assert np.abs(ours - theirs).to_numpy().max() < 1e-15


MODELS: dict[str, Callable[[np.ndarray], pd.DataFrame]] = {
    "sample": sample_covariance,
    "weighted": lambda x: weighted_covariance(x, 10),
    "identity": shrunk_to_identity,
    "oracle": lambda x: shrunk_to_identity(x, kind="oracle"),
    "constant correlation": shrunk_to_constant_correlation,
    "gerber": lambda x: gerber_covariance(x, 0.3),
    "denoised": denoised_covariance,
    "principal factors": lambda x: principal_factors(x).covariance(),
}


@pytest.mark.parametrize("name", MODELS)
@settings(deadline=None)
@given(rows=st.integers(3, 60), size=st.integers(2, 12), seed=st.integers(0, 10**6), common=st.floats(0.0, 3.0))
def test_every_model_gives_a_covariance(name: str, rows: int, size: int, seed: int, common: float) -> None:
    """Symmetric, without a negative variance for any mix, in the unit of the returns, and the same for the same assets in another order."""
    rng = np.random.default_rng(seed)
    returns = (rng.normal(size=(rows, size)) + common * rng.normal(size=(rows, 1))) * 0.01
    estimate = MODELS[name](returns).to_numpy()
    assert (estimate == estimate.T).all()
    assert is_semidefinite(estimate)
    other = rng.permutation(size)
    assert np.abs(MODELS[name](returns[:, other]).to_numpy() - estimate[np.ix_(other, other)]).max() <= 1e-9 * np.abs(estimate).max()
    halved = MODELS[name](returns / 2).to_numpy()
    assert np.abs(4 * halved - estimate).max() <= 1e-9 * np.abs(estimate).max()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda x: x.mask(x > 0.02), "state a rule"),
        (lambda x: x.replace(x.iloc[3, 2], np.inf), "finite"),
        (lambda x: x - 2, "at least -1"),
        (lambda x: x.head(1), "has 1 rows"),
        (lambda x: x.set_axis(["A"] * 8, axis=1), "twice"),
        (lambda x: x.set_axis(pd.date_range("2020", periods=len(x))[::-1], axis=0), "order of time"),
        (lambda x: x.astype(object).replace(x.iloc[0, 0], "n/a"), "no number"),
    ],
)
def test_bad_returns_have_one_message(name: str, spoil: Callable[[pd.DataFrame], pd.DataFrame], words: str) -> None:
    """The same in all models."""
    with pytest.raises(DataError, match=words):
        MODELS[name](spoil(RETURNS))


@settings(deadline=None)
@given(size=st.integers(2, 15), seed=st.integers(0, 10**6), wild=st.floats(0.1, 2.0), floor=st.sampled_from([0.0, 0.01]))
def test_a_repair_is_the_nearest(size: int, seed: int, wild: float, floor: float) -> None:
    """Variances stay, eigenvalues keep the floor, and no valid correlation lies in the direction of what was given."""
    rng = np.random.default_rng(seed)
    noise = np.triu(rng.normal(size=(size, size)) * wild, 1)
    given_ = np.clip(np.corrcoef(rng.normal(size=(size, size + 5))) + noise + noise.T, -1.0, 1.0)
    np.fill_diagonal(given_, 1.0)
    deviations = rng.uniform(0.5, 2.0, size)
    fixed = nearest_covariance(given_ * np.outer(deviations, deviations), floor=floor)
    near = fixed.covariance.to_numpy() / np.outer(deviations, deviations)
    assert np.abs(np.diag(near) - 1.0).max() < 1e-12
    assert np.linalg.eigvalsh(near)[0] > floor - 1e-6
    assert abs(np.linalg.norm(near - given_) - fixed.distance) < 1e-9
    for _ in range(20):
        other = (1 - floor) * np.corrcoef(rng.normal(size=(size, 3))) + floor * np.eye(size)
        assert ((near - given_) * (other - near)).sum() > -1e-5


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), late=st.integers(1, 60), early=st.integers(0, 20))
def test_likelihood_of_gaps(seed: int, late: int, early: int) -> None:
    """The estimate gives the returns that are there a greater likelihood than estimates beside it, and is the plain one without gaps."""
    rng = np.random.default_rng(seed)
    returns = rng.normal(size=(120, 3)) @ rng.normal(size=(3, 3))
    returns *= 0.05 / np.abs(returns).max()
    plain = np.cov(returns, rowvar=False, ddof=0)
    assert np.abs(sample_covariance(returns, "likelihood").to_numpy() - plain).max() < 1e-9 * np.abs(plain).max()
    gaps = returns.copy()
    gaps[:late, 2] = np.nan
    gaps[len(gaps) - early :, 1] = np.nan
    mean, best = most_likely(gaps)

    def likelihood(mean: np.ndarray, covariance: np.ndarray) -> float:
        total = 0.0
        for day in gaps:
            there = ~np.isnan(day)
            part, away = covariance[np.ix_(there, there)], day[there] - mean[there]
            total -= np.linalg.slogdet(part)[1] + away @ np.linalg.solve(part, away)
        return float(total)

    top = likelihood(mean, best)
    for _ in range(10):
        nudge = 1 + rng.normal(size=(3, 3)) * 0.01
        other = best * (nudge + nudge.T) / 2
        if np.linalg.eigvalsh(other)[0] > 0:
            assert likelihood(mean + rng.normal(size=3) * 1e-4, other) < top + 1e-9


def test_factor_models_agree_where_they_must() -> None:
    """Exposures that are the slopes give back the factors when nothing is left over."""
    rng = np.random.default_rng(2)
    loads = pd.DataFrame(rng.normal(size=(8, 2)), RETURNS.columns, ["level", "tilt"])
    exact = FACTORS @ loads.T.set_axis(FACTORS.columns)
    found = factors_by_exposures(exact, loads)
    assert np.abs(found.factor_returns.to_numpy() - FACTORS.to_numpy()).max() < 1e-14
    assert np.abs(factors_by_returns(exact, FACTORS).loadings.to_numpy() - loads.to_numpy()).max() < 1e-9
    assert np.abs(found.covariance() - exact.cov()).to_numpy().max() < 1e-15
