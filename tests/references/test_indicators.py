"""Indicators against TA-Lib's values on two and a half years of real bars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from qtnb.data.loader import get_bars
from qtnb.features import indicators as ours

BARS = get_bars("BAC", "2003-06-02", "2005-12-30", source="sample").droplevel("symbol")
HIGHS, LOWS, CLOSES = BARS["high"], BARS["low"], BARS["close"]
GOLDEN = pd.read_csv(Path(__file__).parent / "data" / "talib_bac.csv")
MACD, BANDS, SLOW = ours.macd(CLOSES), ours.bollinger_bands(CLOSES), ours.stochastic(HIGHS, LOWS, CLOSES)
SAME: dict[str, Any] = {
    "ema": ours.exponential_average(CLOSES, 20),
    "rsi": ours.relative_strength(CLOSES),
    "true_range": ours.true_range(HIGHS, LOWS, CLOSES),
    "atr": ours.average_true_range(HIGHS, LOWS, CLOSES),
    "upper": BANDS.upper,
    "middle": BANDS.middle,
    "lower": BANDS.lower,
    "d": SLOW.d,
    "williams": ours.williams_r(HIGHS, LOWS, CLOSES),
    "obv": ours.on_balance_volume(CLOSES, BARS["volume"]),
}


@pytest.mark.parametrize("name", SAME)
def test_values_and_first_row_are_those_of_talib(name: str) -> None:
    np.testing.assert_allclose(SAME[name].to_numpy(), GOLDEN[name].to_numpy(), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("name", "line"), [("macd", MACD.line), ("signal", MACD.signal), ("histogram", MACD.histogram), ("k", SLOW.k)])
def test_lines_that_begin_earlier_agree_after_the_warm_up(name: str, line: pd.Series) -> None:
    """TA-Lib begins a family of lines together, and the fast average of MACD at the row of the slow one."""
    first = int(line.notna().argmax())
    assert first < GOLDEN[name].notna().argmax() or name in ("signal", "histogram") and first == GOLDEN[name].notna().argmax()
    rows = slice(200, None) if name != "k" else slice(int(GOLDEN["k"].notna().argmax()), None)
    np.testing.assert_allclose(line.to_numpy()[rows], GOLDEN[name].to_numpy()[rows], rtol=1e-8, atol=1e-10)
