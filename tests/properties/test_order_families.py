"""Order types, brackets, groups, auctions and paths of the simulated venue: the vectors of the rules, and properties of random crowds of orders."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from effort import EFFORT
from hypothesis import given
from hypothesis import strategies as st
from scenarios import random_panel

from qtnb.backtest.bar_path import bar_path, price_at
from qtnb.backtest.execution_sim import SimulatedVenue
from qtnb.backtest.fill_rules import BarFill
from qtnb.backtest.resting import Resting
from qtnb.backtest.slippage import BpsSlippage
from qtnb.core.bars import DAY_NS, FIELDS, Bars, BarsWindow
from qtnb.core.events import CorporateAction, OrderEventKind, OrderUpdate, Replace
from qtnb.core.orders import OrderState
from qtnb.core.protocols import Execution
from qtnb.enums import OrderStatus, OrderType, Side, TimeInForce
from qtnb.types import Fill, Instrument, Order

BUY, SELL = Side.BUY, Side.SELL
HOUR = 3_600_000_000_000
FLAT = (100.0, 100.0, 100.0, 100.0)
NAN4 = (math.nan,) * 4


def panel(*rows: Any, symbols: Sequence[str] = ("IBM",), volume: float = 1_000.0, interval: str = "1d", ts: Any = None) -> Bars:
    """Bars from rows of (open, high, low, close), or of one such tuple per symbol."""
    table = np.array(rows, dtype=float).reshape(len(rows), len(symbols), 4)
    prices = {name: table[:, :, n] for n, name in enumerate(FIELDS[:4])}
    times = [(day + 1) * DAY_NS for day in range(len(rows))] if ts is None else ts
    return Bars(times, symbols, **prices, volume=np.where(np.isnan(prices["close"]), np.nan, volume), interval=interval)


def order(name: str, side: Side, quantity: float, kind: str = "market", *, limit: float | None = None, stop: float | None = None, tif: str = "gtc", ts: int = 0,
          symbol: str = "IBM", **more: Any) -> Order:  # fmt: skip
    """An order decided before the first bar."""
    return Order(name, ts, symbol, side, quantity, OrderType(kind), limit, stop, TimeInForce(tif), **more)


def venue_of(*orders: Order, held: float = 0.0, symbols: Sequence[str] = ("IBM",), tick: float = 0.01, lot: float = 1.0, **options: Any) -> SimulatedVenue:
    """A venue that has these orders."""
    venue = SimulatedVenue({s: Instrument(s, tick_size=tick, lot_size=lot) for s in symbols}, **options)
    venue.position["IBM"] = held
    for one in orders:
        (answer,) = venue.submit(one)
        assert answer.kind in (OrderEventKind.ACCEPT, OrderEventKind.HOLD), answer.reason
    return venue


def tell(events: Any) -> list[str]:
    """Events in short: a fill as quantity, price and rule; an update as its kind, and quantity if it has one."""
    return [
        f"{e.client_order_id} {e.quantity:g} @ {e.price:g} {e.rule}" if isinstance(e, Fill) else f"{e.client_order_id} {e.kind}"
        + (f" {e.quantity:g}" if e.quantity else "")
        for e in events
    ]  # fmt: skip


def meet(bars: Bars, *orders: Order, **options: Any) -> list[str]:
    """What happens to these orders in all bars."""
    venue = venue_of(*orders, **options)
    return [line for row in range(len(bars)) for line in tell(venue.match(bars, row))]


def bracket(quantity: float = 10.0, *, target: float = 108.0, stop: float = 92.0, **entry: Any) -> list[Order]:
    """A purchase with a target and a stop that protect it."""
    family = {"parent": "entry", "group": "exits"}
    return [
        order("entry", BUY, quantity, **entry),
        order("target", SELL, quantity, "limit", limit=target, **family),
        order("stop", SELL, quantity, "stop", stop=stop, **family),
    ]


# -- the vectors of the rules ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bar", "exit"),
    [
        ((100.0, 110.0, 90.0, 105.0), "stop 10 @ 92 stop"),  # |O-H| = |O-L|: the path that is worse for a long position
        ((102.0, 110.0, 90.0, 105.0), "target 10 @ 108 limit_through"),  # |102-110| = 8 < 12: high first
    ],
)
def test_long_from_the_open_with_a_target_and_a_stop(bar: tuple[float, ...], exit: str) -> None:
    """The whole bracket lives and dies in one bar: the entry at the open, then the exit that the path meets first."""
    story = meet(panel(bar), *bracket())
    assert story[:3] == [f"entry 10 @ {bar[0]:g} open", "target release", "stop release"]
    assert story[3] == exit and story[4].endswith("cancel") and len(story) == 5
    held = meet(panel(bar), *(replace(o, parent="") for o in bracket()[1:]), held=10.0)  # the same for a position that was there before
    assert held[0] == exit and len(held) == 2


@pytest.mark.parametrize(
    ("wanted", "bar", "story"),
    [
        (order("a", SELL, 10, "stop", stop=100.0), (90.0, 93.0, 88.0, 91.0), ["a 10 @ 90 stop_gap"]),
        (order("a", SELL, 10, "stop", stop=100.0), (102.0, 103.0, 98.0, 99.0), ["a 10 @ 100 stop"]),
        (order("a", BUY, 10, "limit", limit=95.0), (98.0, 99.0, 95.0, 97.0), []),
        (order("a", BUY, 10, "limit", limit=95.0), (98.0, 99.0, 94.99, 97.0), ["a 10 @ 95 limit_through"]),
        (order("a", BUY, 10, "limit", limit=95.0), (94.0, 96.0, 93.0, 95.0), ["a 10 @ 94 limit_open"]),
        (order("a", BUY, 10, "market_if_touched", stop=95.0), (98.0, 99.0, 95.0, 97.0), ["a 10 @ 95 touched"]),
        (order("a", BUY, 10, "market_if_touched", stop=95.0), (98.0, 99.0, 95.01, 97.0), []),
        (order("a", BUY, 10, "market_if_touched", stop=95.0), (94.0, 96.0, 93.0, 95.0), ["a 10 @ 94 touched_gap"]),
        (order("a", SELL, 10, "market_if_touched", stop=99.0), (98.0, 99.0, 95.0, 97.0), ["a 10 @ 99 touched"]),
        (order("a", BUY, 10, "limit_if_touched", stop=95.0, limit=95.5), (98.0, 99.0, 94.0, 97.0), ["a 10 @ 95 touched_limit"]),
        (order("a", BUY, 10, "limit_if_touched", stop=95.0, limit=94.0), (98.0, 99.0, 94.0, 97.0), []),
        (order("a", BUY, 10, "limit_if_touched", stop=95.0, limit=94.0), (98.0, 99.0, 93.99, 97.0), ["a 10 @ 94 limit_through"]),
        (order("a", SELL, 10, "trailing_stop", trail_amount=5.0), (100.0, 103.0, 96.0, 99.0), ["a 10 @ 98 trailing_stop"]),
        (order("a", SELL, 10, "trailing_stop", trail_percent=2.0), (100.0, 100.5, 97.0, 99.0), ["a 10 @ 98.49 trailing_stop"]),
        (order("a", SELL, 10, "trailing_stop", trail_amount=5.0, stop=99.5), (100.0, 103.0, 99.0, 99.0), ["a 10 @ 99.5 trailing_stop"]),
        (order("a", SELL, 10, tif="opg"), (100.0, 103.0, 97.0, 99.0), ["a 10 @ 100 opening_auction"]),
        (order("a", SELL, 10, tif="cls"), (100.0, 103.0, 97.0, 99.0), ["a 10 @ 99 closing_auction"]),
        (order("a", SELL, 10, "limit", limit=100.0, tif="opg"), (100.0, 103.0, 97.0, 99.0), ["a 10 @ 100 opening_auction"]),
        (order("a", SELL, 10, "limit", limit=99.5, tif="cls"), (100.0, 103.0, 97.0, 99.0), ["a expire"]),
    ],
)  # fmt: skip
def test_one_order_in_one_bar(wanted: Order, bar: tuple[float, ...], story: list[str]) -> None:
    """Where each type fills, and where it does not."""
    assert meet(panel(bar), wanted) == story


def test_a_trailing_stop_follows_over_several_bars() -> None:
    """The best price is brought up to date at the end of a leg; the last price before the first bar counts as one."""
    bars = panel(FLAT, (101.0, 106.0, 100.5, 105.0), (105.0, 105.5, 101.5, 102.0), (102.0, 102.5, 100.5, 101.0))
    story = []
    venue = venue_of(order("a", SELL, 10, "trailing_stop", trail_amount=5.0))
    for row in (1, 2, 3):
        story.append(tell(venue.match(bars, row)))
    assert story == [[], [], ["a 10 @ 101 trailing_stop"]]  # 106 less 5
    gap = venue_of(order("a", SELL, 10, "trailing_stop", trail_amount=5.0))
    assert tell(gap.match(panel(FLAT, (93.0, 94.0, 92.0, 93.0)), 1)) == ["a 10 @ 93 trailing_stop_gap"]  # it stood at 95 over night


@EFFORT
@given(
    st.lists(st.tuples(*[st.integers(9_900, 10_100)] * 4), min_size=1, max_size=5), st.sampled_from([BUY, SELL]), st.integers(1, 120),
    st.sampled_from(["ohlc", "olhc", "adaptive"]), st.none() | st.integers(9_900, 10_100),
)  # fmt: skip
def test_a_trailing_stop_agrees_with_a_walk_tick_by_tick(raw: Any, side: Side, trail: int, mode: str, first: int | None) -> None:
    """Visiting every tick, with the best price renewed after each tick and not before the test of that tick, gives the same fill."""
    shapes = [(r[0], max(r), min(r), r[3]) for r in raw]
    sign, best, expected = side.sign, None, None
    for o, h, l, c in shapes:
        points = bar_path((o, h, l, c), mode)
        steps = [int(o)]
        for a, b in zip(points, points[1:], strict=False):
            steps += range(int(a) + 1, int(b) + 1) if b > a else range(int(a) - 1, int(b) - 1, -1)
        for n, price in enumerate(steps):
            stop = None if best is None else best + sign * trail
            if first is not None:
                stop = first if stop is None else min(stop, first) if sign > 0 else max(stop, first)
            if stop is not None and sign * (price - stop) >= 0:
                expected = price if n == 0 else stop
                break
            best = price if best is None else min(best, price) if sign > 0 else max(best, price)
        if expected is not None:
            break
    wanted = order("a", side, 10, "trailing_stop", trail_amount=trail / 100, stop=None if first is None else first / 100)
    fills = [e for e in _run(panel(*[[p / 100 for p in s] for s in shapes]), [wanted], fill=BarFill(path=mode)) if isinstance(e, Fill)]
    assert [round(f.price * 100, 6) for f in fills] == ([] if expected is None else [expected])


def _run(bars: Bars, orders: Sequence[Order], **options: Any) -> list[Any]:
    """Every event of a panel."""
    venue = venue_of(*orders, **options)
    return [e for row in range(len(bars)) for e in venue.match(bars, row)]


# -- brackets and groups -----------------------------------------------------------------------------------------------------------


def test_a_child_sees_only_the_rest_of_the_bar() -> None:
    """The target is reached before the entry and not after it: it does not fill; an entry before the high leaves it the high."""
    entry = {"kind": "limit", "limit": 98.0}
    story = meet(panel((100.0, 110.0, 95.0, 96.0)), *bracket(**entry), fill=BarFill(path="ohlc"))
    assert story == ["entry 10 @ 98 limit_through", "target release", "stop release"]
    story = meet(panel((100.0, 110.0, 95.0, 96.0)), *bracket(**entry), fill=BarFill(path="olhc"))
    assert story[3:] == ["target 10 @ 108 limit_through", "stop cancel"]
    stopped = meet(panel((100.0, 110.0, 91.0, 96.0)), *bracket(**entry), fill=BarFill(path="ohlc"))
    assert stopped[3:] == ["stop 10 @ 92 stop", "target cancel"]


def test_a_child_that_may_trade_at_its_release_does_so_there() -> None:
    """A market child, a limit that is better than the price, a stop that is passed: at the price of the path, not at its own."""
    parent = order("entry", BUY, 10, "limit", limit=98.0)
    bar = (100.0, 101.0, 95.0, 96.0)
    for child, line in (
        (order("c", SELL, 10, parent="entry"), "c 10 @ 98 arrival"),
        (order("c", SELL, 10, "limit", limit=97.0, parent="entry"), "c 10 @ 98 limit_arrival"),
        (order("c", SELL, 10, "stop", stop=99.0, parent="entry"), "c 10 @ 98 stop_arrival"),
        (order("c", SELL, 10, tif="cls", parent="entry"), "c 10 @ 96 closing_auction"),
        (order("c", SELL, 10, "trailing_stop", trail_amount=2.0, parent="entry"), "c 10 @ 96 trailing_stop"),
        (order("c", SELL, 10, "limit", limit=97.0, parent="entry", post_only=True), "c cancel"),
        (order("c", SELL, 10, "limit", limit=99.0, parent="entry", tif="ioc"), "c cancel"),
    ):
        assert meet(panel(bar), parent, child) == ["entry 10 @ 98 limit_through", "c release", line]


def test_a_child_for_the_opening_auction_waits_for_the_next_one() -> None:
    """Its parent filled when the session had opened."""
    parent, child = order("entry", BUY, 10, "limit", limit=98.0), order("c", SELL, 10, tif="opg", parent="entry")
    story = meet(panel((100.0, 101.0, 95.0, 96.0), (97.0, 98.0, 95.0, 96.0)), parent, child)
    assert story == ["entry 10 @ 98 limit_through", "c release", "c 10 @ 97 opening_auction"]


def test_children_work_for_what_the_parent_has_filled() -> None:
    """Under a cap of 100 shares a bar the entry takes three bars; the stop sells what was bought by then, and ends with the parent's last part."""
    bars = panel(FLAT, (100.0, 100.0, 91.0, 95.0), FLAT)
    venue = venue_of(*bracket(250.0), fill=BarFill(participation=0.1))
    assert tell(venue.match(bars, 0)) == ["entry 100 @ 100 open", "target release", "stop release"]
    assert venue.allowed(venue.working["stop"]) == 100.0
    assert tell(venue.match(bars, 1)) == ["entry 100 @ 100 open"]  # the cap of this bar is used up by the entry
    assert venue.allowed(venue.working["stop"]) == 200.0
    assert tell(venue.match(bars, 2)) == ["stop 100 @ 100 open", "target replace 150"]  # woken in the bar before: an older event than the entry's
    assert tell(venue.cancel("entry", 4 * DAY_NS)) == ["entry cancel", "target replace 100", "stop replace 200"]
    assert venue.position["IBM"] == venue.allowed(venue.working["stop"]) == venue.allowed(venue.working["target"]) == 100.0


