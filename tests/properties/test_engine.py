"""The trading core on random strategies: one answer to one history, no future, no order under a halt, no call inside a call."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from effort import EFFORT
from hypothesis import given
from hypothesis import strategies as st
from scenarios import SYMBOLS, RandomTrader, Session, event_of, play, random_panel, replay

from qtnb.core.bars import FIELDS, Bars, BarsWindow
from qtnb.core.bars_now import BarsNow
from qtnb.core.book import Book, account_curve, equity
from qtnb.core.context import target_quantity
from qtnb.core.engine import TradingEngine
from qtnb.core.events import Cancel, Control, ControlAction, Halt, OrderEventKind, OrderUpdate, Replace, Submit
from qtnb.core.orders import client_order_id
from qtnb.core.settlement import NEVER
from qtnb.enums import OrderStatus, Side
from qtnb.types import Fill, Instrument
from qtnb.utils.math import floor_to_step

seeds = st.integers(0, 2**32 - 1)


def end(session: Session) -> tuple[Any, ...]:
    """The account and the orders at the end of a session."""
    book = session.engine.book
    orders = [
        (name, s.status, s.filled_quantity, repr(s.average_price), s.order, s.reason) for name, s in session.engine.orders.items()
    ]
    return book.cash, book.ledger, {s: (h.quantity, h.average_price, h.realised) for s, h in book.holdings.items()}, orders


# -- one answer to one history ---------------------------------------------------------------------------------------------------


@EFFORT
@given(seeds, seeds, seeds)
def test_a_panel_and_a_stream_of_bars_give_the_same_run(panel: int, trader: int, venue: int) -> None:
    """Rows of a whole panel or events into a growing window: the same commands, names, views and accounts, bit for bit."""
    bars = random_panel(panel)
    a = play(bars, RandomTrader(trader), seed=venue)
    b = play(bars, RandomTrader(trader), seed=venue, by_events=True)
    assert a.commands == b.commands and a.trader.seen == b.trader.seen and end(a) == end(b)
    assert repr(a.events) == repr(b.events)


@EFFORT
@given(seeds, seeds, seeds)
def test_a_replay_repeats_every_command(panel: int, trader: int, venue: int) -> None:
    """Recorded events into a fresh engine give the recorded commands, one answer per event."""
    bars = random_panel(panel)
    first = play(bars, RandomTrader(trader), seed=venue, by_events=True)
    again = replay(first, bars, RandomTrader(trader))
    assert again.commands == first.commands and end(again) == end(first) and again.trader.seen == first.trader.seen


@EFFORT
@given(seeds, seeds, seeds)
def test_names_of_orders_count_up(panel: int, trader: int, venue: int) -> None:
    """The n-th order of a run has the n-th name, each order is sent at most once, and every fill belongs to an order that was sent."""
    session = play(random_panel(panel), RandomTrader(trader), seed=venue)
    assert list(session.engine.orders) == [client_order_id("r", "random_trader", n + 1) for n in range(len(session.engine.orders))]
    sent = [c.order.client_order_id for commands in session.commands for c in commands if isinstance(c, Submit)]
    assert len(sent) == len(set(sent)) and set(sent) <= set(session.engine.orders)
    assert {e.client_order_id for e in session.events if isinstance(e, Fill)} <= set(sent)


@EFFORT
@given(seeds, seeds, seeds)
def test_the_accounts_follow_from_the_fills(panel: int, trader: int, venue: int) -> None:
    """Positions and cash are sums over the distinct fills; the curve's rows are what the strategy saw as its equity."""
    bars = random_panel(panel)
    session = play(bars, RandomTrader(trader), seed=venue)
    fills = {f.exec_id: f for f in session.events if isinstance(f, Fill)}.values()
    book = session.engine.book
    for s in SYMBOLS:
        assert book.holdings[s].quantity == sum(f.signed_quantity for f in fills if f.symbol == s)
    cash = 100_000.0
    for f in fills:
        cash = cash - f.signed_quantity * f.price * 1.0 - f.fee
    assert book.cash["USD"] == cash
    curve = account_curve(book, bars.ts, bars.symbols, bars.mark)
    seen = [s[3] for s in session.trader.seen if s[0] == "data"]
    assert [repr(e) for e in curve.equity.tolist()] == seen


