"""The compiled path of a back-test by named cases: each makes one rare thing happen, on both paths, with the same bits."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

from qtnb.backtest.costs import Bps, MakerTaker, PerOrder
from qtnb.backtest.engine import Backtest
from qtnb.backtest.fill_rules import BarFill
from qtnb.backtest.slippage import BpsSlippage
from qtnb.core.bars import DAY_NS, Bars
from qtnb.core.errors import ConfigError, StrategyError, UnknownNameError
from qtnb.core.rebalance import PLAIN, Rebalance
from qtnb.evaluation.results import FRAMES, Result
from qtnb.strategies.base import Decisions, WeightStrategy
from qtnb.strategies.sma_cross import SmaCross

MINUTE = 60_000_000_000


class Told(WeightStrategy):
    """A strategy that has been told its decisions."""

    name = "told"

    def __init__(self, rows: dict[int, list[float]], rebalance: Rebalance = PLAIN):
        """Keep them."""
        super().__init__(rebalance=rebalance)
        self.rows = rows

    def decisions(self, bars: Bars) -> Decisions:
        """What it was told."""
        return Decisions(np.array(list(self.rows), dtype=np.int64), np.array(list(self.rows.values()), dtype=float).reshape(-1, len(bars.symbols)))


def panel(*columns: list[float], interval: str = "1d", volume: float = 1e6) -> Bars:
    """Bars that open, trade and close at one price; NaN = no bar."""
    close = np.array(columns, dtype=float).T
    step = DAY_NS if interval == "1d" else MINUTE
    ts = 20_000 * DAY_NS + 15 * 60 * MINUTE + step * np.arange(1, len(close) + 1)
    names = [f"S{n}" for n in range(close.shape[1])]
    return Bars(ts, names, open=close, high=close, low=close, close=close, volume=np.where(close == close, volume, np.nan), interval=interval)


def both(bars: Bars, rows: dict[int, list[float]], rebalance: Rebalance = PLAIN, **assumptions: Any) -> Result:
    """The result of the compiled path, which must be that of the event path."""
    event, compiled = (Backtest(Told(rows, rebalance), bars, path=path, **assumptions).run().complete() for path in ("event", "compiled"))
    assert compiled.manifest["path"] == "compiled" and event.manifest["path"] == "event"
    assert event.differences(compiled, (*FRAMES, "trades", "metrics")) == []
    assert event.manifest["alerts"] == compiled.manifest["alerts"] and event.manifest["warnings"] == compiled.manifest["warnings"]
    return compiled


def events(bars: Bars, *happened: tuple[str, int, str, float]) -> pd.DataFrame:
    """Corporate actions just before a row."""
    rows = [(s, pd.Timestamp(int(bars.ts[row]) - 1_000, tz="UTC"), kind, value) for s, row, kind, value in happened]
    return pd.DataFrame(rows, columns=["symbol", "ts", "kind", "value"])


nan = float("nan")


# -- orders -----------------------------------------------------------------------------------------------------------------------


def test_sales_come_before_purchases_whatever_the_columns() -> None:
    """A switch from the second symbol into the first: the sale is written first, and its cash pays."""
    result = both(panel([10.0] * 4, [20.0] * 4), {0: [0.0, 0.9], 2: [0.9, 0.0]})
    assert result.orders["side"].tolist() == ["buy", "sell", "buy"] and result.orders["symbol"].tolist() == ["S1", "S1", "S0"]


def test_an_order_waits_through_one_session_without_a_bar() -> None:
    """The bar of the next day is missing, so the order ends when that day is over."""
    result = both(panel([10.0, nan, 10.0, 10.0]), {0: [0.5]})
    assert result.orders["status"].tolist() == ["expired"] and len(result.fills) == 0


def test_orders_under_way_count() -> None:
    """Minutes without a bar: three decisions write three orders, each for what the ones before leave open."""
    result = both(panel([10.0, nan, nan, nan, 10.0, 10.0], interval="1m"), {0: [0.3], 1: [0.5], 2: [0.1], 3: [0.2]}, cash=1_000.0)
    assert result.orders["quantity"].tolist() == [30.0, 20.0, 40.0, 10.0] and result.positions["S0"].iloc[-1] == 20.0


def test_a_capped_order_goes_on_in_the_next_bar() -> None:
    """A tenth of each bar's volume: four fills of one order, numbered."""
    bars = panel([10.0] * 6, interval="1m", volume=100.0)
    result = both(bars, {0: [0.35]}, cash=1_000.0, fill=BarFill(participation=0.1))
    assert result.fills["quantity"].tolist() == [10.0, 10.0, 10.0, 5.0] and result.fills["exec_id"].str[-2:].tolist() == ["-1", "-2", "-3", "-4"]


