"""What jumped up overnight is expected to come back during the days that follow."""

import pandas as pd

from qtnb.features.signals.signal import Signal


def overnight_gap(
    open: pd.DataFrame,  # T x N opens
    close: pd.DataFrame,  # T x N closes, same rows and columns
    *,
    window: int = 5,  # nights that are added up
    horizon: int = 5,  # rows
) -> Signal:  # sum of the last gaps, fractions, with its sign turned; NaN without a full window
    "The gaps between close and open of the last nights, against which one bets."
    gaps = open / close.shift(1) - 1
    return Signal(-gaps.rolling(window).sum(), horizon, "overnight_gap")