@EFFORT
@given(seeds, seeds, seeds)
def test_working_orders_and_what_is_in_flight_agree(panel: int, trader: int, venue: int) -> None:
    """What may still trade is the sum of what is left of orders that have not ended; ended orders are not among them."""
    engine = play(random_panel(panel), RandomTrader(trader), seed=venue).engine
    working = {n: s for n, s in engine.orders.items() if s.status.is_working}
    assert engine.working.keys() == working.keys()
    for symbol in SYMBOLS:
        left = sum(s.order.side.sign * (s.quantity - s.filled_quantity) for s in working.values() if s.order.symbol == symbol)
        assert math.isclose(engine.context.in_flight(symbol), left, abs_tol=1e-9)


# -- no future ---------------------------------------------------------------------------------------------------------------------


@EFFORT
@given(seeds, seeds, seeds, st.integers(1, 25))
def test_another_future_leaves_the_past_alone(panel: int, trader: int, venue: int, present: int) -> None:
    """Rows after the present are shuffled, scaled or cut off: nothing that was seen or ordered before them changes."""
    bars = random_panel(panel)
    rows = np.arange(len(bars))
    rows[present:] = np.random.default_rng(panel).permutation(rows[present:])
    other = Bars(bars.ts, bars.symbols, **{f: getattr(bars, f)[rows] * np.where(rows == np.arange(len(bars)), 1, 3)[:, None] for f in FIELDS})
    runs = [
        play(b, RandomTrader(trader), seed=venue, stop_after=present) for b in (bars, other, bars[:present])
    ]
    assert runs[0].commands == runs[1].commands == runs[2].commands
    seen = [[s for s in r.trader.seen if s[0] != "stop"] for r in runs]
    assert seen[0] == seen[1] == seen[2]


MARKER = 0.123456
SAFE_CALLS = {"panel", "to_frame", "fingerprint", "open_orders"}


class Spy:
    """A strategy that looks at everything that can be reached by public names, in every hook."""

    name = "spy"

    def __init__(self) -> None:
        """Nothing seen yet."""
        self.latest = -1
        self.kept: list[Any] = []  # what was looked at stays alive, so that no two things share an id
        self.memory: list[np.ndarray] = []

    def look(self, thing: Any, depth: int = 0, seen: set[int] | None = None) -> None:
        """Walk over public attributes, items and harmless calls; remember the latest row that shows in a number."""
        seen = set() if seen is None else seen
        if depth > 5 or id(thing) in seen or isinstance(thing, (str, bytes, type)):
            return
        seen.add(id(thing))
        self.kept.append(thing)
        if isinstance(thing, np.ndarray):
            assert not (thing.flags.writeable and any(np.may_share_memory(thing, m) for m in self.memory)), "prices can be written to"
            self.count(thing)
        elif isinstance(thing, (int, float)):
            self.count(np.array([float(thing)]))
        elif isinstance(thing, dict):
            for value in thing.values():
                self.look(value, depth + 1, seen)
        elif isinstance(thing, (list, tuple, set)):
            for value in thing:
                self.look(value, depth + 1, seen)
        elif type(thing).__module__.startswith("qtnb"):
            for name in (n for n in dir(thing) if not n.startswith("_")):
                value = getattr(thing, name)
                if callable(value) and name in SAFE_CALLS:
                    value = value()
                if not callable(value):
                    self.look(value, depth + 1, seen)
        elif isinstance(thing, pd.Timestamp):
            self.count(np.array([float(thing.value)]))
        elif isinstance(thing, (pd.DataFrame, pd.DatetimeIndex)):
            self.count(thing.to_numpy(dtype=float) if isinstance(thing, pd.DataFrame) else thing.asi8)

    def count(self, values: np.ndarray) -> None:
        """Prices are 1000.123456 + row (nothing else ends so) and times are 10^6 x (row + 1) in this panel; NEVER is no time."""
        for value in values.ravel().astype(float).tolist():
            if 1000.0 <= value < 1e6 and abs(value % 1.0 - MARKER) < 1e-9:
                self.latest = max(self.latest, int(value - 1000.0))
            elif 1e6 <= value < float(NEVER):
                self.latest = max(self.latest, int(value / 1e6) - 1)

    def everything(self, ctx: Any, *more: Any) -> None:
        """Look at the context, at what was handed over, and ask every question with a large number."""
        self.look(ctx)
        for thing in more:
            self.look(thing)
        for field in FIELDS:
            self.look(ctx.history(field, 10**6))
            self.look(ctx.history(field, 10**6, symbol="AAA"))
        self.look([ctx.price(s) for s in ctx.symbols])
        self.look([ctx.position(s) for s in ctx.symbols])

    def on_start(self, ctx: Any) -> None:
        """Before the first bar nothing is known."""
        self.everything(ctx)
        assert self.latest == -1

    def on_data(self, ctx: Any, bars: Any) -> None:
        """On a bar, this bar and those before it."""
        self.everything(ctx, bars, bars["AAA"])
        assert self.latest == ctx.row == bars.row
        for holder, name in ((bars, "row"), (bars, "ts"), (ctx, "row"), (ctx, "ts")):
            with pytest.raises(AttributeError):
                setattr(holder, name, 7)
        ctx.order("AAA", 3.0)
        ctx.set_timer("soon", ctx.ts + 1)

    def on_fill(self, ctx: Any, fill: Fill) -> None:
        """Between bars, nothing of the bar that is coming."""
        self.everything(ctx)
        assert self.latest == ctx.row

    on_order = on_timer = on_fill


