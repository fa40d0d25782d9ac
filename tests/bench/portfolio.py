"""Portfolios beside skfolio, PyPortfolioOpt and Riskfolio-Lib: the same covariance or returns, one after the other, in one run.

    python tests/bench/portfolio.py                                   # ours alone
    QTNB_PORTFOLIO_PEERS=/path/to/python python tests/bench/portfolio.py   # and those that this interpreter can import

Prints medians in milliseconds, and how many times longer the others take, all on one thread: on small matrices the threads of a linear algebra
library wait for each other. The plain loop beside risk parity is compiled coordinate descent and nothing else. Libraries are asked as their
users ask them, including their own
set-up of a problem; those that take returns estimate the covariance themselves, as there is no other way to call them.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

for _threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

Work = Callable[[], Any]
SIZES = (20, 100, 500)
MONTHS, NAMES, WINDOW = 240, 100, 504


def returns_of(size: int) -> pd.DataFrame:
    """Correlated daily returns; rows suffice for a full rank."""
    rng = np.random.default_rng(size)
    mix = np.eye(size) + 0.3 * rng.normal(size=(size, size)) / size**0.5
    market = 0.006 * rng.normal(size=(max(750, 2 * size), 1))
    return pd.DataFrame(0.01 * rng.normal(size=(len(market), size)) @ mix + market + 0.0003, columns=[f"A{k}" for k in range(size)])


def ours() -> dict[str, Work]:
    """Works of qtnb."""
    from qtnb.portfolio.constraints import Budget, LongOnly
    from qtnb.portfolio.mean_variance import mean_variance, minimum_variance
    from qtnb.portfolio.multi_period import multi_period
    from qtnb.portfolio.ratios import maximum_sharpe
    from qtnb.portfolio.risk_parity import risk_parity
    from qtnb.portfolio.tails import minimum_cvar

    works: dict[str, Work] = {}
    for size in SIZES:
        returns = returns_of(size)
        covariance, mean = returns.cov(), returns.mean()
        works[f"minimum variance {size}"] = lambda c=covariance: minimum_variance(c).weights
        works[f"risk parity {size}"] = lambda c=covariance: risk_parity(c).weights
        works[f"maximum Sharpe {size}"] = lambda c=covariance, m=mean: maximum_sharpe(m, c).weights
    tail = returns_of(50).iloc[:750]
    works["least shortfall 50"] = lambda: minimum_cvar(tail).weights

    estimates = months()

    def years() -> Any:
        held = pd.Series(1.0 / NAMES, list(returns_of(NAMES)))
        for mean, covariance in estimates:
            held = mean_variance(mean, covariance, 5.0, constraints=[LongOnly(), Budget()], held=held, costs=0.0005 / 21).weights
        return held

    works[f"{MONTHS} months with costs, {NAMES} names"] = years
    rng, fifty = np.random.default_rng(0), returns_of(50)
    guess, spread = pd.DataFrame(0.0005 * rng.normal(size=(5, 50)), columns=fifty.columns), fifty.cov()
    even = pd.Series(0.02, fifty.columns)
    works["plan of 5 periods, 50 names"] = lambda: multi_period(guess, spread, 5.0, held=even, costs=0.001).first
    return works


def plain_loop() -> dict[str, Work]:
    """Risk parity by coordinate descent, compiled, until no weight moves by a billionth: no labels, no checks, no proof."""
    import numba

    @numba.njit
    def descend(matrix: np.ndarray) -> np.ndarray:
        size = len(matrix)
        x, budget = np.full(size, 1.0 / size), 1.0 / size
        for n in range(size):
            x[n] = 1.0 / np.sqrt(matrix[n, n])
        x /= np.sqrt(x @ matrix @ x)
        slopes = matrix @ x
        for _ in range(10_000):
            worst = 0.0
            for n in range(size):
                rest = slopes[n] - matrix[n, n] * x[n]
                new = (np.sqrt(rest * rest + 4.0 * matrix[n, n] * budget) - rest) / (2.0 * matrix[n, n])
                change = new - x[n]
                worst = max(worst, abs(change) / new)
                x[n] = new
                for k in range(size):
                    slopes[k] += matrix[k, n] * change
            if worst < 1e-9:
                break
        return x / x.sum()

    works: dict[str, Work] = {}
    for size in SIZES:
        matrix = np.asfortranarray(returns_of(size).cov().to_numpy())
        works[f"risk parity {size}"] = lambda m=matrix: descend(m)
    return works


def months() -> list[tuple[pd.Series, pd.DataFrame]]:
    """Estimates of each month, made beforehand so that only solving is timed."""
    rng = np.random.default_rng(5)
    returns = pd.concat([returns_of(NAMES)] * 8, ignore_index=True) + 0.002 * rng.normal(size=(6_000, NAMES))
    return [(w.mean(), w.cov()) for w in (returns.iloc[21 * k : 21 * k + WINDOW] for k in range(MONTHS))]


def by_skfolio() -> dict[str, Work]:
    """Works of skfolio."""
    from skfolio import RiskMeasure
    from skfolio.optimization import MeanRisk, ObjectiveFunction, RiskBudgeting

    works: dict[str, Work] = {}
    for size in SIZES:
        returns = returns_of(size)
        works[f"minimum variance {size}"] = lambda r=returns: MeanRisk().fit(r).weights_
        works[f"risk parity {size}"] = lambda r=returns: RiskBudgeting().fit(r).weights_
        works[f"maximum Sharpe {size}"] = lambda r=returns: MeanRisk(objective_function=ObjectiveFunction.MAXIMIZE_RATIO).fit(r).weights_
    tail = returns_of(50).iloc[:750]
    works["least shortfall 50"] = lambda: MeanRisk(risk_measure=RiskMeasure.CVAR).fit(tail).weights_
    return works


def by_pypfopt() -> dict[str, Work]:
    """Works of PyPortfolioOpt."""
    from pypfopt import EfficientCVaR, EfficientFrontier, objective_functions

    works: dict[str, Work] = {}
    for size in SIZES:
        returns = returns_of(size)
        covariance, mean = returns.cov(), returns.mean()
        works[f"minimum variance {size}"] = lambda c=covariance: EfficientFrontier(None, c).min_volatility()
        works[f"maximum Sharpe {size}"] = lambda c=covariance, m=mean: EfficientFrontier(m, c).max_sharpe(0.0)
    tail = returns_of(50).iloc[:750]
    works["least shortfall 50"] = lambda: EfficientCVaR(tail.mean(), tail).min_cvar()

    estimates = months()

    def years() -> Any:
        held = np.full(NAMES, 1.0 / NAMES)
        for mean, covariance in estimates:
            front = EfficientFrontier(mean, covariance)
            front.add_objective(objective_functions.transaction_cost, w_prev=held, k=0.0005 / 21)
            held = np.array(list(front.max_quadratic_utility(5.0).values()))
        return held

    works[f"{MONTHS} months with costs, {NAMES} names"] = years
    return works


def by_riskfolio() -> dict[str, Work]:
    """Works of Riskfolio-Lib."""
    import riskfolio as rp

    def port(returns: pd.DataFrame) -> Any:
        made = rp.Portfolio(returns=returns)
        made.assets_stats(method_mu="hist", method_cov="hist")
        return made

    works: dict[str, Work] = {}
    for size in SIZES:
        returns = returns_of(size)
        works[f"minimum variance {size}"] = lambda r=returns: port(r).optimization(rm="MV", obj="MinRisk")
        works[f"risk parity {size}"] = lambda r=returns: port(r).rp_optimization(rm="MV")
        works[f"maximum Sharpe {size}"] = lambda r=returns: port(r).optimization(rm="MV", obj="Sharpe")
    tail = returns_of(50).iloc[:750]
    works["least shortfall 50"] = lambda: port(tail).optimization(rm="CVaR", obj="MinRisk")
    return works


LIBRARIES = {"qtnb": ours, "plain loop": plain_loop, "skfolio": by_skfolio, "PyPortfolioOpt": by_pypfopt, "Riskfolio-Lib": by_riskfolio}


def measure(library: str) -> dict[str, float]:
    """Median milliseconds of each work that has an answer; a slow one is run fewer times."""
    warnings.simplefilter("ignore")
    found = {}
    for name, work in LIBRARIES[library]().items():
        begun = time.perf_counter()
        try:
            work()
        except Exception as error:
            print(f"{library} has no answer to {name}: {error!r}", file=sys.stderr)
            continue
        first, times = time.perf_counter() - begun, []
        for _ in range(3 if first > 1.0 else 15):
            begun = time.perf_counter()
            work()
            times.append(time.perf_counter() - begun)
            if first > 10.0:
                break
        found[name] = 1000.0 * statistics.median(times)
    return found


def main() -> None:
    """Measure ours here and the others in their own interpreter, and print the table."""
    table, peers = {name: measure(name) for name in ("qtnb", "plain loop")}, os.environ.get("QTNB_PORTFOLIO_PEERS")
    for library in list(LIBRARIES)[2:] if peers else []:
        done = subprocess.run([str(peers), __file__, library], capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{library} is not in the table: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no reason given'}")
        else:
            table[library] = json.loads(done.stdout.splitlines()[-1])
            print("".join(line + "\n" for line in done.stderr.splitlines() if line.startswith(library)), end="")
    others = [library for library in table if library != "qtnb"]
    print(f"{'work':<34}{'qtnb ms':>10}" + "".join(f"{library + ' x':>18}" for library in others))
    for name, own in table["qtnb"].items():
        print(f"{name:<34}{own:>10.2f}" + "".join(f"{table[o][name] / own:>18.1f}" if name in table[o] else f"{'-':>18}" for o in others))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
    else:
        main()
