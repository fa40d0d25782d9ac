"""Every optimiser under every constraint: what comes out obeys, is certified, and is no worse than what another solver finds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from effort import EFFORT
from hypothesis import given
from hypothesis import strategies as st

from qtnb.portfolio.active_sets import settle, whole_answer
from qtnb.portfolio.allocation import read_situation, root_of
from qtnb.portfolio.conflicts import InfeasibleError, Loosened, is_possible
from qtnb.portfolio.constraints import (
    Box,
    Budget,
    Cardinality,
    Constraint,
    Factor,
    Gross,
    Group,
    Liquidity,
    LongOnly,
    MinimumPosition,
    Net,
    NoTrade,
    TrackingError,
    Turnover,
    Volatility,
    broken,
)  # fmt: skip
from qtnb.portfolio.mean_variance import mean_variance, minimum_tracking_error, minimum_variance, robust_mean_variance
from qtnb.portfolio.programs import write_program
from qtnb.portfolio.ratios import maximum_diversification, maximum_sharpe
from qtnb.portfolio.risk_parity import risk_parity, risk_shares
from qtnb.portfolio.solvers import Unsolvable, by_interior, residual, scaled_program, solve_convex
from qtnb.portfolio.tails import minimum_cdar, minimum_cvar


def days(seed: int, size: int, count: int = 60) -> pd.DataFrame:
    """Some correlated returns."""
    rng = np.random.default_rng(seed)
    market = rng.normal(0.0003, 0.01, (count, 1)) * rng.uniform(0.3, 1.5, size)
    return pd.DataFrame(market + rng.normal(0.0, 0.01, (count, size)) * rng.uniform(0.3, 2.0, size), columns=[f"A{k}" for k in range(size)])


@st.composite
def cases(draw: Any) -> tuple[pd.DataFrame, list[Constraint], pd.Series, pd.Series]:
    """Returns, constraints that fit together in form (not always in number), what is held, and usual volumes."""
    size = draw(st.integers(2, 9))
    returns = days(draw(st.integers(0, 10_000)), size)
    names = list(returns)
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    held = pd.Series(rng.dirichlet(np.ones(size)).round(3), names)
    volume = pd.Series(rng.uniform(0.2, 3.0, size), names)
    share = st.floats(0.05, 1.0).map(lambda x: round(x, 3))
    rules: list[Constraint] = [Budget() if draw(st.booleans()) else Net(draw(st.sampled_from([0.0, 0.5])), 1.0)]
    rules.append(LongOnly() if draw(st.booleans()) else Box(-0.6, 1.2, name="room"))
    extra: dict[str, Any] = {
        "box": lambda: Box(high=draw(share), name="cap"),
        "gross": lambda: Gross(draw(st.floats(0.8, 2.5))),
        "group": lambda: Group("half", names[: max(1, size // 2)], low=0.0, high=draw(share)),
        "factor": lambda: Factor("beta", pd.Series(rng.uniform(0.5, 1.5, size), names), high=draw(st.floats(0.3, 1.5))),
        "turnover": lambda: Turnover(draw(share)),
        "no trade": lambda: NoTrade(names[:1]),
        "liquidity": lambda: Liquidity(draw(share)),
        "volatility": lambda: Volatility(draw(st.floats(0.004, 0.03))),
        "tracking": lambda: TrackingError(draw(st.floats(0.002, 0.02)), held),
    }
    rules += [extra[name]() for name in draw(st.lists(st.sampled_from(sorted(extra)), max_size=4, unique=True))]
    return returns, rules, held, volume


OPTIMISERS: dict[str, Any] = {
    "minimum_variance": lambda r, **s: minimum_variance(r.cov(), **s),
    "mean_variance": lambda r, **s: mean_variance(r.mean(), r.cov(), 4.0, **s),
    "robust_mean_variance": lambda r, **s: robust_mean_variance(r.mean(), r.cov(), r.cov() / 20, 1.0, 4.0, **s),
    "minimum_tracking_error": lambda r, **s: minimum_tracking_error(r.cov(), dict.fromkeys(r, 1.0 / r.shape[1]), **s),
    "minimum_cvar": lambda r, **s: minimum_cvar(r, 0.9, **s),
    "minimum_cdar": lambda r, **s: minimum_cdar(r, 0.9, **s),
}


@EFFORT
@given(cases(), st.sampled_from(sorted(OPTIMISERS)), st.sampled_from([None, 0.0, 0.001]))
def test_weights_obey_and_are_certified(case: Any, name: str, cost: float | None) -> None:
    """Or the clash is explained by amounts that do."""
    returns, rules, held, volume = case
    situation = read_situation(returns.columns, root_of(returns.cov().to_numpy()), {"held": held, "volume": volume})[0]
    options = {} if cost is None else {"costs": cost}
    try:
        found = OPTIMISERS[name](returns, constraints=rules, held=held, volume=volume, **options)
    except InfeasibleError as clash:
        assert not is_possible(situation, rules)
        for who, amount in clash.gives.items():
            if amount < math.inf:
                eased = [Loosened(c, amount * (1 + 1e-6) + 1e-6) if c.name == who else c for c in rules]
                assert is_possible(situation, eased), (who, amount)
        return
    assert broken(found.weights, rules, situation, 1e-6).empty
    assert found.residual < 1e-6 and all(price >= 0.0 for price in found.prices.values())


@EFFORT
@given(cases(), st.sampled_from([None, 0.0, 0.0005, 0.01]), st.booleans())
def test_what_settles_is_the_best(case: Any, cost: float | None, plain: bool) -> None:
    """Guesses that settle are proven by their residual, and no interior point is better; those that do not settle give no answer."""
    returns, rules, held, volume = case
    rules = [LongOnly(), Budget()] if plain else rules
    situation = read_situation(returns.columns, root_of(returns.cov().to_numpy()), {"held": held, "volume": volume})[0]
    costs = None if cost is None else np.full(len(held), cost)
    program, _ = scaled_program(write_program(situation, rules, quadratic=returns.cov().to_numpy(), linear=-returns.mean().to_numpy(), costs=costs))
    found = settle(program)
    if found is None:
        return
    raw = whole_answer(program, found)
    assert residual(program, raw) < 1e-10
    other = by_interior(program)
    values = [0.5 * x @ program.whole_quadratic @ x + program.linear @ x for x in (raw.x, other.x)]
    assert values[0] <= values[1] + 1e-7 * max(1.0, abs(values[1]))


@pytest.mark.parametrize("size", [30, 120, 300])
@pytest.mark.parametrize("cost", [None, 0.0, 1e-5, 1e-3])
def test_many_assets_settle(size: int, cost: float | None) -> None:
    """Held, drifted and new assets, with and without caps: the guesses settle, and their residual is rounding."""
    returns = days(size, size, 3 * size)
    rng = np.random.default_rng(size)
    held = pd.Series(rng.dirichlet(np.ones(size)) * (rng.random(size) < 0.7), returns.columns)
    options = {} if cost is None else {"costs": cost, "held": held / held.sum()}
    for rules in ([LongOnly(), Budget()], [Box(0.0, 3.0 / size), Budget()], [Box(-2.0 / size, 3.0 / size), Net(0.0, 1.0)]):
        found = mean_variance(returns.mean(), returns.cov(), 5.0, constraints=rules, **options)
        assert found.residual < 1e-11 and found.solver in ("active sets", "daqp")
        assert size < 100 or found.solver == "active sets" or isinstance(rules[0], Box)  # tight caps may send the guesses in circles


@EFFORT
@given(cases(), st.sampled_from([0.0, 0.0005, 0.01]))
def test_two_solvers_agree(case: Any, cost: float) -> None:
    """The quick way and the interior of the same program have the same value."""
    returns, rules, held, volume = case
    situation = read_situation(returns.columns, root_of(returns.cov().to_numpy()), {"held": held, "volume": volume})[0]
    program = write_program(situation, rules, quadratic=returns.cov().to_numpy(), linear=-returns.mean().to_numpy(), costs=np.full(len(held), cost))
    scaled, _ = scaled_program(program)
    try:
        ours = solve_convex(program)
    except Unsolvable:
        with pytest.raises(Unsolvable):
            by_interior(scaled)
        return
    other = by_interior(scaled)
    value = 0.5 * other.x @ program.whole_quadratic @ other.x + program.linear @ other.x
    size = max(abs(value), float(np.abs(program.linear).max()))
    assert ours.objective <= value + 1e-6 * size and residual(scaled, other) < 1e-4


@EFFORT
@given(cases(), st.integers(1, 3), st.sampled_from([0.0, 0.05, 0.2]))
def test_choices_are_kept(case: Any, most: int, least: float) -> None:
    """Few positions, none too small; no random choice of the same form is better."""
    returns, rules, held, volume = case
    rules = [c for c in rules if c.name not in ("volatility", "tracking error")] + [Cardinality(most)] + ([MinimumPosition(least)] if least else [])
    situation = read_situation(returns.columns, None, {"held": held, "volume": volume})[0]
    try:
        found = minimum_variance(returns.cov(), constraints=rules, held=held, volume=volume)
    except InfeasibleError:
        assert not is_possible(situation, rules)
        return
    assert broken(found.weights, rules, situation, 1e-6).empty and found.gap == 0.0
    rng = np.random.default_rng(0)
    matrix = returns.cov().to_numpy()
    for _ in range(10):
        names = list(rng.choice(list(returns), min(most, len(held)), replace=False))
        chosen = Box(0.0, {name: 2.0 if name in names else 0.0 for name in returns}, name="chosen")
        try:
            other = minimum_variance(returns.cov(), constraints=[*rules, chosen], held=held, volume=volume)
        except InfeasibleError:
            continue
        w = other.weights.to_numpy()
        assert found.objective <= 0.5 * w @ matrix @ w * (1 + 1e-7)


@EFFORT
@given(st.integers(0, 100_000), st.integers(2, 12), st.floats(0.1, 1e3))
def test_quotients_and_parity_do_not_depend_on_the_unit(seed: int, size: int, unit: float) -> None:
    """Returns in per cent, or of a year, give the same weights."""
    returns = days(seed, size)
    mean = returns.mean().abs() + 1e-5
    assert np.abs(maximum_sharpe(mean, returns.cov()).weights - maximum_sharpe(unit * mean, unit**2 * returns.cov()).weights).max() < 1e-5
    assert np.abs(maximum_diversification(returns.cov()).weights - maximum_diversification(unit**2 * returns.cov()).weights).max() < 1e-5
    assert np.abs(minimum_variance(returns.cov()).weights - minimum_variance(unit**2 * returns.cov()).weights).max() < 1e-9
    parity = risk_parity(returns.cov()).weights
    assert np.abs(parity - risk_parity(unit**2 * returns.cov()).weights).max() < 1e-12
    assert np.abs(risk_shares(parity, returns.cov()) - 1 / size).max() < 1e-9


@EFFORT
@given(st.integers(0, 100_000), st.integers(2, 9))
def test_the_sharpe_ratio_is_the_largest(seed: int, size: int) -> None:
    """No random portfolio of the same kind has a larger one, and neither has any on a walk from it."""
    returns = days(seed, size)
    mean, matrix = (returns.mean().abs() + 1e-5).to_numpy(), returns.cov().to_numpy()
    found = maximum_sharpe(dict(zip(returns, mean, strict=True)), returns.cov(), constraints=[LongOnly(), Budget(), Box(high=0.7, name="cap")])
    rng = np.random.default_rng(seed)
    for w in rng.dirichlet(np.ones(size), 50):
        if w.max() <= 0.7:
            for step in (1.0, 0.1, 0.01):
                mixed = step * w + (1 - step) * found.weights.to_numpy()
                assert mean @ mixed / math.sqrt(mixed @ matrix @ mixed) <= -found.objective * (1 + 1e-9)
