"""When an order fills: published cases, a walk along the path tick by tick, and properties of whole random back-tests."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from effort import EFFORT
from hypothesis import given
from hypothesis import strategies as st
from scenarios import RandomTrader, random_panel

from qtnb.backtest.bar_path import bar_path
from qtnb.backtest.corporate_actions import actions_by_row
from qtnb.backtest.costs import Bps, PerShare, Sum, simple_costs
from qtnb.backtest.engine import Backtest
from qtnb.backtest.execution_sim import BarFill, SimulatedVenue
from qtnb.backtest.simulation import Simulation
from qtnb.backtest.slippage import BpsSlippage
from qtnb.core.bars import DAY_NS, FIELDS, Bars
from qtnb.core.book import Book, account_curve
from qtnb.core.engine import TradingEngine
from qtnb.core.errors import DataError
from qtnb.core.events import OrderEventKind, OrderUpdate, Replace
from qtnb.core.protocols import Execution
from qtnb.enums import OrderStatus, OrderType, Side, TimeInForce
from qtnb.types import Fill, Instrument, Order

NAN4 = (math.nan,) * 4
CLOSE = 21 * 3_600_000_000_000  # the sessions of these panels end at 21:00 UTC


def panel(*rows: Any, symbols: tuple[str, ...] = ("IBM",), volume: Any = 1_000.0, interval: str = "1d", ts: Any = None) -> Bars:
    """Bars from rows of (open, high, low, close), or of one such tuple per symbol."""
    table = np.array(rows, dtype=float).reshape(len(rows), len(symbols), 4)
    prices = {name: table[:, :, n] for n, name in enumerate(FIELDS[:4])}
    amount = np.broadcast_to(np.asarray(volume, dtype=float).reshape(-1, 1) if np.ndim(volume) == 1 else volume, table.shape[:2])
    times = [day * DAY_NS + CLOSE for day in range(len(rows))] if ts is None else ts
    return Bars(times, symbols, **prices, volume=np.where(np.isnan(prices["close"]), np.nan, amount), interval=interval)


def order(side: Side, quantity: float, *, limit: float | None = None, stop: float | None = None, tif: str = "gtc", **more: Any) -> Order:
    """An order decided at the close of the first row."""
    kind = {(0, 0): "market", (1, 0): "limit", (0, 1): "stop", (1, 1): "stop_limit"}[limit is not None, stop is not None]
    base = {"client_order_id": "q1-a", "ts": CLOSE, "symbol": "IBM", **more}
    return Order(side=side, quantity=quantity, order_type=OrderType(kind), limit_price=limit, stop_price=stop, time_in_force=TimeInForce(tif), **base)


def meet(bars: Bars, *orders: Order, rows: range | None = None, **options: Any) -> list[Any]:
    """What happens to these orders from the second row on: fills as (row, quantity, price, rule), the rest as (row, kind)."""
    venue = SimulatedVenue({s: Instrument(s) for s in bars.symbols}, **options)
    for one in orders:
        (answer,) = venue.submit(one)
        assert answer.kind is OrderEventKind.ACCEPT
    story: list[Any] = []
    for row in rows or range(1, len(bars)):
        for event in venue.match(bars, row):
            assert event.ts == bars.ts[row]
            story.append((row, event.quantity, event.price, event.rule) if isinstance(event, Fill) else (row, event.kind.value))
    return story


BUY, SELL = Side.BUY, Side.SELL
FLAT = (100.0, 100.0, 100.0, 100.0)


# -- cases that anybody can check with a pencil ----------------------------------------------------------------------------------

CASES: dict[str, tuple[Order, tuple[float, float, float, float], tuple[float, str] | None]] = {
    "market at the open": (order(BUY, 10), (101.0, 103.0, 99.0, 102.0), (101.0, "open")),
    "sell stop 100, last close 105, open 90": (order(SELL, 10, stop=100.0), (90.0, 93.0, 88.0, 91.0), (90.0, "stop_gap")),
    "sell stop 100, open 102, low 98": (order(SELL, 10, stop=100.0), (102.0, 103.0, 98.0, 99.0), (100.0, "stop")),
    "sell stop touched exactly": (order(SELL, 10, stop=98.0), (102.0, 103.0, 98.0, 99.0), (98.0, "stop")),
    "sell stop missed by a cent": (order(SELL, 10, stop=97.99), (102.0, 103.0, 98.0, 99.0), None),
    "buy limit 95, low 95.00": (order(BUY, 10, limit=95.0), (98.0, 99.0, 95.0, 97.0), None),
    "buy limit 95, low 94.99": (order(BUY, 10, limit=95.0), (98.0, 99.0, 94.99, 97.0), (95.0, "limit_through")),
    "buy limit 95, open 94": (order(BUY, 10, limit=95.0), (94.0, 96.0, 93.0, 95.0), (94.0, "limit_open")),
    "buy limit 95, open 95": (order(BUY, 10, limit=95.0), (95.0, 96.0, 95.0, 96.0), (95.0, "limit_open")),
    "sell limit 105, high 105.00": (order(SELL, 10, limit=105.0), (98.0, 105.0, 95.0, 97.0), None),
    "sell limit 105, high 105.01": (order(SELL, 10, limit=105.0), (98.0, 105.01, 95.0, 97.0), (105.0, "limit_through")),
    "sell limit 105, open 106": (order(SELL, 10, limit=105.0), (106.0, 107.0, 104.0, 105.0), (106.0, "limit_open")),
    "buy stop 105, open 107": (order(BUY, 10, stop=105.0), (107.0, 108.0, 104.0, 105.0), (107.0, "stop_gap")),
    "buy stop 105, high 106": (order(BUY, 10, stop=105.0), (101.0, 106.0, 100.0, 104.0), (105.0, "stop")),
    "buy stop-limit 105 / 106, high 105.5": (order(BUY, 10, stop=105.0, limit=106.0), (101.0, 105.5, 100.0, 104.0), (105.0, "stop_limit")),
    "buy stop-limit 105 / 106, open 105.5": (order(BUY, 10, stop=105.0, limit=106.0), (105.5, 107.0, 104.0, 105.0), (105.5, "stop_limit_gap")),
    "buy stop-limit 105 / 106, open 107, back to 105.9": (
        order(BUY, 10, stop=105.0, limit=106.0), (107.0, 108.0, 105.9, 106.5), (106.0, "limit_through"),
    ),
    "buy stop-limit 105 / 106, open 107, never back": (order(BUY, 10, stop=105.0, limit=106.0), (107.0, 108.0, 106.0, 107.0), None),
    "buy stop-limit 103 / 102, woken on the way up, closes low": (
        order(BUY, 10, stop=103.0, limit=102.0), (101.0, 104.0, 95.0, 96.0), (102.0, "limit_through"),
    ),
    "buy stop-limit 103 / 102, the low comes first": (order(BUY, 10, stop=103.0, limit=102.0), (101.0, 107.0, 100.0, 106.0), None),
}  # fmt: skip


@pytest.mark.parametrize("name", list(CASES))
def test_one_order_in_one_bar(name: str) -> None:
    """The published cases, both sides, with all the ways around them that a sign or a comparison could go wrong."""
    wanted, bar, expected = CASES[name]
    story = meet(panel(FLAT, bar), wanted)
    assert story == ([] if expected is None else [(1, 10, *expected)])


@pytest.mark.parametrize("name", list(CASES))
def test_the_mirror_image_fills_at_the_mirrored_price(name: str) -> None:
    """Prices reflected at 100 and sides swapped: what filled at p fills at 200 - p, by the same rule."""
    wanted, (o, h, l, c), expected = CASES[name]
    turned = replace(
        wanted,
        side=wanted.side.opposite,
        limit_price=None if wanted.limit_price is None else 200.0 - wanted.limit_price,
        stop_price=None if wanted.stop_price is None else 200.0 - wanted.stop_price,
    )
    path = {True: "olhc", False: "ohlc"}[bar_path((o, h, l, c))[1] == h]
    story = meet(panel(FLAT, (200.0 - o, 200.0 - l, 200.0 - h, 200.0 - c)), turned, fill=BarFill(path=path))
    assert story == ([] if expected is None else [(1, 10, pytest.approx(200.0 - expected[0], rel=1e-15), expected[1])])


@pytest.mark.parametrize(
    ("held", "bar", "first"),
    [
        (10.0, (100.0, 110.0, 90.0, 105.0), 92.0),  # a tie: the stop of a long position comes first
        (-10.0, (100.0, 110.0, 90.0, 95.0), 108.0),  # a tie: the stop of a short one comes first
        (10.0, (102.0, 110.0, 90.0, 105.0), 108.0),  # the high is nearer
        (10.0, (97.0, 110.0, 90.0, 105.0), 92.0),  # the low is nearer
    ],
)
def test_of_target_and_stop_the_nearer_one_comes_first(held: float, bar: tuple[float, float, float, float], first: float) -> None:
    """A bracket at 92 and 108 in a bar that reaches both."""
    side, away = (SELL, BUY) if held > 0 else (BUY, SELL)
    opening = order(away, abs(held), client_order_id="q1-0")
    limit, stop = (108.0, 92.0) if held > 0 else (92.0, 108.0)
    legs = [order(side, 10, limit=limit, client_order_id="q1-l"), order(side, 10, stop=stop, client_order_id="q1-s")]
    for one, two in (legs, legs[::-1]):
        venue = SimulatedVenue({"IBM": Instrument("IBM")})
        bars = panel(FLAT, FLAT, bar)
        venue.submit(opening)
        assert [e.price for e in venue.match(bars, 1)] == [100.0]
        venue.submit(one), venue.submit(two)
        prices = [e.price for e in venue.match(bars, 2)]
        assert prices == [first, 200.0 - first]  # nobody cancelled the other leg


def test_touching_is_enough_when_it_is_asked_for() -> None:
    """With `through_ticks=0` a touch fills; with two, one tick through does not."""
    low = (98.0, 99.0, 95.0, 97.0)
    assert meet(panel(FLAT, low), order(BUY, 10, limit=95.0), fill=BarFill(through_ticks=0)) == [(1, 10, 95.0, "limit_touch")]
    assert meet(panel(FLAT, (98.0, 99.0, 94.99, 97.0)), order(BUY, 10, limit=95.0), fill=BarFill(through_ticks=2)) == []
    assert meet(panel(FLAT, (98.0, 99.0, 94.98, 97.0)), order(BUY, 10, limit=95.0), fill=BarFill(through_ticks=2)) != []


# -- a walk along the path, tick by tick -----------------------------------------------------------------------------------------


def walk(prices: tuple[int, int, int, int], mode: str) -> list[int]:
    """Every price in ticks that a bar visits, in order."""
    o, h, l, c = prices
    high_first = mode == "ohlc" or (mode == "adaptive" and h - o < o - l)
    points = (o, h, l, c) if high_first else (o, l, h, c)
    steps = [o]
    for a, b in itertools.pairwise(points):
        steps += range(a + 1, b + 1) if b > a else range(a - 1, b - 1, -1)
    return steps


def expected_fill(steps: list[int], sign: int, limit: int | None, stop: int | None, through: int) -> tuple[int, str] | None:
    """Price in ticks and rule, found by walking: nothing is known of legs or shares here."""
    woken = 0
    if stop is not None:
        reached = [n for n, p in enumerate(steps) if sign * (p - stop) >= 0]
        if not reached:
            return None
        woken = reached[0]
        if limit is None or sign * (steps[woken] - limit) <= 0:
            word = "stop" if limit is None else "stop_limit"
            return (steps[0], f"{word}_gap") if woken == 0 else (stop, word)
    if limit is None:
        return steps[0], "open"
    if stop is None and sign * (steps[0] - limit) <= 0:
        return steps[0], "limit_open"
    beyond = [n for n, p in enumerate(steps) if n >= woken and sign * (p - limit) <= -through]
    return (limit, "limit_through" if through else "limit_touch") if beyond else None


ticks = st.integers(9_900, 10_100)


@EFFORT
@given(
    st.tuples(ticks, ticks, ticks, ticks), st.sampled_from([BUY, SELL]), st.none() | ticks, st.none() | ticks,
    st.integers(0, 3), st.sampled_from(["adaptive", "ohlc", "olhc"]),
)  # fmt: skip
def test_the_rules_agree_with_a_walk_along_the_path(raw: Any, side: Side, limit: int | None, stop: int | None, through: int, mode: str) -> None:
    """Any order in any bar: the price and the rule that one finds by visiting every tick of the path in turn."""
    o, c = raw[:2]
    bar = (o, max(raw), min(raw), c)
    found = expected_fill(walk(bar, mode), side.sign, limit, stop, through)
    wanted = order(side, 10, limit=None if limit is None else limit / 100, stop=None if stop is None else stop / 100)
    story = meet(panel(FLAT, tuple(p / 100 for p in bar)), wanted, fill=BarFill(path=mode, through_ticks=through))
    assert story == ([] if found is None else [(1, 10, found[0] / 100, found[1])])


@EFFORT
@given(st.tuples(ticks, ticks, ticks, ticks), st.lists(st.tuples(st.sampled_from([BUY, SELL]), ticks, st.booleans()), min_size=2, max_size=6))
def test_orders_fill_in_the_order_in_which_the_path_meets_them(raw: Any, wishes: list[tuple[Side, int, bool]]) -> None:
    """Of several orders, the one that the path meets first fills first; at one price a stop before a limit, then the older."""
    o, c = raw[:2]
    bar = (o, max(raw), min(raw), c)
    steps = walk(bar, "olhc")
    orders, expected = [], []
    for n, (side, price, is_stop) in enumerate(wishes):
        limit, stop = (None, price) if is_stop else (price, None)
        orders.append(order(side, 1 + n, limit=None if is_stop else price / 100, stop=price / 100 if is_stop else None, client_order_id=f"q1-{n}"))
        found = expected_fill(steps, side.sign, limit, stop, 0)
        if found is not None:
            place = 0 if found[1] in ("limit_open", "stop_gap") else steps.index(found[0])
            expected.append((place, not is_stop, n))
    story = meet(panel(FLAT, tuple(p / 100 for p in bar)), *orders, fill=BarFill(path="olhc", through_ticks=0))
    assert [q - 1 for _, q, _, _ in story] == [n for _, _, n in sorted(expected)]


# -- time in force ---------------------------------------------------------------------------------------------------------------

NEVER = {"limit": 1.0}


@pytest.mark.parametrize(
    ("tif", "wish", "story"),
    [
        ("gtc", NEVER, []),
        ("day", NEVER, [(1, "expire")]),
        ("ioc", NEVER, [(1, "cancel")]),
        ("fok", NEVER, [(1, "cancel")]),
        ("gtc", {"limit": 99.0}, [(2, 250, 99.0, "limit_through")]),
        ("day", {"limit": 99.0}, [(1, "expire")]),
        ("gtc", {}, [(1, 250, 100.0, "open")]),
        ("day", {}, [(1, 250, 100.0, "open")]),
        ("ioc", {}, [(1, 250, 100.0, "open")]),
        ("fok", {}, [(1, 250, 100.0, "open")]),
    ],
)
def test_time_in_force_without_a_cap(tif: str, wish: dict[str, float], story: list[Any]) -> None:
    """DAY ends with its session, IOC and FOK with their first chance, GTC not at all."""
    bars = panel(FLAT, (100.0, 101.0, 99.5, 100.0), (100.0, 101.0, 98.0, 100.0), FLAT)
    assert meet(bars, order(BUY, 250, tif=tif, **wish)) == story


@pytest.mark.parametrize(
    ("tif", "story"),
    [
        ("gtc", [(1, 100, 100.0, "open"), (2, 100, 101.0, "open"), (3, 50, 102.0, "open")]),
        ("day", [(1, 100, 100.0, "open"), (1, "expire")]),
        ("ioc", [(1, 100, 100.0, "open"), (1, "cancel")]),
        ("fok", [(1, "cancel")]),
    ],
)
def test_time_in_force_under_a_cap(tif: str, story: list[Any]) -> None:
    """A tenth of 1,000 shares a bar: the rest waits, expires, is cancelled, or nothing fills at all."""
    bars = panel(FLAT, *((p, p, p, p) for p in (100.0, 101.0, 102.0, 103.0)))
    assert meet(bars, order(BUY, 250, tif=tif), fill=BarFill(participation=0.1)) == story


@pytest.mark.parametrize("tif", ["ioc", "fok"])
def test_immediate_orders_have_one_chance_at_the_open(tif: str) -> None:
    """A limit that is met later in the bar came too late; an immediate stop makes no sense and is refused."""
    assert meet(panel(FLAT, (100.0, 101.0, 94.0, 95.0)), order(BUY, 10, limit=95.0, tif=tif)) == [(1, "cancel")]
    assert meet(panel(FLAT, (94.5, 101.0, 94.0, 95.0)), order(BUY, 10, limit=95.0, tif=tif)) == [(1, 10, 94.5, "limit_open")]
    (answer,) = SimulatedVenue({"IBM": Instrument("IBM")}).submit(order(BUY, 10, stop=105.0, tif=tif))
    assert answer.kind is OrderEventKind.REJECT and tif in answer.reason


def test_a_day_order_waits_for_its_own_market() -> None:
    """Two markets that close at different hours: the order for one does not expire at the close of the other."""
    nyc, europe = DAY_NS + CLOSE, DAY_NS + CLOSE - 4 * 3_600_000_000_000
    bars = panel([NAN4, FLAT], [FLAT, NAN4], [NAN4, (101.0, 101.0, 101.0, 101.0)], symbols=("SAP", "IBM"), ts=[CLOSE, europe, nyc])
    assert meet(bars, order(BUY, 10, tif="day")) == [(2, 10, 101.0, "open")]
    assert meet(bars, order(BUY, 10, limit=1.0, tif="day")) == [(2, "expire")]


def test_a_day_order_in_a_market_that_does_not_trade_expires_unfilled() -> None:
    """A session without a bar is over when a later one arrives; nothing fills then."""
    bars = panel([FLAT, FLAT], [NAN4, FLAT], [FLAT, FLAT], [FLAT, FLAT], symbols=("IBM", "QQQ"))
    story = meet(bars, order(BUY, 10, tif="day"))
    assert [event[1] for event in story] == ["expire"]


def test_intraday_day_orders_live_through_their_session() -> None:
    """Four bars a day: an order of the first bar may fill on the last one, and is gone before the next day trades."""
    hour = 3_600_000_000_000
    ts = [day * DAY_NS + (15 + h) * hour for day in (0, 1) for h in range(4)]
    dull, deep = (100.0, 101.0, 99.0, 100.0), (100.0, 101.0, 94.0, 100.0)
    late = panel(dull, dull, dull, deep, dull, dull, dull, dull, interval="1h", ts=ts)
    assert meet(late, order(BUY, 10, limit=95.0, tif="day", ts=ts[0])) == [(3, 10, 95.0, "limit_through")]
    tomorrow = panel(dull, dull, dull, dull, (94.0, 94.0, 94.0, 94.0), dull, dull, dull, interval="1h", ts=ts)
    assert meet(tomorrow, order(BUY, 10, limit=95.0, tif="day", ts=ts[0])) == [(4, "expire")]


# -- volume ------------------------------------------------------------------------------------------------------------------------


def test_a_woken_stop_keeps_selling() -> None:
    """A stop that was hit is a market order: what the cap left over sells at the next open, wherever that is."""
    bars = panel(FLAT, (94.0, 95.5, 93.0, 94.0), (97.0, 99.0, 96.0, 98.0), (98.0, 99.0, 97.0, 98.0))
    story = meet(bars, order(SELL, 250, stop=95.0), fill=BarFill(participation=0.1))
    assert story == [(1, 100, 94.0, "stop_gap"), (2, 100, 97.0, "open"), (3, 50, 98.0, "open")]


def test_the_cap_is_shared_by_all_our_orders() -> None:
    """Three orders want 60 each of 100: the first all, the second the rest, the third nothing."""
    orders = [order(BUY, 60, client_order_id=f"q1-{n}") for n in range(3)]
    assert [s[1] for s in meet(panel(FLAT, FLAT), *orders, fill=BarFill(participation=0.1))] == [60, 40]


@pytest.mark.parametrize("bar", [NAN4, FLAT])
def test_nothing_fills_without_a_bar_or_without_volume(bar: tuple[float, ...]) -> None:
    """A market order waits through missing and through dead bars, and fills when the market trades again."""
    bars = panel(FLAT, bar, (101.0, 101.0, 101.0, 101.0), volume=[1000.0, 0.0, 1000.0])
    assert meet(bars, order(BUY, 10)) == [(2, 10, 101.0, "open")]
    if bar is FLAT:
        assert meet(bars, order(BUY, 10), fill=BarFill(fill_without_volume=True)) == [(1, 10, 100.0, "open")]


def test_an_unknown_volume_leaves_nothing_under_a_cap() -> None:
    """A share of a volume that is not known is not a number of shares."""
    bars = panel(FLAT, FLAT)
    blind = Bars(bars.ts, bars.symbols, **{f: getattr(bars, f) for f in FIELDS[:4]}, volume=np.full((2, 1), np.nan))
    assert meet(blind, order(BUY, 10), fill=BarFill(participation=0.1)) == []


# -- changing orders ---------------------------------------------------------------------------------------------------------------


def test_other_terms_hold_from_the_next_bar() -> None:
    """A replaced limit fills at its new price, a replaced quantity counts what has filled."""
    venue = SimulatedVenue({"IBM": Instrument("IBM")}, fill=BarFill(participation=0.1))
    bars = panel(FLAT, FLAT, FLAT, (97.0, 97.0, 95.0, 97.0))
    venue.submit(order(BUY, 150))
    assert [e.quantity for e in venue.match(bars, 1)] == [100]
    (answer,) = venue.replace(Replace(int(bars.ts[1]), "q1-a", quantity=100.0))
    assert answer.kind is OrderEventKind.REPLACE_REJECT
    (answer,) = venue.replace(Replace(int(bars.ts[1]), "q1-a", quantity=120.0))
    assert answer == OrderUpdate(int(bars.ts[1]), "q1-a", OrderEventKind.REPLACE, "", 120.0)
    assert [e.quantity for e in venue.match(bars, 2)] == [20] and not venue.working
    venue.submit(order(BUY, 10, limit=90.0, client_order_id="q1-b"))
    venue.replace(Replace(int(bars.ts[2]), "q1-b", limit_price=96.0))
    assert [(e.price, e.exec_id) for e in venue.match(bars, 3)] == [(96.0, "q1-b-1")]


def test_a_woken_stop_limit_stays_awake_when_its_quantity_changes() -> None:
    """Its stop was met: a limit from then on. A new quantity keeps it awake, a new stop puts it back to sleep."""
    woken, back = (107.0, 108.0, 106.5, 107.0), (104.0, 104.5, 103.0, 104.0)  # opens beyond stop and limit; the next day opens below both
    cases = (
        ({"quantity": 8.0}, [(8.0, 104.0, "limit_open")]),
        ({"limit_price": 103.5}, [(10, 103.5, "limit_through")]),
        ({"stop_price": 105.5}, []),
    )
    for change, fills in cases:
        venue = SimulatedVenue({"IBM": Instrument("IBM")})
        bars = panel(FLAT, woken, back)
        venue.submit(order(BUY, 10, stop=105.0, limit=106.0))
        assert list(venue.match(bars, 1)) == []
        venue.replace(Replace(int(bars.ts[1]), "q1-a", **change))
        assert [(e.quantity, e.price, e.rule) for e in venue.match(bars, 2)] == fills


def test_a_larger_or_dearer_order_goes_to_the_back_of_the_queue() -> None:
    """More quantity or another price loses the place; less quantity keeps it."""
    for change, first in (({"quantity": 100.0}, "q1-1"), ({"limit_price": 101.0}, "q1-1"), ({"quantity": 50.0}, "q1-0")):
        venue = SimulatedVenue({"IBM": Instrument("IBM")}, fill=BarFill(participation=0.05))
        for n in range(2):
            venue.submit(order(BUY, 60, limit=101.0, client_order_id=f"q1-{n}"))
        venue.replace(Replace(CLOSE, "q1-0", **change))
        assert next(iter(venue.match(panel(FLAT, FLAT), 1))).client_order_id == first


def test_a_cancel_between_two_fills_of_one_bar_is_obeyed() -> None:
    """The venue tells of one fill at a time; the other leg of a bracket can be ended before it fills."""
    venue = SimulatedVenue({"IBM": Instrument("IBM")})
    venue.submit(order(SELL, 10, limit=108.0, client_order_id="q1-l"))
    venue.submit(order(SELL, 10, stop=92.0, client_order_id="q1-s"))
    story = []
    for event in venue.match(panel(FLAT, (100.0, 110.0, 90.0, 100.0)), 1):
        story.append(event.client_order_id)
        assert venue.cancel("q1-l", event.ts)[0].kind is OrderEventKind.CANCEL
    assert story == ["q1-s"]


# -- whole random back-tests -------------------------------------------------------------------------------------------------------


class Run(NamedTuple):
    """A simulation that has ended."""

    bars: Bars
    engine: TradingEngine
    fills: list[Fill]


def simulate(bars: Bars, trader: Any, *, events: pd.DataFrame | None = None, fine: bool = False, **options: Any) -> Run:
    """Run a strategy over a panel through the simulated venue; `fine` for an eighth of a share and a millionth of a dollar."""
    instruments = {s: Instrument(s, lot_size=0.125, tick_size=2.0**-20) if fine else Instrument(s) for s in bars.symbols}
    engine = TradingEngine(trader, bars, book=Book(instruments, cash=100_000.0), run_id="r")
    simulation = Simulation(engine, SimulatedVenue(instruments, **options), bars)
    simulation.actions.extend(actions_by_row(events, bars))
    simulation.run()
    return Run(bars, engine, simulation.fills)


seeds = st.integers(0, 2**32 - 1)
modes = st.sampled_from(["adaptive", "ohlc", "olhc"])


def bar_of(run: Run, fill: Fill) -> tuple[int, dict[str, float]]:
    """The row and the bar in which a fill happened."""
    row = int(np.searchsorted(run.bars.ts, fill.ts))
    assert run.bars.ts[row] == fill.ts
    column = run.bars.symbols.index(fill.symbol)
    return row, {name: float(getattr(run.bars, name)[row, column]) for name in FIELDS}


@EFFORT
@given(seeds, seeds, modes, st.integers(0, 2))
def test_fills_stay_inside_their_bars(panel_seed: int, trader: int, mode: str, through: int) -> None:
    """Without slippage every price lies between low and high; limits get their limit or better; each rule keeps its word."""
    run = simulate(random_panel(panel_seed), RandomTrader(trader), fill=BarFill(path=mode, through_ticks=through))
    for fill in run.fills:
        _, bar = bar_of(run, fill)
        wanted = run.engine.order_state(fill.client_order_id).order
        assert bar["low"] <= fill.price <= bar["high"] and bar["volume"] > 0
        if wanted.limit_price is not None:
            assert fill.side.sign * (fill.price - wanted.limit_price) <= 0
        if wanted.stop_price is not None and wanted.limit_price is None:
            assert fill.side.sign * (fill.price - wanted.stop_price) >= 0 or fill.rule == "open"
        if fill.rule in ("open", "limit_open", "stop_gap", "stop_limit_gap"):
            assert fill.price == bar["open"]
        if fill.rule == "limit_through":
            beyond = bar["low"] if fill.side is BUY else bar["high"]
            assert fill.side.sign * (beyond - fill.price) <= -0.01 * through + 1e-9


@EFFORT
@given(seeds, seeds)
def test_nothing_fills_on_the_bar_it_was_decided_on(panel_seed: int, trader: int) -> None:
    """Between the decision and the fill lies at least the step to the next bar; immediate orders take exactly that step.

    A timer may ring inside a bar; what it orders has missed that bar's open and takes the step to the one after.
    """
    run = simulate(random_panel(panel_seed), RandomTrader(trader))
    for fill in run.fills:
        wanted = run.engine.order_state(fill.client_order_id).order
        assert fill.ts > wanted.ts
        decided = int(np.searchsorted(run.bars.ts, wanted.ts, side="right"))
        inside = decided > 0 and wanted.ts != run.bars.ts[decided - 1]
        assert bar_of(run, fill)[0] >= decided + inside
        if wanted.time_in_force.is_immediate:
            assert bar_of(run, fill)[0] == decided + inside


@EFFORT
@given(seeds, seeds, st.sampled_from([0.001, 0.01, 0.1]))
def test_the_cap_holds_for_every_bar(panel_seed: int, trader: int, share: float) -> None:
    """All our fills in a bar together take at most the share of its volume, in whole lots; FOK orders fill whole or not."""
    run = simulate(random_panel(panel_seed), RandomTrader(trader), fill=BarFill(participation=share))
    taken: dict[tuple[int, str], float] = defaultdict(float)
    for fill in run.fills:
        row, bar = bar_of(run, fill)
        taken[row, fill.symbol] += fill.quantity
        assert taken[row, fill.symbol] <= share * bar["volume"] * (1 + 1e-9)
        assert fill.quantity == math.floor(fill.quantity)
    for state in run.engine.orders.values():
        if state.order.time_in_force is TimeInForce.FOK:
            assert state.filled_quantity in (0.0, state.quantity)


@EFFORT
@given(seeds, seeds)
def test_orders_and_fills_tell_one_story(panel_seed: int, trader: int) -> None:
    """Fills are numbered per order and add up to what the order has; the venue and the core agree on what works."""
    run = simulate(random_panel(panel_seed), RandomTrader(trader), fill=BarFill(participation=0.02))
    by_order: dict[str, list[Fill]] = defaultdict(list)
    for fill in run.fills:
        by_order[fill.client_order_id].append(fill)
    for name, state in run.engine.orders.items():
        own = by_order[name]
        assert [f.exec_id for f in own] == [f"{name}-{n + 1}" for n in range(len(own))]
        assert math.isclose(sum(f.quantity for f in own), state.filled_quantity)
        assert state.status is not OrderStatus.FILLED or math.isclose(state.filled_quantity, state.quantity)
        assert state.status not in (OrderStatus.SUBMITTED, OrderStatus.PENDING_CANCEL, OrderStatus.PENDING_REPLACE)
    assert [f.ts for f in run.fills] == sorted(f.ts for f in run.fills)


@EFFORT
@given(seeds, seeds, st.sampled_from([0.0, 1.0, 25.0]))
def test_costs_are_what_they_say(panel_seed: int, trader: int, rate: float) -> None:
    """Slippage moves market and stop orders against us and leaves limits alone; the fee is computed on the price one got."""
    costs = Sum(Bps(rate), PerShare(0.01, minimum=1.0))
    run = simulate(random_panel(panel_seed), RandomTrader(trader), slippage=BpsSlippage(rate), costs=costs)
    for fill in run.fills:
        _, bar = bar_of(run, fill)
        wanted = run.engine.order_state(fill.client_order_id).order
        shown = fill.price if wanted.limit_price is not None else fill.price / (1 + fill.side.sign * rate * 1e-4)
        assert bar["low"] * (1 - 1e-12) <= shown <= bar["high"] * (1 + 1e-12)
        if fill.rule == "open" and wanted.order_type is OrderType.MARKET:
            assert math.isclose(shown, bar["open"], rel_tol=1e-12)
        assert math.isclose(fill.fee, fill.quantity * fill.price * rate / 10_000 + max(0.01 * fill.quantity, 1.0), rel_tol=1e-12)


@EFFORT
@given(seeds, seeds, st.permutations(("AAA", "BBB", "CCC")))
def test_the_order_of_columns_does_not_matter(panel_seed: int, trader: int, shuffled: list[str]) -> None:
    """A strategy that names its symbols trades the same whatever the order of the panel's columns."""
    bars = random_panel(panel_seed)
    a, b = simulate(bars, RandomTrader(trader)), simulate(bars.select(shuffled), RandomTrader(trader))
    assert a.fills == b.fills and list(a.engine.orders) == list(b.engine.orders)
    assert a.engine.book.cash == b.engine.book.cash


