"""Recorded order books of several venues are read, are sound, and can be traded on. Needs the shared data (QTNB_SHARED_DATA)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from qtnb.backtest.depth import TRADE
from qtnb.backtest.depth_files import book_health, merge_depth, read_binance_depth, read_binance_stream, read_tardis_book, read_tardis_trades
from qtnb.backtest.latency import ConstantLatency, latency_from_feed
from qtnb.backtest.queue_models import MODELS, QueueModel
from qtnb.backtest.replay import BUY, SELL, Replay, shares, to_result
from qtnb.types import Instrument

FOLDER = Path(os.environ.get("QTNB_SHARED_DATA", "")) / "orderbook"
BTC = Instrument("BTC-USDT.BINANCE", tick_size=0.1, lot_size=0.001, currency="USDT", asset_class="perpetual")
pytestmark = pytest.mark.skipif(not os.environ.get("QTNB_SHARED_DATA") or not FOLDER.is_dir(), reason="QTNB_SHARED_DATA does not name the shared market data")


@njit
def maker(market, orders, state):
    """Five thousandths on each side of the market, at the best prices, at most fifty held."""
    if market.position < 0.05:
        orders.quote(BUY, market.bid, 0.005, 0, 1)
    else:
        orders.withdraw(BUY)
    if market.position > -0.05:
        orders.quote(SELL, market.ask, 0.005, 0, 1)
    else:
        orders.withdraw(SELL)


@pytest.fixture(scope="module")
def stream():
    """Six minutes of BTCUSDT, changes of depth and trades."""
    return read_binance_stream(FOLDER / "hftbacktest_binance_usdm_btcusdt_20240808.gz", BTC, least_ns=1_000_000)


def test_a_recorded_stream_is_sound(stream) -> None:
    """The repairs are those the recording needs: a local clock that runs 1.2 s behind, streams that overtake each other."""
    health = book_health(stream)
    assert health.levels > 100_000 and health.trades > 20_000 and health.one_sided <= 1_000  # the snapshot gives its thousand bids first
    assert health.crossed < 0.01 * health.levels
    assert 1_000_000_000 < stream.repairs.shift_ns < 2_000_000_000
    lag = stream.events["local_ts"] - stream.events["exch_ts"]
    assert lag.min() >= 0 and np.median(lag) < 1e9


@pytest.mark.parametrize("model", MODELS[:7])
def test_a_recorded_stream_can_be_traded_on(stream, model: str) -> None:
    """A maker at the best prices, one millisecond away, decides ten times a second."""
    latency = ConstantLatency(1_000_000, 1_000_000)
    terms = {"latency": latency, "partial": True, "maker_bps": 2.0, "taker_bps": 5.0, "cash": 100_000.0}
    result = Replay(maker, stream, every_ns=100_000_000, queue=QueueModel(model), **terms).run()
    fills = result.fills
    signed = np.where(fills["side"] == "buy", 1.0, -1.0) * fills["quantity"]
    assert result.trades > 20 and abs(signed.sum() - result.venue["position"]) < 1e-9 and abs(result.venue["position"]) < 0.06
    assert result.venue["cash"] == pytest.approx(100_000.0 - (signed * fills["price"]).sum() - fills["fee"].sum(), abs=1e-6)
    assert set(fills["rule"]) <= {"crossed", "through", "queue"} and len(shares(result)) and len(to_result(result).fills) == result.trades
    assert (stream.events["kind"][fills["row"][fills["rule"] != "crossed"]] == TRADE).all()


def test_latency_of_the_feed_serves_orders(stream) -> None:
    """Rows made of the recorded delays, and a run with them."""
    latency = latency_from_feed(stream.events["exch_ts"], stream.events["local_ts"], entry_times=2.0, response_times=1.0)
    assert len(latency.rows) > 100 and latency.entry(int(latency.rows[5, 0])) >= 0
    assert Replay(maker, stream, every_ns=100_000_000, latency=latency).run().trades > 0


def test_tables_of_other_shapes_are_read() -> None:
    """Binance's historical depth, Tardis books of 5 and 25 levels with trades beside them."""
    for name in ("snap", "update"):
        binance = read_binance_depth(FOLDER / f"binance_btcusdt_depth-{name}.csv", BTC)
        assert len(binance.events) >= 100
    perpetual = Instrument("BTC-USDT.BINANCE-FUTURES", tick_size=0.01, lot_size=0.001)
    few, many = (read_tardis_book(FOLDER / f"tardis_binance-futures_book_snapshot_{n}_BTCUSDT.csv", perpetual) for n in (5, 25))
    assert book_health(many).levels > book_health(few).levels > 10 and book_health(few).crossed == 0
    trades = read_tardis_trades(FOLDER / "tardis_bitmex_trades_XBTUSD.csv", Instrument("XBTUSD.BITMEX", tick_size=0.5))
    assert len(trades.events) == 10
    for depth in (few, many, merge_depth([few, few])):
        Replay(maker, depth).run()