@pytest.mark.parametrize("how", ["cancel", "expire", "ioc"])
def test_a_parent_that_ends_without_a_fill_takes_its_children_along(how: str) -> None:
    """However it ends; grandchildren too."""
    orders = bracket(kind="limit", limit=50.0, tif="day" if how == "expire" else "ioc" if how == "ioc" else "gtc")
    venue = venue_of(*orders, order("grandchild", BUY, 1, parent="target"))
    told = tell(venue.match(panel(FLAT), 0)) if how != "cancel" else tell(venue.cancel("entry", 1))
    assert told == [f"entry {'expire' if how == 'expire' else 'cancel'}", "target cancel", "grandchild cancel", "stop cancel"] and not venue.working


def test_a_protective_stop_may_come_late() -> None:
    """A parent that has filled is remembered; one that never was, or ended with nothing, is not."""
    venue = venue_of(order("entry", BUY, 10), order("never", BUY, 10, "limit", limit=50.0))
    list(venue.match(panel(FLAT), 0))
    venue.cancel("never", 1)
    assert venue.submit(order("stop", SELL, 10, "stop", stop=92.0, parent="entry"))[0].kind is OrderEventKind.ACCEPT
    for parent in ("never", "nobody"):
        (answer,) = venue.submit(order(f"of {parent}", SELL, 10, parent=parent))
        assert answer.kind is OrderEventKind.REJECT and "not known" in answer.reason


