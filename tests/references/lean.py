"""Algorithms of QuantConnect/Lean whose results are published, written again for qtnb.

Every strategy follows a file of `Algorithm.CSharp/` at commit 24863901deff; the published figures are the `ExpectedStatistics` there.
Lean's rules for daily US equities: an order decided at a close fills at the next open; the fee is 0.005 a share, at least 1.00 and at
most 0.5 % of the value; `SetHoldings` keeps 0.25 % of equity free, leaves room for the fee and ignores changes of less than 0.1 % of margin.
"""

from __future__ import annotations

import math
from collections import deque
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qtnb.backtest.costs import Bps, PerShare
from qtnb.backtest.engine import Backtest
from qtnb.core.bars import FIELDS, Bars
from qtnb.core.context import Context
from qtnb.data.sample import sample_bars
from qtnb.strategies.base import Strategy
from qtnb.types import Instrument

DATA = Path(__file__).parent / "data"
FEES = PerShare(0.005, minimum=1.0, maximum_bps=50.0)


# -- data --------------------------------------------------------------------------------------------------------------------------


@cache
def table() -> pd.DataFrame:
    """Raw daily bars in dollars, by symbol and date: the excerpts of this folder and the sample that qtnb ships."""
    own = pd.read_csv(DATA / "lean_daily.csv.gz")
    own[["open", "high", "low", "close"]] /= 10_000
    sample = sample_bars().reset_index()
    sample["date"] = sample["ts"].dt.tz_convert("America/New_York").dt.strftime("%Y-%m-%d")
    both = pd.concat([own, sample[["symbol", "date", *FIELDS]]])
    return both.set_index(["symbol", "date"]).sort_index()


@cache
def factors() -> pd.DataFrame:
    """Lean's factor files: cumulative factors, each valid up to and including its date, and the close of that date."""
    return pd.read_csv(DATA / "lean_factors.csv")


def panel(*symbols: str, start: str, end: str, adjust: str = "all") -> Bars:
    """Daily bars of some symbols, stamped 16:00 New York; `adjust="all"` multiplies prices by Lean's factors."""
    wide = {field: table()[field].unstack("symbol").reindex(columns=symbols).loc[start:end] for field in FIELDS}
    dates = wide["close"].dropna(how="all").index
    wide = {field: values.loc[dates].to_numpy(np.float64) for field, values in wide.items()}
    if adjust == "all":
        scale = np.column_stack([_scale(symbol, dates) for symbol in symbols])
        wide |= {field: (wide[field] * scale).round(9) for field in ("open", "high", "low", "close")}
    ts = (pd.DatetimeIndex(dates) + pd.Timedelta(hours=16)).tz_localize("America/New_York").as_unit("ns").asi8
    return Bars(ts, symbols, **wide, adjust=adjust)


def _scale(symbol: str, dates: pd.Index) -> np.ndarray:
    """What a raw price of each date is multiplied by."""
    rows = factors()[factors()["symbol"] == symbol]
    later = np.searchsorted(rows["date"].to_numpy(str), dates.to_numpy(str), side="left")
    return (rows["price_factor"] * rows["split_factor"]).to_numpy()[later]


def events(symbol: str, *, start: str, end: str, exact_splits: bool = True) -> pd.DataFrame:
    """Dividends, rounded to the cent as Lean does, and splits as the factors have them (rounded) or as nearest small ratio."""
    rows = factors()[(factors()["symbol"] == symbol) & factors()["date"].between("1998-01-03", "2049-12-31")].reset_index(drop=True)
    following = pd.concat([rows, factors()[factors()["symbol"] == symbol].tail(1)]).shift(-1).iloc[:-1]
    found = []
    for now, then in zip(rows.itertuples(), following.itertuples(), strict=True):
        if not start <= str(now.date) < end:
            continue
        ts = pd.Timestamp(f"{now.date} 09:30", tz="America/New_York") + pd.offsets.BDay()
        if now.price_factor != then.price_factor:
            found.append((symbol, ts, "dividend", round(now.reference * (1.0 - now.price_factor / then.price_factor) + 1e-9, 2)))
        if now.split_factor != then.split_factor:
            ratio = then.split_factor / now.split_factor
            found.append((symbol, ts, "split", float(round(ratio)) if exact_splits else ratio))
    frame = pd.DataFrame(found, columns=["symbol", "ts", "kind", "value"])
    frame["ts"] = pd.to_datetime(frame["ts"], utc=True)
    return frame


def run(strategy: Strategy, bars: Bars, *, symbols: dict[str, Instrument] | None = None, **options):
    """A back-test under Lean's assumptions: 100,000 dollars, its fee, and prices that need not lie on a tick."""
    instruments = symbols or {s: Instrument(s, tick_size=1e-9) for s in bars.symbols}
    return Backtest(strategy, bars, cash=options.pop("cash", 100_000.0), costs=options.pop("costs", FEES), instruments=instruments, **options).run()


# -- sizing ------------------------------------------------------------------------------------------------------------------------


