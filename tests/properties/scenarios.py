"""Random strategies, panels and a random venue: what the property tests of the engine and of the back-test play with."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qtnb.core.bars import DAY_NS, FIELDS, Bars, BarsWindow
from qtnb.core.book import Book
from qtnb.core.engine import TradingEngine
from qtnb.core.events import Alert, BarsEvent, Cancel, Command, Event, OrderEventKind, OrderUpdate, Replace, SetTimer, Submit, TimerEvent
from qtnb.types import Fill, Instrument

SYMBOLS = ("AAA", "BBB", "CCC")


def random_panel(seed: int, rows: int = 30, symbols: Sequence[str] = SYMBOLS, gaps: float = 0.1, interval: str = "1d") -> Bars:
    """Bars that walk at random in cents, with opens that gap, quiet bars and bars that are missing."""
    random = np.random.default_rng(seed)
    shape = (rows, len(symbols))
    close = np.maximum(np.round(50.0 + np.cumsum(random.normal(0, 1.5, shape), axis=0), 2), 1.0)
    before = np.vstack([np.full(shape[1], 50.0), close[:-1]])
    open_ = np.maximum(np.round(before + random.normal(0, 1.0, shape), 2), 1.0)
    high = np.round(np.maximum(open_, close) + random.exponential(0.7, shape) * (random.random(shape) > 0.2), 2)
    low = np.maximum(np.round(np.minimum(open_, close) - random.exponential(0.7, shape) * (random.random(shape) > 0.2), 2), 0.5)
    volume = np.where(random.random(shape) < 0.05, 0.0, random.integers(1, 5000, shape).astype(float))
    missing = random.random(shape) < gaps
    missing[0] = False  # every symbol has a price from the start
    arrays = dict(zip(FIELDS, (open_, high, low, close, volume), strict=True))
    for array in arrays.values():
        array[missing] = np.nan
    ts = (np.arange(rows, dtype=np.int64) + 18_000) * DAY_NS + 21 * 3_600_000_000_000
    return Bars(ts, symbols, **arrays, interval=interval)


def event_of(bars: Bars, row: int) -> BarsEvent:
    """A row of a panel as the event that a live session would see."""
    return BarsEvent(int(bars.ts[row]), *(tuple(getattr(bars, name)[row].tolist()) for name in FIELDS))


@dataclass
class RandomTrader:
    """A strategy that does everything a strategy may do, by the throw of seeded dice, and writes down all it saw."""

    seed: int
    reach: int = 8  # how many bars it looks back
    name: str = "random_trader"
    seen: list[tuple[Any, ...]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Take the dice."""
        self.dice = np.random.default_rng(self.seed)

    def note(self, hook: str, ctx: Any, *more: object) -> None:
        """Write down what can be seen now."""
        look = tuple(ctx.history(f, self.reach).tobytes() for f in FIELDS)
        held = tuple((ctx.position(s), ctx.in_flight(s), repr(ctx.price(s))) for s in ctx.symbols)
        self.seen.append((hook, ctx.ts, ctx.row, repr(ctx.equity), repr(ctx.cash), ctx.is_halted, held, look, more))

    def act(self, ctx: Any, chance: float) -> None:
        """Perhaps do something."""
        if self.dice.random() > chance:
            return
        symbols = sorted(ctx.symbols)
        symbol = symbols[int(self.dice.integers(len(symbols)))]
        price, what = ctx.price(symbol), int(self.dice.integers(8))
        quantity = float(self.dice.integers(1, 30)) * (1 if self.dice.random() < 0.5 else -1)
        tif = ("day", "gtc", "ioc", "fok")[int(self.dice.integers(4))]
        near = round(price * (1 + 0.02 * self.dice.normal()), 2) if price > 0 else 50.0
        if what <= 1:
            self.ids.append(ctx.order(symbol, quantity, time_in_force=tif, tag="m"))
        elif what == 2:
            self.ids.append(ctx.order(symbol, quantity, limit_price=near, time_in_force=tif))
        elif what == 3:
            kind = {"stop_price": near} if self.dice.random() < 0.5 else {"stop_price": near, "limit_price": round(near * 1.01, 2)}
            self.ids.append(ctx.order(symbol, quantity, time_in_force=tif if tif in ("day", "gtc") else "gtc", **kind))
        elif what == 4:
            self.ids += ctx.target_weights({s: float(np.round(self.dice.normal() / 4, 3)) for s in symbols})
        elif what == 5 and self.ids:
            ctx.cancel(self.ids[int(self.dice.integers(len(self.ids)))])
        elif what == 6 and self.ids:
            chosen = ctx.order_state(self.ids[int(self.dice.integers(len(self.ids)))])
            ctx.replace(chosen.order.client_order_id, quantity=chosen.filled_quantity + float(self.dice.integers(1, 40)))
        elif what == 7:
            ctx.set_timer(f"t{int(self.dice.integers(3))}", ctx.ts + int(self.dice.integers(1, 3 * DAY_NS)))
            ctx.log("a timer was set")

    def on_start(self, ctx: Any) -> None:
        """Look around."""
        self.note("start", ctx)

    def on_data(self, ctx: Any, bars: Any) -> None:
        """Look and act."""
        now = tuple(getattr(bars, f).tobytes() for f in FIELDS)
        self.note("data", ctx, bars.ts, bars.row, now, tuple(s in bars for s in bars.symbols), bars.panel().fingerprint())
        self.act(ctx, 0.8)

    def on_fill(self, ctx: Any, fill: Fill) -> None:
        """Answer some fills."""
        self.note("fill", ctx, fill)
        self.act(ctx, 0.3)

    def on_order(self, ctx: Any, state: Any) -> None:
        """Answer few changes of orders."""
        self.note("order", ctx, state.order.client_order_id, state.status, state.reason)
        self.act(ctx, 0.1)

    def on_timer(self, ctx: Any, name: str) -> None:
        """Act on time."""
        self.note("timer", ctx, name)
        self.act(ctx, 0.5)

    def on_stop(self, ctx: Any) -> None:
        """Look back."""
        self.note("stop", ctx)


