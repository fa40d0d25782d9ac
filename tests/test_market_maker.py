"""The market maker on quotes: it leans, it never takes, it never holds more than it may, and it leaves nothing behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from qtnb.backtest.engine import Backtest
from qtnb.backtest.honesty import check_lookahead
from qtnb.backtest.latency import ConstantLatency
from qtnb.core.bars import Bars
from qtnb.strategies.market_maker import MarketMaker, MovingVariance
from qtnb.types import Instrument

START = 1_709_564_400 * 10**9
SECOND = 10**9
QUICK: dict[str, Any] = {"window": 10, "kappa": 0.5, "gamma": 0.1, "limit": 3}


def ticks(rows: int = 900, seed: int = 3, symbols: tuple[str, ...] = ("XYZ",), lost: float = 0.0, lot: float = 1.0) -> dict[str, Any]:
    """Quotes that wander and trades that reach into the book, of one symbol or several; some quotes have lost a side."""
    random, quotes, trades, closes = np.random.default_rng(seed), [], [], []
    ts = START + np.arange(rows) * SECOND
    for symbol in symbols:
        middle = 10_000 + np.cumsum(random.choice([-1, 0, 1], rows, p=[0.25, 0.5, 0.25]))
        bid, offer = (middle - 3) / 100, (middle + 3) / 100
        offer = np.where(random.random(rows) < lost, np.nan, offer)
        index = pd.MultiIndex.from_arrays([pd.to_datetime(ts, utc=True), [symbol] * rows], names=["ts", "symbol"])
        quotes.append(pd.DataFrame({"bid": bid, "ask": offer, "bid_size": 4.0, "ask_size": 4.0}, index=index))
        side = random.choice([-1.0, 1.0], rows)
        prints = pd.MultiIndex.from_arrays([pd.to_datetime(ts + SECOND // 2, utc=True), [symbol] * rows], names=["ts", "symbol"])
        price = (middle + side * np.ceil(random.exponential(2.0, rows))) / 100
        trades.append(pd.DataFrame({"price": price, "quantity": lot * random.integers(1, 4, rows), "aggressor": side}, index=prints))
        closes.append(middle[59::60] / 100)
    close = np.column_stack(closes)
    panel = {name: close for name in ("open", "high", "low", "close")} | {"volume": np.full(close.shape, 100.0)}
    bars = Bars(ts[59::60] + SECOND - 1, list(symbols), interval="1m", **panel)
    instruments = [Instrument(s, tick_size=0.01, lot_size=lot) for s in symbols]
    return {"bars": bars, "quotes": pd.concat(quotes), "trades": pd.concat(trades), "instruments": instruments, "cash": 100_000.0}


@pytest.mark.parametrize("entry", [0, 300, 2_500], ids=["at once", "a third of a second", "two seconds and a half"])
@pytest.mark.parametrize("lost", [0.0, 0.1], ids=["whole", "one-sided"])
def test_it_rests_within_its_limit_and_leaves_nothing(entry: int, lost: float) -> None:
    """Whatever the delay and however often the market loses a side: makers' fills only, three units at most, no order at the end."""
    latency = ConstantLatency(entry_ns=entry * 10**6, response_ns=entry * 10**6) if entry else None
    result = Backtest(MarketMaker(**QUICK), **ticks(lost=lost), latency=latency).run()
    signed = np.where(result.fills["side"] == "buy", 1.0, -1.0) * result.fills["quantity"].to_numpy()
    held = signed.cumsum()
    assert len(result.fills) > 50 and result.fills["liquidity"].eq("maker").all()
    assert np.abs(held).max() <= 3.0 and result.positions.iloc[-1, 0] == held[-1]
    on_its_way = {"pending_cancel"} if entry else set()  # the run ends before the last cancels arrive
    assert set(result.orders["status"]) <= {"filled", "canceled", "rejected"} | on_its_way and set(result.orders["order_type"]) == {"limit"}


def test_a_limit_holds_for_parts_of_units() -> None:
    """Units of seven that fill in parts of one, two or three."""
    result = Backtest(MarketMaker(size=7.0, **QUICK), **ticks()).run()
    held = (np.where(result.fills["side"] == "buy", 1.0, -1.0) * result.fills["quantity"]).cumsum()
    assert (result.fills["quantity"] < 7.0).any() and 7.0 < np.abs(held).max() <= 21.0


def test_symbols_do_not_mix() -> None:
    """Each of two symbols is quoted as if it were alone."""
    both = ticks(symbols=("AAA", "BBB"))
    together = Backtest(MarketMaker(**QUICK), **both).run()
    for symbol in ("AAA", "BBB"):
        own = {name: both[name].xs(symbol, level="symbol", drop_level=False) for name in ("quotes", "trades")}
        rest = {"instruments": [i for i in both["instruments"] if i.symbol == symbol], "cash": 100_000.0}
        alone = Backtest(MarketMaker(**QUICK), both["bars"].select([symbol]), **own, **rest).run()
        mine = together.fills[together.fills["symbol"] == symbol]
        columns = ["ts", "side", "quantity", "price"]
        assert mine[columns].values.tolist() == alone.fills[columns].values.tolist() and len(mine) > 50


def test_it_does_not_look_ahead_on_quotes() -> None:
    """With the future of the tape cut off, the fills before the cut are the same."""
    data = ticks()
    whole = Backtest(MarketMaker(**QUICK), **data).run().fills
    end = pd.Timestamp(START + 450 * SECOND, tz="UTC")
    cut = data | {name: data[name][data[name].index.get_level_values("ts") <= end] for name in ("quotes", "trades")}
    early = Backtest(MarketMaker(**QUICK), **cut).run().fills
    columns = ["ts", "side", "quantity", "price"]
    known = whole[whole["ts"] <= end]
    assert known[columns].values.tolist() == early[early["ts"] <= end][columns].values.tolist() and len(known) > 20
    assert check_lookahead(lambda: MarketMaker(**QUICK), data["bars"], cuts=4) == []


def test_a_longer_wait_makes_no_jump() -> None:
    """The variance is by time, not by quote; a market without any time between its quotes has none."""
    fast, slow = MovingVariance(2), MovingVariance(2)
    for n, twice in enumerate([200, 204, 200]):
        quick, calm = fast.add(n * SECOND, twice), slow.add(4 * n * SECOND, twice)
    assert quick == 4.0 and calm == 1.0
    still = MovingVariance(2)
    assert all(np.isnan(still.add(5, twice)) for twice in (200, 202, 204, 206))
