"""Trend, channel and volume indicators against TA-Lib's values, at every row of two and a half years of real bars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from qtnb.data.loader import get_bars
from qtnb.features import indicators_trend as trend
from qtnb.features.indicators_volume import money_flow

BARS = get_bars("BAC", "2003-06-02", "2005-12-30", source="sample").droplevel("symbol")
HIGHS, LOWS, CLOSES = BARS["high"], BARS["low"], BARS["close"]
GOLDEN = pd.read_csv(Path(__file__).parent / "data" / "talib_bac_more.csv")
DIRECTION, AROON = trend.directional_movement(HIGHS, LOWS, CLOSES), trend.aroon(HIGHS, LOWS)
STRENGTH = trend.stochastic_rsi(CLOSES, span=5, smooth=1)
SAME: dict[str, Any] = {
    "wma": trend.linear_average(CLOSES, 20),
    "roc": trend.rate_of_change(CLOSES),
    "trix": trend.trix(CLOSES, 15),
    "typical": trend.typical_price(HIGHS, LOWS, CLOSES),
    "cci": trend.commodity_channel(HIGHS, LOWS, CLOSES, 14),
    "cci_20": trend.commodity_channel(HIGHS, LOWS, CLOSES),
    "adx": DIRECTION.adx,
    "plus": DIRECTION.plus,
    "minus": DIRECTION.minus,
    "adx_5": trend.directional_movement(HIGHS, LOWS, CLOSES, 5).adx,
    "aroon_up": AROON.up,
    "aroon_down": AROON.down,
    "aroon_oscillator": AROON.oscillator,
    "sar": trend.parabolic_sar(HIGHS, LOWS),
    "sar_fast": trend.parabolic_sar(HIGHS, LOWS, 0.05, 0.4),
    "stochrsi_d": STRENGTH.d,
    "mfi": money_flow(HIGHS, LOWS, CLOSES, BARS["volume"]),
}


@pytest.mark.parametrize("name", SAME)
def test_every_row_is_that_of_talib(name: str) -> None:
    np.testing.assert_allclose(SAME[name].to_numpy(), GOLDEN[name].to_numpy(), rtol=1e-8, atol=1e-8)


def test_the_fast_line_of_the_stochastic_rsi_begins_with_its_own_first_value() -> None:
    """TA-Lib begins both lines together."""
    first = int(GOLDEN["stochrsi_k"].notna().argmax())
    assert int(STRENGTH.k.notna().argmax()) == first - 2
    np.testing.assert_allclose(STRENGTH.k.to_numpy()[first:], GOLDEN["stochrsi_k"].to_numpy()[first:], rtol=1e-8, atol=1e-8)
