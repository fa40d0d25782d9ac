"""The accounting: identities on random fills, an oracle in exact fractions, and a curve equal to the book to the last bit."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
import pytest
from effort import EFFORT
from hypothesis import assume, given
from hypothesis import strategies as st

from qtnb.core.book import Book, Holding, account_curve, equity, pnl, position
from qtnb.core.errors import DataError, QtnbError, StateMismatch
from qtnb.core.events import CorporateAction
from qtnb.enums import Side
from qtnb.types import Fill, Instrument

INSTRUMENTS = (
    Instrument("IBM"),
    Instrument("SAP", currency="EUR"),
    Instrument("ES", multiplier=50.0, tick_size=0.25),
    Instrument("BTC-USDT", lot_size=1e-8, asset_class="crypto"),
    Instrument("DAX", currency="EUR", multiplier=0.25),
)
FX = {"EUR": 1.125}
CASH = {"USD": 100_000.0, "EUR": 5_000.0}
SYMBOLS = tuple(i.symbol for i in INSTRUMENTS)
CURRENCY = {i.symbol: i.currency for i in INSTRUMENTS}
MULTIPLIER = {i.symbol: i.multiplier for i in INSTRUMENTS}


def book_of(instruments: Sequence[Instrument] = INSTRUMENTS) -> Book:
    """A book with money in two currencies."""
    return Book(instruments, cash=CASH, fx=FX)


def numbered(trades: Sequence[tuple[str, float, float, float]]) -> list[Fill]:
    """Fills of (symbol, signed quantity, price, fee), one a tick."""
    return [
        Fill(n, f"x{n}", "q1-a", s, Side.BUY if q > 0 else Side.SELL, abs(q), p, fee=fee, currency=CURRENCY[s])
        for n, (s, q, p, fee) in enumerate(trades, start=1)
    ]


# Numbers of which sums and products are exact in binary: there the books must agree with the oracle to the last bit.
exact_prices = st.integers(1, 4000).map(lambda n: n / 8)
exact_quantities = st.integers(-400, 400).filter(bool).map(float)
exact_fees = st.integers(0, 64).map(lambda n: n / 16)
exact_trades = st.lists(st.tuples(st.sampled_from(SYMBOLS), exact_quantities, exact_prices, exact_fees), max_size=30)
exact_marks = st.fixed_dictionaries({s: exact_prices for s in SYMBOLS})

# Numbers as they come.
prices = st.floats(0.01, 1e5, allow_subnormal=False)
quantities = st.floats(1e-6, 1e5, allow_subnormal=False).flatmap(lambda q: st.sampled_from([q, -q]))
fees = st.floats(-10.0, 50.0)  # a rebate is a negative fee
trades = st.lists(st.tuples(st.sampled_from(SYMBOLS), quantities, prices, fees), max_size=30)
marks = st.fixed_dictionaries({s: prices for s in SYMBOLS})


def snapshot(book: Book) -> object:
    """Everything that a book remembers, copied."""
    holdings = {s: tuple(copy.copy(getattr(h, n)) for n in Holding.__slots__) for s, h in book.holdings.items()}
    return holdings, dict(book.cash), list(book.ledger)


def scale_of(fills: Sequence[Fill], prices_now: dict[str, float]) -> float:
    """How much money moved in all: what rounding errors are measured against."""
    moved = sum(f.quantity * MULTIPLIER[f.symbol] * max(f.price, prices_now.get(f.symbol, 0.0)) + abs(f.fee) for f in fills)
    return sum(CASH.values()) + 2.0 * moved


# -- an oracle in exact arithmetic ---------------------------------------------------------------------------------------------


@dataclass
class Account:
    """One instrument's accounts in fractions, with first-in-first-out lots and, beside them, average cost."""

    lots: list[list[Fraction]] = field(default_factory=list)  # [signed quantity, price], oldest first
    realised_fifo: Fraction = Fraction(0)
    held: Fraction = Fraction(0)
    cost: Fraction = Fraction(0)  # signed quantity x average price
    realised_average: Fraction = Fraction(0)

    def trade(self, quantity: Fraction, price: Fraction) -> None:
        """Book a signed quantity both ways."""
        self._first_in_first_out(quantity, price)
        opposite = self.held * quantity < 0
        closing = min(abs(quantity), abs(self.held)) * (1 if quantity > 0 else -1) if opposite else Fraction(0)
        if closing:
            mean = self.cost / self.held
            self.realised_average += -closing * (price - mean)
            self.held += closing
            self.cost += closing * mean
        self.held += quantity - closing
        self.cost += (quantity - closing) * price

    def _first_in_first_out(self, quantity: Fraction, price: Fraction) -> None:
        """Close the oldest lots first; what remains opens a lot."""
        while quantity and self.lots and self.lots[0][0] * quantity < 0:
            lot = self.lots[0]
            part = min(abs(lot[0]), abs(quantity)) * (1 if lot[0] > 0 else -1)
            self.realised_fifo += part * (price - lot[1])
            lot[0] -= part
            quantity += part
            if not lot[0]:
                self.lots.pop(0)
        if quantity:
            self.lots.append([quantity, price])