@EFFORT
@given(seeds, seeds)
def test_two_runs_are_one(panel_seed: int, trader: int) -> None:
    """The same inputs give the same orders, fills and money, to the last bit."""
    a, b = (simulate(random_panel(panel_seed), RandomTrader(trader), slippage=BpsSlippage(3), costs=Bps(2)) for _ in range(2))
    assert repr(a.fills) == repr(b.fills) and a.engine.book.ledger == b.engine.book.ledger


@EFFORT
@given(seeds, seeds, st.integers(1, 25))
def test_fills_do_not_depend_on_the_future(panel_seed: int, trader: int, present: int) -> None:
    """Cutting the panel after a bar leaves every fill up to it as it was."""
    bars = random_panel(panel_seed)
    whole, part = simulate(bars, RandomTrader(trader)), simulate(bars[:present], RandomTrader(trader))
    assert [f for f in whole.fills if f.ts <= bars.ts[present - 1]] == part.fills


# -- the back-test around it -------------------------------------------------------------------------------------------------------


class Opening:
    """Buys before the first bar and on it."""

    name = "opening"

    def on_start(self, ctx: Any) -> None:
        """Buy at the first chance."""
        ctx.order("IBM", 5.0)

    def on_data(self, ctx: Any, bars: Any) -> None:
        """Buy once more."""
        if ctx.row == 0:
            ctx.order("IBM", 7.0)


