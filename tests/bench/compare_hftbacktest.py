"""The same replays in qtnb and in hftbacktest, decision by decision.

    QTNB_SHARED_DATA=<data> python tests/bench/compare_hftbacktest.py <python with hftbacktest 2.4> [models ...]

A post-only order of five lots on each side, moved when the best price moves, ten times a second, on a recorded stream of BTCUSDT and on
random depth; with and without the delay of the feed, at once and with an odd latency (so that no request arrives at the very instant of
a row, where the two put them in a different order). Prices, position, fills, fees and balance must agree at every decision. Only whole
fills are compared: hftbacktest 2.4.4 ends a replay with partial fills early. This file runs in both interpreters.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numba import njit

MODELS = ("risk_averse", "log", "log2", "power", "power2", "power3")
COLUMNS = ("time", "bid", "ask", "position", "balance", "fees", "fills")


def peer(folder: str, spec: dict) -> None:
    """hftbacktest's run: writes what it saw at every decision."""
    import hftbacktest as h
    from hftbacktest.types import event_dtype

    post_only, limit = h.GTX, h.LIMIT

    @njit
    def run(hbt, every, tick, quantity, off, log):
        n, number, bid, ask, low, high = 0, 1, 0, 0, -1, -1
        while hbt.elapse(every) == 0:
            orders = hbt.orders(0)
            if bid and (bid not in orders or orders.get(bid).status in (2, 3, 4)):
                bid = 0
            if ask and (ask not in orders or orders.get(ask).status in (2, 3, 4)):
                ask = 0
            hbt.clear_inactive_orders(0)
            depth, state = hbt.depth(0), hbt.state_values(0)
            if depth.best_bid_tick < 0 or depth.best_ask_tick > 2**30:  # a side is empty; qtnb does not ask the strategy then
                continue
            below, above = depth.best_bid_tick - off, depth.best_ask_tick + off
            if bid and low != below:
                hbt.cancel(0, bid, False)
                bid = 0
            if not bid:
                hbt.submit_buy_order(0, number, below * tick, quantity, post_only, limit, False)
                bid, low, number = number, below, number + 1
            if ask and high != above:
                hbt.cancel(0, ask, False)
                ask = 0
            if not ask:
                hbt.submit_sell_order(0, number, above * tick, quantity, post_only, limit, False)
                ask, high, number = number, above, number + 1
            log[n, 0], log[n, 1], log[n, 2], log[n, 3] = hbt.current_timestamp, depth.best_bid_tick, depth.best_ask_tick, state.position
            log[n, 4], log[n, 5], log[n, 6] = state.balance, state.fee, state.num_trades
            n += 1
        return n

    events = np.load(f"{folder}/events.npy")
    rows = np.zeros(len(events), event_dtype)
    rows["exch_ts"], rows["local_ts"], rows["qty"], rows["px"] = events["exch_ts"], events["local_ts"], events["quantity"], events["tick"] * spec["tick"]
    kinds = np.array([0, h.DEPTH_EVENT, h.TRADE_EVENT, h.DEPTH_CLEAR_EVENT], dtype=np.uint64)
    rows["ev"] = kinds[events["kind"]] | np.uint64(h.EXCH_EVENT | h.LOCAL_EVENT)
    rows["ev"][events["side"] > 0] |= np.uint64(h.BUY_EVENT)
    rows["ev"][events["side"] < 0] |= np.uint64(h.SELL_EVENT)
    asset = h.BacktestAsset().data(rows).linear_asset(1.0).constant_order_latency(*spec["latency"])
    chosen = {
        "risk_averse": asset.risk_adverse_queue_model, "log": asset.log_prob_queue_model, "log2": asset.log_prob_queue_model2,
        "power": lambda: asset.power_prob_queue_model(3.0), "power2": lambda: asset.power_prob_queue_model2(3.0),
        "power3": lambda: asset.power_prob_queue_model3(3.0),
    }  # fmt: skip
    asset = chosen[spec["model"]]().no_partial_fill_exchange().trading_value_fee_model(2e-4, 5e-4)
    replay = h.HashMapMarketDepthBacktest([asset.tick_size(spec["tick"]).lot_size(0.001).last_trades_capacity(0)])
    log = np.zeros((200_000, 7))
    count = run(replay, 100_000_000, spec["tick"], 0.005, spec["off"], log)
    replay.close()
    np.save(f"{folder}/log.npy", log[:count])