class Oracle:
    """The whole account in fractions."""

    def __init__(self) -> None:
        """Start with the same money."""
        self.cash = {c: Fraction(v) for c, v in CASH.items()}
        self.accounts = {s: Account() for s in SYMBOLS}

    def book(self, fill: Fill) -> None:
        """Book a fill."""
        quantity, price = Fraction(fill.signed_quantity), Fraction(fill.price)
        self.cash[CURRENCY[fill.symbol]] -= quantity * price * Fraction(MULTIPLIER[fill.symbol]) + Fraction(fill.fee)
        self.accounts[fill.symbol].trade(quantity, price)

    def rate(self, symbol: str) -> Fraction:
        """Base money per point and unit."""
        return Fraction(MULTIPLIER[symbol]) * Fraction(FX.get(CURRENCY[symbol], 1.0))

    def equity(self, prices_now: dict[str, float]) -> Fraction:
        """Cash plus holdings."""
        total = sum((v * Fraction(FX.get(c, 1.0)) for c, v in self.cash.items()), Fraction(0))
        return total + sum(a.held * Fraction(prices_now[s]) * self.rate(s) for s, a in self.accounts.items())

    def profit(self, prices_now: dict[str, float], way: str) -> Fraction:
        """Realised plus unrealised, by lots or by average cost."""
        total = Fraction(0)
        for symbol, account in self.accounts.items():
            mark = Fraction(prices_now[symbol])
            if way == "fifo":
                gain = account.realised_fifo + sum((q * (mark - p) for q, p in account.lots), Fraction(0))
            else:
                gain = account.realised_average + account.held * mark - account.cost
            total += gain * self.rate(symbol)
        return total


def both(fills: Sequence[Fill]) -> tuple[Book, Oracle]:
    """The book and the oracle after the same fills."""
    book, oracle = book_of(), Oracle()
    for fill in fills:
        book.apply_fill(fill)
        oracle.book(fill)
    return book, oracle


@EFFORT
@given(exact_trades, exact_marks)
def test_cash_positions_and_equity_are_exact(raw: list, now: dict[str, float]) -> None:
    """Where floating point is exact, the book equals the oracle to the last bit."""
    book, oracle = both(numbered(raw))
    assert {c: Fraction(v) for c, v in book.cash.items()} == oracle.cash
    assert {s: Fraction(h.quantity) for s, h in book.holdings.items()} == {s: a.held for s, a in oracle.accounts.items()}
    assert Fraction(equity(book, now)) == oracle.equity(now)


