"""The rules of the replay once more, in plain Python: slow, short, and independent of the compiled one.

`PlainReplay` takes the rows of a `Quotes` or a `Depth` and a strategy with the same interface, and keeps dictionaries and lists. The
property tests hold it against `qtnb.backtest.replay`, bit by bit. Only the draw of a latency is shared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qtnb.backtest.depth import CLEAR, LEVEL, NO_ASK, NO_BID, TRADE, Depth

GTC, POST_ONLY, IOC, FOK = range(4)


def lots(quantity: float, lot: float) -> int:
    """Whole lots, half a lot rounded up."""
    exact = quantity / lot
    if not exact > 0:
        return 0
    return math.floor(exact) + (exact - math.floor(exact) >= 0.5)


def behind(model: str, n: float, ahead: float, back: float) -> float:
    """The table of FILLS: the chance that what left was behind."""
    try:
        chance = {
            "log": lambda: math.log(1 + back) / (math.log(1 + back) + math.log(1 + ahead)),
            "log2": lambda: math.log(1 + back) / math.log(1 + back + ahead),
            "power": lambda: real(back, n) / (real(back, n) + real(ahead, n)),
            "power2": lambda: real(back, n) / real(back + ahead, n),
            "power3": lambda: 1 - real(ahead / (ahead + back), n),
        }[model]()
    except (ZeroDivisionError, ValueError):
        return 1.0
    return chance if math.isfinite(chance) else 1.0


def real(base: float, exponent: float) -> float:
    """A power as C has it: NaN where Python would answer with a complex number."""
    return math.pow(base, exponent)


def after_depth(model: str, n: float, ahead: float, traded: float, before: float, after: float) -> float:
    """The quantity ahead after a change of the display."""
    if model == "snapshot":
        return ahead if after > 0 else 0.0
    change = before - after - traded
    if model == "risk_averse" or change < 0:
        return min(ahead, after)
    back = before - ahead
    p = behind(model, n, ahead, back)
    return min(ahead - (1.0 - p) * change + min(back - p * change, 0.0), after)


@dataclass
class Order:
    """What the venue and the strategy know of an order."""

    number: int
    side: int
    kind: str
    tick: int
    quantity: float
    terms: int
    sent: int
    leaves: float = 0.0
    ahead: float = 0.0
    traded: float = 0.0
    status: str = "submitted"
    known: str = "submitted"
    known_tick: int = 0
    known_leaves: float = 0.0
    asked: bool = False
    rank: int = 0


@dataclass
class Market:
    """What the strategy sees."""

    ts: int = 0
    row: int = 0
    bid: int = NO_BID
    ask: int = NO_ASK
    bid_quantity: float = 0.0
    ask_quantity: float = 0.0
    trade_tick: int = NO_BID
    bought: float = 0.0
    sold: float = 0.0
    position: float = 0.0
    cash: float = 0.0
    fees: float = 0.0
    fills: int = 0
    shown: Any = None

    def depth(self, side: int, tick: int) -> float:
        return self.shown(side, tick)


@dataclass
class Book:
    """Price levels, with the three rules for the best of them."""

    lot: float
    deep: bool
    levels: dict[int, dict[int, float]] = field(default_factory=lambda: {1: {}, -1: {}})
    best: dict[int, int] = field(default_factory=lambda: {1: NO_BID, -1: NO_ASK})
    size: dict[int, float] = field(default_factory=lambda: {1: 0.0, -1: 0.0})

    def shown(self, side: int, tick: int) -> float:
        if self.deep:
            return self.levels[side].get(tick, 0.0)
        if tick == self.best[side]:
            return self.size[side]
        return 0.0 if side * (tick - self.best[side]) > 0 else math.inf

    def next_best(self, side: int, tick: int) -> int:
        found = [t for t, q in self.levels[side].items() if q > 0 and side * (t - tick) < 0]
        return (max(found) if side > 0 else min(found)) if found else (NO_BID if side > 0 else NO_ASK)

    def set(self, side: int, tick: int, quantity: float) -> float:
        before = self.levels[side].get(tick, 0.0)
        left = quantity if lots(quantity, self.lot) else 0.0
        self.levels[side][tick] = left
        if left:
            if side * (tick - self.best[side]) > 0:
                self.best[side] = tick
                if self.best[1] >= self.best[-1]:
                    self.best[-side] = self.next_best(-side, tick)
        elif tick == self.best[side]:
            self.best[side] = self.next_best(side, tick)
        return before

    def clear(self, side: int) -> None:
        for s in (1, -1):
            if side in (s, 0):
                self.levels[s] = {}
                self.best[s] = NO_BID if s > 0 else NO_ASK


class PlainReplay:
    """One run of a strategy, with the arguments of `Replay`."""

    def __init__(self, replay: Any, strategy: Any):
        self.replay, self.strategy, self.instrument = replay, strategy, replay.market.instrument
        self.deep = isinstance(replay.market, Depth)
        self.lot = self.instrument.lot_size
        self.book = Book(self.lot, self.deep)
        self.seen_book = Book(self.lot, self.deep)
        self.market = Market(cash=replay.cash, shown=self.seen_book.shown)
        self.orders: list[Order] = []
        self.resting: list[Order] = []
        self.requests: list[tuple] = []
        self.fresh: list[tuple] = []
        self.messages: list[tuple] = []
        self.fills: list[tuple] = []
        self.layers: dict[tuple[int, int], int] = {}
        self.cash, self.position, self.fees = replay.cash, 0.0, 0.0
        self.now = self.ts = self.row = self.rank = self.sent = self.told = self.last_acts = self.last_seen = 0
        self.rows = self.read(replay.market)

    # -- rows: (exch_ts, local_ts, kind, side, tick, quantity, ...)

    def tick(self, price: float) -> int:
        return round(price / self.instrument.tick_size)

    def read(self, market: Any) -> list[tuple]:
        if self.deep:
            kinds = {LEVEL: "level", TRADE: "trade", CLEAR: "clear"}
            return [(int(e[0]), int(e[1]), kinds[int(e[5])], int(e[6]), int(e[4]), float(e[2])) for e in market.events.tolist()]
        rows = []
        for k in range(len(market.exch_ts)):
            stamp, bid, ask = (int(market.exch_ts[k]), int(market.local_ts[k])), float(market.bid[k]), float(market.ask[k])
            if len(market.kind) and market.kind[k]:
                rows.append((*stamp, "trade", int(ask), self.tick(bid), float(market.bid_size[k])))
            else:
                best = (NO_BID if math.isnan(bid) else self.tick(bid), NO_ASK if math.isnan(ask) else self.tick(ask))
                rows.append((*stamp, "quote", *best, (float(market.bid_size[k]), float(market.ask_size[k]))))
        return rows

    # -- the strategy's side

    def request(self, what: str, order: Order, tick: int = 0, quantity: float = 0.0) -> None:
        self.fresh.append((what, order, tick, quantity))

    def submit(self, side: int, kind: str, tick: int, quantity: float, terms: int) -> int:
        order = Order(len(self.orders), side, kind, tick, quantity, terms, self.now, leaves=quantity, known_tick=tick, known_leaves=quantity)
        self.orders.append(order)
        self.request("new", order, tick, quantity)
        return order.number

    def buy(self, tick: int, quantity: float, terms: int = GTC) -> int:
        return self.submit(1, "limit", tick, quantity, terms)

    def sell(self, tick: int, quantity: float, terms: int = GTC) -> int:
        return self.submit(-1, "limit", tick, quantity, terms)

    def market_order(self, side: int, quantity: float) -> int:
        return self.submit(side, "market", 0, quantity, IOC)

    def is_open(self, number: int) -> bool:
        return number >= 0 and self.orders[number].known in ("submitted", "accepted")

    def leaves(self, number: int) -> float:
        return self.orders[number].known_leaves

    def cancel(self, number: int) -> bool:
        if not self.is_open(number) or self.orders[number].asked:
            return False
        self.orders[number].asked = True
        self.request("cancel", self.orders[number])
        return True

    def change_order(self, number: int, tick: int, quantity: float) -> bool:
        if not self.is_open(number) or self.orders[number].asked:
            return False
        self.orders[number].known_tick = tick
        self.request("replace", self.orders[number], tick, quantity)
        return True

    def quote(self, side: int, tick: int, quantity: float, layer: int = 0, terms: int = GTC) -> int:
        number = self.layers.get((side, layer), -1)
        if self.is_open(number):
            if self.orders[number].known_tick == tick and not self.orders[number].asked:
                return number
            self.cancel(number)
        self.layers[side, layer] = self.submit(side, "limit", tick, quantity, terms)
        return self.layers[side, layer]

    def withdraw(self, side: int, layer: int = 0) -> None:
        self.cancel(self.layers.get((side, layer), -1))
        self.layers[side, layer] = -1

    # -- the venue's side

    def price(self, tick: int) -> float:
        inverse = round(1 / self.instrument.tick_size)
        return tick / inverse if inverse and math.isclose(inverse * self.instrument.tick_size, 1.0, rel_tol=1e-12) else tick * self.instrument.tick_size

    def tell(self, order: Order, quantity: float = 0.0, cash: float = 0.0, fee: float = 0.0) -> int:
        self.last_seen = max(self.ts + self.replay.latency.response(self.ts, self.told), self.last_seen)
        self.told += 1
        self.messages.append((self.last_seen, order, order.status, order.tick, order.leaves, quantity, cash, fee))
        return self.last_seen

    def fill(self, order: Order, tick: int, quantity: float, rule: str, shown: float) -> None:
        taker = rule == "taken"
        value = self.price(tick) * quantity * self.instrument.multiplier
        fee = value * ((self.replay.taker_bps if taker else self.replay.maker_bps) * 1e-4)
        order.leaves -= quantity
        if not lots(order.leaves, self.lot):
            order.leaves, order.status = 0.0, "filled"
            if order in self.resting:
                self.resting.remove(order)
        cash = -order.side * value - fee
        self.position += order.side * quantity
        self.cash += cash
        self.fees += fee
        seen = self.tell(order, quantity, cash, fee)
        self.fills.append((self.ts, seen, order.number, self.row, tick, quantity, fee, math.nan if taker else max(order.ahead, 0.0), shown, rule))

    def mine(self, side: int) -> list[Order]:
        return sorted((o for o in self.resting if o.side == side), key=lambda o: (-side * o.tick, o.rank))

    def crossed(self) -> None:
        for side in (1, -1):
            for order in self.mine(side):
                if side * (order.tick - self.book.best[-side]) >= 0:
                    self.fill(order, order.tick, order.leaves, "crossed", self.book.shown(-side, self.book.best[-side]))

    def arrive(self, order: Order) -> None:
        order.status, side = "accepted", order.side
        other = self.book.best[-side]
        takes = other not in (NO_BID, NO_ASK) and (order.kind == "market" or side * (order.tick - other) >= 0)
        if takes and order.terms == POST_ONLY:
            return self.end(order, "rejected")
        if takes:
            self.take(order, other)
        if order.status == "filled":
            return None
        if order.kind == "market" or order.terms in (IOC, FOK):
            return self.end(order, "canceled")
        self.rank += 1
        order.rank, order.ahead, order.traded = self.rank, 0.0 if takes else self.book.shown(side, order.tick), 0.0
        self.resting.append(order)
        self.tell(order)
        return None

    def take(self, order: Order, best: int) -> None:
        side = order.side
        if not self.replay.partial:
            return self.fill(order, best, order.leaves, "taken", self.book.shown(-side, best))
        prices = [best]
        if self.deep:
            prices = [t for t, q in self.book.levels[-side].items() if q > 0 and side * (t - best) >= 0]
            prices = sorted((t for t in prices if order.kind == "market" or side * (order.tick - t) >= 0), key=lambda t: side * t)
        if order.terms == FOK and lots(sum(self.book.shown(-side, t) for t in prices), self.lot) < lots(order.leaves, self.lot):
            return None
        for tick in prices:
            shown = self.book.shown(-side, tick)
            if lots(shown, self.lot) and order.leaves > 0:
                self.fill(order, tick, min(shown, order.leaves), "taken", shown)
        return None

    def end(self, order: Order, status: str) -> None:
        order.status, order.leaves = status, 0.0
        if order in self.resting:
            self.resting.remove(order)
        self.tell(order)

    def handle(self, what: str, order: Order, tick: int, quantity: float) -> None:
        if what == "new":
            self.arrive(order)
        elif order.status != "accepted":
            self.tell(order)
        elif what == "cancel":
            self.end(order, "canceled")
        else:
            left = quantity - (order.quantity - order.leaves)
            if not lots(left, self.lot):
                return self.tell(order) and None
            keeps = tick == order.tick and left <= order.leaves
            order.quantity, order.leaves, order.tick = quantity, left, tick
            if keeps:
                return self.tell(order) and None
            self.resting.remove(order)
            self.arrive(order)
        return None

    def on_trade(self, side: int, tick: int, quantity: float) -> None:
        if side == 0:
            side = -1 if tick <= self.book.best[1] else 1 if tick >= self.book.best[-1] else 0
        left = quantity
        for order in self.mine(-side) if side else ():
            beyond = order.side * (order.tick - tick)
            if beyond > 0:
                self.fill(order, order.tick, order.leaves, "through", self.book.shown(order.side, order.tick))
            elif beyond == 0:
                was = order.ahead
                order.ahead -= left
                order.traded += quantity
                reached = lots(-order.ahead, self.lot)
                if reached:
                    took = min(reached * self.lot, order.leaves) if self.replay.partial else order.leaves
                    order.ahead = was
                    self.fill(order, order.tick, took, "queue", self.book.shown(order.side, order.tick))
                    order.ahead = 0.0
                    left = max(left - took, 0.0)

    def on_row(self, row: tuple) -> None:
        _, _, kind, a, b, c = row
        queue = self.replay.queue
        if kind == "trade":
            self.on_trade(a, b, c)
        elif kind == "level":
            before = self.book.set(a, b, c)
            for order in self.mine(a):
                if order.tick == b:
                    order.ahead, order.traded = after_depth(queue.name, queue.power, order.ahead, order.traded, before, c), 0.0
        elif kind == "clear":
            self.book.clear(a)
        else:
            for side, tick, size in ((1, a, c[0]), (-1, b, c[1])):
                for order in self.mine(side) if len(self.replay.market.kind) else ():
                    if side * (order.tick - tick) > 0:
                        order.ahead = order.traded = 0.0
                    elif order.tick == tick and self.book.best[side] == tick:
                        order.ahead, order.traded = after_depth(queue.name, queue.power, order.ahead, order.traded, self.book.size[side], size), 0.0
                    elif order.tick == tick:
                        order.ahead, order.traded = min(order.ahead, size), 0.0
            self.book.best, self.book.size = {1: a, -1: b}, {1: c[0], -1: c[1]}
        if kind != "trade" or self.deep:
            self.crossed()

    # -- the clock

    def see(self, row: tuple) -> None:
        _, _, kind, a, b, c = row
        market = self.market
        if kind == "quote":
            self.seen_book.best, self.seen_book.size = {1: a, -1: b}, {1: c[0], -1: c[1]}
        elif kind == "level":
            self.seen_book.set(a, b, c)
        elif kind == "clear":
            self.seen_book.clear(a)
        else:
            market.trade_tick = b
            market.bought += c if a > 0 else 0.0
            market.sold += c if a < 0 else 0.0

    def play(self, until: int) -> None:
        """Requests and rows up to a time: a request before a row of the same instant."""
        while True:
            acts = self.requests[0][0] if self.requests and self.requests[0][0] <= until else None
            happens = self.rows[self.row][0] if self.row < len(self.rows) and self.rows[self.row][0] <= until else None
            if acts is not None and (happens is None or acts <= happens):
                _, *request = self.requests.pop(0)
                self.ts = max(self.ts, acts)
                self.handle(*request)
            elif happens is not None:
                self.ts = happens
                self.on_row(self.rows[self.row])
                self.row += 1
            else:
                return

    def run(self) -> PlainReplay:
        visible, due, last = 0, None, self.rows[-1][1]
        while True:
            if self.replay.every_ns:
                due = self.rows[0][1] if due is None else due + self.replay.every_ns
            else:
                due = self.rows[visible + self.replay.every - 1][1] if visible + self.replay.every <= len(self.rows) else last + 1
            if due > last:
                self.play(last)
                return self
            self.play(due)
            self.market.bought = self.market.sold = 0.0
            self.decide(visible, due)
            while visible < len(self.rows) and self.rows[visible][1] <= due:
                visible += 1

    def decide(self, visible: int, due: int) -> None:
        market = self.market
        market.bought, market.sold = 0.0, 0.0
        for row in self.rows[visible:]:
            if row[1] > due:
                break
            self.see(row)
            visible += 1
        while self.messages and self.messages[0][0] <= due:
            _, order, status, tick, leaves, quantity, cash, fee = self.messages.pop(0)
            order.known, order.known_leaves, order.known_tick = status, leaves, tick
            if quantity > 0:
                market.position += order.side * quantity
                market.cash += cash
                market.fees += fee
                market.fills += 1
        best = self.seen_book.best
        market.ts, market.row, self.now = due, visible, due
        market.bid, market.ask = best[1], best[-1]
        market.bid_quantity = self.seen_book.shown(1, best[1]) if best[1] > NO_BID else 0.0
        market.ask_quantity = self.seen_book.shown(-1, best[-1]) if best[-1] < NO_ASK else 0.0
        if best[1] > NO_BID and best[-1] < NO_ASK:
            self.strategy(market, Desk(self), self.replay.state)
        for what, order, tick, quantity in self.fresh:
            self.last_acts = max(self.now + self.replay.latency.entry(self.now, self.sent), self.last_acts)
            self.sent += 1
            self.requests.append((self.last_acts, what, order, tick, quantity))
        self.fresh = []


class Desk:
    """`orders`, as a strategy sees it."""

    def __init__(self, replay: PlainReplay):
        self.buy, self.sell, self.market, self.cancel = replay.buy, replay.sell, replay.market_order, replay.cancel
        self.replace, self.quote, self.withdraw, self.is_open, self.leaves = replay.change_order, replay.quote, replay.withdraw, replay.is_open, replay.leaves


def fill_tuples(result: Any) -> list[tuple]:
    """The fills of a compiled run in the form of the plain one."""
    from qtnb.backtest.replay_venue import RULES

    names = ("ts", "seen", "order", "row", "tick", "quantity", "fee", "ahead", "displayed")
    return [(*(float(f[n]) if np.issubdtype(f[n].dtype, np.floating) else int(f[n]) for n in names), RULES[f["rule"]]) for f in result.fill_rows]