@pytest.mark.parametrize("by_events", [False, True], ids=["panel", "stream"])
def test_a_spy_sees_no_row_beyond_the_present(by_events: bool) -> None:
    """Every number that can be reached by public names, in every hook, belongs to the present or the past, and is read-only."""
    rows, symbols = 12, ("AAA", "BBB")
    price = np.repeat(1000.0 + MARKER + np.arange(rows)[:, None], 2, axis=1)
    bars = Bars((np.arange(rows) + 1) * 10**6, symbols, **dict.fromkeys(FIELDS, price))
    spy = Spy()
    book = Book([Instrument(s) for s in symbols], cash=500.0)
    engine = TradingEngine(spy, BarsWindow(symbols, capacity=3) if by_events else bars, book=book)
    engine.start(0)
    number = 0
    for row in range(rows):
        for name in list(engine.working):
            number += 1
            engine.process(OrderUpdate(int(bars.ts[row]) - 5, name, OrderEventKind.ACCEPT))
            engine.process(Fill(int(bars.ts[row]) - 5, f"x{number}", name, "AAA", Side.BUY, 3.0, 1.0))
        spy.memory = [getattr(engine.window, f) for f in (*FIELDS, "ts")]
        engine.process(event_of(bars, row)) if by_events else engine.step(row)
    assert number == rows - 1 and spy.latest == rows - 1 and len(spy.kept) > 1000


@pytest.mark.parametrize("field", FIELDS)
def test_a_strategy_cannot_change_prices(field: str) -> None:
    """What a view hands out refuses to be written to, in a panel and in a growing window."""

    class Scribbler:
        """Writes on whatever it is shown."""

        name = "scribbler"
        refused = 0

        def on_data(self, ctx: Any, bars: Any) -> None:
            """Try to write."""
            for array in (ctx.history(field, 3), ctx.history(field, 3, symbol="AAA"), getattr(bars, field), getattr(bars.panel(), field)):
                with pytest.raises(ValueError, match="read-only"):
                    array[...] = 0.0
                self.refused += 1

    bars = random_panel(1, rows=6)
    before = bars.fingerprint()
    for by_events in (False, True):
        scribbler = Scribbler()
        play(bars, scribbler, by_events=by_events)
        assert scribbler.refused == 4 * len(bars) and bars.fingerprint() == before


# -- halts -------------------------------------------------------------------------------------------------------------------------


def exposure_at_worst(engine: TradingEngine, symbol: str) -> float:
    """The largest position, long or short, that fills still under way can lead to."""
    held = engine.book.holdings[symbol].quantity
    lefts = [s.order.signed_quantity / s.order.quantity * s.leaves for s in engine.working.values() if s.order.symbol == symbol]
    return max(abs(held + sum(q for q in lefts if q > 0)), abs(held + sum(q for q in lefts if q < 0)))