@EFFORT
@given(trades, marks)
def test_the_book_follows_the_oracle_on_any_numbers(raw: list, now: dict[str, float]) -> None:
    """Cash, equity and every part of the profit stay within rounding of exact arithmetic."""
    fills = numbered(raw)
    book, oracle = both(fills)
    close = 1e-11 * scale_of(fills, now)
    assert all(abs(Fraction(v) - oracle.cash[c]) <= close for c, v in book.cash.items())
    assert abs(Fraction(equity(book, now)) - oracle.equity(now)) <= close
    parts = pnl(book, now)
    realised = sum(a.realised_average * oracle.rate(s) for s, a in oracle.accounts.items())
    assert abs(Fraction(parts.realised) - realised) <= 100 * close
    assert abs(Fraction(parts.realised + parts.unrealised) - oracle.profit(now, "average")) <= 100 * close


@EFFORT
@given(trades, marks)
def test_first_in_first_out_and_average_cost_earn_the_same(raw: list, now: dict[str, float]) -> None:
    """How lots are matched moves profit between realised and unrealised; their sum is the same, exactly."""
    _, oracle = both(numbered(raw))
    assert oracle.profit(now, "fifo") == oracle.profit(now, "average")


# -- identities ----------------------------------------------------------------------------------------------------------------


@EFFORT
@given(trades, marks)
def test_equity_is_cash_plus_positions(raw: list, now: dict[str, float]) -> None:
    """Equity equals the sum written out, to the last bit, and equals the start plus the net profit within rounding."""
    fills = numbered(raw)
    book, _ = both(fills)
    total = 0.0 + book.cash["USD"] * 1.0 + book.cash["EUR"] * FX["EUR"]
    for s in SYMBOLS:
        if book.holdings[s].quantity != 0.0:
            total += book.holdings[s].quantity * now[s] * MULTIPLIER[s] * FX.get(CURRENCY[s], 1.0)
    assert equity(book, now) == total
    start = CASH["USD"] + CASH["EUR"] * FX["EUR"]
    parts = pnl(book, now)
    assert parts.net == parts.realised + parts.unrealised + parts.income - parts.fees
    assert abs(equity(book, now) - start - parts.net) <= 1e-9 * scale_of(fills, now)


@EFFORT
@given(exact_trades)
def test_positions_are_sums_of_fills(raw: list) -> None:
    """What is held is what was bought less what was sold; a flat holding has no average price."""
    fills = numbered(raw)
    book, _ = both(fills)
    for s in SYMBOLS:
        own = [f for f in fills if f.symbol == s]
        held = position(book, s)
        assert held.quantity == sum(f.signed_quantity for f in own)
        assert held.is_flat == (held.quantity == 0.0) and (held.average_price == 0.0) == held.is_flat
        if not held.is_flat:
            side = [f.price for f in own if (f.signed_quantity > 0) == (held.quantity > 0)]
            assert min(side) * (1 - 1e-12) <= held.average_price <= max(side) * (1 + 1e-12)
        assert book.holdings[s].fees == sum(f.fee for f in own)


@EFFORT
@given(exact_quantities, exact_prices, exact_prices, st.integers(1, 400))
def test_crossing_zero_is_closing_and_opening(held: float, entry: float, price: float, more: int) -> None:
    """One fill through zero does to the holding what two fills do, one that closes and one that opens."""
    direction = -1.0 if held > 0 else 1.0
    one, two = (Holding(Instrument("ES", multiplier=50.0)) for _ in range(2))
    for holding in (one, two):
        holding.trade(held, entry)
    locked = one.trade(direction * (abs(held) + more), price)
    assert two.trade(-held, price) == locked == held * (price - entry) * 50.0
    assert two.quantity == 0.0 and two.average_price == 0.0
    assert two.trade(direction * more, price) == 0.0
    assert (one.quantity, one.average_price, one.realised) == (two.quantity, two.average_price, two.realised) == (direction * more, price, locked)