class RandomVenue:
    """A venue that answers by dice: accepts, refuses, loses, fills in parts, late and twice. Never contradicts itself."""

    def __init__(self, seed: int):
        """A venue with no orders."""
        self.dice = np.random.default_rng(seed)
        self.leaves: dict[str, list[Any]] = {}  # id to [order, leaves, number of fills]
        self.told: list[Fill] = []

    def answer(self, command: Command, ts: int) -> list[Event]:
        """What comes back at once for a command."""
        kinds = OrderEventKind
        if isinstance(command, Submit):
            name, luck = command.order.client_order_id, self.dice.random()
            if luck < 0.1:
                return [OrderUpdate(ts, name, kinds.REJECT, "bad luck")]
            self.leaves[name] = [command.order, command.order.quantity, 0]
            return [] if luck < 0.15 else [OrderUpdate(ts, name, kinds.LOSE if luck < 0.2 else kinds.ACCEPT)]
        if isinstance(command, Cancel):
            name = command.client_order_id
            if name not in self.leaves or self.dice.random() < 0.3:
                return [OrderUpdate(ts, name, kinds.CANCEL_REJECT, "too late")]
            del self.leaves[name]
            return [OrderUpdate(ts, name, kinds.CANCEL)]
        if isinstance(command, Replace):
            name = command.client_order_id
            held = self.leaves.get(name)
            filled = held[0].quantity - held[1] if held else 0.0
            if held is None or command.quantity is None or command.quantity <= filled or self.dice.random() < 0.3:
                return [OrderUpdate(ts, name, kinds.REPLACE_REJECT, "no")]
            order = held[0]
            held[0] = type(order)(name, order.ts, order.symbol, order.side, command.quantity)
            held[1] = command.quantity - filled
            return [OrderUpdate(ts, name, kinds.REPLACE, "", command.quantity)]
        return []

    def match(self, bars: Bars, row: int) -> list[Event]:
        """What the market does to the working orders in this row."""
        ts, out = int(bars.ts[row]), []
        for name in list(self.leaves):
            order, leaves, number = self.leaves[name]
            price = float(bars.open[row, bars.symbols.index(order.symbol)])
            if not price > 0 or self.dice.random() < 0.5:
                continue
            quantity = leaves if self.dice.random() < 0.6 else float(np.ceil(leaves / 2))
            self.leaves[name][1:] = [leaves - quantity, number + 1]
            fill = Fill(ts, f"{name}-{number + 1}", name, order.symbol, order.side, quantity, price, fee=0.25)
            out.append(fill)
            if self.dice.random() < 0.2:
                out.append(fill)
            if leaves == quantity:
                del self.leaves[name]
            elif self.dice.random() < 0.1:
                del self.leaves[name]
                out.append(OrderUpdate(ts, name, OrderEventKind.EXPIRE))
        return out


