"""The quick way of an order through a back-test and the long way, in which every command is shown to a watcher, give the same bytes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from effort import EFFORT
from hypothesis import given
from hypothesis import strategies as st

from qtnb.backtest.costs import Bps, NoCosts, PerShare
from qtnb.backtest.engine import Backtest
from qtnb.backtest.execution_sim import BarFill
from qtnb.backtest.slippage import BpsSlippage, NoSlippage
from qtnb.core.bars import Bars
from qtnb.evaluation.results import Result
from qtnb.strategies.base import Strategy
from qtnb.types import Instrument

MINUTE, DAY = 60_000_000_000, 86_400_000_000_000
SEEN: Counter[str] = Counter()
SIZES = (7.0, -7.0, 1.5, 20.0, -20.0, float("nan"))
TERMS: list[dict[str, Any]] = [{}, {}, {}, {}, {"time_in_force": "gtc"}, {"limit_price": 50.0}, {"reduce_only": True}, {"time_in_force": "ioc"}]


class Plan(Strategy):
    """Writes the orders that it was given, row by row."""

    name = "plan"

    def __init__(self, orders: dict[int, list[tuple[str, float, dict[str, Any]]]], *, answers: bool, timer: int) -> None:
        """Remember the plan."""
        super().__init__()
        self.orders, self.answers, self.timer = orders, answers, timer

    def write(self, ctx: Any, row: int) -> None:
        """The orders of a row."""
        for symbol, quantity, terms in self.orders.get(row, ()):
            ctx.order(symbol, quantity, **terms)
        if row == self.timer:
            ctx.set_timer("later", ctx.ts + 3 * MINUTE + 1)

    def on_data(self, ctx: Any, bars: Any) -> None:
        """The orders of this row; the closes are read, so that the engine lays them ready."""
        self.close = bars.closes[0]
        self.write(ctx, ctx.row)

    def on_fill(self, ctx: Any, fill: Any) -> None:
        """Sometimes a fill is answered at once."""
        if self.answers and fill.quantity == 7.0:
            ctx.order(fill.symbol, -3.0)

    def on_timer(self, ctx: Any, name: str) -> None:
        """One more order."""
        ctx.order(ctx.symbols[-1], 11.0)


@st.composite
def runs(draw: st.DrawFn) -> tuple[Bars, dict[str, Any], dict[str, Any]]:
    """Bars with gaps and silent bars, orders, assumptions."""
    rows, width = draw(st.integers(3, 40)), draw(st.integers(1, 3))
    step = draw(st.sampled_from([MINUTE, DAY, 7 * 3_600_000_000_000]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    close = np.round(50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, (rows, width)), axis=0)), 2)
    opened = np.round(close * (1.0 + rng.normal(0.0, 0.003, close.shape)), 2)
    high, low = np.maximum(opened, close) + 0.1, np.minimum(opened, close) - 0.1
    table = {"open": opened, "high": high, "low": low, "close": close, "volume": np.full(close.shape, 1e4)}
    gaps, silent = rng.random(close.shape) < draw(st.sampled_from([0.0, 0.2])), rng.random(close.shape) < draw(st.sampled_from([0.0, 0.2]))
    table["volume"][silent] = 0.0
    for values in table.values():
        values[gaps] = np.nan
    symbols = [f"S{n}" for n in range(width)]
    bars = Bars(DAY + step * np.arange(1, rows + 1), symbols, **table, interval="1d" if step == DAY else "1m")
    orders = draw(st.sampled_from([0.2, 0.5, 0.9])), draw(st.sampled_from([0.0, 0.0, 0.2]))
    planned: dict[int, list[tuple[str, float, dict[str, Any]]]] = {}
    for row in np.flatnonzero(rng.random(rows) < orders[0]).tolist():
        for _ in range(1 + int(rng.random() < orders[1])):
            planned.setdefault(row, []).append((str(rng.choice(symbols)), float(rng.choice(SIZES)), TERMS[int(rng.integers(len(TERMS)))]))
    plan = {"orders": planned, "answers": draw(st.booleans()), "timer": draw(st.integers(-3, rows - 1))}
    events = pd.DataFrame({"symbol": ["S0"], "ts": [bars.index[rows // 2] - pd.Timedelta(1, "s")], "kind": ["split"], "value": [2.0]})
    assumptions = {
        "costs": draw(st.sampled_from([NoCosts(), Bps(5.0), PerShare(0.01, minimum=1.0)])),
        "slippage": draw(st.sampled_from([NoSlippage(), BpsSlippage(3.0)])),
        "fill": draw(st.sampled_from([BarFill(), BarFill(clip=True), BarFill(path="worst"), BarFill(participation=0.001), BarFill(fill_without_volume=True)])),
        "events": draw(st.sampled_from([None, events])),
        "start": draw(st.sampled_from([None, 1])),
        "instruments": [Instrument(s, lot_size=0.5) for s in symbols],
    }
    return bars, plan, assumptions


def played(bars: Bars, plan: dict[str, Any], assumptions: dict[str, Any], *, watched: bool) -> Result:
    """A run, all of it written down."""
    test = Backtest(Plan(**plan), bars, **assumptions)
    simulation = test.simulation(run_id="one")
    if watched:
        simulation.watcher = lambda command: SEEN.update(["shown"])
    elif (quick := simulation._at_next_open) is not None:

        def noted(*arguments: Any) -> Any:
            fill = quick(*arguments)
            SEEN.update(["quick" if fill is not None else "long"])
            return fill

        simulation._at_next_open = noted
    simulation.run()
    return test.result_of(simulation).complete()


@EFFORT
@given(run=runs())
def compare_ways(run: tuple[Bars, dict[str, Any], dict[str, Any]]) -> None:
    """Orders, fills, account, positions and weights agree to the last bit."""
    bars, plan, assumptions = run
    one, other = (played(bars, plan, assumptions, watched=watched) for watched in (False, True))
    assert one.differences(other, ("orders", "fills", "account", "positions", "weights", "cash_flows", "manifest")) == []


def test_the_quick_way_and_the_long_way_give_the_same_bytes() -> None:
    """In all examples; among them are orders that go the quick way and orders that it leaves to the long one."""
    SEEN.clear()
    compare_ways()
    assert min(SEEN[name] for name in ("quick", "long", "shown")) > 20, SEEN
