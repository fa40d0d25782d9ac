"""Seeded returns that the recorded values of other libraries and the tests share; numpy and pandas only."""

from __future__ import annotations

import numpy as np
import pandas as pd

ROWS = 1300


def sample(name: str) -> tuple[pd.Series, pd.Series]:
    """Returns of a strategy and of its benchmark: `plain`, or `losing` with a long way down and skewed shocks."""
    rng = np.random.default_rng({"plain": 20260101, "losing": 20260102}[name])
    index = pd.date_range("2018-01-02T21:00", periods=ROWS, freq="B", tz="UTC")
    market = 0.0003 + 0.009 * rng.standard_t(4, ROWS) / np.sqrt(2.0)
    own = 0.7 * market + 0.0003 + 0.005 * rng.standard_t(5, ROWS)
    if name == "losing":
        own = own - 0.0011 - 0.02 * (rng.random(ROWS) < 0.01)
        own[::50] = 0.0
    return pd.Series(own, index=index, name="strategy"), pd.Series(market, index=index, name="benchmark")