@EFFORT
@given(trades, st.integers(2, 7), marks)
def test_splitting_a_fill_changes_nothing(raw: list, parts: int, now: dict[str, float]) -> None:
    """Every fill in n equal parts with an n-th of the fee: the same cash, positions and profit within rounding."""
    whole = numbered(raw)
    split = [
        replace(f, exec_id=f"{f.exec_id}.{k}", quantity=f.quantity / parts, fee=f.fee / parts) for f in whole for k in range(parts)
    ]
    (a, _), (b, _) = both(whole), both(split)
    close = 1e-9 * scale_of(whole, now)
    assert all(abs(a.cash[c] - b.cash[c]) <= close for c in a.cash)
    assert abs(equity(a, now) - equity(b, now)) <= close
    one, many = pnl(a, now), pnl(b, now)
    assert abs(one.net - many.net) <= close and abs(one.realised - many.realised) <= close


@EFFORT
@given(exact_trades, exact_marks, st.permutations(SYMBOLS))
def test_the_order_of_instruments_does_not_matter(raw: list, now: dict[str, float], shuffled: list[str]) -> None:
    """A book that lists its instruments in another order holds the same things."""
    known = {i.symbol: i for i in INSTRUMENTS}
    a, b = book_of(), book_of([known[s] for s in shuffled])
    for fill in numbered(raw):
        assert a.apply_fill(fill) == b.apply_fill(fill)
    assert a.cash == b.cash and equity(a, now) == equity(b, now)
    assert all(position(a, s) == position(b, s) for s in SYMBOLS)


@EFFORT
@given(exact_trades, st.randoms(use_true_random=False))
def test_undoing_every_fill_leaves_the_fees(raw: list, order_of) -> None:
    """Each fill followed at any time by its opposite at the same price: flat, and the start less the fees, exactly."""
    fills = numbered(raw)
    undone = [replace(f, exec_id=f"{f.exec_id}u", side=f.side.opposite, fee=0.0) for f in fills]
    order_of.shuffle(undone)
    book, _ = both([*fills, *undone])
    assert all(position(book, s).is_flat for s in SYMBOLS)
    for currency, start in CASH.items():
        assert book.cash[currency] == start - sum(f.fee for f in fills if f.currency == currency)
    parts = pnl(book, {})
    assert parts.unrealised == 0.0 and abs(parts.realised) <= 1e-9 * scale_of(fills, {})


@EFFORT
@given(st.lists(st.tuples(exact_quantities, exact_prices), min_size=1, max_size=20), exact_prices, st.sampled_from([0.25, 2.0, 50.0, 1000.0]))
def test_a_multiplier_scales_money_and_nothing_else(raw: list, mark: float, multiplier: float) -> None:
    """A contract of m units at price p moves the money of m units at p: profits are m times as large, quantities the same."""
    plain, contract = Book([Instrument("A")]), Book([Instrument("A", multiplier=multiplier)])
    for n, (quantity, price) in enumerate(raw):
        fill = Fill(n, f"x{n}", "q1-a", "A", Side.BUY if quantity > 0 else Side.SELL, abs(quantity), price)
        earned = plain.apply_fill(fill)
        assert math.isclose(contract.apply_fill(fill), multiplier * earned, rel_tol=1e-12)
    assert contract.cash["USD"] == multiplier * plain.cash["USD"]
    assert position(contract, "A") == position(plain, "A")
    assert equity(contract, {"A": mark}) == multiplier * equity(plain, {"A": mark})


@EFFORT
@given(st.lists(st.tuples(exact_quantities, exact_prices, exact_fees), max_size=20), exact_prices, st.sampled_from([0.5, 1.25, 128.0]))
def test_a_currency_scales_what_is_reported(raw: list, mark: float, rate: float) -> None:
    """The same fills in a currency worth `rate`: the same local cash, and base figures times the rate; other cash is untouched."""
    home, abroad = Book([Instrument("A")]), Book([Instrument("A", currency="XYZ")], cash=77.0, fx={"XYZ": rate})
    for n, (quantity, price, fee) in enumerate(raw):
        fill = Fill(n, f"x{n}", "q1-a", "A", Side.BUY if quantity > 0 else Side.SELL, abs(quantity), price, fee=fee)
        home.apply_fill(fill)
        abroad.apply_fill(replace(fill, currency="XYZ"))
    assert abroad.cash == {"USD": 77.0, "XYZ": home.cash["USD"]}
    assert equity(abroad, {"A": mark}) == 77.0 + rate * equity(home, {"A": mark})
    ours, theirs = pnl(home, {"A": mark}), pnl(abroad, {"A": mark})
    assert math.isclose(theirs.net, rate * ours.net, rel_tol=1e-9, abs_tol=1e-6)
    assert theirs.fees == rate * ours.fees