def test_both_members_of_a_group_in_one_bar() -> None:
    """The path decides; at one place the stop comes before the limit, then the older one."""
    pair = [order("limit", SELL, 10, "limit", limit=100.0, group="g"), order("stop", SELL, 10, "stop", stop=100.0, group="g")]
    assert meet(panel((100.0, 101.0, 99.0, 100.0)), *pair) == ["stop 10 @ 100 stop_gap", "limit cancel"]
    twins = [order(n, SELL, 10, "limit", limit=101.0, group="g") for n in ("older", "younger")]
    assert meet(panel((100.0, 102.0, 99.0, 100.0)), *twins) == ["older 10 @ 101 limit_through", "younger cancel"]


def test_opposite_sides_and_other_symbols_of_a_group_are_cancelled_by_the_first_fill() -> None:
    """A breakout in two directions, and a choice between two symbols; a part is enough."""
    out = [order("up", BUY, 500, "stop", stop=101.0, group="g"), order("down", SELL, 500, "stop", stop=99.0, group="g")]
    story = meet(panel((100.0, 102.0, 98.5, 100.0)), *out, fill=BarFill(path="ohlc", participation=0.1))
    assert story == ["up 100 @ 101 stop", "down cancel"]
    choice = [order("a", BUY, 5, "limit", limit=99.0, group="g"), order("b", BUY, 5, "limit", limit=99.0, group="g", symbol="KO")]
    assert meet(panel([FLAT, (100.0, 101.0, 98.0, 100.0)], symbols=("IBM", "KO")), *choice, symbols=("IBM", "KO")) == ["b 5 @ 99 limit_through", "a cancel"]