@EFFORT
@given(seeds, seeds, st.lists(st.tuples(st.integers(-30, 30), st.booleans()), min_size=1, max_size=12), st.integers(-40, 40))
def test_under_a_halt_nothing_can_make_a_position_larger(panel: int, venue: int, wishes: list[tuple[int, bool]], held: int) -> None:
    """Whatever is ordered or replaced while trading is halted, and whatever of it fills, a position only shrinks and never turns."""
    engine = idle_engine()
    engine.process(event_of(random_panel(panel, gaps=0.0), 0))
    if held:
        name = engine.context.order("AAA", float(held))
        engine.process(Fill(engine.ts, "x", name, "AAA", Side.BUY if held > 0 else Side.SELL, abs(float(held)), 50.0))
    (halt,) = engine.process(Control(engine.ts, ControlAction.HALT, "test"))
    assert isinstance(halt, Halt) and engine.context.is_halted
    names: list[str] = []
    for quantity, change in wishes:
        if change and names:
            engine.context.replace(names[-1], quantity=float(abs(quantity) + 1))
        else:
            names.append(engine.context.order("AAA", float(quantity)))
    total = sum(s.order.signed_quantity for s in engine.working.values())
    assert exposure_at_worst(engine, "AAA") <= abs(held)
    assert abs(total) <= abs(held) and total * held <= 0
    states = [engine.order_state(n) for n in names]
    assert all(s.status in (OrderStatus.DENIED, OrderStatus.SUBMITTED, OrderStatus.PENDING_REPLACE) for s in states)


def idle_engine(**options: Any) -> TradingEngine:
    """An engine with a strategy that does nothing by itself; the test plays strategy through the context."""

    class Idle:
        """Waits."""

        name = "idle"

        def on_data(self, ctx: Any, bars: Any) -> None:
            """Wait."""

    book = Book([Instrument(s) for s in SYMBOLS], cash=100_000.0)
    return TradingEngine(Idle(), BarsWindow(SYMBOLS), book=book, run_id="r", **options)


def started(**options: Any) -> TradingEngine:
    """An idle engine that has seen one bar of 50 for every symbol."""
    engine = idle_engine(**options)
    bars = Bars([10], SYMBOLS, **{f: np.full((1, 3), 50.0) for f in FIELDS})
    engine.process(event_of(bars, 0))
    return engine


def test_a_halt_asks_for_the_end_of_every_working_order() -> None:
    """One cancel per working order, then the halt; a second halt asks again and adds nothing else; a resume lets orders pass."""
    engine = started()
    ctx = engine.context
    names = [ctx.order(s, 5.0, limit_price=40.0) for s in SYMBOLS]
    done = ctx.order("AAA", 1.0)
    engine.process(Fill(11, "x", done, "AAA", Side.BUY, 1.0, 50.0))
    for _ in range(2):
        commands = engine.process(Control(12, ControlAction.HALT, "enough"))
        assert [c.client_order_id for c in commands if isinstance(c, Cancel)] == names
        assert commands[-1] == Halt(12, "enough") and len(commands) == 4
    assert all(engine.order_state(n).status is OrderStatus.PENDING_CANCEL for n in names)
    refused = ctx.order("BBB", 1.0)
    assert engine.order_state(refused).status is OrderStatus.DENIED and "halted" in engine.order_state(refused).reason
    engine.process(Control(13, ControlAction.RESUME))
    assert engine.order_state(ctx.order("BBB", 1.0)).status is OrderStatus.SUBMITTED


def test_a_fill_under_a_halt_is_booked() -> None:
    """Money that moved counts, halted or not."""
    engine = started()
    name = engine.context.order("AAA", 5.0)
    engine.process(Control(12, ControlAction.HALT, "enough"))
    engine.process(Fill(13, "x", name, "AAA", Side.BUY, 5.0, 50.0))
    assert engine.context.position("AAA") == 5.0


# -- checks and denials --------------------------------------------------------------------------------------------------------------


