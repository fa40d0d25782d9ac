"""Identities of fees and carry: how an order is cut changes nothing, caps hold, nights and payments add up."""

from __future__ import annotations

import math
from datetime import date

import numpy as np
import pandas as pd
import pytest
from effort import EFFORT
from hypothesis import given
from hypothesis import strategies as st

from qtnb.backtest.brokers import Alpaca, IbkrFixed, IbkrTiered
from qtnb.backtest.carry import BorrowFee, Funding, InterestRate, MarginInterest, collateral_price, fresh_carry
from qtnb.backtest.costs import AtLeast, PerOrder, PerShare, fresh_costs
from qtnb.backtest.fees import day_of, find_fee, marginal, shipped_fees, up_to_cent
from qtnb.core.book import Book
from qtnb.core.errors import DataError
from qtnb.core.protocols import Execution
from qtnb.enums import Side
from qtnb.types import Fill, Instrument

IBM = Instrument("IBM")
START = pd.Timestamp("2026-09-08 10:00", tz="America/New_York").value
MINUTE, HOUR = 60_000_000_000, 3_600_000_000_000
MODELS = [
    IbkrTiered(),
    IbkrFixed(),
    IbkrTiered(monthly_shares=299_000.0),
    Alpaca(per_day=False),
    PerOrder(PerShare(0.005, 1.0, 100.0)),
    PerOrder(AtLeast(PerShare(0.01), 2.0)),
]

shares = st.integers(1, 400_000).map(float)
prices = st.integers(1, 50_000).map(lambda cents: cents / 100)


@EFFORT
@given(st.sampled_from(MODELS), st.lists(st.integers(1, 60_000), min_size=1, max_size=8), prices, st.sampled_from([-1, +1]))
def test_how_an_order_is_cut_changes_nothing(model, parts: list[int], price: float, sign: int) -> None:
    """The executions of an order pay what one execution of all of it would."""
    meter = fresh_costs(model)
    cut = [meter.fee(Execution(IBM, sign, float(q), price, START + n, client_order_id="a")) for n, q in enumerate(parts)]
    whole = fresh_costs(model).fee(Execution(IBM, sign, float(sum(parts)), price, START, client_order_id="a"))
    assert math.fsum(cut) == pytest.approx(whole, rel=1e-9, abs=1e-9)
    assert all(fee >= -1e-9 for fee in cut)


@EFFORT
@given(shares, prices)
def test_the_commission_stays_within_its_bounds(quantity: float, price: float) -> None:
    """At least the minimum, at most one per cent; when these contradict each other the one per cent wins."""
    for model, least in ((IbkrTiered(), 0.35), (IbkrFixed(), 1.0)):
        fee, most = model.lines(Execution(IBM, +1, quantity, price, START))["commission"], 0.01 * quantity * price
        assert fee <= most * (1 + 1e-12)
        assert fee >= min(least, most) * (1 - 1e-12)


@EFFORT
@given(st.lists(st.tuples(st.integers(1, 5_000), prices, st.sampled_from([-1, +1]), st.integers(0, 4)), min_size=1, max_size=12))
def test_alpaca_rounds_the_sums_of_each_day(trades: list[tuple[int, float, int, int]]) -> None:
    """Each fee of each day is the rounded sum of its unrounded parts; the order of the trades in a day does not matter."""
    exact, meter, per_day = Alpaca(per_day=False).fresh(), Alpaca().fresh(), {}
    day_ns = 24 * HOUR
    for n, (quantity, price, sign, day) in enumerate(sorted(trades, key=lambda t: t[3])):
        trade = Execution(IBM, sign, float(quantity), price, START + day * day_ns + n, client_order_id=f"o{n}")
        assert meter.fee(trade) == 0.0
        for name, amount in exact.lines(trade).items():
            key = (day_of(trade.ts), name)
            per_day[key] = per_day.get(key, 0.0) + amount
    flows = meter.session_end(START + 9 * day_ns)
    expected = sorted(up_to_cent(amount) for amount in per_day.values() if amount > 0.0)
    assert sorted(-f.amount for f in flows) == pytest.approx(expected)
    assert all(up_to_cent(amount) - amount < 0.01 and up_to_cent(amount) >= amount - 1e-7 for amount in per_day.values())


@EFFORT
@given(st.integers(0, 200_000_000), st.integers(0, 200_000_000))
def test_tiers_are_marginal(first: int, second: int) -> None:
    """Volume added in two steps costs what it costs in one, and more volume never costs less."""
    ladder = [(0.0, 0.0035), (300_000.0, 0.0020), (3_000_000.0, 0.0015), (20_000_000.0, 0.0010), (100_000_000.0, 0.0005)]
    both = marginal(ladder, 0.0, first) + marginal(ladder, first, second)
    assert both == pytest.approx(marginal(ladder, 0.0, first + second), rel=1e-12, abs=1e-9)
    assert 0.0005 * second - 1e-6 <= marginal(ladder, first, second) <= 0.0035 * second + 1e-6