def set_holdings(ctx: Context, symbol: str, weight: float, *, leverage: float = 2.0) -> None:
    """Order what Lean's `SetHoldings` orders: `PortfolioTarget.Percent` and `GetMaximumOrderQuantityForTargetBuyingPower`."""
    held, price, equity = ctx.position(symbol), ctx.price(symbol), ctx.equity
    if not price > 0.0 or ctx.in_flight(symbol):
        return
    if weight == 0.0:
        if held:
            ctx.order(symbol, -held, tag="liquidate")
        return
    share, fee = weight * (1.0 - 0.0025), 0.0
    if abs(share * equity - held * price) / leverage < 0.001 * equity:
        return
    while True:
        target = share * (equity - fee)
        quantity = (math.floor if weight > 0.0 else math.ceil)(target / price - held)
        fee = max(abs(quantity) * 0.005, 1.0)
        if abs((quantity + held) * price) <= abs(share * (equity - fee)):
            break
    if quantity:
        ctx.order(symbol, quantity)


# -- strategies --------------------------------------------------------------------------------------------------------------------


class BuyOnce(Strategy):
    """Hold one weight of each symbol from the first day on (BasicTemplateDaily, RawData, Dividend, SetHoldingReturnsOrderTickets)."""

    def __init__(self, weights: dict[str, float], *, again: bool = False):
        super().__init__()
        self.weights, self.again, self.text = weights, again, repr(sorted(weights.items()))

    def on_data(self, ctx: Context, bars: Any) -> None:
        if self.again or not any(ctx.position(s) for s in self.weights):
            for symbol, weight in self.weights.items():
                set_holdings(ctx, symbol, weight)


class Ema:
    """Lean's exponential average: the first value is the simple mean of the first `n`."""

    def __init__(self, n: int):
        self.n, self.seen, self.value = n, [], math.nan

    def update(self, x: float) -> bool:
        """Take a value in; whether there is an average yet."""
        if len(self.seen) < self.n:
            self.seen.append(x)
            if len(self.seen) == self.n:
                self.value = math.fsum(self.seen) / self.n
        else:
            k = 2.0 / (1 + self.n)
            self.value = x * k + self.value * (1.0 - k)
        return len(self.seen) == self.n


class MacdTrend(Strategy):
    """Long while MACD(12, 26) is above its signal (9) by a quarter of a per cent, flat when it is as far below (MACDTrendAlgorithm)."""

    def on_start(self, ctx: Context) -> None:
        self.fast, self.slow, self.signal = Ema(12), Ema(26), Ema(9)

    def on_data(self, ctx: Context, bars: Any) -> None:
        close = bars["SPY"].close
        ready = self.fast.update(close) & self.slow.update(close)
        if not (ready and self.signal.update(self.fast.value - self.slow.value)):
            return
        delta = (self.fast.value - self.slow.value - self.signal.value) / self.fast.value
        if ctx.position("SPY") <= 0.0 and delta > 0.0025:
            set_holdings(ctx, "SPY", 1.0)
        elif ctx.position("SPY") > 0.0 and delta < -0.0025:
            set_holdings(ctx, "SPY", 0.0)


class Ribbon(Strategy):
    """In when six delayed prices ascend towards the present, out when they descend (DisplacedMovingAverageRibbon).

    The algorithm means to delay a moving average; as it registers the delays, they are fed with prices (see the page).
    """

    def on_start(self, ctx: Context) -> None:
        self.seen: deque[float] = deque(maxlen=31)

    def on_data(self, ctx: Context, bars: Any) -> None:
        self.seen.append(bars["SPY"].close)
        if len(self.seen) < 31:
            return
        steps = np.diff([self.seen[30 - 5 * k] for k in range(1, 7)])
        if ctx.position("SPY") <= 0.0 and (steps <= 0.0).all():
            set_holdings(ctx, "SPY", 1.0)
        elif ctx.position("SPY") > 0.0 and (steps >= 0.0).all():
            set_holdings(ctx, "SPY", 0.0)


class InAndOut(Strategy):
    """Buy ten times equity, spread over sixteen names of which fourteen have data, and sell all of it a day later (TotalPortfolioValue)."""

    def on_data(self, ctx: Context, bars: Any) -> None:
        held = any(ctx.position(s) for s in ctx.symbols)
        for symbol in ctx.symbols:
            set_holdings(ctx, symbol, 0.0 if held else 10.0 / 16, leverage=100.0)


class ShortUntilSplit(Strategy):
    """Go short with the whole account, once (EquitySplitHoldingsDaily)."""

    def on_data(self, ctx: Context, bars: Any) -> None:
        if ctx.row == 0:
            set_holdings(ctx, "AAPL", -1.0)