def test_a_strategy_that_is_too_late_hears_so() -> None:
    """A cancel of an order that its group has ended is refused, and so is a replacement; an order that was replaced in the bar is out of it."""
    venue = venue_of(order("l", SELL, 10, "limit", limit=108.0, group="g"), order("s", SELL, 10, "stop", stop=92.0, group="g"))
    events = venue.match(panel((102.0, 110.0, 90.0, 100.0)), 0)
    assert next(events).client_order_id == "l"
    assert venue.cancel("s", 1)[0].kind is OrderEventKind.CANCEL_REJECT
    assert venue.replace(Replace(1, "s", quantity=5.0))[0].kind is OrderEventKind.REPLACE_REJECT
    assert tell(events) == ["s cancel"]
    free = venue_of(order("l", SELL, 10, "limit", limit=108.0), order("s", SELL, 10, "stop", stop=92.0))
    events = free.match(panel((102.0, 110.0, 90.0, 100.0)), 0)
    next(events)
    free.replace(Replace(1, "s", stop_price=93.0))
    assert list(events) == [] and tell(free.match(panel((102.0, 110.0, 90.0, 100.0)), 0)) == ["s 10 @ 93 stop"]


def test_a_held_order_can_be_replaced_and_cancelled() -> None:
    """Other terms before it wakes; the rest of the bracket stays."""
    venue = venue_of(*bracket())
    assert tell(venue.replace(Replace(1, "stop", stop_price=95.0))) == ["stop replace"] and tell(venue.cancel("target", 1)) == ["target cancel"]
    assert tell(venue.match(panel((100.0, 101.0, 94.0, 96.0)), 0)) == ["entry 10 @ 100 open", "stop release", "stop 10 @ 95 stop"]


# -- flags and steps ---------------------------------------------------------------------------------------------------------------