@EFFORT
@given(st.sampled_from([(r.schedule, r.fee, r.tier) for r in shipped_fees()]), st.dates(date(1995, 1, 1), date(2035, 1, 1)))
def test_a_day_has_one_rate_or_an_error(line: tuple[str, str, float], when) -> None:
    """Never two, and never a zero that the table does not say."""
    schedule, fee, tier = line
    day = when.isoformat()
    held = [r for r in shipped_fees() if (r.schedule, r.fee, r.tier) == line and r.effective_from <= day <= r.effective_to]
    assert len(held) <= 1
    if held and held[0].rate is not None:
        assert find_fee(schedule, fee, day, tier=tier) is held[0]
    else:
        with pytest.raises(DataError, match="is not known"):
            find_fee(schedule, fee, day, tier=tier)
        assert find_fee(schedule, fee, day, tier=tier, outside="nearest").rate is not None


# -- carry ----------------------------------------------------------------------------------------------------------------


def fill(instrument: Instrument, quantity: float, price: float, ts: int) -> Fill:
    """A fill without a fee."""
    side = Side.BUY if quantity > 0 else Side.SELL
    return Fill(ts, f"{instrument.symbol}{ts}", "o", instrument.symbol, side, abs(quantity), price, currency=instrument.currency)


@EFFORT
@given(st.lists(st.integers(1, 5), min_size=1, max_size=10), st.integers(0, 6), st.integers(1, 10_000), prices)
def test_nights_add_up(gaps: list[int], calls_a_day: int, quantity: int, price: float) -> None:
    """Fee and interest are those of the calendar nights between first and last day, however often one asks within a day."""
    book = Book([IBM], cash=-10_000.0)
    book.apply_fill(fill(IBM, -float(quantity), price, START))
    meters = [fresh_carry(BorrowFee(default=0.07)), fresh_carry(MarginInterest((InterestRate("USD", 0.06), InterestRate("USD", 0.02, side="credit"))))]
    totals, last, day = [0.0, 0.0], START - 1, START
    for gap in [0, *gaps]:
        day += gap * 24 * HOUR
        for n in range(calls_a_day + 1):
            for k, meter in enumerate(meters):
                totals[k] += sum(f.amount for f in meter.flows(book, {"IBM": price}, last, day + n * MINUTE))
            last = day + n * MINUTE
    nights, cash = sum(gaps), book.cash["USD"]
    assert totals[0] == pytest.approx(-quantity * collateral_price(price) * 0.07 * nights / 360)
    assert totals[1] == pytest.approx(cash * (0.06 if cash < -0.005 else 0.02) * nights / 360 if abs(cash) >= 0.005 else 0.0)


trades = st.lists(st.tuples(st.integers(1, 600), st.integers(-5, 5)), min_size=1, max_size=8)  # minutes to wait, contracts


@EFFORT
@given(trades, st.lists(st.integers(1, 400), min_size=1, max_size=8), st.integers(0, 2**16))
def test_funding_is_position_times_rate_at_each_stamp(trades: list[tuple[int, int]], steps: list[int], seed: int) -> None:
    """Against a plain sum over the stamps; asking rarely or often gives the same payments."""
    chance = np.random.default_rng(seed)
    perp = Instrument("P", currency="USDT", asset_class="perpetual", multiplier=0.5)
    times = START + np.cumsum(chance.integers(60, 480, 12)) * MINUTE
    frame = pd.DataFrame({"ts": times, "symbol": "P", "rate": chance.normal(0, 1e-3, 12), "mark": chance.uniform(50, 150, 12)})
    changes, ts = [], START - 500 * MINUTE
    for wait, quantity in trades:
        ts += wait * MINUTE
        if quantity:
            changes.append((ts, float(quantity)))
    begin, end = int(times[0]) - MINUTE, int(times[-1]) + 1
    rarely = sorted({*np.clip(begin + np.cumsum(steps) * MINUTE, None, end).tolist(), end})
    often = sorted({*rarely, *times.tolist(), *(when for when, _ in changes if begin < when < end)})

    def payments(calls: list[int]) -> list[tuple[int, float]]:
        book, meter, last, flows, todo = Book([perp], cash=1e6, base_currency="USDT"), fresh_carry(Funding(frame)), begin, [], list(changes)
        for now in calls:
            while todo and todo[0][0] <= now:
                when, quantity = todo.pop(0)
                book.apply_fill(fill(perp, quantity, 100.0, when))
            flows += list(meter.flows(book, {"P": 100.0}, last, now))
            last = now
        return [(f.ts, f.amount) for f in flows]

    held = [sum(q for when, q in changes if when <= t) for t in times]
    due = zip(times.tolist(), held, frame["mark"], frame["rate"], strict=True)
    expected = [(t, -q * mark * 0.5 * rate) for t, q, mark, rate in due if q]
    for found in (payments(rarely), payments(often)):
        assert [t for t, _ in found] == [t for t, _ in expected]
        assert [amount for _, amount in found] == pytest.approx([amount for _, amount in expected])