def test_more_than_nine_fills_of_one_order() -> None:
    """The names of fills grow by a digit."""
    result = both(panel([10.0] * 15, interval="1m", volume=100.0), {0: [0.99]}, cash=1_100.0, fill=BarFill(participation=0.09))
    assert result.fills["exec_id"].str.endswith("-12").sum() == 1 and len(result.fills) == 12


def test_a_symbol_without_a_price_gets_an_alert_and_no_order() -> None:
    """It lists later."""
    result = both(panel([nan, nan, 10.0, 10.0]), {0: [0.5], 2: [0.5]})
    assert "its last price nan" in result.manifest["alerts"][0] and len(result.orders) == 1


def test_decisions_of_the_warm_up_are_withheld() -> None:
    """They are counted and not sent."""
    result = both(panel([10.0] * 5), {0: [0.5], 3: [0.5]}, start=2)
    assert result.manifest["withheld_orders"] == 1 and len(result.orders) == 1 and len(result.equity) == 3


# -- companies --------------------------------------------------------------------------------------------------------------------


def test_a_split_multiplies_an_order_that_works() -> None:
    """Written before the split, filled after it."""
    bars = panel([10.0, 5.0, 5.0])
    result = both(bars, {0: [0.5]}, cash=1_000.0, events=events(bars, ("S0", 1, "split", 2.0)))
    assert result.orders["quantity"].tolist() == [100.0] and result.orders["reason"].tolist() == ["a split by 2"]


def test_a_split_that_leaves_less_than_a_lot_cancels() -> None:
    """One share becomes a tenth."""
    bars = panel([10.0, 100.0, 100.0])
    result = both(bars, {0: [0.01]}, cash=1_000.0, events=events(bars, ("S0", 1, "split", 0.1)))
    assert result.orders["status"].tolist() == ["canceled"] and result.orders["reason"].tolist() == ["a split by 0.1 left less than a lot of it"]


def test_a_fraction_under_an_order_is_denied() -> None:
    """Half a share is left by a split; closing it while another order is under way is no whole number of lots."""
    close = [10.0, 10.0, 20.0, nan, nan, 20.0, 20.0]
    bars = panel(close, interval="1m")
    result = both(bars, {0: [0.3], 2: [0.6], 3: [0.0]}, cash=250.0, events=events(bars, ("S0", 2, "split", 0.5)))
    assert "denied" in result.orders["status"].tolist() and "must be a multiple of the lot size 1.0" in result.manifest["alerts"][0]


def test_dividends_reach_cash_and_payments() -> None:
    """A long and a short position at the ex-date."""
    bars = panel([10.0] * 4, [20.0] * 4)
    result = both(bars, {0: [0.5, -0.5]}, cash=1_000.0, events=events(bars, ("S0", 2, "dividend", 0.5), ("S1", 2, "dividend", 1.0)))
    assert result.cash_flows["amount"].tolist() == [25.0, -25.0]


# -- choosing ---------------------------------------------------------------------------------------------------------------------


# -- how weights turn into orders -------------------------------------------------------------------------------------------------