def test_an_order_of_the_start_is_older_than_the_bar_that_fills_it() -> None:
    """What is ordered in `on_start` was decided before the first bar, and says so."""
    run = simulate(panel(FLAT, FLAT, FLAT), Opening())
    assert [f.quantity for f in run.fills] == [5.0, 7.0]
    for fill in run.fills:
        assert fill.ts > run.engine.order_state(fill.client_order_id).order.ts


def test_timers_come_before_the_bars_of_their_instant_in_the_order_of_setting() -> None:
    """A timer due at a bar's close, or between two bars, is heard before that bar, with its own time; one instant keeps the order of setting."""
    heard: list[Any] = []

    class Punctual:
        """Sets timers on the first bar."""

        name = "punctual"

        def on_data(self, ctx: Any, bars: Any) -> None:
            """Set them."""
            heard.append(("bar", ctx.ts))
            if ctx.row == 0:
                for name, days in (("late", 5), ("exact", 1), ("b", 0.5), ("a", 0.5), ("c", 1)):
                    ctx.set_timer(name, ctx.ts + int(days * DAY_NS))

        def on_timer(self, ctx: Any, name: str) -> None:
            """Remember."""
            heard.append((name, ctx.ts))

    simulate(panel(FLAT, FLAT, FLAT), Punctual())
    half = CLOSE + DAY_NS // 2
    assert heard == [
        ("bar", CLOSE), ("b", half), ("a", half), ("exact", CLOSE + DAY_NS), ("c", CLOSE + DAY_NS), ("bar", CLOSE + DAY_NS), ("bar", CLOSE + 2 * DAY_NS),
    ]  # fmt: skip