@EFFORT
@given(seeds, seeds, seeds, st.integers(1, 25))
def test_no_order_passes_a_check_that_refuses_it(panel: int, trader: int, venue: int, limit: int) -> None:
    """A limit on the quantity of an order holds for every order and every replacement that leaves."""

    def small(order: Any, account: Any) -> str:
        """Refuse large orders."""
        return f"{order.quantity!r} is more than {limit}" if order.quantity > limit else ""

    session = play(random_panel(panel), RandomTrader(trader), seed=venue, checks=[small])
    for command in (c for commands in session.commands for c in commands):
        if isinstance(command, Submit):
            assert command.order.quantity <= limit
        if isinstance(command, Replace) and command.quantity is not None:
            assert command.quantity <= limit
    for state in session.engine.orders.values():
        assert state.status is not OrderStatus.DENIED or state.reason


@pytest.mark.parametrize(
    ("quantity", "prices", "words"),
    [
        (0.0, {}, "positive"),
        (math.nan, {}, "positive"),
        (math.inf, {}, "positive"),
        (1.5, {}, "lot size"),
        (5.0, {"limit_price": -1.0}, "limit_price"),
        (5.0, {"limit_price": math.nan}, "limit_price"),
        (5.0, {"stop_price": 0.0}, "stop_price"),
        (5.0, {"stop_price": 10.0, "limit_price": math.inf}, "limit_price"),
    ],
)
def test_an_order_that_makes_no_sense_is_denied_and_never_leaves(quantity: float, prices: dict[str, float], words: str) -> None:
    """It is recorded with the reason, a person is told, and nothing is sent."""
    engine = started()
    name = engine.context.order("AAA", quantity, **prices)
    state = engine.order_state(name)
    assert state.status is OrderStatus.DENIED and words in state.reason and name not in engine.working
    commands = engine.process(Control(11, ControlAction.RESUME))
    assert [type(c).__name__ for c in commands] == ["Alert"]


def test_a_replacement_that_makes_no_sense_does_not_leave() -> None:
    """Terms the type does not have, fractions of a lot: nothing is sent and the order works on as it was."""
    engine = started()
    name = engine.context.order("AAA", 5.0)
    engine.process(OrderUpdate(11, name, OrderEventKind.ACCEPT))
    for terms in ({"limit_price": 10.0}, {"quantity": 2.5}):
        engine.context.replace(name, **terms)
        assert not [c for c in engine.process(Control(12, ControlAction.RESUME)) if isinstance(c, Replace)]
        assert engine.order_state(name).status is OrderStatus.ACCEPTED


def test_what_is_left_may_be_closed_though_it_is_no_whole_lot() -> None:
    """A fraction that is held (after a split, say) can be sold exactly."""
    engine = started()
    engine.book.holdings["AAA"].quantity = 2.5
    assert engine.order_state(engine.context.target_quantity("AAA", 0.0)).status is OrderStatus.SUBMITTED
    assert engine.order_state(engine.context.order("AAA", -1.5)).status is OrderStatus.DENIED


# -- sizing --------------------------------------------------------------------------------------------------------------------------


@EFFORT
@given(st.integers(0, 10**9), st.sampled_from([1.0, 0.1, 0.01, 1e-4, 1e-8, 100.0, 0.3, 1 / 3]), st.sampled_from([1.0, -1.0]))
def test_whole_lots_stay_what_they_are(lots: int, lot: float, sign: float) -> None:
    """A multiple of the lot is not lost to floating point, and is written as that multiple."""
    assert math.isclose(floor_to_step(sign * lots * lot, lot), sign * lots * lot, rel_tol=1e-12)


@EFFORT
@given(st.floats(-1e9, 1e9), st.sampled_from([1.0, 0.1, 0.01, 1e-8, 100.0]))
def test_rounding_never_goes_away_from_zero(quantity: float, lot: float) -> None:
    """Rounded toward zero, by less than a lot, a billionth of a lot (or a rounding error) aside."""
    rounded = floor_to_step(quantity, lot)
    slack = 2e-9 * lot + 1e-14 * abs(quantity)
    assert abs(rounded) <= abs(quantity) + slack and abs(quantity) - abs(rounded) < lot + slack
    assert rounded * quantity >= 0.0


@EFFORT
@given(st.floats(-2, 2), st.floats(1e3, 1e7), st.floats(0.01, 1e4), st.sampled_from([1.0, 50.0]))
def test_a_weight_is_not_exceeded(weight: float, value: float, price: float, multiplier: float) -> None:
    """The position of a weight is worth at most the weight, and less than a lot below it."""
    instrument = Instrument("A", multiplier=multiplier)
    worth = abs(target_quantity(weight, value, price, instrument)) * price * multiplier
    slack = 1e-8 * (abs(weight) * value + price * multiplier)
    assert worth <= abs(weight) * value + slack and abs(weight) * value - worth < price * multiplier + slack


