"""Two paths, one answer: the compiled path of a back-test gives the bits of the event path, on random panels, strategies and assumptions.

    pytest tests/properties/test_compiled_parity.py                      # 300 scenarios
    QTNB_EFFORT=deep pytest tests/properties/test_compiled_parity.py     # 5,000 others: `make parity`
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import pandas as pd
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st

from qtnb.backtest.costs import AtLeast, Bps, MakerTaker, NoCosts, PerShare, Sum
from qtnb.backtest.engine import Backtest
from qtnb.backtest.fill_rules import BarFill
from qtnb.backtest.slippage import BpsSlippage, HalfSpread, NoSlippage, TickSlippage, VolumeShareSlippage
from qtnb.core.bars import DAY_NS, FIELDS, Bars
from qtnb.core.errors import QtnbError
from qtnb.core.rebalance import PLAIN, Rebalance
from qtnb.core.sessions import Sessions
from qtnb.evaluation.results import FRAMES, Result
from qtnb.strategies.base import Decisions, WeightStrategy
from qtnb.types import Instrument

SCENARIOS = settings(EFFORT, max_examples=5_000 if os.environ.get("QTNB_EFFORT") == "deep" else 300)
HOUR, MINUTE = 3_600_000_000_000, 60_000_000_000


class Told(WeightStrategy):
    """A strategy that has been told its decisions."""

    name = "told"

    def __init__(self, found: Decisions, rebalance: Rebalance = PLAIN):
        """Keep them."""
        super().__init__(rebalance=rebalance)
        self.found = found

    def decisions(self, bars: Bars) -> Decisions:
        """What it was told."""
        return self.found


# -- scenarios --------------------------------------------------------------------------------------------------------------------

LOTS = (1.0, 1.0, 1.0, 100.0, 0.1, 0.001, 0.3, 1e-8)
COSTS = (
    NoCosts(), Bps(5.0), Bps(2.5, minimum=1.0), PerShare(0.005, minimum=1.0, maximum_bps=100.0), PerShare(0.01), MakerTaker(1.0, 7.5),
    Sum(Bps(2.0), PerShare(0.005, minimum=1.0)), AtLeast(Sum(Bps(0.7), PerShare(0.0035), Bps(0.3)), 0.35), AtLeast(NoCosts(), 2.0), Sum(),
)  # fmt: skip
SLIPPAGES = (
    NoSlippage(), NoSlippage(), BpsSlippage(7.0), TickSlippage(3.0), HalfSpread(fallback_bps=4.0), VolumeShareSlippage(fallback_bps=10.0),
    VolumeShareSlippage(price_impact=0.5, volume_limit=0.2), TickSlippage(2_000.0),
)  # fmt: skip


@st.composite
def panels(draw: st.DrawFn) -> Bars:
    """Bars in cents with gaps, quiet bars, unknown volumes, late listings and early ends; daily or by the minute, with or without a calendar."""
    dice, rows, width = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(st.integers(1, 50)), draw(st.integers(1, 5))
    shape = (rows, width)
    close = np.maximum(np.round(50.0 * np.exp(np.cumsum(dice.normal(0, 0.03, shape), axis=0)), 2), 0.01)
    open_ = np.maximum(np.round(np.vstack([close[:1], close[:-1]]) * np.exp(dice.normal(0, 0.02, shape)), 2), 0.01)
    high = np.round(np.maximum(open_, close) + dice.exponential(0.3, shape), 2)
    low = np.maximum(np.round(np.minimum(open_, close) - dice.exponential(0.3, shape), 2), 0.01)
    volume = dice.integers(1, 5_000, shape).astype(float)
    volume[dice.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.5]))] = 0.0
    volume[dice.random(shape) < draw(st.sampled_from([0.0, 0.0, 0.1]))] = np.nan
    missing = dice.random(shape) < draw(st.sampled_from([0.0, 0.1, 0.4]))
    for n in range(width):
        if dice.random() < 0.2:
            missing[: dice.integers(rows) + 1, n] = True
        if dice.random() < 0.2:
            missing[dice.integers(rows) :, n] = True
    arrays = dict(zip(FIELDS, (open_, high, low, close, volume), strict=True))
    for array in arrays.values():
        array[missing] = np.nan
    names, kind = [f"S{n}" for n in range(width)], draw(st.sampled_from(["daily", "daily", "minutes", "calendar"]))
    if kind == "daily":
        days = np.sort(dice.choice(2 * rows + 3, rows, replace=False))  # weekends and holidays
        return Bars((days + 18_000) * DAY_NS + 21 * HOUR, names, **arrays)
    per_day = draw(st.integers(1, 12))
    day, minute = np.arange(rows) // per_day, np.arange(rows) % per_day
    bars = Bars((day + 18_000) * DAY_NS + 15 * HOUR + (minute + 1) * MINUTE, names, **arrays, interval="1m")
    if kind == "minutes":
        return bars
    opens = (np.arange(-1, day[-1] + 2) + 18_000) * DAY_NS + 15 * HOUR
    dates = np.array([np.datetime64(int(t), "ns").astype("datetime64[D]") for t in opens])
    return bars.with_sessions(Sessions("TEST", opens, opens + per_day * MINUTE, dates), extended=True)


def rebalances() -> st.SearchStrategy[Rebalance]:
    """How weights turn into orders: mostly the plain way, otherwise any of the others."""
    other = st.builds(
        Rebalance, every=st.sampled_from([1, 1, 3, "session", "week", "month"]), band=st.sampled_from([0.0, 0.0, 0.05, 0.3]),
        sizing=st.sampled_from(["close", "fill", "fill"]), fill=st.sampled_from(["open", "open", "close"]),
        stop_loss=st.sampled_from([None, None, 0.01, 0.05, 0.3]), take_profit=st.sampled_from([None, None, 0.01, 0.05, 2.0]),
    )  # fmt: skip
    return st.one_of(st.just(PLAIN), other, other)


@st.composite
def scenarios(draw: st.DrawFn) -> dict[str, Any]:
    """A back-test: decisions, bars and assumptions."""
    bars, dice = draw(panels()), np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, width = bars.close.shape
    table = np.round(dice.normal(0.2, draw(st.sampled_from([0.1, 0.5, 3.0])), (rows, width)), draw(st.sampled_from([1, 3, 12])))
    table[dice.random((rows, width)) < draw(st.sampled_from([0.0, 0.3, 0.7]))] = np.nan
    table[dice.random((rows, width)) < 0.2] = 0.0
    table[dice.random(rows) > draw(st.sampled_from([0.05, 0.3, 1.0]))] = np.nan
    lots, multipliers = dice.choice(LOTS, width), dice.choice([1.0, 1.0, 10.0, 0.3], width)
    instruments = [Instrument(s, lot_size=float(lot), multiplier=float(m)) for s, lot, m in zip(bars.symbols, lots, multipliers, strict=True)]
    happened = [
        {"symbol": bars.symbols[int(dice.integers(width))], "ts": pd.Timestamp(int(bars.ts[dice.integers(rows)]) - int(dice.integers(12)) * HOUR, tz="UTC"),
         "kind": kind, "value": value}
        for kind, value in draw(st.lists(st.sampled_from([
            ("split", 2.0), ("split", 0.5), ("split", 3.0), ("split", 0.001), ("split", 1.5), ("dividend", 0.37), ("spin_off", 1.1), ("delisting", math.nan),
        ]), max_size=6))
    ]  # fmt: skip
    rebalance = draw(rebalances().filter(lambda r: r.fill == "open" or bars.interval == "1d"))
    if rebalance.protects:  # what runs compiled together with exits
        happened, participation, paths = [], None, ["adaptive", "ohlc", "olhc"]
    else:
        participation, paths = draw(st.sampled_from([None, None, 0.01, 0.5])), ["adaptive", "worst"]
    return {
        "strategy": Told(Decisions.of(table), rebalance),
        "bars": bars,
        "cash": draw(st.sampled_from([1e3, 123_456.78, 1e6])),
        "costs": draw(st.sampled_from(COSTS)),
        "slippage": draw(st.sampled_from(SLIPPAGES)),
        "fill": BarFill(participation=participation, fill_without_volume=draw(st.booleans()), clip=draw(st.booleans()), path=draw(st.sampled_from(paths)),
                        through_ticks=draw(st.sampled_from([1, 0, 3])), within_cash=draw(st.sampled_from([False, False, True]))),
        "events": pd.DataFrame(happened) if happened else None,
        "instruments": instruments,
        "start": draw(st.sampled_from([None, None, rows // 2])),
        "max_orders": draw(st.sampled_from([None, None, None, 3])),
    }  # fmt: skip


# -- what must agree --------------------------------------------------------------------------------------------------------------


def run(scenario: dict[str, Any], path: str) -> Result | str:
    """The result of a path, or the error that it raised."""
    try:
        return Backtest(**scenario, path=path).run().complete()
    except QtnbError as error:
        partial = getattr(error, "result", None)
        return f"{type(error).__name__}: {error} after {None if partial is None else len(partial.fills)} fills"


def told(result: Result) -> dict[str, Any]:
    """The manifest without the path that was taken."""
    return {k: v for k, v in result.manifest.items() if k not in ("path", "path_reason")}


def assert_same(scenario: dict[str, Any]) -> Result | str:
    """Both paths give the same bits, or the same error; the event path's answer."""
    event, compiled = run(scenario, "event"), run(scenario, "compiled")
    if isinstance(event, str) or isinstance(compiled, str):
        assert event == compiled
        return event
    assert compiled.manifest["path"] == "compiled", "the kernel gave up on a run that the event path can tell"
    assert event.differences(compiled, (*FRAMES, "trades", "metrics")) == []
    assert repr(told(event)) == repr(told(compiled))
    fast = Backtest(**scenario, path="compiled").run().equity  # before the account is made
    assert fast.to_numpy().tobytes() == event.equity.to_numpy().tobytes() and fast.index.equals(event.equity.index)
    return event


@SCENARIOS
@given(scenarios())
def test_both_paths_give_the_same_bits(scenario: dict[str, Any]) -> None:
    """Orders, fills, account, positions, weights, payments, trades, figures and the manifest."""
    assert_same(scenario)