def test_a_check_that_is_a_function_does_not_change_from_run_to_run() -> None:
    """The id of a result, and with it every order's name, is the same for the same inputs, functions among them."""

    def check(limit: float) -> Any:
        """Make a check anew, as a second run of a script does."""

        def small(order: Any, account: Any) -> str:
            """Refuse large orders."""
            return "too large" if order.quantity > limit else ""

        return small

    ids = [Backtest(Opening(), panel(FLAT, FLAT, FLAT), limits=[check(limit)]).result_id for limit in (6.0, 6.0, 4.0)]
    assert ids[0] == ids[1] != ids[2]


def test_the_id_of_a_result_tells_inputs_apart() -> None:
    """Money, costs, rules, bars, parameters and plain attributes of the strategy: each changes the id; nothing else does."""
    bars = panel(FLAT, FLAT, FLAT, symbols=("AAA",))

    def result_id(strategy: Any = None, panel_: Bars = bars, **options: Any) -> str:
        """The id of one variation."""
        return Backtest(strategy or Holder(1.0, 5.0), panel_, **options).result_id

    variations = [
        result_id(),
        result_id(Holder(2.0, 5.0)),
        result_id(Holder(1.0, 6.0)),
        result_id(panel_=bars[:2]),
        result_id(cash=5.0),
        result_id(costs=Bps(1)),
        result_id(costs=Bps(2)),
        result_id(slippage=BpsSlippage(1)),
        result_id(fill=BarFill(participation=0.1)),
        result_id(fill=BarFill(through_ticks=0)),
        result_id(instruments=[Instrument("AAA", lot_size=0.1)]),
        result_id(seed=1),
        result_id(events=split_frame("AAA", int(bars.ts[1]) + 60, "split", 2.0)),
    ]
    assert len(set(variations)) == len(variations)
    assert result_id() == variations[0] and result_id(costs=Bps(1)) == variations[5]