def random_events(rows: int) -> np.ndarray:
    """Random depth and trades around a price that wanders."""
    from qtnb.backtest.depth import LEVEL, TRADE, depth_events

    random = np.random.default_rng(1)
    ts, middle = np.cumsum(random.integers(1, 40, rows)) * 100_000, 600_000 + np.cumsum(random.choice([-1, 0, 0, 0, 1], rows))
    kind, side = random.choice([LEVEL, TRADE], rows, p=[0.7, 0.3]), random.choice([-1, 1], rows)
    tick = np.where(kind == TRADE, middle + random.integers(-2, 3, rows), middle - side * random.integers(1, 8, rows))
    quantity = np.round(np.where((random.random(rows) < 0.2) & (kind == LEVEL), 0, random.integers(1, 300, rows) * 0.001), 3)
    local = ts + random.integers(0, 30, rows) * 50_000
    return depth_events({"exch_ts": ts, "local_ts": local, "kind": kind, "side": side, "tick": tick, "quantity": quantity}, 0.1)[0]


def compare(python: str, models: list[str]) -> bool:
    """Run both on everything; True when all agree."""
    from qtnb.backtest.depth import Depth
    from qtnb.backtest.depth_files import read_binance_stream
    from qtnb.backtest.latency import ConstantLatency
    from qtnb.backtest.queue_models import QueueModel
    from qtnb.backtest.replay import BUY, POST_ONLY, SELL, Replay
    from qtnb.types import Instrument

    @njit
    def quoter(market, orders, state):
        off = int(state[1])
        orders.quote(BUY, market.bid - off, 0.005, 0, POST_ONLY)
        orders.quote(SELL, market.ask + off, 0.005, 0, POST_ONLY)
        place = 2 + int(state[0]) * 7
        state[0] += 1.0
        state[place], state[place + 1], state[place + 2], state[place + 3] = market.ts, market.bid, market.ask, market.position
        state[place + 4], state[place + 5], state[place + 6] = market.cash + market.fees, market.fees, market.fills

    share = Instrument("BTC", tick_size=0.1, lot_size=0.001)
    stream = Path(os.environ.get("QTNB_SHARED_DATA", "")) / "orderbook" / "hftbacktest_binance_usdm_btcusdt_20240808.gz"
    sets = {"random": random_events(300_000)}
    if stream.is_file():
        sets["recorded"] = read_binance_stream(stream, share, least_ns=1_000_000).events
    alike = True
    for name, rows in sets.items():
        for feed in (False, True):
            events = rows.copy()
            events["local_ts"] = rows["local_ts"] if feed else rows["exch_ts"]
            events["local_ts"][0] = events["exch_ts"][0]  # both clocks start at the first row
            for model, off, latency in [(m, o, lag) for m in models for o in (0, 2) for lag in ((0, 0), (3_000_500, 7_000_500))]:
                with tempfile.TemporaryDirectory() as folder:
                    np.save(f"{folder}/events.npy", events)
                    spec = {"tick": 0.1, "model": model, "off": off, "latency": latency}
                    subprocess.run([python, __file__, "--peer", folder, json.dumps(spec)], check=True)
                    theirs = np.load(f"{folder}/log.npy")
                state = np.zeros(2 + 7 * (len(theirs) + 10))
                state[1] = off
                run = Replay(quoter, Depth(events, share), every_ns=100_000_000, queue=QueueModel(model), latency=ConstantLatency(*latency), maker_bps=2.0,
                             taker_bps=5.0, cash=0.0, state=state).run()
                ours = run.state[2:].reshape(-1, 7)[: int(run.state[0])]
                same = len(ours) == len(theirs) and np.allclose(ours, theirs, rtol=0.0, atol=1e-6)
                alike &= bool(same)
                print(f"{name:8} feed {'late' if feed else 'now ':4} {model:11} {off} ticks out, latency {latency}: {len(ours):,} decisions, "
                      f"{int(ours[-1, 6]):,} fills, {'alike' if same else 'DIFFERENT'}", flush=True)  # fmt: skip
    return alike


if __name__ == "__main__":
    if sys.argv[1] == "--peer":
        peer(sys.argv[2], json.loads(sys.argv[3]))
    else:
        sys.exit(0 if compare(sys.argv[1], sys.argv[2:] or list(MODELS)) else "the replays differ")
