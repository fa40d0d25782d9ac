"""What an event costs does not grow with the length of a run: counted, not timed.

A run of 4N events is compared with one of N. What is counted are the lines of qtnb that are executed and the built-in functions that they
call: a number that a busy machine cannot change. Two runs of different length share what is done once (checks, the manifest); it is
measured by a run of N/4 and taken off.

    python tests/test_scaling.py        # prints the steps of one event of every kind of work
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qtnb
from qtnb.backtest.costs import Bps
from qtnb.backtest.engine import Backtest
from qtnb.core.bars import Bars
from qtnb.evaluation.results import Result
from qtnb.strategies.base import Strategy

HOME = str(Path(qtnb.__file__).parent)
MINUTE, SMALL = 60_000_000_000, 200


def wave(rows: int, symbols: int = 1) -> Bars:
    """Closes that go 100, 101, 100, 99 and again, each bar one wide on both sides: every four bars are alike."""
    one = 100.0 + np.array([0.0, 1.0, 0.0, -1.0])[np.arange(rows) % 4]
    close = np.repeat(one[:, None], symbols, axis=1)
    ts, names = np.arange(1, rows + 1) * MINUTE, [f"S{n}" for n in range(symbols)]
    return Bars(ts, names, open=close, high=close + 1.0, low=close - 1.0, close=close, volume=np.full_like(close, 1e6), interval="1m")


class Steps:
    """Count the lines of qtnb that are executed, and the built-in functions called from them."""

    def __init__(self) -> None:
        self.count = 0
        self.places: dict[str, int] = {}

    def line(self, frame: Any, event: str, argument: Any) -> Any:
        """One line more."""
        if event == "line":
            self.count += 1
            name = frame.f_code.co_qualname if hasattr(frame.f_code, "co_qualname") else frame.f_code.co_name
            self.places[name] = self.places.get(name, 0) + 1
        return self.line

    def enter(self, frame: Any, event: str, argument: Any) -> Any:
        """Follow functions of qtnb, and no others."""
        return self.line if frame.f_code.co_filename.startswith(HOME) else None

    def builtin(self, frame: Any, event: str, argument: Any) -> None:
        """One built-in function more."""
        if event == "c_call" and frame.f_code.co_filename.startswith(HOME):
            self.count += 1

    def of(self, work: Callable[[], object]) -> int:
        """Count the steps of a piece of work; whoever traced or profiled before goes on afterwards."""
        trace, profile, collects = sys.gettrace(), sys.getprofile(), gc.isenabled()
        gc.disable()
        try:
            sys.settrace(self.enter)
            sys.setprofile(self.builtin)
            work()
        finally:
            sys.setprofile(profile)
            sys.settrace(trace)
            if collects:
                gc.enable()
        return self.count


class Idle(Strategy):
    """Look at a close and do nothing."""

    def on_data(self, ctx: Any, bars: Any) -> None:
        """One number is read."""
        self.seen = bars.closes[0]


class Turning(Strategy):
    """A market order at every bar: in, and out again."""

    def on_data(self, ctx: Any, bars: Any) -> None:
        """Every order fills at the next open."""
        ctx.order("S0", -1.0 if bars.row % 2 else 1.0)


class Piling(Strategy):
    """A market order at every bar, all to the same side: the position grows."""

    def on_data(self, ctx: Any, bars: Any) -> None:
        """Buy one more."""
        ctx.order("S0", 1.0)


class Resting(Strategy):
    """At every bar one more limit order and one more stop order that nothing will ever hit."""

    def on_data(self, ctx: Any, bars: Any) -> None:
        """As many orders work as there were bars, twice."""
        ctx.order("S0", 1.0, limit_price=50.0 - bars.row % 7, time_in_force="gtc")
        ctx.order("S0", 1.0, stop_price=150.0 + bars.row % 7, time_in_force="gtc")


class Crowded(Strategy):
    """Many orders rest from the first bar on; then nothing happens."""

    resting = 200

    def on_start(self, ctx: Any) -> None:
        """Half of them below, half above."""
        for n in range(self.resting):
            price = 50.0 - n % 7 if n % 2 else 150.0 + n % 7
            ctx.order("S0", 1.0 if n % 2 else -1.0, limit_price=price, time_in_force="gtc")

    def on_data(self, ctx: Any, bars: Any) -> None:
        """Nothing."""


class Renewing(Strategy):
    """Ten orders rest; at every bar the oldest is cancelled, a new one is written and another one changed."""

    def on_start(self, ctx: Any) -> None:
        """None yet."""
        self.names: list[str] = []

    def on_data(self, ctx: Any, bars: Any) -> None:
        """One goes, one comes, one moves."""
        self.names.append(ctx.order("S0", 1.0, limit_price=50.0 + bars.row % 3, time_in_force="gtc"))
        if len(self.names) > 10:
            ctx.cancel(self.names.pop(0))
            ctx.replace(self.names[0], limit_price=40.0 + bars.row % 5)


class Bracketing(Strategy):
    """Every fourth bar a bracket, whose target is hit two bars later; its stop goes with it."""

    def on_data(self, ctx: Any, bars: Any) -> None:
        """Bought at 100, sold at 101.5."""
        if bars.row % 4 == 3:
            ctx.bracket("S0", 1.0, take_profit=101.5, stop_loss=90.0)


class Waiting(Strategy):
    """At every bar a bracket whose exits are too far away: entries fill, exits pile up."""

    def on_data(self, ctx: Any, bars: Any) -> None:
        """Two more orders that rest."""
        ctx.bracket("S0", 1.0, take_profit=200.0, stop_loss=10.0)


class Daily(Strategy):
    """At every bar a limit order for the day, which its end finds unfilled; and a timer."""

    def on_data(self, ctx: Any, bars: Any) -> None:
        """One order, one timer."""
        ctx.order("S0", 1.0, limit_price=50.0)
        ctx.set_timer("t", ctx.ts + MINUTE)

    def on_timer(self, ctx: Any, name: str) -> None:
        """Called at every bar."""


class Weighing(Strategy):
    """Five symbols, of which the weights change at every bar."""

    def on_data(self, ctx: Any, bars: Any) -> None:
        """Equity, positions and orders in flight are asked for."""
        ctx.target_weights({s: 0.1 if (bars.row + n) % 2 else 0.05 for n, s in enumerate(ctx.symbols)})


WORKS: dict[str, tuple[type[Strategy], int]] = {
    "idle bars": (Idle, 1), "market orders": (Turning, 1), "a growing position": (Piling, 1), "orders that pile up": (Resting, 1),
    "bars over orders that rest": (Crowded, 1), "cancel and replace": (Renewing, 1), "brackets": (Bracketing, 1),
    "brackets that pile up": (Waiting, 1), "orders of a day and timers": (Daily, 1), "weights of five symbols": (Weighing, 5),
}  # fmt: skip


def run(strategy: type[Strategy], bars: Bars) -> Result:
    """A whole back-test, its result included."""
    return Backtest(strategy(), bars, cash=1e9, costs=Bps(1.0)).run()


def steps(strategy: type[Strategy], symbols: int, rows: int) -> Steps:
    """What a run of so many bars takes."""
    bars, counter = wave(rows, symbols), Steps()
    counter.of(lambda: run(strategy, bars))
    return counter


def growth(strategy: type[Strategy], symbols: int, small: int = SMALL) -> tuple[float, float]:
    """How many times more steps four times the bars take, and the steps of one bar."""
    run(strategy, wave(small, symbols))  # what is done once in a process is done
    least, one, four = (steps(strategy, symbols, rows).count for rows in (small // 4, small, 4 * small))
    once = least - (one - least) / 3.0
    return (four - once) / (one - once), (four - once) / (4 * small)


@pytest.mark.parametrize("name", WORKS)
def test_four_times_the_events_take_four_times_the_steps(name: str) -> None:
    """Within two per cent, whatever has piled up by then."""
    strategy, symbols = WORKS[name]
    ratio, _ = growth(strategy, symbols)
    assert ratio == pytest.approx(4.0, rel=0.02)


def test_what_happened_is_what_was_meant() -> None:
    """The kinds of work do what their names say: orders fill, rest, are cancelled."""
    counts = {}
    for name, (strategy, symbols) in WORKS.items():
        result = run(strategy, wave(SMALL, symbols))
        counts[name] = len(result.orders), len(result.fills)
    assert counts["idle bars"] == (0, 0)
    assert counts["market orders"] == counts["a growing position"] == (SMALL, SMALL - 1)
    assert counts["orders that pile up"] == (2 * SMALL, 0)
    assert counts["bars over orders that rest"] == (Crowded.resting, 0)
    assert counts["cancel and replace"] == (SMALL, 0)
    assert counts["brackets"] == (3 * SMALL // 4, 2 * (SMALL // 4 - 1))
    assert counts["brackets that pile up"] == (3 * SMALL, SMALL - 1)
    assert counts["orders of a day and timers"] == (SMALL, 0)
    assert counts["weights of five symbols"][1] > 4 * SMALL


def test_a_bar_does_not_ask_the_orders_that_rest() -> None:
    """Four times as many orders rest; the bars that pass them take not one step more."""

    class More(Crowded):
        name, resting = "more", 4 * Crowded.resting

    def each(strategy: type[Strategy]) -> int:
        run(strategy, wave(SMALL))
        return steps(strategy, 1, 2 * SMALL).count - steps(strategy, 1, SMALL).count

    assert each(More) == each(Crowded)


def test_hooks_that_are_not_written_are_not_called() -> None:
    """A hook that a strategy leaves out does not appear among the functions that ran; one that it writes costs its call."""

    class Listening(Turning):
        name = "listening"

        def on_fill(self, ctx: Any, fill: Any) -> None:
            """Written, so called."""

    silent, listening = (steps(strategy, 1, SMALL) for strategy in (Turning, Listening))
    hooks = {"on_fill", "on_order", "on_timer", "Strategy.on_fill", "Strategy.on_order", "Strategy.on_timer"}
    assert not hooks & set(silent.places)
    assert silent.count < listening.count < 1.2 * silent.count


def test_the_count_sees_growth() -> None:
    """A strategy that asks for all its open orders at every bar pays for each of them, and the ratio says so."""

    class Asking(Resting):
        name = "asking"

        def on_data(self, ctx: Any, bars: Any) -> None:
            """Two more, and a list of all."""
            super().on_data(ctx, bars)
            ctx.open_orders()

    ratio, _ = growth(Asking, 1)
    assert ratio > 8.0


if __name__ == "__main__":
    for name, (strategy, symbols) in WORKS.items():
        ratio, each = growth(strategy, symbols)
        print(f"{name:30s} {ratio:.4f} {each:8.1f} steps a bar")