@pytest.mark.parametrize(
    ("options", "quantity", "fee"),
    [
        ({}, 100.0, 0.0),
        ({"fee_bps": 5.0}, 100.0, 5.0),
        ({"fee_per_share": 0.005}, 100.0, 0.5),
        ({"fee_minimum": 1.0}, 100.0, 1.0),
        ({"fee_bps": 5.0, "fee_minimum": 1.0}, 100.0, 5.0),
        ({"fee_bps": 5.0, "fee_minimum": 1.0}, 10.0, 1.0),
        ({"fee_per_share": 0.005, "fee_minimum": 1.0}, 100.0, 1.0),
        ({"fee_per_share": 0.005, "fee_minimum": 1.0}, 1000.0, 5.0),
        ({"fee_bps": 1.0, "fee_per_share": 0.005, "fee_minimum": 1.0}, 100.0, 1.5),
        ({"fee_bps": 1.0, "fee_per_share": 0.005, "fee_minimum": 2.0}, 100.0, 2.0),
    ],
)
def test_the_fees_of_a_job(options: dict[str, float], quantity: float, fee: float) -> None:
    """Rates add up; the minimum is the least that an execution costs, not something on top."""
    assert simple_costs(**options).fee(Execution(Instrument("IBM"), +1, quantity, 100.0, 0)) == pytest.approx(fee, rel=1e-12)


