"""Workloads W4 and W5 of the peer benchmark through the event engine: a Python callback per bar, orders, fills, a whole result.

What is timed is `Backtest(...).run()` as a user calls it: checks, the run, and a result at its end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import common as C  # type: ignore[import-not-found]
import gen  # type: ignore[import-not-found]

from qtnb.backtest.costs import Bps
from qtnb.backtest.engine import Backtest
from qtnb.backtest.execution_sim import BarFill
from qtnb.core.bars import FIELDS, Bars
from qtnb.strategies.base import Strategy
from qtnb.types import Instrument

Build = tuple[Callable[[], dict[str, Any]], int]
TICK = 1e-6  # prices of the data have six decimals


def panel(work: str) -> tuple[Bars, list[Instrument]]:
    """The bars of a workload and their instruments."""
    data = gen.load(work)
    table = {name: data[name].reshape(len(data["time"]), -1) for name in FIELDS}
    names = [f"S{n}" for n in range(table["close"].shape[1])]
    bars = Bars(data["time"], names, interval="1m", **table)
    return bars, [Instrument(name, tick_size=TICK) for name in names]


class Cross(Strategy):
    """W4: hold a fixed quantity while the fast running mean is above the slow one."""

    name = "cross"

    def on_start(self, ctx: Any) -> None:
        """Begin flat, with nothing seen."""
        self.seen, self.fast, self.slow, self.held = [], 0.0, 0.0, False

    def on_data(self, ctx: Any, bars: Any) -> None:
        """Update the sums; order on a change of mind."""
        price = bars.closes[0]
        seen = self.seen
        seen.append(price)
        count = len(seen)
        self.fast += price
        self.slow += price
        if count > C.FAST:
            self.fast -= seen[count - 1 - C.FAST]
        if count > C.SLOW:
            self.slow -= seen[count - 1 - C.SLOW]
        want = count >= C.SLOW and self.fast * C.SLOW > self.slow * C.FAST
        if want is not self.held:
            self.held = want
            ctx.order("S0", C.W4_QTY if want else -C.W4_QTY)


class Brackets(Strategy):
    """W5: a buy limit under the close, re-priced when it is old; a target and a stop around the fill, one cancels the other."""

    name = "brackets"

    def on_start(self, ctx: Any) -> None:
        """No symbol has an order."""
        self.flat = list(ctx.symbols)
        self.entries: dict[str, tuple[str, int]] = {}  # working entry of a symbol: its name, and the row it was priced at
        self.priced: dict[int, list[str]] = {}  # symbols by the row at which their entry was priced

    def on_fill(self, ctx: Any, fill: Any) -> None:
        """An entry gets its exits; an exit makes room for the next entry."""
        symbol, price = fill.symbol, fill.price
        if self.entries.pop(symbol, None) is None:
            self.flat.append(symbol)
            return
        group = ctx.group_name()
        ctx.order(symbol, -C.W5_QTY, limit_price=round(price * (1.0 + C.W5_EXIT), 6), time_in_force="gtc", group=group)
        ctx.order(symbol, -C.W5_QTY, stop_price=round(price * (1.0 - C.W5_EXIT), 6), time_in_force="gtc", group=group)

    def on_data(self, ctx: Any, bars: Any) -> None:
        """Price the entries of flat symbols, and those that are old anew."""
        closes, columns, row = bars.closes, bars.columns, bars.row
        priced = []
        for symbol in self.flat:
            limit = round(closes[columns[symbol]] * (1.0 - C.W5_ENTRY), 6)
            self.entries[symbol] = ctx.order(symbol, C.W5_QTY, limit_price=limit, time_in_force="gtc"), row
            priced.append(symbol)
        self.flat.clear()
        for symbol in self.priced.pop(row - C.W5_TTL, ()):
            name, since = self.entries.get(symbol, ("", row))
            if since == row - C.W5_TTL:
                ctx.replace(name, limit_price=round(closes[columns[symbol]] * (1.0 - C.W5_ENTRY), 6))
                self.entries[symbol] = name, row
                priced.append(symbol)
        if priced:
            self.priced[row] = priced


def w4() -> Build:
    """One symbol, a Python callback per bar, market orders."""
    bars, instruments = panel("W4")

    def run() -> dict[str, Any]:
        result = Backtest(Cross(), bars, cash=C.W4_CASH, costs=Bps(C.FEE * 1e4), instruments=instruments).run()
        return {"final_equity": float(result.equity.iloc[-1]), "n_trades": len(result.fills)}

    return run, bars.close.size


def w5() -> Build:
    """Fifty symbols, a Python callback per instant, limits and stops; a stop goes before a limit in one bar, as the low comes first."""
    bars, instruments = panel("W5")
    fill = BarFill(path="olhc", through_ticks=0)

    def run() -> dict[str, Any]:
        result = Backtest(Brackets(), bars, cash=C.W5_CASH, costs=Bps(C.FEE * 1e4), fill=fill, instruments=instruments).run()
        return {"final_equity": float(result.equity.iloc[-1]), "n_trades": len(result.fills)}

    return run, bars.close.size


WORKS: dict[str, Callable[[], Build]] = {"W4": w4, "W5": w5}
