"""Every published result that is reproduced here: where it stands, what it says, how qtnb gets it, and what explains a difference.

A case is `reproduced` when qtnb's final equity, rounded to the published digits, is the published one. Otherwise `lines` names every
difference and computes it from the data, and published = ours + the sum of the lines, again to the published digits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import lean
import numpy as np
import peers

from qtnb.core.bars import Bars

LEAN = "QuantConnect/Lean @ 24863901deff, Algorithm.CSharp/"
BACKTRADER = "mementum/backtrader @ b853d7c90b67, tests/"
BACKTESTING = "kernc/backtesting.py @ 9c2b8e1c99f3, "
Lines = dict[str, float]  # what differs: how much the published equity is higher for it


@dataclass(frozen=True)
class Case:
    """One published result."""

    name: str
    source: str  # repository, commit, file
    published: float  # final equity
    run: Callable[[], Any]  # gives a Result
    covers: str  # rules that it exercises
    digits: int = 2  # decimals that are published
    fees: float | None = None  # total fees, when published
    fills: int | None = None  # number of fills, when published
    lines: Callable[[Any], Lines] | None = None  # given our result, what explains the difference; None = there must be none
    needs: str = ""  # a file that cannot be shipped
    note: str = field(default="", compare=False)  # what a reader should know

    @property
    def available(self) -> bool:
        """Whether the data are here."""
        return not self.needs or peers.data_file(self.needs) is not None


# -- what explains a difference ----------------------------------------------------------------------------------------------------


def fractional_split(result: Any) -> Lines:
    """Lean multiplies by the split factor of its file, which is rounded, and pays the fraction of a share out in cash."""
    rows = lean.factors()[lean.factors()["symbol"] == "AAPL"].set_index("date")
    factor = float(rows.loc["2014-06-06", "split_factor"] / rows.loc["2014-08-06", "split_factor"])  # 0.1428572 for one seventh
    held = float(result.fills["quantity"].iloc[0])  # short
    close, before = float(lean.table().loc[("AAPL", "2014-06-11"), "close"]), float(rows.loc["2014-06-06", "reference"])
    exact, rounded = held * 7.0, held / factor
    whole = float(int(rounded))
    return {
        f"split factor {factor} instead of one seventh: {exact - rounded:.6f} shares fewer are owed": (exact - rounded) * close,
        f"{rounded - whole:.6f} shares bought back at {before * factor:.4f}, the close before the split times the factor": (rounded - whole)
        * (close - before * factor),
    }


def stop_limit_at_the_limit(result: Any) -> Lines:
    """Lean fills a woken stop-limit order at its limit; qtnb at the price where the path meets the stop (or the open), which is better."""
    found = {}
    fills = result.fills.set_index("client_order_id")
    for order in result.orders.itertuples():
        fill = fills.loc[order.client_order_id]
        sign = 1.0 if order.side == "buy" else -1.0
        name = f"{order.side} {order.quantity:g}: filled at the limit {order.limit_price:.4f}, not at {fill['price']:.4f}, where the path meets the stop"
        found[name] = -sign * order.quantity * (order.limit_price - fill["price"])
    return found


def strictly_through(bars: Bars, result: Any) -> Lines:
    """Lean fills a limit order in the first bar that trades beyond the limit; qtnb fills one that is marketable when it arrives."""
    found: Lines = {}
    opens, highs, lows = bars.open[:, 0], bars.high[:, 0], bars.low[:, 0]
    for order in result.orders.itertuples():
        first = int(np.searchsorted(bars.ts, order.ts.value))
        sign = 1.0 if order.side == "buy" else -1.0
        beyond = np.flatnonzero((lows[first:] < order.limit_price) if sign > 0.0 else (highs[first:] > order.limit_price))
        if not beyond.size:
            continue
        row = first + int(beyond[0])
        theirs = sign * min(sign * opens[row], sign * order.limit_price)
        if abs(theirs - order.average_price) > 1e-9:
            waited = f"{(int(bars.ts[row]) - int(bars.ts[first])) // 1_000_000_000} s"
            name = f"{order.side} of {order.ts:%m-%d %H:%M}: the next trade is at the limit {order.limit_price:.4f}; Lean waits {waited}, gets {theirs:.4f}"
            found[name] = sign * order.quantity * (order.average_price - theirs)
    return found


def closed_at_the_last_open(result: Any) -> Lines:
    """`finalize_trades=True` closes what is open at the open of the last bar, after that bar has closed."""
    path = peers.data_file("GOOG.csv")
    assert path is not None
    bars = peers.read_panel(path, "GOOG")
    held = float(np.where(result.fills["side"] == "buy", 1.0, -1.0) @ result.fills["quantity"])
    name = f"the last {held:g} shares valued at the last open {bars.open[-1, 0]:.2f} instead of the last close {bars.close[-1, 0]:.2f}"
    return {name: held * (bars.open[-1, 0] - bars.close[-1, 0])}




def funding_and_closing(result: Any) -> Lines:
    """Funding at 08, 16 and 24 o'clock; and Lean's equity of contracts is what would be left after closing them, at the bid and for the fee."""
    hours = lean.perpetual()
    held = float(result.fills["quantity"].iloc[0])
    marks = hours["close"][hours.index.hour % 8 == 0]
    last, bid = float(hours["close"].iloc[-1]), float(hours["bid"].iloc[-1])
    return {
        f"funding of {lean.FUNDING_RATE} on {held:g} at {', '.join(f'{m:.4f}' for m in marks)}": -held * lean.FUNDING_RATE * float(marks.sum()),
        f"valued at the bid {bid:.4f} instead of the last trade {last:.4f}": held * (bid - last),
        "the fee of closing at that bid, 0.05 %": -held * bid * 0.0005,
    }


# -- the cases ---------------------------------------------------------------------------------------------------------------------


def _daily(strategy: Callable[[], Any], *symbols: str, start: str, end: str) -> Any:
    """One of Lean's algorithms on adjusted daily bars."""
    return lean.run(strategy(), lean.panel(*symbols, start=start, end=end))