def test_the_cap_of_a_commission_wins_over_its_minimum() -> None:
    """Ten shares at two dollars: 0.35 at least, but never more than one percent of the value."""
    tiered = PerShare(0.0035, minimum=0.35, maximum_bps=100.0)
    vectors = {(100.0, 50.0): 0.35, (1_000.0, 50.0): 3.50, (10.0, 2.0): 0.20, (1.0, 5.0): 0.05}
    for (quantity, price), fee in vectors.items():
        assert tiered.fee(Execution(Instrument("IBM"), +1, quantity, price, 0)) == pytest.approx(fee, rel=1e-12)


# -- splits and dividends over raw prices ------------------------------------------------------------------------------------------


class Holder:
    """Buys at once, and offers what it bought at a price that is reached late; speaks of shares and prices of its own panel."""

    name = "holder"

    def __init__(self, shares: float, offer: float) -> None:
        """Take the numbers."""
        self.shares, self.offer = shares, offer

    def on_data(self, ctx: Any, bars: Any) -> None:
        """Buy and offer."""
        if ctx.row == 0:
            ctx.order("AAA", self.shares)
            ctx.order("AAA", -self.shares / 2, limit_price=self.offer, time_in_force="gtc")


def split_frame(symbol: str, ts: int, kind: str, value: float) -> pd.DataFrame:
    """One event as `get_events` gives it."""
    when = pd.DatetimeIndex(np.array([ts], dtype="int64"), tz="UTC")
    return pd.DataFrame({"symbol": [symbol], "ts": when, "kind": [kind], "value": [value], "known_at": when, "reference": [math.nan]})