def test_a_sum_of_money_becomes_a_quantity_at_the_fill() -> None:
    """Half of 10,000 at an open of 12.50 and 10 bp of fee: 399 shares cost 4,992.49, the 500 of the close at 10 would have cost 6,256.25."""
    result = both(panel([10.0, 12.5, 12.5]), {0: [0.5]}, Rebalance(sizing="fill"), cash=10_000.0, costs=Bps(10.0))
    order, fill = result.orders.iloc[0], result.fills.iloc[0]
    assert (order["quantity"], order["status"], order["reason"], fill["quantity"]) == (399.0, "filled", "", 399.0)
    assert 400.0 * 12.5 * 1.001 > 5_000.0 > 399.0 * 12.5 * 1.001
    plain = both(panel([10.0, 12.5, 12.5]), {0: [0.5]}, cash=10_000.0, costs=Bps(10.0))
    assert plain.fills["quantity"].tolist() == [500.0]


def test_what_reduces_or_turns_a_position_is_of_a_quantity() -> None:
    """A sale of half is half of the shares, whatever the open; what is added afterwards is of money again."""
    result = both(panel([10.0, 10.0, 20.0, 20.0, 16.0, 16.0]), {0: [0.5], 1: [0.25], 3: [0.5]}, Rebalance(sizing="fill"), cash=10_000.0)
    assert result.fills["quantity"].tolist()[:2] == [500.0, 250.0]
    worth = 10_000.0 - 5_000.0 + 250.0 * 20.0 + 250.0 * 20.0  # at the close of 20
    assert result.fills["quantity"].iloc[2] == (0.5 * worth - 250.0 * 20.0) // 16.0


def test_a_sum_that_pays_for_no_lot_ends_the_order() -> None:
    """100 pays for a share at the close of 60, not at the open of 120."""
    result = both(panel([60.0, 120.0, 120.0]), {0: [0.1]}, Rebalance(sizing="fill"), cash=1_000.0)
    assert result.orders["status"].tolist() == ["canceled"] and result.orders["reason"].tolist() == ["a budget of 100.00 pays for no lot"]


def test_a_capped_sum_is_settled_by_its_first_fill() -> None:
    """A tenth of the volume of 1,000 a bar: the quantity is found at the first fill and worked off in the same session."""
    result = both(panel([10.0, 8.0, 4.0, 4.0], interval="1m", volume=1_000.0), {0: [0.15]}, Rebalance(sizing="fill"), cash=10_000.0,
                  fill=BarFill(participation=0.1))
    assert result.orders["quantity"].tolist() == [187.0] and result.fills["quantity"].tolist() == [100.0, 87.0]


def test_a_buy_is_cut_to_the_cash() -> None:
    """Everything at the close of 10 is 1,000 shares; at the open of 11 the cash pays for 909, and then for none."""
    bars, rows = panel([10.0, 11.0, 11.0, 11.0], [10.0] * 4), {0: [1.0, nan], 1: [nan, 0.1]}
    result = both(bars, rows, cash=10_000.0, fill=BarFill(within_cash=True))
    assert result.fills["quantity"].tolist() == [909.0] and result.account["cash"].min() == 1.0
    assert result.orders["reason"].tolist() == ["cash of 10000.00 pays for no more", "cash of 1.00 pays for no lot"]
    assert both(bars, rows, cash=10_000.0).account["cash"].min() < 0.0


def test_a_short_position_may_be_covered_without_cash() -> None:
    """The loss of a short position is beyond the cash, and it is closed all the same."""
    result = both(panel([10.0, 10.0, 30.0, 30.0]), {0: [-1.0], 2: [0.0]}, cash=10_000.0, fill=BarFill(within_cash=True))
    assert result.fills["side"].tolist() == ["sell", "buy"] and result.account["cash"].iloc[-1] == -10_000.0


def test_a_weight_within_its_band_is_left_alone() -> None:
    """A drift from 50 % to 52.4 % lies within 5 points, one to 60 % does not; a target of nothing is traded always."""
    rows = {k: [0.5] for k in range(6)} | {6: [0.0]}
    result = both(panel([10.0, 10.0, 11.0, 15.0, 15.0, 15.0, 15.0, 15.0]), rows, Rebalance(band=0.05), cash=10_000.0)
    assert result.orders["side"].tolist() == ["buy", "sell", "sell"] and result.orders["quantity"].iloc[0] == 500.0
    assert [int(r) for r in np.searchsorted(result.equity.index, pd.DatetimeIndex(result.orders["ts"]))] == [0, 3, 6]