@dataclass
class Session:
    """What went into an engine and what came out, in order."""

    engine: TradingEngine
    trader: Any
    events: list[Event | tuple[str, int]] = field(default_factory=list)
    commands: list[tuple[Command, ...]] = field(default_factory=list)


def play(bars: Bars, trader: Any, *, seed: int = 0, by_events: bool = False, stop_after: int | None = None, **options: Any) -> Session:
    """Drive an engine over a panel with a random venue, by rows of the whole panel or by events into a growing window."""
    window = BarsWindow(bars.symbols, interval=bars.interval, capacity=4) if by_events else bars
    book = Book([Instrument(s) for s in bars.symbols], cash=100_000.0)
    engine = TradingEngine(trader, window, book=book, run_id="r", **options)
    venue, session, timers = RandomVenue(seed), Session(engine, trader), []

    def carry_out(commands: Sequence[Command], queue: deque[Event]) -> None:
        """Hand commands to the venue."""
        session.commands.append(tuple(commands))
        for command in commands:
            if isinstance(command, SetTimer):
                timers.append((command.ts, len(timers), command.name))
            elif not isinstance(command, Alert):
                queue.extend(venue.answer(command, engine.ts))

    def settle(queue: deque[Event]) -> None:
        """Process events until none is left."""
        while queue:
            event = queue.popleft()
            session.events.append(event)
            carry_out(engine.process(event), queue)

    queue: deque[Event] = deque()
    session.events.append(("start", int(bars.ts[0]) - 1))
    carry_out(engine.start(int(bars.ts[0]) - 1), queue)
    settle(queue)
    for row in range(len(bars) if stop_after is None else stop_after):
        ts = int(bars.ts[row])
        due = sorted(t for t in timers if t[0] <= ts)
        for timer in due:
            timers.remove(timer)
            queue.append(TimerEvent(timer[0], timer[2]))
            settle(queue)
        queue.extend(venue.match(bars, row))
        settle(queue)
        session.events.append(event_of(bars, row))
        carry_out(engine.process(event_of(bars, row)) if by_events else engine.step(row), queue)
        settle(queue)
    session.events.append(("stop", engine.ts))
    carry_out(engine.stop(engine.ts), queue)
    settle(queue)
    return session


def replay(session: Session, bars: Bars, trader: Any) -> Session:
    """Feed recorded events to a fresh engine; the world is not asked again."""
    book = Book([Instrument(s) for s in bars.symbols], cash=100_000.0)
    again = Session(TradingEngine(trader, BarsWindow(bars.symbols, interval=bars.interval), book=book, run_id="r"), trader)
    for event in session.events:
        if isinstance(event, tuple):
            commands = again.engine.start(event[1]) if event[0] == "start" else again.engine.stop(event[1])
        else:
            commands = again.engine.process(event)
        again.commands.append(tuple(commands))
    return again