class StopLimitTrend(Strategy):
    """A stop-limit buy above the market once a trend is up, a stop-limit sale below it once the trend ends (StopLimitOrder)."""

    def on_start(self, ctx: Context) -> None:
        self.fast, self.slow, self.bought, self.sold = Ema(30), Ema(60), "", ""

    def on_data(self, ctx: Context, bars: Any) -> None:
        bar = bars["SPY"]
        if not (self.fast.update(bar.close) & self.slow.update(bar.close)):
            return
        up = self.fast.value > self.slow.value * 1.001
        if not self.bought and up:
            self.bought = ctx.order("SPY", 100, stop_price=round(bar.high * 1.10, 9), limit_price=round(bar.high * 1.11, 9), time_in_force="gtc")
        elif ctx.position("SPY") and not self.sold and not up:
            self.sold = ctx.order("SPY", -100, stop_price=round(bar.low * 0.99, 9), limit_price=round(bar.low * 0.98, 9), time_in_force="gtc")


# -- intraday ----------------------------------------------------------------------------------------------------------------------


def intraday(name: str) -> Bars:
    """The bars of SPY of one of the two intraday excerpts, adjusted, stamped at their ends."""
    table = pd.read_csv(DATA / name)
    if "second" in table:
        day, ends = pd.to_datetime(table["date"]), pd.to_timedelta(table["second"] + 1, unit="s")
        interval = "1s"
    else:
        start = pd.to_datetime(table["start"], format="%Y%m%d %H:%M")
        day, ends, interval = start.dt.normalize(), start - start.dt.normalize() + pd.Timedelta(hours=1), "1h"
    ts = pd.DatetimeIndex(day + ends).tz_localize("America/New_York").as_unit("ns").asi8
    scale = _scale("SPY", pd.Index(day.dt.strftime("%Y-%m-%d"))) / 10_000
    prices = {field: (table[field] * scale).to_numpy(np.float64).round(9)[:, None] for field in FIELDS[:4]}
    return Bars(ts, ("SPY",), **prices, volume=table["volume"].to_numpy(np.float64)[:, None], interval=interval, adjust="all")


class HourlyLimits(Strategy):
    """At every full hour a limit order at the last price: buys on the first two days, sales after (LimitFill)."""

    def on_start(self, ctx: Context) -> None:
        opening = pd.Timestamp("2013-10-07 10:00", tz="America/New_York")
        for day in range(5):
            for hour in range(7):
                ctx.set_timer("limit", opening + pd.Timedelta(days=day, hours=hour) + pd.Timedelta(1, "ns"))

    def on_timer(self, ctx: Context, name: str) -> None:
        quantity = 10.0 if ctx.now < pd.Timestamp("2013-10-09", tz="America/New_York") else -10.0
        ctx.order("SPY", quantity, limit_price=ctx.price("SPY"), time_in_force="gtc")

    def on_data(self, ctx: Context, bars: Any) -> None:
        """Nothing: the clock decides."""


class OneStop(Strategy):
    """At the first noon a stop order to buy two dollars below the market: it is woken at once (StopMarketOrder)."""

    def on_data(self, ctx: Context, bars: Any) -> None:
        if ctx.row == 2:
            ctx.order("SPY", 1.0, stop_price=round(bars["SPY"].close - 2.0, 9), time_in_force="gtc")


class TwoAtTheOpen(Strategy):
    """Two orders between the sessions, for the open (MarketOnOpenOrder)."""

    def on_data(self, ctx: Context, bars: Any) -> None:
        if ctx.row == 6:
            ctx.order("SPY", 1.0)
            ctx.order("SPY", 1.0)


# -- a perpetual future ------------------------------------------------------------------------------------------------------------

FUNDING_RATE = 0.0001  # Data/cryptofuture/binance/margin_interest/adausdt.csv: one row, 2022-12-13


@cache
def perpetual() -> pd.DataFrame:
    """Hour bars of ADAUSDT on 2022-12-13 by their ends, UTC, with the last bid and ask of each hour."""
    hours = pd.read_csv(DATA / "lean_adausdt_hours.csv")
    ends = pd.to_datetime(hours.pop("start"), format="%Y%m%d %H:%M", utc=True) + pd.Timedelta(hours=1)
    return hours.set_index(pd.DatetimeIndex(ends, name="ts").as_unit("ns"))


class BuyAThousand(Strategy):
    """Buy a thousand contracts at the first chance and keep them (CryptoFutureHourlyMarginInterest)."""

    def on_data(self, ctx: Context, bars: Any) -> None:
        if ctx.row == 0:
            ctx.order("ADAUSDT", 1000.0)


def run_perpetual() -> Any:
    """The run: 1,000,000 dollars that lie idle and 200 of the quote currency, a taker fee of 0.05 %."""
    hours = perpetual()
    bars = Bars(hours.index.asi8, ("ADAUSDT",), **{field: hours[field].to_numpy(np.float64)[:, None] for field in FIELDS}, interval="1h")
    instrument = Instrument("ADAUSDT", asset_class="perpetual", tick_size=0.0001, base="ADA")
    return run(BuyAThousand(), bars, symbols={"ADAUSDT": instrument}, cash=1_000_200.0, costs=Bps(5.0))