def test_a_schedule_repeats_the_latest_weights() -> None:
    """Said once, traded for in every week."""
    prices = [10.0 * 1.02**k for k in range(15)]
    result = both(panel(prices, [10.0] * 15), {1: [0.5, 0.5]}, Rebalance(every="week"), cash=1e6)
    days = pd.DatetimeIndex(result.orders["ts"].unique()).normalize()
    assert len(days) >= 3 and (days[1:].day_of_week == 0).all()


def test_the_closing_auction_of_the_next_day() -> None:
    """Decided at a close, filled at the next one, and over when the bar leaves no room."""
    bars = panel([10.0, 10.0, 10.0, 10.0])
    bars = Bars(bars.ts, bars.symbols, open=bars.open * 0.9, high=bars.high, low=bars.low * 0.9, close=bars.close, volume=bars.volume)
    result = both(bars, {0: [0.5], 2: [0.0]}, Rebalance(fill="close"), cash=10_000.0)
    assert result.fills["price"].tolist() == [10.0, 10.0] and set(result.fills["rule"]) == {"closing_auction"}
    assert set(result.orders["time_in_force"]) == {"cls"} and result.fills["ts"].tolist() == [bars.index[1], bars.index[3]]
    thin = both(bars, {0: [0.5]}, Rebalance(fill="close"), cash=1e9, fill=BarFill(participation=0.1))
    assert thin.orders["reason"].tolist() == ["its auction is over"] and thin.fills["quantity"].sum() == 1e5


# -- exits ------------------------------------------------------------------------------------------------------------------------


def wide(*bars: tuple[float, float, float, float]) -> Bars:
    """Bars of one symbol: open, high, low, close."""
    made, table = panel([b[3] for b in bars]), np.array(bars)
    return Bars(made.ts, made.symbols, open=table[:, :1], high=table[:, 1:2], low=table[:, 2:3], close=table[:, 3:], volume=made.volume)


def test_a_stop_works_from_the_bar_after_the_fill() -> None:
    """Bought at 100 in a bar that falls to 80; the stop at 95 is met in the next one, whose open is above it."""
    bars = wide((100, 100, 100, 100), (100, 101, 80, 97), (98, 99, 94, 96), (96, 97, 95, 96))
    result = both(bars, {0: [0.5]}, Rebalance(stop_loss=0.05), cash=10_000.0)
    assert result.fills["price"].tolist() == [100.0, 95.0] and result.fills["rule"].tolist() == ["open", "stop"]
    assert result.fills["ts"].iloc[1] == bars.index[2] and result.orders["tag"].tolist() == ["", "stop loss"]
    assert result.orders[["order_type", "time_in_force", "reduce_only"]].iloc[1].tolist() == ["stop", "gtc", True]


def test_a_gap_takes_the_open() -> None:
    """The bar opens below the stop: the open, with slippage, is what one gets."""
    bars = wide((100, 100, 100, 100), (100, 101, 99, 100), (90, 91, 89, 90), (90, 90, 90, 90))
    result = both(bars, {0: [0.5]}, Rebalance(stop_loss=0.05), cash=10_000.0, slippage=BpsSlippage(10.0))
    assert result.fills["rule"].tolist() == ["open", "stop_gap"] and result.fills["price"].iloc[1] == 90.0 * (1 - 0.001)


@pytest.mark.parametrize(("path", "first"), [("ohlc", "take profit"), ("olhc", "stop loss"), ("adaptive", "stop loss")])
def test_one_exit_ends_the_other(path: str, first: str) -> None:
    """A bar meets both; the path says which is first. The low of 94 is nearer to the open of 99 than the high of 112."""
    bars = wide((100, 100, 100, 100), (100, 101, 99, 100), (99, 112, 94, 100), (100, 100, 100, 100))
    result = both(bars, {0: [0.5]}, Rebalance(stop_loss=0.05, take_profit=0.1), cash=10_000.0, fill=BarFill(path=path))
    exits = result.orders.iloc[1:].set_index("tag")
    assert exits.loc[first, "status"] == "filled" and sorted(exits["status"]) == ["canceled", "filled"] and exits["group"].nunique() == 1
    assert exits.loc[exits["status"] == "canceled", "reason"].iloc[0] == f"order {exits.loc[first, 'client_order_id']} of its group filled"