@EFFORT
@given(seeds, st.integers(3, 25), st.sampled_from([2.0, 4.0, 0.5, 0.25]), st.integers(-8, 24))
def test_raw_prices_with_a_split_are_adjusted_prices_without(seed: int, row: int, ratio: float, offer: int) -> None:
    """The same account at every bar whether a split comes as an event over raw prices or is in the prices already."""
    bars = random_panel(seed, symbols=("AAA", "BBB"))
    factor = np.ones((len(bars), 2))
    factor[:row, 0] = ratio
    raw = Bars(bars.ts, bars.symbols, **{f: getattr(bars, f) * (factor if f != "volume" else 1 / factor) for f in FIELDS})
    events = split_frame("AAA", int(bars.ts[row]) - 7 * 3_600_000_000_000, "split", ratio)
    a = simulate(bars, Holder(400.0 * ratio, 50.0 + offer), fine=True)
    b = simulate(raw, Holder(400.0, (50.0 + offer) * ratio), fine=True, events=events)
    curves = [account_curve(run.engine.book, bars.ts, bars.symbols, run.bars.mark) for run in (a, b)]
    assert np.allclose(curves[0].equity, curves[1].equity, rtol=1e-12, atol=0.0)
    assert curves[0].quantity[-1].tolist() == curves[1].quantity[-1].tolist()
    assert [(f.ts, f.rule) for f in a.fills] == [(f.ts, f.rule) for f in b.fills]