def test_post_only_refuses_to_take_and_reduce_only_to_open() -> None:
    """At or through the open: cancelled. Beyond the position: trimmed; without one: cancelled."""
    for open_, kind in ((95.0, "cancel"), (94.0, "cancel"), (95.01, "fill")):
        (told,) = meet(panel((open_, 99.0, 93.0, 97.0)), order("a", BUY, 10, "limit", limit=95.0, post_only=True))
        assert told == ("a cancel" if kind == "cancel" else "a 10 @ 95 limit_through")
    resting = venue_of(order("a", BUY, 10, "limit", limit=95.0, post_only=True))
    quiet, low = panel((98.0, 99.0, 96.0, 97.0), (94.0, 96.0, 93.0, 95.0)), 1
    assert tell(resting.match(quiet, 0)) == [] and tell(resting.match(quiet, low)) == ["a 10 @ 94 limit_open"]  # it was resting before
    out = order("out", SELL, 25, reduce_only=True)
    assert meet(panel(FLAT), out, held=15.0) == ["out 15 @ 100 open", "out cancel"]
    assert meet(panel(FLAT), out, held=0.0) == meet(panel(FLAT), out, held=-5.0) == ["out cancel"]


def test_makers_and_takers() -> None:
    """A limit that trades at the first point it sees takes, one that rested makes, and everything at the market takes."""
    rows = panel((98.0, 99.0, 96.0, 97.0), (94.0, 96.0, 93.0, 95.0))
    cases = {"first": (order("a", BUY, 1, "limit", limit=99.0), "taker"), "through": (order("a", BUY, 1, "limit", limit=97.0), "maker"),
             "gap later": (order("a", BUY, 1, "limit", limit=95.0), "maker"), "stop": (order("a", SELL, 1, "stop", stop=97.0), "taker")}  # fmt: skip
    assert {n: next(e.liquidity for e in _run(rows, [o]) if isinstance(e, Fill)) for n, (o, _) in cases.items()} == {n: word for n, (_, word) in cases.items()}


def test_small_steps_and_small_orders() -> None:
    """Billionths of a coin fill to the last one; a value below the instrument's minimum is refused, or cancelled when only the market tells its value."""
    coin = Instrument("IBM", tick_size=0.01, lot_size=1e-9, min_notional=10.0, base="BTC")
    venue = SimulatedVenue({"IBM": coin}, fill=BarFill(participation=0.1))
    venue.submit(order("a", BUY, 0.3000000007, tif="gtc"))
    bars = panel(*[FLAT] * 40, volume=0.1)
    fills = [e for row in range(40) for e in venue.match(bars, row)]
    assert math.fsum(f.quantity for f in fills) == pytest.approx(0.3000000007, abs=1e-15) and not venue.working and len(fills) == 31
    assert venue.submit(order("b", BUY, 0.09, "limit", limit=100.0))[0].kind is OrderEventKind.REJECT
    venue.submit(order("c", BUY, 0.09))
    assert tell(venue.match(bars, 0)) == ["c cancel"]


class _InCoins:
    """A fee of one per cent, in the coin on a purchase."""

    def fee(self, trade: Execution) -> float:
        """A per cent of what is received."""
        return trade.quantity * 0.01 * (1.0 if trade.sign > 0 else trade.price)

    def fee_currency(self, trade: Execution) -> str:
        """The coin for a buyer."""
        return trade.instrument.base if trade.sign > 0 else ""


def test_a_fee_in_the_base_leaves_fewer_coins() -> None:
    """Ten bought are 9.9 held, and a reduce-only order sells those."""
    venue = SimulatedVenue({"IBM": Instrument("IBM", base="BTC", lot_size=1e-9)}, costs=_InCoins())
    venue.submit(order("a", BUY, 10.0))
    venue.submit(order("b", SELL, 20.0, "limit", limit=101.0, reduce_only=True))
    bars = panel((100.0, 100.0, 100.0, 100.0), (102.0, 102.0, 102.0, 102.0))
    (bought,) = venue.match(bars, 0)
    assert (bought.fee, bought.fee_currency, venue.position["IBM"]) == (0.1, "BTC", 9.9)
    sold = next(iter(venue.match(bars, 1)))
    assert sold.quantity == 9.9 and sold.fee_currency == "" and venue.position["IBM"] == 0.0


def test_clip_keeps_slippage_inside_the_bar() -> None:
    """Ten per cent of slippage leave the bar unless they are clipped; a limit never slips."""
    bar = panel((100.0, 101.0, 99.0, 100.0))
    for clip, price in ((False, "110"), (True, "101")):
        options = {"slippage": BpsSlippage(1_000), "fill": BarFill(clip=clip)}
        assert meet(bar, order("a", BUY, 1), **options) == [f"a 1 @ {price} open"]
        assert meet(bar, order("a", BUY, 1, "limit", limit=100.5), **options) == ["a 1 @ 100 limit_open"]


# -- time --------------------------------------------------------------------------------------------------------------------------


def test_gtd_sees_everything_up_to_its_last_instant() -> None:
    """A bar that ends then still counts; the next one does not. A held order expires as well, and its end is heard."""
    bars = panel(FLAT, (100.0, 101.0, 94.0, 100.0), (100.0, 101.0, 94.0, 100.0))
    assert meet(bars, order("a", BUY, 1, "limit", limit=95.0, tif="gtd", expires=2 * DAY_NS)) == ["a 1 @ 95 limit_through"]
    assert meet(bars, order("a", BUY, 1, "limit", limit=95.0, tif="gtd", expires=2 * DAY_NS - 1)) == ["a expire"]
    held = [order("p", BUY, 1, "limit", limit=50.0), order("c", SELL, 1, parent="p", tif="gtd", expires=DAY_NS)]
    assert meet(bars, *held) == ["c expire"]