# -- splits and dividends ------------------------------------------------------------------------------------------------------


@EFFORT
@given(exact_trades, exact_marks, st.sampled_from(SYMBOLS), st.sampled_from([2.0, 4.0, 0.5, 0.125]))
def test_a_split_changes_no_money(raw: list, now: dict[str, float], symbol: str, ratio: float) -> None:
    """Twice the shares at half the price: equity, cash and profit stay."""
    book, _ = both(numbered(raw))
    before, parts, cash = equity(book, now), pnl(book, now), dict(book.cash)
    assert book.apply_action(CorporateAction(99, symbol, "split", ratio)) == 0.0
    after = {**now, symbol: now[symbol] / ratio}
    assert equity(book, after) == before and book.cash == cash
    assert math.isclose(pnl(book, after).net, parts.net, rel_tol=1e-12, abs_tol=1e-6)


@EFFORT
@given(exact_trades, exact_marks, st.sampled_from(SYMBOLS), exact_prices)
def test_a_dividend_moves_equity_by_what_it_pays(raw: list, now: dict[str, float], symbol: str, value: float) -> None:
    """A holder is paid, a short pays, nobody else notices; the income is in the profit."""
    book, _ = both(numbered(raw))
    before, held = equity(book, now), position(book, symbol).quantity
    income = book.apply_action(CorporateAction(99, symbol, "dividend", value))
    assert income == held * value * MULTIPLIER[symbol]
    assert equity(book, now) == before + income * FX.get(CURRENCY[symbol], 1.0)
    assert pnl(book, now).income == income * FX.get(CURRENCY[symbol], 1.0)
    assert position(book, symbol).quantity == held