def _raw(strategy: Callable[[], Any], symbol: str, *, start: str, end: str) -> Any:
    """The same on raw bars, with dividends and splits as events."""
    bars = lean.panel(symbol, start=start, end=end, adjust="none")
    return lean.run(strategy(), bars, events=lean.events(symbol, start=start, end=end))


SECONDS, HOURS = "lean_spy_seconds.csv.gz", "lean_spy_hours.csv"
ALL_2016 = ("SPY", "AAPL", "GOOG", "GOOGL", "IBM", "QQQ", "FB", "WM", "BAC", "USO", "IWM", "EEM", "BNO", "AIG")

CASES = [
    Case("BasicTemplateDaily", LEAN + "BasicTemplateDailyAlgorithm.cs", 104_486.22,
         partial(_daily, lambda: lean.BuyOnce({"SPY": 1.0}), "SPY", start="2013-10-08", end="2013-10-17"),
         "market order at the next open; fee per share with minimum; sizing by weight", fees=3.49, fills=1),
    Case("SetHoldingReturnsOrderTickets", LEAN + "SetHoldingReturnsOrderTicketsRegressionAlgorithm.cs", 100_661.71,
         partial(_daily, lambda: lean.BuyOnce({"SPY": 0.8, "IBM": 0.2}, again=True), "SPY", "IBM", start="2018-01-04", end="2018-01-10"),
         "two symbols, rebalanced daily within a band", fees=2.56, fills=2),
    Case("MACDTrend", LEAN + "MACDTrendAlgorithm.cs", 137_751.04, partial(_daily, lean.MacdTrend, "SPY", start="2004-01-01", end="2015-01-01"),
         "84 fills over eleven years, everything reinvested", fees=468.54, fills=84, note="The 85th order is written on the last day."),
    Case("DisplacedMovingAverageRibbon", LEAN + "DisplacedMovingAverageRibbon.cs", 253_075.04,
         partial(_daily, lean.Ribbon, "SPY", start="2009-01-01", end="2015-01-01"), "six years, seven fills", fees=49.40, fills=7,
         note="The algorithm delays prices, not an average: its delays are registered for prices and take these instead."),
    Case("TotalPortfolioValue", LEAN + "TotalPortfolioValueRegressionAlgorithm.cs", 94_814.26,
         partial(_daily, lean.InAndOut, *ALL_2016, start="2016-01-01", end="2017-01-01"),
         "fourteen symbols, ten times equity in and out every second day, 3,514 fills", fees=18_907.56,
         note="3,752 orders are published; 224 are for two tickers without data, and fourteen are written on the last day."),
    Case("Dividend", LEAN + "DividendRegressionAlgorithm.cs", 120_462.08,
         partial(_raw, lambda: lean.BuyOnce({"SPY": 0.5}), "SPY", start="1998-01-01", end="2006-01-01"),
         "eight years of dividends on raw prices", fees=2.56, fills=1),
    Case("RawData", LEAN + "RawDataRegressionAlgorithm.cs", 93_054.5,
         partial(_raw, lambda: lean.BuyOnce({"GOOGL": 1.0}), "GOOGL", start="2014-03-25", end="2014-04-07"),
         "the distribution of Google's class C as a split, raw prices", fees=1.00, fills=1),
    Case("EquitySplitHoldingsDaily", LEAN + "EquitySplitHoldingsDailyRegressionAlgorithm.cs", 98_919.60,
         partial(_raw, lean.ShortUntilSplit, "AAPL", start="2014-06-05", end="2014-06-11"),
         "a short position through a split of seven for one", fees=1.00, fills=1, lines=fractional_split),
    Case("StopLimitOrder", LEAN + "StopLimitOrderRegressionAlgorithm.cs", 101_277.61,
         partial(_daily, lean.StopLimitTrend, "SPY", start="2013-01-01", end="2017-01-01"),
         "stop-limit orders, both sides", fees=2.00, fills=2, lines=stop_limit_at_the_limit),
    Case("LimitFill", LEAN + "LimitFillRegressionAlgorithm.cs", 99_931.07, lambda: lean.run(lean.HourlyLimits(), lean.intraday(SECONDS)),
         "35 limit orders on one-second bars, longs and shorts, timers", fees=34.00, fills=34,
         lines=lambda result: strictly_through(lean.intraday(SECONDS), result)),
    Case("StopMarketOrder", LEAN + "StopMarketOrderRegressionAlgorithm.cs", 99_991.05, lambda: lean.run(lean.OneStop(), lean.intraday(HOURS)),
         "a stop that the open has passed, hourly bars", fees=1.00, fills=1),
    Case("MarketOnOpenOrder", LEAN + "MarketOnOpenOrderRegressionAlgorithm.cs", 99_981.16, lambda: lean.run(lean.TwoAtTheOpen(), lean.intraday(HOURS)),
         "two orders for the open, the minimum fee on each, hourly bars", fees=2.00, fills=2),
    Case("CryptoFutureHourlyMarginInterest", LEAN + "CryptoFutureHourlyMarginInterestRegressionAlgorithm.cs", 1_000_207.90, lean.run_perpetual,
         "a perpetual future, a fee in basis points, funding", fees=0.15, fills=1, lines=funding_and_closing),
    Case("backtrader, stock", BACKTRADER + "test_strategy_unoptimized.py", 10_284.10, partial(peers.backtrader, 15, futures=False),
         "23 fills without fees", fills=23, needs=peers.INDEX),
    Case("backtrader, future", BACKTRADER + "test_strategy_unoptimized.py", 12_795.00, partial(peers.backtrader, 15, futures=True),
         "a multiplier of ten and a fee per contract", fills=23, needs=peers.INDEX),
    Case("backtesting.py, README", BACKTESTING + "README.md", 68_935.12, partial(peers.backtesting_py, 10, 20, fee=0.002),
         "187 fills, always long or short with everything", needs=peers.GOOG,
         note="The README's figure takes the fee at the entry only (today's `spread=.002`); today's `commission=.002` gives 56,263.52."),
    Case("backtesting.py, test_compute_stats", BACKTESTING + "backtesting/test/_test.py", 51_422.98999999996,
         partial(peers.backtesting_py, 10, 30, fee=0.0), "131 fills, slow average of 30", digits=8, needs=peers.GOOG, lines=closed_at_the_last_open),
]

# backtrader, tests/test_strategy_optimized.py: final value for every period from 5 to 44; the strategy never sells.
OPTIMISED = [14525.80] * 2 + [15408.20] * 2 + [14763.90] * 10 + [13187.10] * 3 + [13684.40] * 6 + [13656.10] * 4 + [12988.10] * 13