def hours(*rows: Any) -> Bars:
    """Hourly bars, four a session."""
    return panel(*rows, interval="1h", ts=[day * DAY_NS + (15 + h) * HOUR for day in range(2) for h in range(4)][: len(rows)])


def test_auctions_on_intraday_bars() -> None:
    """The first open and the last close of a session; whoever comes too late waits for the next session."""
    rows = [(100.0 + n, 100.5 + n, 99.5 + n, 100.2 + n) for n in range(8)]
    bars = hours(*rows)
    early = [order("o", BUY, 1, tif="opg"), order("c", BUY, 1, tif="cls")]
    assert meet(bars, *early) == ["o 1 @ 100 opening_auction", "c 1 @ 103.2 closing_auction"]
    ts = bars.ts.tolist()

    def late(tif: str, row: int, **options: Any) -> list[str]:
        """What happens to an order decided at the close of a row."""
        venue = venue_of(order("a", BUY, 1, tif=tif, ts=ts[row]), **options)
        return [line for r in range(row + 1, 8) for line in tell(venue.match(bars, r))]

    assert late("opg", 0) == late("opg", 3) == ["a 1 @ 104 opening_auction"]
    assert late("cls", 2) == ["a 1 @ 103.2 closing_auction"] and late("cls", 3) == ["a 1 @ 107.2 closing_auction"]
    assert late("cls", 2, fill=BarFill(cutoff_seconds=3_601.0)) == ["a 1 @ 107.2 closing_auction"]
    shorter = BarFill(closing_times=(ts[1], ts[6]))
    assert late("cls", 0, fill=shorter) == ["a 1 @ 101.2 closing_auction"] and late("cls", 2, fill=shorter) == ["a 1 @ 106.2 closing_auction"]


def test_a_growing_window_needs_closing_times() -> None:
    """The last bar of a session cannot be told from the others while it is the last one there is."""
    rows = [(100.0 + n, 100.5 + n, 99.5 + n, 100.2 + n) for n in range(4)]
    whole, told = hours(*rows), {}
    for name, fill in (("blind", BarFill()), ("knowing", BarFill(closing_times=(int(whole.ts[3]),)))):
        window, venue = BarsWindow(["IBM"], interval="1h"), venue_of(order("a", BUY, 1, tif="cls"), fill=fill)
        told[name] = []
        for row in range(4):
            window.append(int(whole.ts[row]), [getattr(whole, f)[row].tolist() for f in FIELDS])
            told[name] += tell(venue.match(window, row))
    assert told == {"blind": ["a cancel"], "knowing": ["a 1 @ 103.2 closing_auction"]}


def test_a_dividend_lowers_buy_limits_and_sell_stops() -> None:
    """By its amount, down to the tick, for orders that outlive the day; a split moves what trails as well."""
    orders = [
        order("bid", BUY, 1, "limit", limit=95.0), order("offer", SELL, 1, "limit", limit=105.0), order("stop", SELL, 1, "stop", stop=90.0),
        order("buy stop", BUY, 1, "stop", stop=110.0), order("today", BUY, 1, "limit", limit=95.0, tif="day"),
    ]  # fmt: skip
    venue = venue_of(*orders)
    told = {e.client_order_id: e.limit_price or e.stop_price for e in venue.act(CorporateAction(1, "IBM", "dividend", 0.505))}
    assert told == {"bid": 94.49, "stop": 89.49}
    assert not list(venue_of(*orders, fill=BarFill(lower_for_dividends=False)).act(CorporateAction(1, "IBM", "dividend", 0.505)))
    trailing = venue_of(order("t", SELL, 10, "trailing_stop", trail_amount=5.0))
    list(trailing.match(panel((100.0, 110.0, 106.0, 108.0)), 0))
    list(trailing.act(CorporateAction(1, "IBM", "split", 2.0)))
    assert tell(trailing.match(panel(FLAT, (54.0, 54.0, 51.0, 52.0)), 1)) == ["t 20 @ 52.5 trailing_stop"]


# -- worst, best and detail --------------------------------------------------------------------------------------------------------

prices = st.integers(9_000, 11_000)
shapes = st.tuples(prices, prices, prices, prices).map(lambda r: (r[0] / 100, max(r) / 100, min(r) / 100, r[3] / 100))