def test_a_target_that_rested_makes_liquidity() -> None:
    """A maker pays 1 bp and a taker 10; a bar that opens beyond the target on its first chance takes."""
    costs = MakerTaker(1.0, 10.0)
    rests = wide((100, 100, 100, 100), (100, 101, 99, 100), (101, 112, 100, 111), (111, 111, 111, 111))
    result = both(rests, {0: [0.5]}, Rebalance(take_profit=0.1), cash=10_000.0, costs=costs)
    assert result.fills["liquidity"].tolist() == ["taker", "maker"] and result.fills["fee"].iloc[1] == 50.0 * 110.0 * 1e-4
    jumps = wide((100, 100, 100, 100), (100, 101, 99, 100), (112, 112, 111, 111), (111, 111, 111, 111))
    result = both(jumps, {0: [0.5]}, Rebalance(take_profit=0.1), cash=10_000.0, costs=costs)
    assert result.fills["rule"].iloc[1] == "limit_open" and result.fills["liquidity"].iloc[1] == "taker"


def test_exits_follow_the_position() -> None:
    """Doubled at 120, the average is 110 and the stop moves from 95 to 104.50; a short position has its stop above."""
    bars = panel([100.0, 100.0, 120.0, 120.0, 120.0, 120.0])
    result = both(bars, {0: [0.5], 2: [1.0]}, Rebalance(stop_loss=0.05), cash=10_000.0)
    stops = result.orders.loc[result.orders["tag"] == "stop loss"]
    assert stops["status"].tolist() == ["canceled", "accepted"] and stops["reason"].tolist() == ["asked for", ""]
    held = result.fills["quantity"].tolist()
    average = (held[0] * 100.0 + held[1] * 120.0) / sum(held)
    assert stops["stop_price"].tolist() == [95.0, math.floor(average * 0.95 * 100) / 100] and stops["quantity"].tolist() == [held[0], sum(held)]
    short = both(panel([100.0, 100.0, 100.0, 106.0]), {0: [-0.5]}, Rebalance(stop_loss=0.05), cash=10_000.0)
    assert short.fills["rule"].tolist() == ["open", "stop_gap"] and short.orders["stop_price"].iloc[1] == 105.0


def test_what_waits_goes_with_the_position() -> None:
    """Half is to be sold at the next open, and the bar opens below the stop: everything goes at once, and no short position is opened."""
    bars = wide((100, 100, 100, 100), (100, 101, 99, 100), (90, 91, 89, 90), (90, 90, 90, 90))
    result = both(bars, {0: [0.5], 1: [0.25]}, Rebalance(stop_loss=0.05), cash=10_000.0)
    assert result.orders["status"].tolist() == ["filled", "filled", "canceled"] and result.positions.iloc[-1].tolist() == [0.0]
    assert result.orders["side"].tolist() == ["buy", "sell", "sell"] and result.orders["reason"].iloc[2] == "asked for"


def test_a_position_that_was_stopped_out_is_entered_again_when_the_strategy_decides() -> None:
    """Out in the third bar, in again by the decision of the fourth."""
    bars = wide((100, 100, 100, 100), (100, 101, 99, 100), (98, 99, 90, 96), (96, 97, 95, 96), (96, 97, 95, 96), (96, 97, 95, 96))
    result = both(bars, {0: [0.5], 3: [0.5]}, Rebalance(stop_loss=0.05), cash=10_000.0)
    assert result.fills["side"].tolist() == ["buy", "sell", "buy"] and result.fills["ts"].iloc[2] == bars.index[4]


def test_what_cannot_run_compiled_is_refused_or_takes_the_event_path() -> None:
    """A fee per order: `compiled` says why not, `auto` runs and says why it went the other way."""
    bars, costs = panel([10.0] * 4), PerOrder(Bps(5.0))
    with pytest.raises(ConfigError, match="`path` was 'compiled', but `costs` was PerOrder"):
        Backtest(Told({0: [0.5]}), bars, costs=costs, path="compiled").run()
    result = Backtest(Told({0: [0.5]}), bars, costs=costs).run()
    assert result.manifest["path"] == "event" and "PerOrder" in result.manifest["path_reason"] and len(result.fills) == 1
    with pytest.raises(UnknownNameError, match="path"):
        Backtest(Told({}), bars, path="compile")


