"""Weights beside those of other libraries, for the same returns: tests/references/portfolio holds them and says how they were made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, qmc

from qtnb.portfolio.constraints import Box, Budget, Factor, LongOnly
from qtnb.portfolio.hierarchies import hierarchical_equal_risk, hierarchical_risk_parity
from qtnb.portfolio.mean_variance import mean_variance, minimum_variance
from qtnb.portfolio.ratios import maximum_diversification, maximum_sharpe
from qtnb.portfolio.risk_parity import risk_parity
from qtnb.portfolio.tails import minimum_cdar, minimum_cvar

HERE = Path(__file__).parent / "references" / "portfolio"
RETURNS = pd.read_csv(HERE / "returns.csv", index_col=0)
OTHERS: dict[str, dict[str, list[float]]] = json.loads((HERE / "weights.json").read_text())["weights"]
COVARIANCE, MEAN = RETURNS.cov(), RETURNS.mean()
BUDGETS = dict(zip("ABCDEFGH", [0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05], strict=True))

OURS: dict[str, Callable[[], pd.Series]] = {
    "minimum_variance": lambda: minimum_variance(COVARIANCE).weights,
    "minimum_variance cap": lambda: minimum_variance(COVARIANCE, constraints=[LongOnly(), Budget(), Box(high=0.2)]).weights,
    "mean_variance": lambda: mean_variance(MEAN, COVARIANCE, 5.0).weights,
    "maximum_sharpe": lambda: maximum_sharpe(MEAN, COVARIANCE).weights,
    "maximum_diversification": lambda: maximum_diversification(COVARIANCE).weights,
    "minimum_cvar": lambda: minimum_cvar(RETURNS, 0.9).weights,
    "minimum_cdar": lambda: minimum_cdar(RETURNS, 0.9).weights,
    "risk_parity": lambda: risk_parity(COVARIANCE).weights,
    "risk_parity budgets": lambda: risk_parity(COVARIANCE, BUDGETS).weights,
    "hierarchical_risk_parity": lambda: hierarchical_risk_parity(COVARIANCE, twice=False, ordered=True).weights,
    "hierarchical_equal_risk 3": lambda: hierarchical_equal_risk(COVARIANCE, 3).weights,
    "hierarchical_equal_risk leaves": lambda: hierarchical_equal_risk(COVARIANCE, 7).weights,
}
# Where another library stops early, by how much its weights are away from the certified ones.
LOOSE = {("skfolio", "maximum_sharpe"): 2e-6, ("skfolio", "risk_parity"): 4e-6}
PAIRS = [(library, name) for library, weights in OTHERS.items() for name in weights]


@pytest.mark.parametrize(("library", "name"), PAIRS)
def test_weights_are_those_of_other_libraries(library: str, name: str) -> None:
    """To 1e-6, but where the other one is known to stop early."""
    distance = float(np.abs(OURS[name]().to_numpy() - np.array(OTHERS[library][name])).max())
    assert distance <= LOOSE.get((library, name), 1e-6)


def test_each_optimiser_has_a_second_opinion() -> None:
    """Two libraries for all but the one that only skfolio has."""
    seen = {name: [library for library in OTHERS if name in OTHERS[library]] for name in OURS}
    assert {name for name, by in seen.items() if len(by) < 2} == {"maximum_diversification", "hierarchical_equal_risk 3"}


def test_the_portfolio_of_rockafellar_and_uryasev() -> None:
    """Their tables: three funds, monthly, a wanted mean of 0.011; of normal returns the least shortfall is that of least variance."""
    funds = ["S&P 500", "government bonds", "small caps"]
    mean = pd.Series([0.0101110, 0.0043532, 0.0137058], funds)
    spread = pd.DataFrame([[0.00324625, 0.00022983, 0.00420395], [0.00022983, 0.00049937, 0.00019247], [0.00420395, 0.00019247, 0.00764097]], funds, funds)
    printed = {0.90: (0.067847, 0.096975), 0.95: (0.090200, 0.115908), 0.99: (0.132128, 0.152977)}  # value at risk, expected shortfall
    rules = [LongOnly(), Budget(), Factor("mean", mean, low=0.011)]
    best = minimum_variance(spread, constraints=rules).weights
    assert np.abs(best - [0.452013, 0.115573, 0.432414]).max() < 3e-6  # the covariance is printed to six digits
    deviation = float(np.sqrt(best @ spread @ best))
    normal = NormalDist()
    uniform = qmc.Sobol(3, seed=1).random(2**11)
    draws = np.vstack([norm.ppf(uniform), -norm.ppf(uniform)])
    draws = draws @ np.linalg.inv(np.linalg.cholesky(np.cov(draws.T, bias=True))).T @ np.linalg.cholesky(spread).T
    months = pd.DataFrame(draws + mean.to_numpy(), columns=funds)
    for level, (at_risk, shortfall) in printed.items():
        far = normal.inv_cdf(level)
        assert abs(far * deviation - 0.011 - at_risk) < 1e-6
        assert abs(normal.pdf(far) / (1.0 - level) * deviation - 0.011 - shortfall) < 1e-6
        found = minimum_cvar(months, level, constraints=rules)
        losses = np.sort(-(months @ best).to_numpy())[::-1]
        tail = (1.0 - level) * len(losses)
        theirs = (losses[: int(tail)].sum() + (tail - int(tail)) * losses[int(tail)]) / tail
        assert found.residual < 1e-9 and found.objective <= theirs + 1e-12
        assert found.objective == pytest.approx(shortfall, rel=0.01) and theirs == pytest.approx(shortfall, rel=0.01)  # four thousand draws
        assert np.abs(found.weights - best).max() < 0.1
