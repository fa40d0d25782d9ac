"""Hold every symbol, the calm ones with more money than the wild ones."""

import numpy as np
from pydantic import Field

from qtnb.core.bars import Bars
from qtnb.strategies.base import StrategyParameters, WeightStrategy


class InverseVolatilityParameters(StrategyParameters):
    "What may be set."

    lookback: int = Field(60, ge=2, le=2_000, description="returns from which the volatility is measured")
    every: int = Field(21, ge=1, le=2_000, description="bars from one decision to the next")
    exposure: float = Field(0.95, gt=0.0, le=1.0, description="share of equity put to work")


class InverseVolatility(WeightStrategy):
    "Weights in proportion to one over the volatility of each symbol."

    name = "inverse_volatility"
    Parameters = InverseVolatilityParameters

    def weights(
        self,
        bars: Bars,  # panel of T bars and N symbols
    ) -> np.ndarray:  # (T, N) target weights; NaN = no decision
        "Decide every `every` bars, from the last `lookback` returns; a symbol with a gap in them, or without any movement, is not held."
        p, close = self.parameters, bars.close
        table = np.full(close.shape, np.nan)
        for t in range(p.lookback, len(close), p.every):
            past = close[t - p.lookback : t + 1]
            spread = (past[1:] / past[:-1]).std(axis=0)
            calm = np.divide(1.0, spread, out=np.zeros(len(spread)), where=spread > 0)
            table[t] = p.exposure * calm / calm.sum() if calm.any() else 0.0
        return table
