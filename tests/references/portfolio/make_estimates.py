"""Covariances and means of other libraries for the same returns: run where skfolio, PyPortfolioOpt and Riskfolio-Lib are installed.

    python tests/references/portfolio/make_estimates.py
"""

from __future__ import annotations

import json
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

warnings.filterwarnings("ignore")
HERE = Path(__file__).parent
RETURNS = pd.read_csv(HERE / "returns.csv", index_col=0)
COVARIANCE = RETURNS.cov()
FACTORS = pd.DataFrame({"level": RETURNS.mean(axis=1), "tilt": RETURNS.iloc[:, :4].mean(axis=1) - RETURNS.iloc[:, 4:].mean(axis=1)})


def by_skfolio() -> dict[str, list]:
    """Estimates by skfolio."""
    from skfolio.moments import OAS, EWCovariance, GerberCovariance, LedoitWolf, ShrunkMu, ShrunkMuMethods
    from skfolio.prior import BlackLitterman, LoadingMatrixRegression, TimeSeriesFactorModel
    from sklearn.linear_model import LinearRegression

    found: dict[str, list] = {}
    for name, model in {
        "shrunk_to_identity": LedoitWolf(),
        "gerber 0.5": GerberCovariance(threshold=0.5),
        "gerber 0.9": GerberCovariance(threshold=0.9),
        "weighted_covariance": EWCovariance(half_life=40),
        "oracle of scikit-learn": OAS(),
    }.items():
        found[name] = np.asarray(model.fit(RETURNS).covariance_).tolist()
    for name, method in {"james_stein": ShrunkMuMethods.JAMES_STEIN, "bayes_stein": ShrunkMuMethods.BAYES_STEIN}.items():
        model = ShrunkMu(method=method, vol_weighted_target=name == "bayes_stein")
        found[name] = np.asarray(model.fit(RETURNS).mu_).tolist()
    first, second = RETURNS.columns[:2]
    views = BlackLitterman(views=[f"{first} == 0.001", f"{first} - {second} == 0.0005"], tau=0.05).fit(RETURNS)
    found["black_litterman mean"] = views.return_distribution_.mu.tolist()
    found["black_litterman covariance"] = views.return_distribution_.covariance.tolist()
    plain = LoadingMatrixRegression(linear_regressor=LinearRegression())
    factor = TimeSeriesFactorModel(loading_matrix_estimator=plain).fit(RETURNS, factors=FACTORS)
    found["factors_by_returns"] = factor.return_distribution_.covariance.tolist()
    return found


def by_pyportfolioopt() -> dict[str, list]:
    """Estimates by PyPortfolioOpt."""
    from pypfopt import BlackLittermanModel, expected_returns, risk_models

    shrinkage = risk_models.CovarianceShrinkage(RETURNS, returns_data=True, frequency=1)
    found = {
        "shrunk_to_identity": shrinkage.ledoit_wolf("constant_variance").to_numpy().tolist(),
        "oracle of scikit-learn": shrinkage.oracle_approximating().to_numpy().tolist(),
        "constant_correlation ddof 1": shrinkage.ledoit_wolf("constant_correlation").to_numpy().tolist(),
    }
    found["mean_return"] = expected_returns.mean_historical_return(RETURNS, returns_data=True, compounding=False, frequency=1).tolist()
    found["capm"] = expected_returns.capm_return(
        RETURNS, market_prices=FACTORS[["level"]].rename(columns={"level": "mkt"}), returns_data=True, risk_free_rate=0.0001, compounding=False, frequency=1
    ).tolist()
    first, second = RETURNS.columns[:2]
    mixes = np.zeros((2, RETURNS.shape[1]))
    mixes[0, 0], mixes[1, 0], mixes[1, 1] = 1.0, 1.0, -1.0
    model = BlackLittermanModel(COVARIANCE, pi=RETURNS.mean(), P=mixes, Q=np.array([0.001, 0.0005]), tau=0.05)
    found["black_litterman mean"] = model.bl_returns().tolist()
    found["black_litterman covariance"] = model.bl_cov().to_numpy().tolist()
    idzorek = BlackLittermanModel(
        COVARIANCE, pi=RETURNS.mean(), absolute_views={first: 0.001, second: 0.0005}, omega="idzorek", view_confidences=[0.8, 0.3], tau=0.05
    )
    found["black_litterman confidence"] = idzorek.bl_returns().tolist()
    return found


def by_riskfolio() -> dict[str, list]:
    """Estimates by Riskfolio-Lib."""
    import riskfolio as rp

    found = {"shrunk_to_identity": rp.covar_matrix(RETURNS, method="ledoit").to_numpy().tolist()}
    found["oracle of scikit-learn"] = rp.covar_matrix(RETURNS, method="oas").to_numpy().tolist()
    found["weighted_covariance"] = rp.covar_matrix(RETURNS, method="ewma1", d=0.5 ** (1 / 40)).to_numpy().tolist()
    for name, method in {"james_stein": "JS", "bayes_stein": "BS"}.items():
        try:
            found[name] = np.asarray(rp.mean_vector(RETURNS, method=method, target="b1" if name == "james_stein" else "b2")).ravel().tolist()
        except Exception as error:  # noqa: BLE001
            print("riskfolio", name, error)
    return found


if __name__ == "__main__":
    libraries = {"skfolio": by_skfolio, "PyPortfolioOpt": by_pyportfolioopt, "Riskfolio-Lib": by_riskfolio}
    content = {"versions": {name: version(name) for name in libraries}, "estimates": {name: make() for name, make in libraries.items()}}
    (HERE / "estimates.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
