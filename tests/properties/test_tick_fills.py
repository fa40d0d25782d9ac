"""The venue on quotes and trades makes the fills of the compiled replay, one plan of orders in both."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from qtnb.backtest.queue_models import MODELS, QueueModel
from qtnb.backtest.replay import Quotes, Replay
from qtnb.backtest.tick_fills import QuoteFill, TickVenue
from qtnb.core.events import Replace
from qtnb.enums import OrderType, Side, TimeInForce
from qtnb.types import Fill, Instrument, Order, Quote, Trade

from effort import EFFORT  # isort: skip

SHARE = Instrument("XYZ", tick_size=0.01)
TERMS = (
    {"time_in_force": TimeInForce.GTC},
    {"time_in_force": TimeInForce.GTC, "post_only": True},
    {"time_in_force": TimeInForce.IOC},
    {"time_in_force": TimeInForce.FOK},
)
NOTHING, LIMIT, MARKET, CANCEL, REPLACE = range(5)


@njit
def follow(market, orders, state):
    """Carry out the plan in `state`: one action per row, five numbers each."""
    place = int(state[0]) * 5 + 2
    state[0] += 1.0
    action, side, tick, quantity, terms = int(state[place]), int(state[place + 1]), int(state[place + 2]), state[place + 3], int(state[place + 4])
    if action == 1 and side > 0:
        orders.buy(tick, quantity, terms)
    elif action == 1:
        orders.sell(tick, quantity, terms)
    elif action == 2:
        orders.market(side, quantity)
    elif action == 3:
        orders.cancel(terms)
    elif action == 4:
        orders.replace(terms, tick, quantity)


def market_and_plan(seed: int, rows: int) -> tuple[Quotes, list[tuple[int, int, int, float, int]]]:
    """Random quotes and trades at instants of their own, and what is to be done after each."""
    random = np.random.default_rng(seed)
    bid = 1_000 + np.cumsum(random.choice([-1, 0, 0, 0, 1], rows))
    ask = bid + random.integers(1, 4, rows)
    kind = (random.random(rows) < 0.45).astype(np.int8)
    kind[0] = 0
    price = np.where(kind == 1, bid + random.integers(-1, 3, rows), bid) / 100.0
    other = np.where(kind == 1, random.choice([-1, 1], rows), ask / 100.0)
    sizes = random.integers(1, 40, (2, rows)).astype(float)
    plan, made = [], 0
    for k in range(rows):
        action, side = int(random.choice(5, p=[0.4, 0.35, 0.05, 0.1, 0.1])), int(random.choice([-1, 1]))
        tick, quantity, terms = int(bid[k] + random.integers(-2, 4)), float(random.integers(1, 30)), int(random.integers(0, 4))
        if action in (CANCEL, REPLACE):
            terms = int(random.integers(0, made)) if made else 0
            action = action if made else NOTHING
        made += action in (LIMIT, MARKET)
        plan.append((action, side, tick, quantity, terms))
    return Quotes(SHARE, np.arange(1, rows + 1), price, other, sizes[0], sizes[1], kind=kind), plan


def by_venue(market: Quotes, plan: list, rules: QuoteFill) -> list[tuple]:
    """The fills of the venue."""
    venue, made, told = TickVenue({"XYZ": SHARE}, fill=rules), 0, []
    for row, (action, side, tick, quantity, terms) in enumerate(plan):
        ts = row + 1
        if market.kind[row]:
            told += venue.on_trade(Trade(ts, "XYZ", market.bid[row], market.bid_size[row], Side.BUY if market.ask[row] > 0 else Side.SELL), row)
        else:
            told += venue.on_quote(Quote(ts, "XYZ", market.bid[row], market.ask[row], market.bid_size[row], market.ask_size[row]), row)
        name, word = f"o{made}", Side.BUY if side > 0 else Side.SELL
        if action == LIMIT:
            told += venue.submit(Order(name, ts, "XYZ", word, quantity, OrderType.LIMIT, tick / 100.0, **TERMS[terms]))
        elif action == MARKET:
            told += venue.submit(Order(name, ts, "XYZ", word, quantity, OrderType.MARKET, time_in_force=TimeInForce.IOC))
        elif action == CANCEL:
            told += venue.cancel(f"o{terms}", ts)
        elif action == REPLACE and f"o{terms}" in venue.working:
            told += venue.replace(Replace(ts, f"o{terms}", quantity, tick / 100.0 if venue.working[f"o{terms}"].order.limit_price != tick / 100.0 else None))
        made += action in (LIMIT, MARKET)
    return [(f.ts, int(f.client_order_id[1:]), round(f.price * 100), f.quantity, f.rule, f.queue_ahead) for f in told if isinstance(f, Fill)]


@settings(EFFORT)
@given(seed=st.integers(0, 2**31), rows=st.integers(1, 150), model=st.sampled_from(MODELS[:7]), partial=st.booleans())
def test_the_venue_and_the_replay_agree(seed: int, rows: int, model: str, partial: bool) -> None:
    """Time, order, price, quantity, rule and queue of every fill."""
    market, plan = market_and_plan(seed, rows)
    queue = QueueModel(model, 2.0)
    state = np.array([0.0, 0.0, *np.array(plan, dtype=float).reshape(-1)])
    replay = Replay(follow, market, queue=queue, partial=partial, state=state).run()
    names = ("", "crossed", "through", "queue", "taken")
    compiled = [
        (int(f["ts"]), int(f["order"]), int(f["tick"]), float(f["quantity"]), names[f["rule"]], None if f["taker"] else float(f["ahead"]))
        for f in replay.fill_rows
    ]
    assert by_venue(market, plan, QuoteFill(queue=queue, partial=partial)) == compiled


def test_numba_is_imported_by_those_who_need_it() -> None:
    """The package and the engine of bars start without the compiler."""
    code = "import sys, qtnb, qtnb.backtest.engine; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
