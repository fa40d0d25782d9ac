"""Weights beside those of other libraries, for the same returns: tests/references/portfolio holds them and says how they were made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qtnb.portfolio.constraints import Box, Budget, LongOnly
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