@EFFORT
@given(st.dictionaries(st.sampled_from(SYMBOLS), st.floats(-1, 1).map(lambda w: round(w, 3)), min_size=1), st.integers(0, 50))
def test_target_weights_lead_there_once(weights: dict[str, float], held: int) -> None:
    """Orders bring each named symbol to its weight; asking again while they work orders nothing; sells leave first."""
    engine = started()
    ctx = engine.context
    if held:
        name = ctx.order("AAA", float(held))
        engine.process(Fill(10, "x", name, "AAA", Side.BUY, float(held), 50.0))
    names = ctx.target_weights(weights)
    sides = [engine.order_state(n).order.side for n in names]
    assert sides == sorted(sides, key=lambda s: s is Side.BUY)
    for s, weight in weights.items():
        assert ctx.position(s) + ctx.in_flight(s) == target_quantity(weight, ctx.equity, 50.0, Instrument(s))
    assert all(ctx.in_flight(s) == 0.0 for s in SYMBOLS if s not in weights)
    assert ctx.target_weights(weights) == []


def test_equity_in_a_hook_is_the_book_at_the_last_closes() -> None:
    """The context's equity and the book's agree at every instant."""
    engine = started()
    name = engine.context.order("AAA", 7.0)
    engine.process(Fill(11, "x", name, "AAA", Side.BUY, 7.0, 49.0, fee=2.0))
    assert engine.context.equity == equity(engine.book, dict.fromkeys(SYMBOLS, 50.0)) == 100_000.0 - 7 * 49.0 - 2.0 + 7 * 50.0


def test_a_first_fill_before_the_first_close() -> None:
    """A symbol that fills on the first bar it ever has is worth what was paid for it until that bar closes."""

    class Asks(RandomTrader):
        """Asks for its equity in the fill."""

        def on_fill(self, ctx: Any, fill: Fill) -> None:
            """Remember the equity."""
            self.equity = ctx.equity

        def on_order(self, ctx: Any, state: Any) -> None:
            """Say nothing."""

    asks = Asks(0)
    book = Book([Instrument("AAA")], cash=1_000.0)
    engine = TradingEngine(asks, BarsWindow(["AAA"]), book=book)
    name = engine.context.order("AAA", 4.0)
    engine.process(OrderUpdate(10, name, OrderEventKind.ACCEPT))
    engine.process(Fill(11, "x", name, "AAA", Side.BUY, 4.0, 49.0, fee=2.0))
    assert asks.equity == 1_000.0 - 2.0


# -- hooks -----------------------------------------------------------------------------------------------------------------------------


@EFFORT
@given(seeds, seeds, seeds)
def test_a_strategy_is_never_called_while_it_is_being_called(panel: int, trader: int, venue: int) -> None:
    """Orders and cancels inside a hook are answered after it has returned."""

    class Jealous(RandomTrader):
        """Counts how deep it is."""

        depth = 0

        def act(self, ctx: Any, chance: float) -> None:
            """Act under a counter."""
            self.depth += 1
            assert self.depth == 1
            super().act(ctx, chance)
            if self.dice.random() < 0.2:
                ctx.order("AAA", 0.5)  # is denied: the denial must come later
            self.depth -= 1

    play(random_panel(panel), Jealous(trader), seed=venue)


def test_bars_now_is_a_view_of_one_row() -> None:
    """Values by column, bars by symbol, and a clear answer where there is none."""
    bars = random_panel(3, rows=20)
    for row in range(20):
        now = BarsNow(bars, row)
        assert now.ts == bars.ts[row] and now.symbols == bars.symbols
        for n, s in enumerate(bars.symbols):
            assert (s in now) == (not math.isnan(bars.close[row, n]))
            if s in now:
                assert (now[s].open, now[s].close, now[s].volume) == (bars.open[row, n], bars.close[row, n], bars.volume[row, n])
            else:
                with pytest.raises(LookupError):
                    now[s]
        assert "IBM" not in now and len(now.panel()) == row + 1