@st.composite
def crowds(draw: st.DrawFn, symbols: Sequence[str] = ("IBM",), most: int = 7, families: bool = True) -> list[Order]:
    """Orders of every type, some with a parent, some in groups."""
    found: list[Order] = []
    for n in range(draw(st.integers(1, most))):
        kind = draw(st.sampled_from(["market", "limit", "stop", "stop_limit", "trailing_stop", "market_if_touched", "limit_if_touched"]))
        terms: dict[str, Any] = {}
        if OrderType(kind).has_limit:
            terms["limit"] = draw(prices) / 100
        if OrderType(kind).has_stop:
            terms["stop"] = draw(prices) / 100
        if kind == "trailing_stop":
            terms["trail_amount"] = draw(st.integers(1, 900)) / 100
        tif = draw(st.sampled_from(["gtc", "gtc", "day", "ioc", "fok", "cls", "opg"] if kind in ("market", "limit") else ["gtc", "day"]))
        if kind == "limit" and tif in ("gtc", "day"):
            terms["post_only"] = draw(st.booleans())
        if families and found and draw(st.booleans()):
            terms["parent"] = draw(st.sampled_from(found)).client_order_id
        if families:
            terms["group"] = draw(st.sampled_from(["", "", "g1", "g2"]))
        terms["reduce_only"] = draw(st.integers(0, 4)) == 0
        side, quantity = draw(st.sampled_from([BUY, SELL])), float(draw(st.integers(1, 30)))
        found.append(order(f"o{n}", side, quantity, kind, tif=tif, symbol=draw(st.sampled_from(list(symbols))), **terms))
    return found


rules = st.builds(
    BarFill, path=st.sampled_from(["adaptive", "ohlc", "olhc", "worst", "best"]), through_ticks=st.integers(0, 2),
    participation=st.sampled_from([None, None, 0.005, 0.02]), clip=st.booleans(),
)  # fmt: skip


@EFFORT
@given(st.lists(shapes, min_size=1, max_size=4), crowds(), rules, st.integers(-20, 20))
def test_whatever_is_ordered_the_story_holds_together(bars: Any, crowd: list[Order], fill: BarFill, held: int) -> None:
    """Inside the bar, never more than asked for, never more than the parent, the group or the position allows; and the core can follow every step."""
    venue = SimulatedVenue({"IBM": Instrument("IBM")}, fill=fill)
    venue.position["IBM"] = float(held)
    states = {o.client_order_id: OrderState(o) for o in crowd}
    filled: dict[str, float] = defaultdict(float)
    table = panel(*bars)

    def follow(event: Any) -> None:
        """Let the core's record of the order take the event, and check it."""
        state, wanted = states[event.client_order_id], states[event.client_order_id].order
        if isinstance(event, OrderUpdate):
            state.apply(event)
            return
        before = venue.position["IBM"] - sum(e.signed_quantity for e in pending)
        assert table.low[event.row, 0] <= event.price <= table.high[event.row, 0] and event.source == "bar" and event.quantity > 0.0
        assert event.reference == event.price and 0.0 <= (event.place or 0.0) <= 3.0
        if wanted.limit_price is not None:
            assert event.side.sign * (event.price - wanted.limit_price) <= 0.0
        if wanted.reduce_only:
            assert event.side.sign * before < 0.0 and event.quantity <= abs(before)
        if wanted.parent:
            parent = states[wanted.parent]
            share = filled[wanted.parent] / parent.order.quantity  # a sibling may have made the parent smaller
            assert 0.0 < filled[event.client_order_id] + event.quantity <= originals[event.client_order_id] * share + 1e-9
        if wanted.post_only:
            assert event.liquidity == "maker"
        state.apply_fill(event)
        filled[event.client_order_id] += event.quantity

    originals = {o.client_order_id: o.quantity for o in crowd}
    for wanted in crowd:
        states[wanted.client_order_id].apply(OrderUpdate(0, wanted.client_order_id, OrderEventKind.SUBMIT))
        pending: list[Any] = []
        for event in venue.submit(wanted):
            follow(event)
    for row in range(len(table)):
        for event in venue.match(table, row):
            pending = [event] if isinstance(event, Fill) else []
            follow(event)
    working = {n for n, s in states.items() if s.status.is_working}
    assert working == set(venue.working) and all(states[n].leaves == pytest.approx(venue.working[n].leaves) for n in working)
    for group in ("g1", "g2"):
        for side in (BUY, SELL):
            members = [o for o in crowd if o.group == group and o.side is side and states[o.client_order_id].status is not OrderStatus.REJECTED]
            assert sum(filled[o.client_order_id] for o in members) <= max((o.quantity for o in members), default=0.0) + 1e-9
        assert len({o.side for o in crowd if o.group == group and filled[o.client_order_id]}) <= 1


def outcome(bar: tuple[float, ...], orders: Sequence[Order], mode: str, held: float) -> float:
    """What a bar brings the account, the rest valued at its close."""
    venue = venue_of(*orders, held=held, fill=BarFill(path=mode))
    fills = [e for e in venue.match(panel(bar), 0) if isinstance(e, Fill)]
    return venue.position["IBM"] * bar[3] - math.fsum(f.signed_quantity * f.price for f in fills)


@EFFORT
@given(shapes, crowds(), st.integers(-20, 20))
def test_worst_and_best_are_the_worse_and_the_better_of_two_paths(bar: tuple[float, ...], crowd: list[Order], held: int) -> None:
    """For whatever works, brackets included; orders against the position that stand alone count as far as they close it."""
    tied = [replace(o, reduce_only=True) if o.side.sign * held < 0 and not o.group and not o.parent else o for o in crowd]
    kept = [o for o in tied if not (o.parent and not o.group and o.side.sign * held < 0)]
    names = {o.client_order_id for o in kept}
    kept = [o for o in kept if not o.parent or o.parent in names]
    both = sorted(outcome(bar, kept, mode, held) for mode in ("ohlc", "olhc"))
    assert outcome(bar, kept, "worst", held) == both[0] and outcome(bar, kept, "best", held) == both[1]