@pytest.mark.parametrize(("rebalance", "more", "words"), [
    (Rebalance(stop_loss=0.1), {"fill": BarFill(path="worst")}, "with exits the paths"),
    (Rebalance(stop_loss=0.1), {"fill": BarFill(participation=0.1)}, "orders that fill whole"),
    (Rebalance(take_profit=0.1), {"events": events(panel([10.0] * 4), ("S0", 2, "dividend", 0.1))}, "which move the prices of exits"),
    (Rebalance(fill="close"), {"bars": panel([10.0] * 4, interval="1m")}, "on daily bars they run compiled"),
])  # fmt: skip
def test_exits_and_auctions_that_only_the_event_path_can_tell(rebalance: Rebalance, more: dict[str, Any], words: str) -> None:
    """The reason is in the manifest, and the run goes on."""
    given = {"bars": panel([10.0] * 4)} | more
    result = Backtest(Told({0: [0.5]}, rebalance), **given).run()
    assert result.manifest["path"] == "event" and words in result.manifest["path_reason"]
    with pytest.raises(ConfigError, match=words):
        Backtest(Told({0: [0.5]}, rebalance), **given, path="compiled").run()


def test_a_large_run_is_compiled_by_itself() -> None:
    """Many bars make the compiled path pay."""
    rows = 400_000
    bars = panel(list(100.0 + np.sin(np.arange(rows))), interval="1m")
    result = Backtest(Told({10: [0.5], 300_000: [0.0]}), bars).run()
    assert result.manifest["path"] == "compiled" and "400,000 bars" in result.manifest["path_reason"] and len(result.fills) == 2


def test_an_error_of_the_run_is_told_by_the_event_path() -> None:
    """More orders at one instant than allowed: the words, and what was done until then, are those of the event path."""
    bars = panel([10.0] * 4, [20.0] * 4)
    told = []
    for path in ("event", "compiled"):
        with pytest.raises(StrategyError, match="2 orders were written at one instant") as caught:
            Backtest(Told({0: [0.5, 0.0], 2: [0.1, 0.1]}), bars, max_orders=1, path=path).run()
        told.append((str(caught.value), len(caught.value.result.fills)))
    assert told[0] == told[1] and told[0][1] == 1


def test_the_event_path_does_not_load_numba() -> None:
    """Importing the engine, and a small run, leave the compiler alone."""
    code = (
        "import sys\nfrom qtnb.backtest.engine import Backtest\nfrom qtnb.data.loader import get_bars\n"
        "from qtnb.strategies.sma_cross import SmaCross\n"
        "bars = get_bars(['IBM', 'BAC'], '2010-01-04', '2012-12-31', adjust='all', source='sample')\n"
        "result = Backtest(SmaCross(), bars).run()\nassert len(result.fills) and result.manifest['path'] == 'event'\n"
        "assert 'numba' not in sys.modules, 'numba was loaded'\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_one_symbol_crosses_as_it_does_beside_others() -> None:
    """The walk for a single symbol, which is a loop of its own, against the loop for several: with gaps, in plain Python and in machine code."""
    dice = np.random.default_rng(11)
    close = np.round(100.0 * np.exp(np.cumsum(dice.normal(0.0, 0.01, 30_000))), 2)
    close[dice.random(30_000) < 0.001] = nan
    for rows in (5_000, 30_000):  # below and above the size at which a rule is compiled
        one, two = panel(close[:rows].tolist()), panel(close[:rows].tolist(), close[:rows].tolist())
        strategy = SmaCross(fast=7, slow=23)
        alone, beside = strategy.decided(one), strategy.decided(two)
        assert alone.rows.tolist() == beside.rows.tolist() and len(alone.rows) > rows / 100
        assert np.array_equal(alone.weights[:, 0], beside.weights[:, 1] * 2.0)
