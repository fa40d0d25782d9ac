"""Learning strategies: nothing is trained on before it is known, two runs agree to the bit, and what cannot be fitted says why."""

from __future__ import annotations

import pickle
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from qtnb.core.bars import Bars
from qtnb.core.errors import ConfigError, ParameterError
from qtnb.core.rebalance import Rebalance
from qtnb.strategies.base import check_lookahead
from qtnb.strategies.learning import ESTIMATORS, Samples, make_samples
from qtnb.strategies.machine_learning import MachineLearning

DAY = 86_400_000_000_000
QUICK = {"year": 60, "history": 120, "horizon": 10, "embargo": 3, "least": 60, "top": 1}


def walks(seed: int = 1, rows: int = 420, width: int = 4, gaps: float = 0.0) -> Bars:
    """Names that walk at random, some of their bars missing."""
    random = np.random.default_rng(seed)
    close = 50.0 * np.exp(np.cumsum(random.normal(0.0, 0.02, (rows, width)), axis=0))
    close[random.random((rows, width)) < gaps] = np.nan
    names = [f"N{k}" for k in range(width)]
    return Bars((18_000 + np.arange(rows)) * DAY, names, open=close, high=close, low=close, close=close, volume=np.where(np.isnan(close), np.nan, 1e6))


@pytest.mark.parametrize(("estimator", "label"), list(product(ESTIMATORS, ["forward", "triple_barrier"])))
def test_no_estimator_looks_ahead_and_all_are_the_same_twice(estimator: str, label: str) -> None:
    """With bars missing; a second object, and one that has fitted other bars before, decide the same to the bit."""
    bars = walks(gaps=0.01)
    first = MachineLearning(estimator=estimator, label=label, **QUICK)
    table = first.table(bars)
    assert (~np.isnan(table)).any(axis=1).sum() >= 3
    used = MachineLearning(estimator=estimator, label=label, **QUICK)
    used.table(walks(seed=2))
    assert np.array_equal(used.table(bars), table, equal_nan=True)
    assert check_lookahead(first, bars, cuts=4) == []


class Spy:
    """Remembers how many samples it was shown."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.rows = 0

    def __repr__(self) -> str:
        """As it is made."""
        return "Spy()"

    def fit(self, X: np.ndarray, y: np.ndarray) -> None:
        """Returns nothing, as an estimator may."""
        self.rows = len(y)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The first feature."""
        return X[:, 0]


def test_every_training_label_had_ended_before_the_embargo() -> None:
    """Against a count by hand of the samples that were complete and known, at every row."""
    bars = walks(gaps=0.02)
    strategy = MachineLearning(estimator=Spy(), label="triple_barrier", **QUICK)
    samples = make_samples(strategy.features(bars), *strategy.labels(bars))
    complete = ~np.isnan(samples.features).any(axis=2)
    for row in range(1, len(bars), 7):
        known = 0
        for t, n in product(range(max(row - 120, 0), row), range(4)):
            known += bool(complete[t, n] and 0 <= samples.end[t, n] <= row - 3)
        fit = strategy.fit(samples, row)
        assert fit.labels == (0 if "unknown" in fit.reason else known)
        assert fit.model is None or fit.model.rows == known >= 60


def test_a_label_that_is_changed_after_the_decision_changes_nothing() -> None:
    """Spoil every label that ends later than the embargo allows: the fit is the same; spoil one that had ended: it is not."""
    bars, strategy = walks(), MachineLearning(**QUICK)
    samples = make_samples(strategy.features(bars), *strategy.labels(bars))
    fit = strategy.fit(samples, 300)
    late = np.where(samples.end > 297, 99.0, samples.label)
    early = np.where(samples.end == 297, 99.0, samples.label)
    coefficients = [strategy.fit(Samples(samples.names, samples.features, each, samples.end), 300).model.coef_ for each in (late, early)]
    assert np.array_equal(coefficients[0], fit.model.coef_) and not np.array_equal(coefficients[1], fit.model.coef_)


def test_a_name_without_a_price_is_not_held() -> None:
    """A name that stops trading is sold at the next month, and the others go on."""
    bars = walks(rows=420)
    close = bars.close.copy()
    close[300:, 0] = np.nan
    panel = {name: close for name in ("open", "high", "low", "close")} | {"volume": np.where(np.isnan(close), np.nan, 1e6)}
    found = MachineLearning(**QUICK).decisions(Bars(bars.ts, bars.symbols, **panel))
    after = found.weights[found.rows >= 300]
    assert len(after) >= 2 and not after[:, 0].any() and (np.abs(after).sum(axis=1) > 0.0).all()


def test_objects_schedules_and_pickles() -> None:
    """An object is told in the parameters and never fitted itself; a schedule of its own is kept; a strategy travels."""
    mine = Ridge(alpha=40.0)
    strategy = MachineLearning(estimator=mine, rebalance=Rebalance(every="month", band=0.01), **QUICK)
    table = strategy.table(walks())
    assert strategy.parameters.estimator == "Ridge(alpha=40.0)" and not hasattr(mine, "coef_") and strategy.rebalance.band == 0.01
    assert np.array_equal(pickle.loads(pickle.dumps(strategy)).table(walks()), table, equal_nan=True)

    class Nameless:
        """Has no text of its own."""

        def fit(self, X: np.ndarray, y: np.ndarray) -> None:
            """Nothing."""

        def predict(self, X: np.ndarray) -> np.ndarray:
            """Nothing."""
            return X[:, 0]

    for wrong in (Nameless(), Nameless, object(), None, 3, "forest"):
        with pytest.raises(ParameterError, match="estimator"):
            MachineLearning(estimator=wrong)


def test_without_scikit_learn() -> None:
    """The module does not import it, and the error names the extra."""
    code = (
        "import sys\nimport qtnb.strategies.machine_learning\nassert 'sklearn' not in sys.modules\nsys.modules['sklearn'] = None\n"
        "from qtnb.core.errors import MissingExtraError\nfrom qtnb.strategies.learning import make_estimator\n"
        "try:\n    make_estimator('ridge')\nexcept MissingExtraError as error:\n    assert \"qtnb[ml]\" in str(error)\nelse:\n    sys.exit(1)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_of_estimators() -> None:
    """A near match is named, in the parameters as by hand."""
    with pytest.raises(ConfigError, match="ridge"):
        MachineLearning(estimator="rigde")