def test_worst_and_best_for_a_strategy_that_cancels_by_itself() -> None:
    """A stop and a target without a group: the trial closes the position once, so the two paths differ, and the careful one is found."""
    pair = [order("l", SELL, 10, "limit", limit=108.0), order("s", SELL, 10, "stop", stop=92.0)]
    bar = (102.0, 110.0, 90.0, 105.0)
    first = {mode: tell(venue_of(*pair, held=10.0, fill=BarFill(path=mode)).match(panel(bar), 0))[0] for mode in ("adaptive", "worst", "best")}
    assert first == {"adaptive": "l 10 @ 108 limit_through", "worst": "s 10 @ 92 stop", "best": "l 10 @ 108 limit_through"}


@EFFORT
@given(st.lists(shapes, min_size=1, max_size=4), crowds(families=False))
def test_a_bar_walked_through_its_detail_fills_as_the_fine_bars_do(parts: Any, crowd: list[Order]) -> None:
    """One daily bar with four fine ones inside against the fine bars alone: the same prices, quantities and rules."""
    crowd = [replace(o, time_in_force=TimeInForce.GTC) for o in crowd]
    fine = panel(*parts, interval="1h", ts=[(n + 1) * HOUR for n in range(len(parts))])
    day = panel((parts[0][0], max(p[1] for p in parts), min(p[2] for p in parts), parts[-1][3]), ts=[len(parts) * HOUR])
    wide = _run(day, crowd, fill=BarFill("detail", detail=fine))
    close = _run(fine, crowd)
    assert [(f.client_order_id, f.quantity, f.price, f.rule) for f in wide if isinstance(f, Fill)] == [
        (f.client_order_id, f.quantity, f.price, f.rule) for f in close if isinstance(f, Fill)
    ]


@EFFORT
@given(st.integers(0, 2**32 - 1), crowds(symbols=("AAA", "BBB", "CCC"), most=12, families=False), st.randoms(use_true_random=False))
def test_independent_symbols_do_not_care_who_came_first(seed: int, crowd: list[Order], random: Any) -> None:
    """Orders of different symbols may be sent in any order; each symbol's story is the same."""
    bars = random_panel(seed, rows=6)
    ranks = {o.client_order_id: n for n, o in enumerate(crowd)}
    mixed = list(crowd)
    random.shuffle(mixed)
    per_symbol = {s: iter(sorted((o for o in crowd if o.symbol == s), key=lambda o: ranks[o.client_order_id])) for s in bars.symbols}
    mixed = [next(per_symbol[o.symbol]) for o in mixed]  # another order among symbols, the same within each
    told = []
    for orders in (crowd, mixed):
        venue = SimulatedVenue({s: Instrument(s) for s in bars.symbols}, fill=BarFill(participation=0.01))
        for one in orders:
            venue.submit(one)
        events = [e for row in range(len(bars)) for e in venue.match(bars, row)]
        symbol = {o.client_order_id: o.symbol for o in crowd}
        told.append({s: [repr(e) for e in events if symbol[e.client_order_id] == s] for s in bars.symbols})
    for s in bars.symbols:
        assert sorted(told[0][s]) == sorted(told[1][s])
        assert [e for e in told[0][s] if e.startswith("Fill")] == [e for e in told[1][s] if e.startswith("Fill")]


@EFFORT
@given(shapes, crowds(families=False), st.sampled_from(["adaptive", "ohlc", "olhc"]))
def test_the_evidence_points_at_the_price(bar: tuple[float, ...], crowd: list[Order], mode: str) -> None:
    """The place on the path, looked up, is the price before slippage."""
    path = bar_path(bar, mode)
    for fill in _run(panel(bar), crowd, fill=BarFill(path=mode), slippage=BpsSlippage(5)):
        if isinstance(fill, Fill):
            assert fill.place is not None and fill.row == 0
            assert price_at(path, fill.place) == pytest.approx(fill.reference, abs=1e-9)


# -- cost --------------------------------------------------------------------------------------------------------------------------


def test_a_bar_looks_only_at_the_orders_it_concerns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty thousand orders rest below the market; a bar that concerns three of them lays three along its path."""
    met: list[str] = []
    original = Resting.meet
    monkeypatch.setattr(Resting, "meet", lambda self, *a: (met.append(self.order.client_order_id), original(self, *a))[1])
    venue = venue_of(*(order(f"o{n}", BUY, 1, "limit", limit=50.0 + n / 1000) for n in range(20_000)), tick=0.001)
    assert tell(venue.match(panel((100.0, 101.0, 99.0, 100.0)), 0)) == [] and met == []
    story = tell(venue.match(panel((100.0, 101.0, 69.9965, 100.0)), 0))
    assert len(met) == 3 and len(story) == 2  # the lowest of the three was only touched
    for n in range(15_000):
        venue.cancel(f"o{n}", 1)
    lane = venue._lanes["IBM"]
    assert len(lane._down) < 2 * len(venue.working) + 100  # ended orders do not pile up
