"""The identities of the accounts, each on at least two thousand random histories, and the whole account against an oracle in exact fractions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import permutations

import numpy as np
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st

from qtnb.core.book import Book, account_curve, equity, pnl, position
from qtnb.core.events import CashFlow, CorporateAction, FxRate
from qtnb.core.lots import match_lots
from qtnb.enums import Side
from qtnb.types import Fill, Instrument

MANY = settings(EFFORT, max_examples=2_000 if os.environ.get("QTNB_EFFORT", "quick") == "quick" else 20_000)

# Shares in two currencies, a coin whose fee may be taken in coins, a future and a perpetual.
KNOWN = {
    i.symbol: i
    for i in (
        Instrument("IBM"),
        Instrument("SAP", currency="EUR"),
        Instrument("BTC", lot_size=1e-8, asset_class="crypto", base="BTC"),
        Instrument("ES", multiplier=50.0, tick_size=0.25, asset_class="future"),
        Instrument("PERP", currency="EUR", multiplier=0.5, asset_class="perpetual"),
    )
}
SYMBOLS = tuple(KNOWN)
SHARES = ("IBM", "SAP", "BTC")
CONTRACTS = ("ES", "PERP")
CASH = {"USD": 65_536.0, "EUR": 4_096.0, "BNB": 64.0}
FX = {"EUR": 1.125, "BNB": 256.0}
FLOWS = ("borrow", "interest", "funding", "rebate", "penalty", "insurance", "fee", "withholding", "conversion", "deposit")



def numbers(size: int, low: int, high: int) -> st.SearchStrategy[list[int]]:
    """Whole numbers of `size` bytes out of one string of bytes: one draw for a whole history; zeros are left out, so that it shrinks to little."""
    cut = st.binary(min_size=low * size, max_size=high * size)
    return cut.map(lambda b: [n for k in range(0, len(b), size) if (n := int.from_bytes(b[k : k + size], "little"))])


codes = numbers(6, 5, 10)
fill_codes = numbers(5, 4, 8)
orders = st.integers(0, 119).map(list(permutations(SYMBOLS)).__getitem__)
marks = st.integers(0, 2**50 - 1).map(lambda n: {s: (1 + (n >> 10 * k) % 1024) / 8 for k, s in enumerate(SYMBOLS)})

Event = Fill | CorporateAction | CashFlow | FxRate


def fill_of(number: int, code: int, symbols: Sequence[str] = SYMBOLS) -> Fill:
    """A fill with numbers whose sums and products are exact in binary."""
    code, which = divmod(code, len(symbols))
    code, sign = divmod(code, 2)
    code, quantity = divmod(code, 256)
    code, price = divmod(code, 1024)
    code, fee = divmod(code, 32)
    instrument = KNOWN[symbols[which]]
    side = Side.BUY if sign else Side.SELL
    return Fill(number, f"x{number}", "q1-a", instrument.symbol, side, 1.0 + quantity, (1 + price) / 8, fee=fee / 16, currency=instrument.currency)


def event_of(number: int, code: int) -> Event:
    """One event out of a number: fills most of the time, and every other thing that can happen to an account."""
    code, kind = divmod(code, 16)
    symbol, small = SYMBOLS[code % 5], code // 5 % 64
    if kind < 7:
        return fill_of(number, code)
    if kind == 7:
        fill = fill_of(number, code)
        paid_in = "BNB" if code % 2 else KNOWN[fill.symbol].base
        return replace(fill, fee=fill.fee / 4, fee_currency=paid_in)
    if kind in (8, 9):
        pay = None if small % 3 == 0 else number + 1 + small % 5
        return CorporateAction(number, symbol, "spin_off" if small % 7 == 0 else "dividend", (1 + small) / 16, pay)
    if kind == 10:
        return CorporateAction(number, symbol, "split", (2.0, 0.5, 1.5)[small % 3])
    if kind == 11:
        return CorporateAction(number, symbol, "delisting" if small % 4 else "cash_in_lieu", (1 + small) / 4)
    if kind in (12, 13):
        return FxRate(number, "EUR" if small % 4 else "BNB", (16 + small) / 32)
    what = FLOWS[code // 7 % len(FLOWS)]
    about = symbol if small % 2 and what not in ("deposit", "conversion") else ""
    return CashFlow(number, what, (small - 32) / 8, ("USD", "EUR")[small % 3 == 0], about)


def events_of(raw: Sequence[int]) -> list[Event]:
    """A history, one event a tick."""
    return [event_of(n, code) for n, code in enumerate(raw, start=1)]


def open_account(**options: object) -> Book:
    """An account in three currencies."""
    return Book(KNOWN, cash=CASH, fx=FX, **options)  # type: ignore[arg-type]


def apply(book: Book, event: Event) -> None:
    """Book an event by its kind."""
    if isinstance(event, Fill):
        book.apply_fill(event)
    elif isinstance(event, CorporateAction):
        book.apply_action(event)
    elif isinstance(event, CashFlow):
        book.apply_cash(event)
    else:
        book.apply_rate(event)


def booked(history: Sequence[Event], **options: object) -> Book:
    """An account after a history."""
    book = open_account(**options)
    for event in history:
        apply(book, event)
    return book


def start_of(book: Book) -> float:
    """Equity before anything happened."""
    return sum(amount * book.initial_fx[c] for c, amount in book.initial_cash.items())


def moved(history: Sequence[Event], now: dict[str, float]) -> float:
    """How much money a history moved in all, at the dearest rates: what rounding errors are measured against."""
    total = sum(CASH[c] * max(FX.get(c, 1.0), 1.0) for c in CASH)
    for event in history:
        if isinstance(event, Fill):
            total += 2.0**12 * event.quantity * KNOWN[event.symbol].multiplier * max(event.price, now[event.symbol])
        elif isinstance(event, CashFlow):
            total += abs(event.amount)
    return 512.0 * total


# -- the whole account in exact fractions ----------------------------------------------------------------------------------------


@dataclass
class Held:
    """One instrument at average cost."""

    quantity: Fraction = Fraction(0)
    average: Fraction = Fraction(0)

    def trade(self, quantity: Fraction, price: Fraction) -> Fraction:
        """Apply a signed quantity; returns what it locks in, per unit of the multiplier."""
        held, total = self.quantity, self.quantity + quantity
        closed = Fraction(0)
        if held * quantity < 0:
            closed = min(abs(held), abs(quantity)) * (1 if held > 0 else -1)
        profit = closed * (price - self.average)
        if held * quantity >= 0:
            self.average = (held * self.average + quantity * price) / total if total else Fraction(0)
        elif held * total <= 0:
            self.average = price if total else Fraction(0)
        self.quantity = total
        return profit


@dataclass
class Exact:
    """An account in fractions, written down from the rules and not from the code: no settlement, what is earned is cash."""

    withholding: Fraction = Fraction(0)
    cash: dict[str, Fraction] = field(default_factory=lambda: {c: Fraction(v) for c, v in CASH.items()})
    fx: dict[str, Fraction] = field(default_factory=lambda: {"USD": Fraction(1), **{c: Fraction(v) for c, v in FX.items()}})
    held: dict[str, Held] = field(default_factory=lambda: {s: Held() for s in SYMBOLS})
    parts: dict[str, Fraction] = field(default_factory=lambda: dict.fromkeys(("realised", "fees", "income", "carry", "currency", "deposit"), Fraction(0)))

    def earn(self, part: str, amount: Fraction, currency: str) -> None:
        """Count money at the rate of now."""
        self.parts[part] += amount * self.fx[currency]

    def apply(self, event: Event) -> None:
        """Book one event."""
        if isinstance(event, FxRate):
            change, self.fx[event.currency] = Fraction(event.rate) - self.fx[event.currency], Fraction(event.rate)
            tied = sum(self.held[s].quantity * self.held[s].average * Fraction(KNOWN[s].multiplier) for s in SHARES if KNOWN[s].currency == event.currency)
            self.parts["currency"] += change * (self.cash[event.currency] + tied)
        elif isinstance(event, CashFlow):
            amount = Fraction(event.amount)
            self.cash[event.currency] += amount
            part = {"fee": "fees", "withholding": "income", "conversion": "currency", "deposit": "deposit"}.get(event.kind, "carry")
            self.earn(part, -amount if part == "fees" else amount, event.currency)
        elif isinstance(event, Fill):
            self.fill(event)
        else:
            self.act(event)

    def trade(self, symbol: str, quantity: Fraction, price: Fraction) -> None:
        """Move a position and its money."""
        currency, multiplier = KNOWN[symbol].currency, Fraction(KNOWN[symbol].multiplier)
        profit = self.held[symbol].trade(quantity, price) * multiplier
        self.earn("realised", profit, currency)
        self.cash[currency] += profit if symbol in CONTRACTS else -quantity * price * multiplier

    def fill(self, fill: Fill) -> None:
        """Book a fill and its fee."""
        price, fee = Fraction(fill.price), Fraction(fill.fee)
        self.trade(fill.symbol, Fraction(fill.signed_quantity), price)
        paid_in = fill.fee_currency or fill.currency
        if paid_in in self.cash:
            self.cash[paid_in] -= fee
            self.earn("fees", fee, paid_in)
        else:
            self.earn("fees", fee * price, fill.currency)
            self.cash[fill.currency] -= fee * price  # the fee is paid in money that a sale of the coins brings
            self.trade(fill.symbol, -fee, price)

    def act(self, action: CorporateAction) -> None:
        """Book a corporate action."""
        held, value, currency = self.held[action.symbol], Fraction(action.value), KNOWN[action.symbol].currency
        if action.kind == "split":
            held.quantity, held.average = held.quantity * value, held.average / value
        elif action.kind == "delisting":
            self.trade(action.symbol, -held.quantity, value)
        elif action.kind == "cash_in_lieu":
            lot = Fraction(1, 10**8) if action.symbol == "BTC" else Fraction(1)
            self.trade(action.symbol, -(held.quantity - int(held.quantity / lot) * lot), value)
        else:
            income = held.quantity * value * Fraction(KNOWN[action.symbol].multiplier)
            income *= 1 - self.withholding if income > 0 and action.kind == "dividend" else 1
            self.cash[currency] += income
            self.earn("income", income, currency)

    def equity(self, now: dict[str, float]) -> Fraction:
        """Cash plus shares at their marks plus the open profit of contracts."""
        total = sum((v * self.fx[c] for c, v in self.cash.items()), Fraction(0))
        for s, held in self.held.items():
            price = Fraction(now[s]) - (held.average if s in CONTRACTS else 0)
            total += held.quantity * price * Fraction(KNOWN[s].multiplier) * self.fx[KNOWN[s].currency]
        return total


@MANY
@given(codes, marks, st.sampled_from([0.0, 0.25]))
def test_the_whole_account_follows_exact_arithmetic(raw: list[int], now: dict[str, float], tax: float) -> None:
    """Positions, equity and every head of the profit agree with fractions, for every kind of event in any order."""
    history = events_of(raw)
    book, exact = booked(history, withholding=tax), Exact(Fraction(tax))
    for event in history:
        exact.apply(event)
    close = 1e-12 * moved(history, now)
    for s in SYMBOLS:
        assert abs(Fraction(position(book, s).quantity) - exact.held[s].quantity) <= 1e-6
    parts = pnl(book, now)
    assert abs(Fraction(equity(book, now)) - exact.equity(now)) <= close
    for part in ("realised", "fees", "income", "carry", "currency"):
        assert abs(Fraction(getattr(parts, part)) - exact.parts[part]) <= close, part
    assert abs(Fraction(book.deposits) - exact.parts["deposit"]) <= close


# -- the identities ----------------------------------------------------------------------------------------------------------------


@MANY
@given(codes, marks)
def test_equity_is_cash_and_what_is_owed_and_what_is_held(raw: list[int], now: dict[str, float]) -> None:
    """Equity = cash + receivable + sum of q x mark x multiplier x fx, exactly; a contract adds q x (mark - average)."""
    book = booked(events_of(raw))
    wanted = sum((Fraction(v) * Fraction(book.fx[c]) for d in (book.cash, book.receivable) for c, v in d.items()), Fraction(0))
    size = abs(wanted)
    for s, h in book.holdings.items():
        price = Fraction(now[s]) - (Fraction(h.average_price) if s in CONTRACTS else 0)
        value = Fraction(h.quantity) * price * Fraction(h.multiplier) * Fraction(book.fx[h.currency])
        wanted, size = wanted + value, size + abs(value)
    assert abs(Fraction(equity(book, now)) - wanted) <= 1e-14 * size


@MANY
@given(codes, marks)
def test_the_change_of_equity_has_names(raw: list[int], now: dict[str, float]) -> None:
    """Equity - start = realised + unrealised + income + carry + currency - fees + deposits, to 1e-9 of what moved."""
    history = events_of(raw)
    book = booked(history)
    parts = pnl(book, now)
    assert abs(equity(book, now) - start_of(book) - book.deposits - parts.net) <= 1e-9 * moved(history, now) / 2.0**12
    assert parts.net == parts.realised + parts.unrealised + parts.income + parts.carry + parts.currency - parts.fees


@MANY
@given(fill_codes, marks)
def test_average_cost_and_lots_earn_the_same(raw: list[int], now: dict[str, float]) -> None:
    """First in, first out earns what the account earned, exactly; average cost earns the same within rounding."""
    fills = [fill_of(n, c) for n, c in enumerate(raw)]
    book = booked(fills)
    lots = match_lots(fills, KNOWN)
    fees = sum(f.fee * book.fx[f.currency] for f in fills)
    total = sum((found.realised + found.open_profit(now[s])) * book.fx[KNOWN[s].currency] for s, found in lots.items())
    assert all(found.quantity == position(book, s).quantity for s, found in lots.items())
    spot = [f for f in fills if f.symbol in SHARES]
    if len(spot) == len(fills):  # all numbers are exact in binary
        assert equity(book, now) == start_of(book) + total - fees
    parts = pnl(book, now)
    assert abs(parts.realised + parts.unrealised - total) <= 1e-9 * (1.0 + sum(f.quantity * f.price * 50.0 for f in fills))


@MANY
@given(st.integers(0, 2**40 - 1), st.integers(0, 2**40 - 1), st.integers(1, 256), st.integers(0, 16))
def test_crossing_zero_is_two_fills(first: int, second: int, more: int, fee: int) -> None:
    """A fill through zero does to the whole account what one fill that closes and one that opens do."""
    opened = fill_of(1, first)
    same = {"symbol": opened.symbol, "currency": opened.currency, "side": opened.side.opposite}
    through = replace(fill_of(2, second), **same, quantity=opened.quantity + more, fee=fee / 8)
    closing = replace(through, quantity=opened.quantity, fee=fee / 16)
    opening = replace(through, quantity=float(more), fee=fee / 16, exec_id="y")
    one, two = booked([opened, through]), booked([opened, closing, opening])
    assert one.cash == two.cash and position(one, opened.symbol) == position(two, opened.symbol)
    assert one.holdings[opened.symbol].realised == two.holdings[opened.symbol].realised
    assert position(one, opened.symbol).average_price == through.price


@MANY
@given(fill_codes, st.integers(0, 2**32 - 1))
def test_reversing_all_fills_returns_to_the_start_minus_costs(raw: list[int], seed: int) -> None:
    """Each share that was traded goes back at its own price, in any order: flat, and cash is the start less the fees."""
    fills = [fill_of(n, c, SHARES) for n, c in enumerate(raw)]
    back = [replace(f, exec_id=f"{f.exec_id}r", side=f.side.opposite) for f in fills]
    book = booked([*fills, *(back[n] for n in np.random.default_rng(seed).permutation(len(back)))])
    assert all(position(book, s).is_flat for s in SYMBOLS)
    for currency, start in CASH.items():
        assert book.cash[currency] == start - 2 * sum(f.fee for f in fills if f.currency == currency)


@MANY
@given(fill_codes)
def test_reversing_contracts_returns_to_the_start_minus_costs(raw: list[int]) -> None:
    """The same for contracts, whose profit passes through an average price and is exact within rounding."""
    fills = [fill_of(n, c, CONTRACTS) for n, c in enumerate(raw)]
    book = booked([*fills, *(replace(f, exec_id=f"{f.exec_id}r", side=f.side.opposite) for f in fills)])
    for currency, start in CASH.items():
        size = sum(f.quantity * f.price * 50.0 for f in fills)
        assert abs(book.cash[currency] - start + 2 * sum(f.fee for f in fills if f.currency == currency)) <= 1e-9 * (1.0 + size)


@MANY
@given(fill_codes, st.integers(2, 9), marks)
def test_splitting_a_fill_changes_nothing_but_rounding(raw: list[int], parts: int, now: dict[str, float]) -> None:
    """Every fill in n parts with an n-th of the fee."""
    fills = [fill_of(n, c) for n, c in enumerate(raw)]
    pieces = [replace(f, exec_id=f"{f.exec_id}.{k}", quantity=f.quantity / parts, fee=f.fee / parts) for f in fills for k in range(parts)]
    one, many = booked(fills), booked(pieces)
    close = 1e-9 * (1e5 + sum(f.quantity * f.price * 50.0 for f in fills))
    assert all(abs(one.cash[c] - many.cash[c]) <= close for c in CASH)
    assert abs(equity(one, now) - equity(many, now)) <= close and abs(pnl(one, now).net - pnl(many, now).net) <= close
    assert all(abs(position(one, s).quantity - position(many, s).quantity) <= 1e-9 for s in SYMBOLS)


@MANY
@given(codes, marks, orders)
def test_permuting_instruments_changes_nothing(raw: list[int], now: dict[str, float], shuffled: tuple[str, ...]) -> None:
    """A book that lists its instruments in another order holds the same money and positions, to the last bit."""
    history = events_of(raw)
    one, other = booked(history), Book([KNOWN[s] for s in shuffled], cash=CASH, fx=FX)
    for event in history:
        apply(other, event)
    assert one.cash == other.cash and one.receivable == other.receivable and one.ledger == other.ledger and one.deposits == other.deposits
    assert all(position(one, s) == position(other, s) for s in SYMBOLS)
    assert abs(equity(one, now) - equity(other, now)) <= 1e-12 * moved(history, now) / 2.0**12


@MANY
@given(codes, marks)
def test_rates_that_stay_at_one_are_one_currency(raw: list[int], now: dict[str, float]) -> None:
    """An account in two currencies worth the same is an account in one, and currencies earn nothing."""
    history = [replace(e, rate=1.0) if isinstance(e, FxRate) else e for e in events_of(raw) if not (isinstance(e, Fill) and e.fee_currency)]
    history = [e for e in history if not (isinstance(e, CashFlow) and e.kind == "conversion")]
    two = Book(KNOWN, cash={"USD": 1_024.0}, fx={"EUR": 1.0, "BNB": 1.0})
    one = Book([replace(i, currency="USD") for i in KNOWN.values()], cash={"USD": 1_024.0})
    for event in history:
        apply(two, event)
        if not isinstance(event, FxRate):
            apply(one, event if isinstance(event, CorporateAction) else replace(event, currency="USD"))
    for book in (two, one):
        book.settle(99)
    close = 1e-12 * moved(history, now) / 2.0**12
    assert abs(sum(two.cash.values()) - one.cash["USD"]) <= close and abs(equity(two, now) - equity(one, now)) <= close
    ours, theirs = pnl(two, now), pnl(one, now)
    assert ours.currency == theirs.currency == 0.0
    assert all(abs(getattr(ours, p) - getattr(theirs, p)) <= close for p in ("realised", "unrealised", "fees", "income", "carry"))


@MANY
@given(fill_codes, marks)
def test_a_fee_in_coins_is_its_value_at_the_price(raw: list[int], now: dict[str, float]) -> None:
    """Paying f coins or f x price costs the same at the price of the fill; later it also costs what the coins have gained."""
    fills = [fill_of(n, c, ("BTC",)) for n, c in enumerate(raw)]
    coins, money = open_account(), open_account()
    lost = 0.0
    for f in fills:
        before = equity(coins, {"BTC": f.price})
        coins.apply_fill(replace(f, fee=f.fee / 32, fee_currency="BTC"))
        money.apply_fill(replace(f, fee=f.fee / 32 * f.price))
        lost += f.fee / 32 * (now["BTC"] - f.price)
        assert abs(equity(coins, {"BTC": f.price}) - before + f.fee / 32 * f.price) <= 1e-9 * (1.0 + abs(before))
    close = 1e-9 * (1e5 + sum(f.quantity * f.price for f in fills))
    assert abs(equity(coins, now) + lost - equity(money, now)) <= close
    assert abs(pnl(coins, now).fees - pnl(money, now).fees) <= close
    assert position(coins, "BTC").quantity == position(money, "BTC").quantity - sum(f.fee / 32 for f in fills)


@MANY
@given(st.integers(0, 2**40 - 1), numbers(2, 2, 6))
def test_funding_of_long_and_short_cancels(code: int, stamps: list[int]) -> None:
    """What the long pays the short receives: the two accounts together keep their money but for the fees."""
    one = fill_of(1, code, ("PERP",))
    long, short = booked([one]), booked([replace(one, side=one.side.opposite)])
    for n, stamp in enumerate(stamps, start=2):
        mark, rate = divmod(stamp, 128)
        for book in (long, short):
            amount = -position(book, "PERP").quantity * (1 + mark) / 8 * 0.5 * (rate - 64) / 2**14
            book.apply_cash(CashFlow(n, "funding", amount, "EUR", "PERP"))
    assert long.holdings["PERP"].carry == -short.holdings["PERP"].carry
    now = {"PERP": one.price}
    assert equity(long, now) + equity(short, now) == 2 * (start_of(long) - one.fee * FX["EUR"])


@MANY
@given(fill_codes, marks, st.sampled_from(SHARES), st.sampled_from([2.0, 1.5, 0.5, 0.25, 3.0, 0.125]), st.integers(1, 1024))
def test_a_split_changes_equity_by_cash_in_lieu_alone(raw: list[int], now: dict[str, float], symbol: str, ratio: float, paid: int) -> None:
    """At the price over the ratio equity stays; the fraction is paid at its own price and leaves whole lots."""
    book = booked([fill_of(n, c, SHARES) for n, c in enumerate(raw)])
    close = 1e-9 * (1e5 + sum(abs(h.quantity) for h in book.holdings.values()) * 1024.0)
    before, after = equity(book, now), {**now, symbol: now[symbol] / ratio}
    book.apply_action(CorporateAction(99, symbol, "split", ratio))
    assert abs(equity(book, after) - before) <= close
    fractional = position(book, symbol).quantity
    book.apply_action(CorporateAction(99, symbol, "cash_in_lieu", paid / 8))
    whole = position(book, symbol).quantity
    rate = book.fx[KNOWN[symbol].currency]
    assert abs(equity(book, after) - before - (fractional - whole) * (paid / 8 - after[symbol]) * rate) <= close
    assert abs(whole) <= abs(fractional) and abs(fractional - whole) < KNOWN[symbol].lot_size
    if symbol != "BTC":
        assert whole == int(fractional)


@MANY
@given(st.integers(0, 2**40 - 1), st.integers(1, 64), st.integers(0, 9), st.booleans())
def test_a_dividend_on_a_short_is_minus_that_on_a_long(code: int, value: int, wait: int, is_spin_off: bool) -> None:
    """Also while it is owed, and after it was paid."""
    one = fill_of(1, code)
    long, short = booked([one]), booked([replace(one, side=one.side.opposite)])
    action = CorporateAction(5, one.symbol, "spin_off" if is_spin_off else "dividend", value / 16, 5 + wait)
    assert long.apply_action(action) == -short.apply_action(action) != 0.0
    currency = one.currency
    assert long.receivable.get(currency, 0.0) == -short.receivable.get(currency, 0.0)
    assert (long.receivable.get(currency, 0.0) != 0.0) is (wait > 0)
    for book in (long, short):
        book.settle(5 + wait)
    assert long.receivable.get(currency, 0.0) == short.receivable.get(currency, 0.0) == 0.0
    assert long.holdings[one.symbol].income == -short.holdings[one.symbol].income
    plain = booked([one])
    assert long.cash[currency] - plain.cash[currency] == long.holdings[one.symbol].income


@MANY
@given(fill_codes, marks, st.integers(1, 1024))
def test_a_delisting_is_a_sale_without_a_fee(raw: list[int], now: dict[str, float], value: int) -> None:
    """What a share still brings is booked like a sale at that price, for longs and shorts, shares and contracts."""
    fills = [fill_of(n, c) for n, c in enumerate(raw)]
    gone, sold = booked(fills), booked(fills)
    for n, s in enumerate(SYMBOLS, start=50):
        held = position(sold, s).quantity
        gone.apply_action(CorporateAction(n, s, "delisting", value / 8))
        if held:
            side = Side.SELL if held > 0 else Side.BUY
            sold.apply_fill(Fill(n, f"out{n}", "q1-a", s, side, abs(held), value / 8, currency=KNOWN[s].currency))
    assert gone.cash == sold.cash and equity(gone, {}) == equity(sold, {}) and pnl(gone, {}) == pnl(sold, {})


@MANY
@given(codes, st.integers(1, 64), st.integers(16, 79), marks)
def test_a_conversion_at_the_going_rate_changes_no_equity(raw: list[int], amount: int, rate: int, now: dict[str, float]) -> None:
    """Money that changes its currency earns nothing; at another rate it earns the difference, as a result of currencies."""
    history = [*events_of(raw), FxRate(50, "EUR", rate / 32)]
    book = booked(history)
    before, parts = equity(book, now), pnl(book, now)
    paid = amount * rate / 32
    book.apply_cash(CashFlow(51, "conversion", float(amount), "EUR"))
    book.apply_cash(CashFlow(51, "conversion", -paid - 0.5, "USD"))
    close = 1e-9 * moved(history, now) / 2.0**12
    assert abs(equity(book, now) - before + 0.5) <= close
    assert abs(pnl(book, now).currency - parts.currency + 0.5) <= close


@MANY
@given(fill_codes, marks)
def test_a_contract_earns_what_a_share_on_credit_earns(raw: list[int], now: dict[str, float]) -> None:
    """Whether the notional moves or not, equity is the same at every instant."""
    fills = [fill_of(n, c, ("ES",)) for n, c in enumerate(raw)]
    contract, share = Book([KNOWN["ES"]]), Book([replace(KNOWN["ES"], asset_class="equity")])
    for f in fills:
        contract.apply_fill(f)
        share.apply_fill(f)
        assert abs(equity(contract, now) - equity(share, now)) <= 1e-9 * (1.0 + sum(f.quantity * 50.0 * 128.0 for f in fills))
    assert contract.holdings["ES"].realised == share.holdings["ES"].realised


@MANY
@given(codes, marks, st.integers(1, 3), st.integers(1, 14))
def test_settlement_moves_no_equity(raw: list[int], now: dict[str, float], days: int, asked: int) -> None:
    """With T+n settled cash differs and equity does not; what is settled and what is under way add up to cash; in the end all is settled."""
    history = events_of(raw)
    plain = booked(history)
    later = open_account(settlement_days=days, sessions=range(2, 40, 3))
    for n, event in enumerate(history):
        apply(later, event)
        if n == asked:
            later.settle(asked)
    for c in CASH:
        assert later.spendable_cash(c) <= later.cash[c] + 1e-9 and later.spendable_cash(c) <= later.settled_cash(c) + 1e-9
    for book in (plain, later):
        book.settle(10**6)
    assert equity(plain, now) == equity(later, now) and plain.cash == later.cash
    assert all(later.settled_cash(c) == later.cash[c] and later.settled_quantity(s) == position(later, s).quantity for c in CASH for s in SYMBOLS)
    assert all(amount == 0.0 for amount in later.receivable.values()) and pnl(plain, now) == pnl(later, now)


@MANY
@given(codes, st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_the_curve_is_the_book_to_the_last_bit(raw: list[int], rows: int, seed: int) -> None:
    """With rates, receivables, contracts and fees in three currencies the curve is what the book says at every bar."""
    history = events_of(raw)
    ts = np.arange(1, rows + 1, dtype=np.int64) * 2
    table = np.random.default_rng(seed).uniform(0.01, 1e3, (rows, len(SYMBOLS)))
    book, todo, wanted = open_account(), list(history), []
    for row in range(rows):
        while todo and todo[0].ts <= ts[row]:
            apply(book, todo.pop(0))
        book.settle(int(ts[row]))
        cash = 0.0
        for c, amount in book.cash.items():
            cash += amount * book.fx[c]
        wanted.append((equity(book, dict(zip(SYMBOLS, table[row].tolist(), strict=True))), cash, [h.quantity for h in book.holdings.values()], book.deposits))
    curve = account_curve(book, ts, SYMBOLS, table)
    assert curve.equity.tolist() == [w[0] for w in wanted]
    assert curve.cash.tolist() == [w[1] for w in wanted]
    assert curve.quantity.tolist() == [w[2] for w in wanted]
    assert curve.deposits.tolist() == [w[3] for w in wanted]
    rebuilt = curve.cash + curve.receivable + curve.value.sum(axis=1) - curve.financed
    assert np.allclose(rebuilt, curve.equity, rtol=1e-9, atol=1e-6 * (1.0 + np.abs(curve.value).max()))


@MANY
@given(codes, marks)
def test_it_does_not_matter_when_somebody_asks_what_is_due(raw: list[int], now: dict[str, float]) -> None:
    """Payments stand in the ledger at their own instants, whether the book is asked at every tick or only by the next event."""
    history = events_of(raw)
    lazy, eager = booked(history), open_account()
    for event in history:
        eager.settle(event.ts - 1)
        eager.settle(event.ts)
        apply(eager, event)
    for book in (lazy, eager):
        book.settle(99)
    assert lazy.ledger == eager.ledger and lazy.changes == eager.changes and lazy.cash == eager.cash