def test_a_split_on_a_day_without_a_bar_waits_for_the_next_one() -> None:
    """No bar on the ex-date: until the market trades again both the shares and the price are the old ones, in the curve as well."""
    bars = panel(
        [(100.0,) * 4] * 2, [(100.0,) * 4] * 2, [NAN4, (100.0,) * 4], [(50.0,) * 4, (100.0,) * 4], [(51.0,) * 4, (100.0,) * 4],
        symbols=("AAA", "BBB"),
    )  # fmt: skip
    result = Backtest(Holder(10.0, 1e6), bars, cash=5_000.0, events=split_frame("AAA", int(bars.ts[1]) + 60, "split", 2.0)).run()
    assert result.positions["AAA"].tolist() == [0.0, 10.0, 10.0, 20.0, 20.0]
    assert result.equity.tolist() == [5_000.0, 5_000.0, 5_000.0, 5_000.0, 5_020.0]


def test_a_split_changes_the_orders_that_work() -> None:
    """Twice the shares at half the price; the strategy is told."""
    told: list[Any] = []

    class Listener(Holder):
        """Remembers what it hears."""

        def on_order(self, ctx: Any, state: Any) -> None:
            """Remember the terms."""
            told.append((state.status, state.quantity, state.order.limit_price, ctx.equity, ctx.price("AAA")))

    bars = panel(FLAT, FLAT, (50.0,) * 4, (50.0, 61.0, 50.0, 60.0), symbols=("AAA",))
    result = Backtest(Listener(10.0, 120.0), bars, events=split_frame("AAA", int(bars.ts[1]) + 60, "split", 2.0)).run()
    assert told[-1] == (OrderStatus.ACCEPTED, 10.0, 60.0, 1_000_000.0, 50.0)  # equity does not jump between the split and the next close
    assert result.equity.tolist() == [1_000_000.0, 1_000_000.0, 1_000_000.0, 1_000_200.0]
    assert [(f.quantity, f.price) for f in result.fills.itertuples()] == [(10.0, 100.0), (10.0, 60.0)]


def test_a_dividend_is_cash_on_the_ex_date() -> None:
    """Ten shares, half a dollar each; adjusted prices refuse the event."""
    bars = panel(FLAT, FLAT, FLAT, FLAT, symbols=("AAA",))
    events = split_frame("AAA", int(bars.ts[1]) + 60, "dividend", 0.5)
    result = Backtest(Holder(10.0, 1e6), bars, cash=2_000.0, events=events).run()
    assert result.equity.tolist() == [2_000.0, 2_000.0, 2_005.0, 2_005.0]
    adjusted = Bars(bars.ts, bars.symbols, **{f: getattr(bars, f) for f in FIELDS}, adjust="all")
    with pytest.raises(DataError, match="twice"):
        Backtest(Holder(10.0, 1e6), adjusted, events=events)
