"""Weights of other libraries for the same returns: run where skfolio, PyPortfolioOpt and Riskfolio-Lib are installed.

    python tests/references/portfolio/make_weights.py

The libraries stop at their own tolerances; they are asked for the tightest that they take.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

warnings.filterwarnings("ignore")
HERE = Path(__file__).parent
RETURNS = pd.read_csv(HERE / "returns.csv", index_col=0)
COVARIANCE, MEAN = RETURNS.cov(), RETURNS.mean()
BUDGETS = np.array([0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05])
AVERSION = 5.0


def by_skfolio() -> dict[str, list[float]]:
    """Weights by skfolio."""
    from skfolio import RiskMeasure
    from skfolio.cluster import HierarchicalClustering, LinkageMethod
    from skfolio.distance import PearsonDistance
    from skfolio.optimization import (
        HierarchicalEqualRiskContribution,
        HierarchicalRiskParity,
        MaximumDiversification,
        MeanRisk,
        ObjectiveFunction,
        RiskBudgeting,
    )

    tight = {"tol_gap_abs": 1e-13, "tol_gap_rel": 1e-13, "tol_feas": 1e-13}
    make = {
        "minimum_variance": MeanRisk(solver_params=tight),
        "minimum_variance cap": MeanRisk(max_weights=0.2, solver_params=tight),
        "mean_variance": MeanRisk(objective_function=ObjectiveFunction.MAXIMIZE_UTILITY, risk_aversion=AVERSION / 2, solver_params=tight),
        "maximum_sharpe": MeanRisk(objective_function=ObjectiveFunction.MAXIMIZE_RATIO, solver_params=tight),
        "minimum_cvar": MeanRisk(risk_measure=RiskMeasure.CVAR, cvar_beta=0.9, solver_params=tight),
        "minimum_cdar": MeanRisk(risk_measure=RiskMeasure.CDAR, cdar_beta=0.9, solver_params=tight),
        "risk_parity": RiskBudgeting(solver_params=tight),
        "risk_parity budgets": RiskBudgeting(risk_budget=BUDGETS, solver_params=tight),
        "maximum_diversification": MaximumDiversification(solver_params=tight),
        "hierarchical_risk_parity": HierarchicalRiskParity(
            distance_estimator=PearsonDistance(), hierarchical_clustering_estimator=HierarchicalClustering(linkage_method=LinkageMethod.SINGLE)
        ),
        "hierarchical_equal_risk leaves": HierarchicalEqualRiskContribution(
            risk_measure=RiskMeasure.VARIANCE, hierarchical_clustering_estimator=HierarchicalClustering(linkage_method=LinkageMethod.WARD)
        ),
    }  # fmt: skip
    found = {}
    for name, model in make.items():
        model.fit(RETURNS)
        found[name] = model.weights_.tolist()
    return found


def by_pypfopt() -> dict[str, list[float]]:
    """Weights by PyPortfolioOpt."""
    from pypfopt import EfficientCDaR, EfficientCVaR, EfficientFrontier

    options = {"tol_gap_abs": 1e-13, "tol_gap_rel": 1e-13, "tol_feas": 1e-13}

    def front(bounds: tuple[float, float] = (0, 1)) -> EfficientFrontier:
        return EfficientFrontier(MEAN, COVARIANCE, bounds, solver="CLARABEL", solver_options=options)

    found = {}
    for name, ask in {
        "minimum_variance": lambda: front().min_volatility(),
        "minimum_variance cap": lambda: front((0, 0.2)).min_volatility(),
        "mean_variance": lambda: front().max_quadratic_utility(AVERSION),
        "maximum_sharpe": lambda: front().max_sharpe(0.0),
        "minimum_cvar": lambda: EfficientCVaR(MEAN, RETURNS, 0.9, solver="CLARABEL", solver_options=options).min_cvar(),
        "minimum_cdar": lambda: EfficientCDaR(MEAN, RETURNS, 0.9, solver="CLARABEL", solver_options=options).min_cdar(),
    }.items():
        found[name] = list(ask().values())
    return found


def by_riskfolio() -> dict[str, list[float]]:
    """Weights by Riskfolio-Lib."""
    import riskfolio as rp

    def convex(ask: str, **options: object) -> list[float]:
        port = rp.Portfolio(returns=RETURNS, **{k: v for k, v in options.items() if k in ("upperlng", "alpha")})
        port.solvers = ["CLARABEL"]
        port.sol_params = {"CLARABEL": {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}}
        port.assets_stats(method_mu="hist", method_cov="hist")
        rest = {k: v for k, v in options.items() if k not in ("upperlng", "alpha")}
        return getattr(port, ask)(model="Classic", **rest)["weights"].tolist()

    def tree(model: str, **options: object) -> list[float]:
        return rp.HCPortfolio(returns=RETURNS).optimization(model=model, codependence="pearson", rm="MV", **options)["weights"].tolist()

    return {
        "minimum_variance": convex("optimization", rm="MV", obj="MinRisk"),
        "minimum_variance cap": convex("optimization", rm="MV", obj="MinRisk", upperlng=0.2),
        "maximum_sharpe": convex("optimization", rm="MV", obj="Sharpe", rf=0.0),
        "minimum_cvar": convex("optimization", rm="CVaR", obj="MinRisk", alpha=0.1),
        "minimum_cdar": convex("optimization", rm="CDaR", obj="MinRisk", alpha=0.1),
        "risk_parity": convex("rp_optimization", rm="MV", b=None),
        "risk_parity budgets": convex("rp_optimization", rm="MV", b=BUDGETS[:, None]),
        "hierarchical_risk_parity": tree("HRP", linkage="single", leaf_order=True),
        "hierarchical_equal_risk 3": tree("HERC", linkage="ward", k=3, leaf_order=False),
        "hierarchical_equal_risk leaves": tree("HERC", linkage="ward", k=len(RETURNS.columns) - 1, leaf_order=False),
    }


if __name__ == "__main__":
    from importlib.metadata import version

    table = {"skfolio": by_skfolio(), "PyPortfolioOpt": by_pypfopt(), "Riskfolio-Lib": by_riskfolio()}
    versions = {"skfolio": version("skfolio"), "PyPortfolioOpt": version("pyportfolioopt"), "Riskfolio-Lib": version("riskfolio-lib")}
    (HERE / "weights.json").write_text(json.dumps({"versions": versions, "weights": table}, indent=1) + "\n")
