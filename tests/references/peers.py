"""Published results of backtrader and backtesting.py, whose licences do not let their data travel with this repository.

backtrader: `tests/test_strategy_unoptimized.py` and `tests/test_strategy_optimized.py` at commit b853d7c90b67 (GPL-3.0), on 255 daily bars of
2006 of an index. backtesting.py: `README.md` and `backtesting/test/_test.py` at commit 9c2b8e1c99f3 (AGPL-3.0), on its `GOOG.csv`.
The strategies below are written from the rules, not copied. Where the files are looked for: `data_file`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qtnb.backtest.costs import NoCosts, PerShare
from qtnb.backtest.engine import Backtest
from qtnb.backtest.execution_sim import BarFill
from qtnb.core.bars import FIELDS, Bars
from qtnb.core.context import Context
from qtnb.core.protocols import Execution
from qtnb.strategies.base import Strategy
from qtnb.types import Instrument

INDEX, GOOG = "eurostoxx_like_daily_2005_2006.csv.gz", "GOOG.csv"


def data_file(name: str) -> Path | None:
    """A file of a peer: in the folder that QTNB_SHARED_DATA or QTNB_REFERENCE_DATA names, or in the installed package `backtesting`."""
    if name == GOOG:
        package = find_spec("backtesting")
        places = [Path(os.environ.get("QTNB_REFERENCE_DATA", "/nowhere")) / name]
        places += [Path(place) / "test" / name for place in (package.submodule_search_locations or [] if package else [])]
    else:
        places = [Path(os.environ.get("QTNB_SHARED_DATA", "/nowhere")) / "index" / name]
    return next((place for place in places if place.is_file()), None)


def read_panel(path: Path, symbol: str, *, start: str = "1900") -> Bars:
    """A table of daily bars, one date a line, as a panel."""
    table = pd.read_csv(path, index_col=0, parse_dates=True).loc[start:]
    table.columns = [str(c).lower() for c in table.columns]
    ts = (table.index + pd.Timedelta(hours=21)).tz_localize("UTC").as_unit("ns").asi8
    return Bars(ts, (symbol,), **{field: table[field].to_numpy(np.float64)[:, None] for field in FIELDS})


# -- backtrader --------------------------------------------------------------------------------------------------------------------


class CloseCrossesAverage(Strategy):
    """Buy one when the close crosses its simple average upwards, sell it when it crosses downwards; or never sell (`hold`)."""

    def __init__(self, period: int = 15, *, hold: bool = False):
        super().__init__()
        self.period, self.hold, self.before = period, hold, 0.0

    def on_data(self, ctx: Context, bars: Any) -> None:
        closes = ctx.history("close", self.period, symbol="INDEX")
        if len(closes) < self.period:
            return
        side = float(np.sign(closes[-1] - np.mean(closes)))
        crossed, self.before = side * (side * self.before < 0.0), side or self.before
        if crossed > 0.0 and not ctx.position("INDEX"):
            ctx.order("INDEX", 1.0)
        elif crossed < 0.0 and ctx.position("INDEX") and not self.hold:
            ctx.order("INDEX", -1.0)


def backtrader(period: int, *, futures: bool, hold: bool = False):
    """One run of backtrader's tests: a stock without fees, or a contract of ten with a fee of two a side."""
    path = data_file(INDEX)
    assert path is not None
    instrument = Instrument("INDEX", multiplier=10.0 if futures else 1.0, asset_class="future" if futures else "equity")
    return Backtest(
        CloseCrossesAverage(period, hold=hold),
        read_panel(path, "INDEX", start="2006"),
        cash=10_000.0,
        costs=PerShare(2.0) if futures else NoCosts(),
        fill=BarFill(fill_without_volume=True),  # an index has no volume
        instruments=[instrument],
    ).run()


# -- backtesting.py ----------------------------------------------------------------------------------------------------------------


class EntryFee:
    """A share of the value of every fill that opens a position, and nothing for the one that closes it."""

    def __init__(self, rate: float):
        self.rate, self.held = rate, 0.0

    def fee(self, trade: Execution) -> float:
        """Fee of one execution."""
        before, self.held = self.held, self.held + trade.sign * trade.quantity
        return trade.quantity * trade.price * self.rate if abs(self.held) > abs(before) else 0.0


class AverageCross(Strategy):
    """Long with everything while the fast average is above the slow one, short with everything while it is below.

    backtesting.py turns "everything" into shares at the price of the fill, which nobody knows when the order is written. With `opens`
    (the open of every bar) the quantities are the peer's; without, they are decided at the close.
    """

    def __init__(self, fast: int, slow: int, *, fee: float, opens: Sequence[float] = ()):
        super().__init__()
        self.fast, self.slow, self.fee, self.opens, self.known = fast, slow, fee, tuple(opens), len(opens)

    def on_data(self, ctx: Context, bars: Any) -> None:
        closes = ctx.history("close", self.slow + 1, symbol="GOOG")
        if len(closes) <= self.slow or ctx.row + 1 == self.known:
            return
        before = closes[:-1][-self.fast :].mean() - closes[:-1].mean()
        now = closes[-self.fast :].mean() - closes[1:].mean()
        if before * now >= 0.0:
            return
        side, held = (1.0 if now > 0.0 else -1.0), ctx.position("GOOG")
        price = self.opens[ctx.row + 1] if self.opens else float(closes[-1])
        everything = (ctx.cash + held * price) * (1.0 - np.finfo(float).eps) // (price * (1.0 + side * self.fee))
        if held:
            ctx.order("GOOG", -held, tag="close")
        ctx.order("GOOG", side * everything, tag="open")


def backtesting_py(fast: int, slow: int, *, fee: float, look_ahead: bool = True):
    """One run of backtesting.py's example: 10,000 in cash and a fee that is a share of the value, taken at the entry."""
    path = data_file(GOOG)
    assert path is not None
    bars = read_panel(path, "GOOG")
    strategy = AverageCross(fast, slow, fee=fee, opens=bars.open[:, 0].tolist() if look_ahead else ())
    return Backtest(strategy, bars, cash=10_000.0, costs=EntryFee(fee), instruments=[Instrument("GOOG", tick_size=1e-9)]).run()