@pytest.mark.parametrize("kind", ["split", "dividend", "merger"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_an_action_that_makes_no_sense_changes_nothing(kind: str, value: float) -> None:
    """Ratios and amounts are positive numbers, and kinds are two."""
    book, _ = both(numbered([("IBM", 10.0, 50.0, 1.0)]))
    before = snapshot(book)
    with pytest.raises(DataError, match=kind):
        book.apply_action(CorporateAction(99, "IBM", kind, value))
    with pytest.raises(LookupError):
        book.apply_action(CorporateAction(99, "IBN", "split", 2.0))
    assert snapshot(book) == before


# -- the ledger and the curve --------------------------------------------------------------------------------------------------


@EFFORT
@given(exact_trades)
def test_the_ledger_tells_the_story(raw: list) -> None:
    """One row a fill, with the holding and its cash after it; playing the fills again gives the same rows."""
    fills = numbered(raw)
    book, again = book_of(), book_of()
    for fill in fills:
        book.apply_fill(fill)
        last = book.ledger[-1]
        currency = CURRENCY[fill.symbol]
        assert last == (fill.ts, fill.symbol, position(book, fill.symbol).quantity, currency, book.cash[currency])
    for fill in fills:
        again.apply_fill(fill)
    assert len(book.ledger) == len(fills) and book.ledger == again.ledger


events = st.lists(
    st.one_of(
        st.tuples(st.just("fill"), st.integers(0, 20), st.sampled_from(SYMBOLS), quantities, prices, fees),
        st.tuples(st.just("split"), st.integers(0, 20), st.sampled_from(SYMBOLS), st.sampled_from([2.0, 3.0, 0.1])),
        st.tuples(st.just("dividend"), st.integers(0, 20), st.sampled_from(SYMBOLS), st.floats(0.01, 5.0)),
    ),
    max_size=40,
)


@EFFORT
@given(events, st.integers(1, 10), st.integers(0, 2**32 - 1))
def test_the_curve_is_the_book_at_every_bar_to_the_last_bit(raw: list, rows: int, seed: int) -> None:
    """Equity, cash and positions rebuilt from the ledger are the very numbers that the book shows while it runs."""
    ts = np.arange(1, rows + 1, dtype=np.int64) * 2
    mark = np.random.default_rng(seed).uniform(0.01, 1e4, (rows, len(SYMBOLS)))
    rate = {"USD": 1.0, "EUR": 1.1}
    size = {s: MULTIPLIER[s] * 1.1 for s in SYMBOLS}  # no power of two: products must be taken in one order everywhere
    book = Book([replace(i, multiplier=size[i.symbol]) for i in INSTRUMENTS], cash=CASH, fx={"EUR": rate["EUR"]})
    wanted: list[float] = []
    cash: list[float] = []
    held: list[list[float]] = []
    todo = sorted(((min(e[1], 2 * rows), n, e) for n, e in enumerate(raw)), key=lambda x: x[:2])
    for row in range(rows):
        while todo and todo[0][0] <= ts[row]:
            when, n, (kind, _, symbol, *rest) = todo.pop(0)
            if kind == "fill":
                quantity, price, fee = rest
                side = Side.BUY if quantity > 0 else Side.SELL
                book.apply_fill(Fill(when, f"x{n}", "q1-a", symbol, side, abs(quantity), price, fee=fee, currency=CURRENCY[symbol]))
            else:
                book.apply_action(CorporateAction(when, symbol, kind, rest[0]))
        wanted.append(equity(book, dict(zip(SYMBOLS, mark[row].tolist(), strict=True))))
        cash.append(0.0 + book.cash["USD"] * 1.0 + book.cash["EUR"] * rate["EUR"])
        held.append([book.holdings[s].quantity for s in SYMBOLS])
    curve = account_curve(book, ts, SYMBOLS, mark)
    assert curve.equity.tolist() == wanted
    assert curve.cash.tolist() == cash
    assert curve.quantity.tolist() == held
    rates = np.array([size[s] * rate[CURRENCY[s]] for s in SYMBOLS])
    assert np.allclose(curve.value, np.array(held) * mark * rates, rtol=1e-12)


@EFFORT
@given(exact_trades, exact_marks, st.permutations(SYMBOLS))
def test_the_curve_does_not_mind_the_order_of_columns(raw: list, now: dict[str, float], shuffled: list[str]) -> None:
    """The same panel with its columns in another order gives the same equity."""
    fills = numbered(raw)
    book, _ = both(fills)
    ts = np.arange(1, len(fills) + 2, dtype=np.int64)
    plain, other = (np.tile([now[s] for s in names], (len(ts), 1)) for names in (SYMBOLS, shuffled))
    a, b = account_curve(book, ts, SYMBOLS, plain), account_curve(book, ts, tuple(shuffled), other)
    assert a.equity.tolist() == b.equity.tolist()
    assert a.quantity.tolist() == b.quantity[:, [shuffled.index(s) for s in SYMBOLS]].tolist()


def test_the_curve_of_a_book_that_knows_more_than_the_panel() -> None:
    """Instruments that were never traded need no column."""
    book, _ = both(numbered([("IBM", 10.0, 50.0, 1.0)]))
    curve = account_curve(book, np.array([1, 2]), ("IBM",), np.array([[50.0], [60.0]]))
    assert curve.equity[-1] == equity(book, {"IBM": 60.0})


def test_the_last_row_of_the_curve_is_the_book_even_after_a_late_fill() -> None:
    """A fill that is booked late with an early time does not make the account forget the fills before it."""
    book = book_of()
    fills = numbered([("IBM", 10.0, 50.0, 0.0), ("IBM", 5.0, 50.0, 0.0)])
    book.apply_fill(replace(fills[0], ts=4))
    book.apply_fill(replace(fills[1], ts=2))
    curve = account_curve(book, np.array([1, 2, 3, 4, 5]), SYMBOLS, np.full((5, len(SYMBOLS)), 50.0))
    assert curve.quantity[-1, 0] == position(book, "IBM").quantity == 15.0
    assert curve.equity[-1] == equity(book, {"IBM": 50.0})


# -- what is refused changes nothing -------------------------------------------------------------------------------------------

GOOD = Fill(9, "new", "q1-a", "IBM", Side.SELL, 3.0, 51.0, fee=0.5)
BAD = {
    "nan quantity": replace(GOOD, quantity=math.nan),
    "infinite quantity": replace(GOOD, quantity=math.inf),
    "no quantity": replace(GOOD, quantity=0.0),
    "negative quantity": replace(GOOD, quantity=-3.0),
    "nan price": replace(GOOD, price=math.nan),
    "infinite price": replace(GOOD, price=-math.inf),
    "nan fee": replace(GOOD, fee=math.nan),
    "infinite fee": replace(GOOD, fee=math.inf),
    "too much money": replace(GOOD, quantity=1e200, price=1e200),
    "other currency": replace(GOOD, currency="EUR"),
    "unknown instrument": replace(GOOD, symbol="IBN"),
    "counted before": replace(GOOD, exec_id="x1"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_a_refused_fill_changes_nothing(name: str) -> None:
    """A bad fill raises one of our errors, leaves every number alone, and the mended fill is then booked."""
    book, _ = both(numbered([("IBM", 10.0, 50.0, 1.0), ("SAP", -4.0, 80.0, 1.0)]))
    before = snapshot(book)
    with pytest.raises(QtnbError):
        book.apply_fill(BAD[name])
    assert snapshot(book) == before
    assert book.apply_fill(GOOD) == 3.0 * (51.0 - 50.0)


@EFFORT
@given(trades, st.data())
def test_a_fill_counts_once(raw: list, data: st.DataObject) -> None:
    """Any fill reported again is refused; the same execution number of another symbol is another execution."""
    fills = numbered(raw)
    assume(fills)
    book, _ = both(fills)
    before = snapshot(book)
    again = data.draw(st.sampled_from(fills))
    with pytest.raises(StateMismatch, match="counts once"):
        book.apply_fill(again)
    assert snapshot(book) == before
    other = SYMBOLS[(SYMBOLS.index(again.symbol) + 1) % len(SYMBOLS)]
    book.apply_fill(replace(again, symbol=other, currency=CURRENCY[other]))


@pytest.mark.parametrize("mark", [math.nan, math.inf, None])
def test_what_is_held_needs_a_mark(mark: float | None) -> None:
    """Equity and profit refuse to guess a price; what is flat needs none."""
    book, _ = both(numbered([("IBM", 10.0, 50.0, 1.0)]))
    now = {} if mark is None else {"IBM": mark}
    for measure in (equity, pnl):
        with pytest.raises(DataError, match="mark of 'IBM'"):
            measure(book, now)
    book.apply_fill(Fill(9, "out", "q1-a", "IBM", Side.SELL, 10.0, 51.0))
    assert math.isfinite(equity(book, now)) and pnl(book, now).unrealised == 0.0


def test_a_book_starts_with_sense_or_not_at_all() -> None:
    """Money and rates are finite numbers, and every currency has a rate."""
    for wrong in ({"cash": math.nan}, {"cash": {"USD": math.inf}}, {"cash": 1.0, "fx": {"EUR": math.nan}}):
        with pytest.raises(DataError):
            Book([Instrument("IBM")], **wrong)
    with pytest.raises(DataError, match="'EUR'"):
        Book([Instrument("SAP", currency="EUR")], cash=1.0)
    with pytest.raises(DataError, match="'GBP'"):
        Book([Instrument("IBM")], cash={"GBP": 1.0})
