"""Many parameter sets of a rule in one call of the kernel: each has the figures and the returns of its back-test alone, to the bit.

    pytest tests/properties/test_sweep_parity.py                      # 60 scenarios
    QTNB_EFFORT=deep pytest tests/properties/test_sweep_parity.py     # 1,000 others
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import Any

import numpy as np
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field
from test_compiled_parity import scenarios

from qtnb.backtest.engine import Backtest
from qtnb.backtest.kernel_sweep import BASIC, MOMENTS, rules_of, sweep_rules
from qtnb.backtest.kernel_tables import DONE
from qtnb.backtest.kernel_terms import obstacle
from qtnb.backtest.trials import OF_RETURNS, whole_returns
from qtnb.core.bars import Bars
from qtnb.core.errors import QtnbError
from qtnb.core.rebalance import Rebalance
from qtnb.data.synthetic import synthetic_bars
from qtnb.evaluation.returns import clean_equity
from qtnb.strategies.base import Columns, Rule, StrategyParameters, WeightStrategy, compile_rule, go

SCENARIOS = settings(EFFORT, max_examples=1_000 if os.environ.get("QTNB_EFFORT") == "deep" else 60)
PER_YEAR = 252.0


def wander(columns: Columns, start: int, stop: int, parameters: np.ndarray, state: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> int:
    """Decide with a chance, by a small generator of its own whose number is the state; weights of both signs, zeros and holes."""
    chance, size, digits, often, count = parameters[0], parameters[1], parameters[2], parameters[3], 0
    width = columns.close.shape[1]
    for t in range(start, stop):
        state[0] = (state[0] * 16807.0) % 2147483647.0
        if state[0] / 2147483647.0 >= chance:
            continue
        for n in range(width):
            state[0] = (state[0] * 16807.0) % 2147483647.0
            draw = state[0] / 2147483647.0
            weights[count, n] = np.nan if draw < often else 0.0 if draw < often + 0.1 else np.floor((draw - 0.5) * size * digits) / digits
            if parameters[4] == 1.0 and draw > 0.98:
                weights[count, n] = np.inf
        rows[count] = t
        count += 1
    return count


class Wander(WeightStrategy):
    """Target weights out of a seed."""

    class Parameters(StrategyParameters):
        """How it wanders."""

        seed: int = Field(1, ge=1)
        chance: float = 0.3
        size: float = 1.0
        digits: float = 10.0
        often: float = 0.2
        infinite: bool = False

    def rule(self, width: int) -> Rule:
        """Its numbers, and the state of its generator."""
        p = self.parameters
        return Rule(wander, np.array([p.chance, p.size, p.digits, p.often, float(p.infinite)]), np.array([float(p.seed)]))


def alone(scenario: dict[str, Any], strategy: WeightStrategy, path: str) -> tuple[list[float], np.ndarray] | None:
    """Figures and returns of one back-test; None when it raises."""
    try:
        result = Backtest(**scenario | {"strategy": strategy}, path=path).run()
        curve = clean_equity(result.equity)[0].to_numpy()
    except QtnbError:
        return None
    own = curve[1:] / curve[:-1] - 1.0
    found = {name: OF_RETURNS[name](own, curve, PER_YEAR) for name in (*BASIC[1:4], *MOMENTS)}
    found |= {"final_equity": float(result.equity.iloc[-1]), "fills": float(len(result.fills))}
    return [found[name] for name in (*BASIC, *MOMENTS)], whole_returns(curve, len(result.equity) - 1)


def strategies_of(seeds: list[int], infinite: bool, rebalance: Rebalance) -> list[Wander]:
    """One strategy per seed, the first of which trades rarely and the last always."""
    made = []
    for k, seed in enumerate(seeds):
        chance = (0.05, 0.3, 1.0, 0.0)[k % 4]
        made.append(Wander(seed=seed, chance=chance, size=(0.4, 1.0, 6.0)[seed % 3], often=(0.0, 0.3, 0.8)[seed % 3], infinite=infinite, rebalance=rebalance))
    return made


@SCENARIOS
@given(scenarios(), st.lists(st.integers(1, 2**31 - 2), min_size=1, max_size=6), st.sampled_from([False, False, False, True]), st.sampled_from([1, 2]))
def test_a_parameter_set_has_the_figures_of_its_back_test_alone(scenario: dict[str, Any], seeds: list[int], infinite: bool, workers: int) -> None:
    """On both paths; and a set that has none is one for the event path."""
    told = scenario["strategy"].rebalance
    made = strategies_of(seeds, infinite, replace(told, every=1))
    template = Backtest(**scenario | {"strategy": made[0]})
    assert not obstacle(template)
    rules = [strategy.rule(len(template.bars.symbols)) for strategy in made]
    kept = sweep_rules(template, rules_of(rules), per_year=PER_YEAR, moments=True, keep_returns=True, workers=workers)
    slim = sweep_rules(template, rules_of(rules), per_year=PER_YEAR)
    assert slim.figures.tobytes() == kept.figures[:, :5].tobytes() and not len(slim.returns)
    for m, strategy in enumerate(made):
        compiled, event = (alone(scenario, strategy, path) for path in ("compiled", "event"))
        if kept.ended[m] != DONE:
            assert np.isnan(kept.figures[m]).all() and np.isnan(kept.returns[m]).all()
            assert event is None, "the kernel gave up on a run that the event path can tell"
            continue
        assert compiled is not None and event is not None
        for figures, returns in (compiled, event):
            assert np.array_equal(np.array(figures), kept.figures[m], equal_nan=True), (*BASIC, *MOMENTS)
            assert returns.tobytes() == kept.returns[m].tobytes()


def test_the_rule_is_the_same_in_python_and_in_machine_code() -> None:
    """The generator of the scenarios does not depend on who runs it, and decides something."""
    bars, strategy = Bars.from_frame(synthetic_bars(["A", "B"], 300, seed=1)), Wander(seed=7)
    plain, compiled = (go(f, strategy.rule(2), bars, 0) for f in (wander, compile_rule(wander)))
    assert plain.rows.tobytes() == compiled.rows.tobytes() and plain.weights.tobytes() == compiled.weights.tobytes()
    assert 50 < len(plain.rows) < 150 and math.isfinite(np.nansum(plain.weights))
