"""The compiled replay and its plain restatement agree bit by bit; queue models keep their bounds; the same run gives the same bytes."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from plain_replay import PlainReplay, after_depth, fill_tuples

from qtnb.backtest.depth import CLEAR, LEVEL, TRADE, Depth, depth_events
from qtnb.backtest.latency import ConstantLatency, LognormalLatency, RecordedLatency
from qtnb.backtest.queue_models import MODELS, QueueModel, ahead_after
from qtnb.backtest.replay import Quotes, Replay
from qtnb.types import Instrument

from effort import EFFORT  # isort: skip

SHARE = Instrument("XYZ", tick_size=0.01, lot_size=1.0)
L2_MODELS = MODELS[:7]


def wild(market, orders, state):
    """A strategy that does everything, driven by a small generator of whole numbers in `state[0]`."""
    for _ in range(2):
        state[0] = (state[0] * 16807.0) % 2147483647.0
        dice = int(state[0]) % 13
        state[0] = (state[0] * 16807.0) % 2147483647.0
        offset = int(state[0]) % 5
        state[0] = (state[0] * 16807.0) % 2147483647.0
        quantity = float(int(state[0]) % 9 + 1)
        last = int(state[1]) - 1
        if dice < 2:
            orders.quote(1, market.bid + 1 - offset, quantity, dice)
        elif dice < 4:
            orders.quote(-1, market.ask - 1 + offset, quantity, dice - 2)
        elif dice == 4:
            orders.withdraw(1, 0)
        elif dice == 5:
            orders.withdraw(-1, 1)
        elif dice == 6:
            state[1] = orders.buy(market.bid + 2 - offset, quantity, offset % 4) + 1.0
        elif dice == 7:
            state[1] = orders.sell(market.ask - 2 + offset, quantity, offset % 4) + 1.0
        elif dice == 8:
            state[1] = orders.market(1 if market.position < 0.0 else -1, quantity) + 1.0
        elif dice == 9 and last >= 0:
            orders.cancel(last)
        elif dice >= 10 and last >= 0 and orders.is_open(last):
            orders.replace(last, market.bid - 1 + offset, quantity + offset)
    state[2] += market.bought - market.sold + market.position * 0.001 + market.cash * 1e-9 + market.depth(1, market.bid)


COMPILED = njit(wild)


def depth_of(seed: int, rows: int, late: bool) -> Depth:
    """A random book around tick 1,000, with trades, empty levels and now and then a new start."""
    random = np.random.default_rng(seed)
    ts = np.cumsum(random.integers(0, 6, rows))
    kind = random.choice([LEVEL, LEVEL, LEVEL, TRADE, CLEAR], rows, p=[0.25, 0.25, 0.2, 0.295, 0.005])
    side = np.where(random.random(rows) < 0.5, 1, -1)
    away = random.integers(0, 5, rows)
    level = np.where(side > 0, 1_000 - away, 1_001 + away) + random.integers(-1, 2, rows) * (random.random(rows) < 0.1)
    tick = np.where(kind == TRADE, 1_000 + random.integers(-2, 3, rows), level)
    side = np.where((kind != LEVEL) & (random.random(rows) < 0.1), 0, side)
    quantity = np.where(random.random(rows) < 0.15, 0.0, random.integers(1, 30, rows)) * (kind != CLEAR)
    local = ts + (random.integers(0, 8, rows) if late else 0)
    events, _ = depth_events({"exch_ts": ts, "local_ts": local, "kind": kind, "side": side, "tick": tick, "quantity": quantity}, 0.01)
    return Depth(events, SHARE)


def quotes_of(seed: int, rows: int, late: bool, trades: bool) -> Quotes:
    """Random best prices, a side missing now and then, perhaps with trades between them."""
    random = np.random.default_rng(seed)
    ts = np.cumsum(random.integers(0, 6, rows))
    bid = 1_000 + np.cumsum(random.choice([-1, 0, 0, 1], rows))
    ask = bid + random.integers(1, 4, rows)
    kind = (random.random(rows) < 0.4).astype(np.int8) if trades else np.zeros(rows, np.int8)
    price = np.where(kind == 1, bid + random.integers(-1, 3, rows), bid) / 100.0
    other = np.where(kind == 1, random.integers(-1, 2, rows), ask / 100.0)
    gone = (random.random(rows) < 0.05) & (kind == 0)
    price, other = np.where(gone & (seed % 2 == 0), np.nan, price), np.where(gone & (seed % 2 == 1), np.nan, other)
    local = np.maximum.accumulate(ts + (random.integers(0, 8, rows) if late else 0))
    sizes = random.integers(1, 30, (2, rows)).astype(float)
    return Quotes(SHARE, ts, price, other, sizes[0], sizes[1], local_ts=local, kind=kind if trades else None)


LATENCIES = [
    ConstantLatency(),
    ConstantLatency(entry_ns=3, response_ns=5),
    LognormalLatency(4, 6, sigma=0.8, seed=3),
    RecordedLatency(np.array([[0, 2, 9], [100, 111, 112], [300, 301, 330]])),
]
RUNS = dict(
    seed=st.integers(0, 2**31 - 2),
    rows=st.integers(1, 220),
    late=st.booleans(),
    latency=st.sampled_from(LATENCIES),
    model=st.sampled_from(L2_MODELS),
    partial=st.booleans(),
    clock=st.sampled_from([(1, 0), (3, 0), (1, 4), (1, 17)]),
)


def agree(market: Quotes | Depth, seed: int, latency, model: str, partial: bool, clock: tuple[int, int]) -> None:
    """Run both and compare everything that they leave behind."""
    start = np.array([float(seed + 1), 0.0, 0.0])
    terms = dict(every=clock[0], every_ns=clock[1], latency=latency, queue=QueueModel(model, 2.5), partial=partial, maker_bps=-0.3, taker_bps=2.0, cash=1_000.0)
    compiled = Replay(COMPILED, market, state=start, **terms).run()
    plain = PlainReplay(Replay(COMPILED, market, state=start.copy(), **terms), wild).run()
    fills = fill_tuples(compiled)
    for k, (a, b) in enumerate(zip(fills, plain.fills, strict=False)):
        assert repr(a) == repr(b), f"fill {k}: compiled {a}, plain {b}"
    assert len(fills) == len(plain.fills)
    status = ("submitted", "accepted", "filled", "canceled", "rejected")
    assert [status[s] for s in compiled.order_rows["status"]] == [o.status for o in plain.orders]
    assert compiled.order_rows["leaves"].tolist() == [o.leaves for o in plain.orders]
    assert [status[s] for s in compiled.order_rows["known"]] == [o.known for o in plain.orders]
    bits = [struct.pack("<d", v) for v in (compiled.venue["cash"], compiled.venue["position"], compiled.venue["fees"], *compiled.state)]
    assert bits == [struct.pack("<d", v) for v in (plain.cash, plain.position, plain.fees, *plain.replay.state)]


@settings(EFFORT)
@given(**RUNS)
def test_depth_agrees_with_the_plain_rules(seed, rows, late, latency, model, partial, clock) -> None:
    """Fills, orders, cash and what the strategy saw, to the bit, on price levels and trades."""
    agree(depth_of(seed, rows, late), seed, latency, model, partial, clock)


@settings(EFFORT)
@given(**RUNS, trades=st.booleans())
def test_quotes_agree_with_the_plain_rules(seed, rows, late, latency, model, partial, clock, trades) -> None:
    """The same on best prices, with and without trades."""
    agree(quotes_of(seed, rows, late, trades), seed, latency, model, partial, clock)


AMOUNT = st.one_of(st.just(0.0), st.floats(0.0, 1e6, allow_nan=False).map(lambda x: round(x, 3)))


@settings(EFFORT)
@given(model=st.sampled_from(L2_MODELS), power=st.floats(0.25, 5.0), ahead=AMOUNT, traded=AMOUNT, before=AMOUNT, after=AMOUNT)
def test_queue_models_agree_and_keep_their_bounds(model, power, ahead, traded, before, after) -> None:
    """The same number as the plain formula; never more ahead than is displayed, never more than before."""
    found = ahead_after(MODELS.index(model), power, ahead, traded, before, after)
    assert found == after_depth(model, power, ahead, traded, before, after)
    if model != "snapshot":
        assert found <= after
    assert found <= ahead or ahead > before


@settings(EFFORT)
@given(seed=st.integers(0, 2**31 - 2), quantity=st.integers(1, 40))
def test_a_more_careful_queue_never_fills_earlier(seed, quantity) -> None:
    """One buy at the best bid: the risk-averse model fills last."""
    market = depth_of(seed, 200, False)
    last = {}
    for model in L2_MODELS[:6]:
        result = Replay(ONE_BUY, market, state=np.array([0.0, float(quantity)]), queue=QueueModel(model), partial=False).run()
        last[model] = int(result.fill_rows["row"][0]) if result.trades else 10**9
    assert max(last.values()) == last["risk_averse"]


@njit
def ONE_BUY(market, orders, state):
    """Buy once, at the bid."""
    if state[0] == 0.0:
        state[0] = 1.0
        orders.buy(market.bid, state[1], 1)


def test_a_cancel_may_lose_to_a_fill() -> None:
    """The cancel is sent at 20 and arrives at 25; the ask comes down at 22."""
    ts = np.array([10, 20, 22, 40, 60])
    quotes = Quotes(SHARE, ts, np.array([9.99, 9.99, 9.97, 9.97, 9.97]), np.array([10.01, 10.01, 9.98, 9.99, 9.99]), np.ones(5), np.ones(5))

    @njit
    def strategy(market, orders, state):
        if market.ts == 10:
            orders.buy(998, 1.0)
        elif market.ts == 20:
            orders.cancel(0)

    late = Replay(strategy, quotes, latency=ConstantLatency(entry_ns=5, response_ns=5)).run()
    assert late.fill_rows["ts"].tolist() == [22] and late.fill_rows["seen"].tolist() == [27] and late.orders["status"].tolist() == ["filled"]
    soon = Replay(strategy, quotes, latency=ConstantLatency(entry_ns=1, response_ns=1)).run()
    assert soon.trades == 0 and soon.orders["status"].tolist() == ["canceled"]


@pytest.mark.parametrize("deep", [False, True])
def test_the_same_run_gives_the_same_bytes(deep: bool) -> None:
    """Orders, fills and samples, twice."""
    market = depth_of(9, 400, True) if deep else quotes_of(9, 400, True, True)
    runs = [Replay(COMPILED, market, state=np.array([5.0, 0.0, 0.0]), latency=LATENCIES[2], partial=True).run() for _ in range(2)]
    assert runs[0].trades > 5
    for name in ("order_rows", "fill_rows", "sample_rows"):
        assert getattr(runs[0], name).tobytes() == getattr(runs[1], name).tobytes()
