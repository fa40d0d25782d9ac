"""The same strategy, bars and costs through a back-test and through a paper session: the same orders, fills and equity, to the bit."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties.effort import EFFORT
from properties.scenarios import RandomTrader, random_panel

from qtnb.backtest.costs import Bps, PerShare
from qtnb.backtest.engine import Backtest
from qtnb.backtest.execution_sim import BarFill
from qtnb.backtest.slippage import BpsSlippage
from qtnb.core.bars import Bars
from qtnb.core.book import Book
from qtnb.core.errors import DataError, StrategyError
from qtnb.core.rebalance import Rebalance
from qtnb.data.loader import get_bars, get_events
from qtnb.data.reference import normalise_events
from qtnb.evaluation.results import FRAMES, Result
from qtnb.live.adapters.paper import PaperVenue
from qtnb.live.data_streams import ReplayStream
from qtnb.live.exec_engine import LiveSession, SessionOptions
from qtnb.live.replay import ReplayReport, replay
from qtnb.live.state_store import JournalFile, SqliteJournal, verify
from qtnb.risk.limits import GrossLimit, LiquidityLimit, NameLimit, NetLimit
from qtnb.risk.stops import DrawdownStop, LossStop, OrderCountLimit, ParticipationLimit, TurnoverLimit
from qtnb.strategies.base import Strategy
from qtnb.strategies.machine_learning import MachineLearning
from qtnb.strategies.market_maker import MarketMaker
from qtnb.strategies.mr_pairs import PairsTrading
from qtnb.strategies.optimized import OptimizedPortfolio
from qtnb.strategies.sma_cross import SmaCross
from qtnb.strategies.trend import TrendFollowing
from qtnb.strategies.xmom_crosssec import CrossSectionalMomentum
from qtnb.types import Instrument

PARTS = (*FRAMES, "metrics")


@dataclass
class Twins:
    """One strategy, run twice, and once more from the journal."""

    tested: Result
    lived: Result
    report: ReplayReport
    session: LiveSession
    strategies: tuple[Any, Any, Any]


def run_twins(make: Callable[[], Any], bars: Bars, *, every: int = 64, **assumptions: Any) -> Twins:
    """Run a fresh strategy in a back-test, another one in a paper session, and a third one from the session's journal."""
    one, two, three = make(), make(), make()
    test = Backtest(one, bars, **assumptions)
    tested = test.run()
    models = {name: getattr(test, name) for name in ("costs", "slippage", "fill")}
    money = {"cash": test.cash, "base_currency": test.base_currency}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.sqlite"
        with SqliteJournal(path, synchronous="NORMAL") as journal:
            session = LiveSession(
                two,
                ReplayStream(bars, actions=test.actions),
                venue=PaperVenue(test.instruments, interval=bars.interval, **money, **models),
                book=Book(test.instruments, fx=test.fx, **money),
                journal=journal,
                run_id=tested.manifest["result_id"],
                seed=test.seed,
                checks=test.limits,
                options=SessionOptions(commit_every=every),
            )
            lived = session.run()
        report = replay(path, strategy=three, checks=test.limits)
    return Twins(tested, lived, report, session, (one, two, three))


def assert_same(twins: Twins) -> None:
    """Orders, fills, account, positions, weights and figures agree in their bits; the replay gave every command again."""
    assert twins.lived.differences(twins.tested, PARTS) == []
    assert twins.lived.manifest["alerts"] == twins.tested.manifest["alerts"]
    assert twins.report.identical, twins.report.first_difference
    assert twins.report.finished and twins.report.result is not None
    assert twins.report.result.differences(twins.tested, PARTS) == []


def sample(symbols: list[str], start: str, end: str, **options: Any) -> Bars:
    """Real bars of the bundled sample."""
    return Bars.from_frame(get_bars(symbols, start, end, source="sample", **options))


# -- the bundled strategies on real bars -------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::qtnb.core.errors.DataWarning")
@pytest.mark.parametrize(
    ("symbols", "start", "end", "adjust"),
    [
        (["IBM"], "2000-01-03", "2020-12-31", "all"),
        (["QQQ"], "2003-01-02", "2013-12-31", "splits"),  # 1588 sessions are missing in the middle
        (["QQQ", "IBM", "USO"], "2004-06-01", "2012-06-29", "none"),  # one gone, one not listed yet
    ],
    ids=["ibm", "qqq", "three"],
)
def test_sma_cross(symbols: list[str], start: str, end: str, adjust: str) -> None:
    """A weight strategy: all weights at once in the back-test, row by row in the session."""
    bars = sample(symbols, start, end, adjust=adjust)
    twins = run_twins(lambda: SmaCross(fast=10, slow=30), bars, cash=100_000.0, costs=Bps(5), slippage=BpsSlippage(2))
    assert_same(twins)
    assert len(twins.lived.fills) > 20


@pytest.mark.filterwarnings("ignore::qtnb.core.errors.DataWarning")
@pytest.mark.parametrize("method", ["minimum_variance", "risk_parity", "mean_variance"])
def test_optimized_portfolio(method: str) -> None:
    """The optimiser is asked at every bar by a session and once by a back-test, and says the same."""
    bars = sample(["AIG", "BAC", "EEM", "GOOGL", "IBM", "USO"], "2009-01-02", "2010-12-31")
    twins = run_twins(lambda: OptimizedPortfolio(method=method, window=60, turnover=0.5), bars, cash=1_000_000.0, costs=PerShare(0.005, minimum=1.0))
    assert_same(twins)
    assert len(twins.lived.fills) > 50


@pytest.mark.filterwarnings("ignore::qtnb.core.errors.DataWarning")
def test_xmom_crosssec() -> None:
    """Monthly rebalancing of several symbols, sells first."""
    bars = sample(["AIG", "BAC", "EEM", "GOOGL", "IBM", "QQQ"], "2009-01-02", "2014-12-31")
    twins = run_twins(lambda: CrossSectionalMomentum(top=2), bars, cash=1_000_000.0, costs=PerShare(0.005, minimum=1.0))
    assert_same(twins)
    assert len(twins.lived.fills) > 50
    sectors = {"AIG": "money", "BAC": "money", "GOOGL": "wires", "IBM": "wires", "QQQ": "wires", "EEM": "money"}
    twins = run_twins(lambda: CrossSectionalMomentum(top=1, buffer=1, short=True, sectors=sectors), bars, cash=1_000_000.0, costs=PerShare(0.005, minimum=1.0))
    assert_same(twins)
    assert len(twins.lived.fills) > 50


@pytest.mark.filterwarnings("ignore::qtnb.core.errors.DataWarning")
def test_trend() -> None:
    """Long and short in sizes by volatility: the same on the compiled path, the event path and in a session."""
    bars = sample(["AIG", "EEM", "QQQ", "USO"], "2009-01-02", "2011-12-30", adjust="all")
    terms: dict[str, Any] = {"cash": 1_000_000.0, "costs": Bps(5), "slippage": BpsSlippage(2)}
    twins = run_twins(TrendFollowing, bars, **terms)
    assert_same(twins)
    compiled = Backtest(TrendFollowing(), bars, path="compiled", **terms).run()
    assert compiled.manifest["path"] == "compiled" and twins.lived.differences(compiled, PARTS) == []
    assert len(compiled.fills) > 50 and (compiled.positions < 0.0).any(axis=None)


@pytest.mark.filterwarnings("ignore::qtnb.core.errors.DataWarning")
def test_mr_pairs() -> None:
    """Two legs at a time, pairs chosen anew every month: the same on the compiled path, the event path and in a session."""
    bars = sample(["AIG", "BAC", "EEM", "GOOGL", "QQQ", "WMI"], "2008-06-02", "2011-06-30", adjust="all")  # one leaves, one has a hole
    make = partial(PairsTrading, formation=120, renew="month", candidates=4, pairs=3, level=0.5, correction="none", entry=1.5)
    terms: dict[str, Any] = {"cash": 1_000_000.0, "costs": Bps(5), "slippage": BpsSlippage(2)}
    twins = run_twins(make, bars, **terms)
    assert_same(twins)
    compiled = Backtest(make(), bars, path="compiled", **terms).run()
    assert compiled.manifest["path"] == "compiled" and twins.lived.differences(compiled, PARTS) == []
    assert len(compiled.fills) > 100 and (compiled.positions < 0.0).any(axis=None)


@pytest.mark.filterwarnings("ignore::qtnb.core.errors.DataWarning")
@pytest.mark.parametrize("label", ["forward", "triple_barrier"])
def test_machine_learning(label: str) -> None:
    """All fits at once in the back-test, as the months come in the session: the same models, orders and equity."""
    bars = sample(["AIG", "EEM", "QQQ", "USO"], "2009-01-02", "2011-12-30", adjust="all")
    terms: dict[str, Any] = {"cash": 1_000_000.0, "costs": Bps(5), "slippage": BpsSlippage(2)}
    make = partial(MachineLearning, label=label, year=120, history=252)
    twins = run_twins(make, bars, **terms)
    assert_same(twins)
    compiled = Backtest(make(), bars, path="compiled", **terms).run()
    assert compiled.manifest["path"] == "compiled" and twins.lived.differences(compiled, PARTS) == []
    assert len(compiled.fills) > 50 and (compiled.positions < 0.0).any(axis=None)


@pytest.mark.filterwarnings("ignore::qtnb.core.errors.DataWarning")
def test_market_maker() -> None:
    """Two post-only orders a symbol, moved and refused: on bars the same in a session."""
    bars = sample(["AIG", "IBM"], "2004-06-01", "2006-12-29", adjust="all")
    make = partial(MarketMaker, gamma=1e-4, kappa=0.05, horizon=86_400.0, window=20, size=10.0)
    twins = run_twins(make, bars, cash=100_000.0, costs=PerShare(0.005), slippage=BpsSlippage(2))
    assert_same(twins)
    assert len(twins.lived.fills) > 100 and (twins.lived.positions < 0.0).any(axis=None) and twins.lived.positions.abs().max().max() <= 100.0
    assert set(twins.lived.orders["status"]) >= {"filled", "canceled"}


@pytest.mark.filterwarnings("ignore::qtnb.core.errors.DataWarning")
@pytest.mark.parametrize("rebalance", [
    Rebalance(every="month", band=0.02), Rebalance(sizing="fill", stop_loss=0.03, take_profit=0.06), Rebalance(fill="close", sizing="fill", every="week"),
], ids=["monthly", "money_and_exits", "closing_auction"])  # fmt: skip
def test_the_ways_in_which_weights_turn_into_orders(rebalance: Rebalance) -> None:
    """Schedules without the future, orders for money, exits and auctions: the same on the compiled path, the event path and in a session."""
    bars = sample(["IBM", "QQQ", "USO"], "2006-06-01", "2008-12-31")
    make = partial(SmaCross, fast=5, slow=20, rebalance=rebalance)
    twins = run_twins(make, bars, cash=100_000.0, costs=Bps(5), slippage=BpsSlippage(2), fill=BarFill(within_cash=True))
    assert_same(twins)
    compiled = Backtest(make(), bars, cash=100_000.0, costs=Bps(5), slippage=BpsSlippage(2), fill=BarFill(within_cash=True), path="compiled").run()
    assert compiled.manifest["path"] == "compiled" and twins.lived.differences(compiled, PARTS) == [] and len(compiled.fills) > 20


# -- a strategy that does everything -----------------------------------------------------------------------------------------------


class Nasty(Strategy):
    """Every type of order and time in force, on a timetable, with answers to fills, ends, refusals and timers."""

    def on_start(self, ctx: Any) -> None:
        """An order and a timer before the first bar."""
        self.answered = 0
        ctx.order(ctx.symbols[0], 7.0)
        ctx.set_timer("late", ctx.ts + 40 * 86_400_000_000_000)

    def on_data(self, ctx: Any, bars: Any) -> None:
        """One deed a bar."""
        symbol = ctx.symbols[ctx.row % len(ctx.symbols)]
        price, big = ctx.price(symbol), 150.0
        if not price > 0.0:
            return
        near = {n: round(price * (1.0 + n / 1000.0), 2) for n in (-20, -4, 0, 4, 20)}
        deeds: list[Callable[[], object]] = [
            lambda: ctx.order(symbol, big, tag="m"),
            lambda: ctx.order(symbol, big, limit_price=near[-4]),
            lambda: ctx.order(symbol, -big, limit_price=near[20], time_in_force="gtc"),
            lambda: ctx.order(symbol, -big, stop_price=near[-4], time_in_force="gtc"),
            lambda: ctx.order(symbol, big, stop_price=near[4], limit_price=near[20]),
            lambda: ctx.order(symbol, big, limit_price=near[0], time_in_force="ioc"),
            lambda: ctx.order(symbol, -2.0 * big, time_in_force="fok"),
            lambda: ctx.cancel(ctx.open_orders()[0].order.client_order_id) if ctx.open_orders() else None,
            lambda: self.change(ctx, near[4]),
            lambda: ctx.set_timer(f"t{ctx.row}", ctx.ts + 1 + (ctx.row % 3) * 86_400_000_000_000),
            lambda: ctx.order(symbol, 0.5),
            lambda: ctx.order(symbol, big, stop_price=near[4], time_in_force="ioc"),
            lambda: ctx.order(symbol, -10.0, time_in_force="fok"),
            lambda: ctx.target_weight(symbol, 0.2),
            lambda: ctx.cancel_all(symbol),
            lambda: ctx.log(f"equity {ctx.equity!r}"),
        ]
        deeds[ctx.row % len(deeds)]()

    def change(self, ctx: Any, price: float) -> None:
        """Other terms for the youngest order, whether it has a limit or not."""
        if ctx.open_orders():
            newest = ctx.open_orders()[-1]
            terms = {"limit_price": price} if newest.order.order_type.has_limit else {"quantity": newest.quantity + 10.0}
            ctx.replace(newest.order.client_order_id, **terms)

    def on_fill(self, ctx: Any, fill: Any) -> None:
        """Offer a part of every third fill; cancel another order of the symbol at once on every seventh."""
        self.answered += 1
        if self.answered % 3 == 0:
            ctx.order(fill.symbol, -fill.signed_quantity, limit_price=round(fill.price * 1.01, 2), time_in_force="gtc")
        if self.answered % 7 == 0 and ctx.open_orders(fill.symbol):
            ctx.cancel(ctx.open_orders(fill.symbol)[0].order.client_order_id)

    def on_order(self, ctx: Any, order: Any) -> None:
        """A small order for each one that ended without trading, now and then."""
        if order.status.value in ("expired", "rejected", "canceled") and len(ctx.open_orders()) < 5:
            ctx.order(order.order.symbol, 1.0, tag=order.status.value)

    def on_timer(self, ctx: Any, name: str) -> None:
        """Order between two bars."""
        ctx.order(ctx.symbols[-1], -3.0, tag=name)

    def on_stop(self, ctx: Any) -> None:
        """Clean up."""
        ctx.cancel_all()


@pytest.mark.filterwarnings("ignore::qtnb.core.errors.DataWarning")
@pytest.mark.parametrize("symbols", [["QQQ"], ["IBM", "QQQ", "USO"]], ids=["one", "three"])
def test_a_strategy_that_does_everything(symbols: list[str]) -> None:
    """Limits, stops, IOC, FOK, DAY, cancels, replacements, timers, denials, refusals, and parts of orders, over missing years."""
    bars = sample(symbols, "2004-01-02", "2012-12-31" if len(symbols) == 1 else "2007-12-31", adjust="none")
    rules = BarFill(participation=2e-6)
    twins = run_twins(Nasty, bars, cash=1_000_000.0, costs=PerShare(0.01, minimum=0.35), slippage=BpsSlippage(3), fill=rules)
    assert_same(twins)
    orders, fills = twins.lived.orders, twins.lived.fills
    assert set(orders["status"]) >= {"filled", "canceled", "expired", "denied", "rejected"}
    assert set(fills["rule"]) >= {"open", "limit_open", "limit_through", "stop", "stop_gap"}
    assert set(orders["order_type"]) == {"market", "limit", "stop", "stop_limit"} and set(orders["time_in_force"]) == {"day", "gtc", "ioc", "fok"}
    assert max(Counter(fills["client_order_id"]).values()) > 1, "no order was filled in parts"
    assert any("equity" in text for text in twins.lived.manifest["alerts"])


class Families(Strategy):
    """Brackets, groups, trailing stops, orders if touched, auctions, dated and careful orders, one a bar."""

    def on_start(self, ctx: Any) -> None:
        """Nothing heard yet."""
        self.heard: list[tuple[str, str]] = []

    def on_data(self, ctx: Any, bars: Any) -> None:
        """One deed a bar."""
        symbol = ctx.symbols[ctx.row % len(ctx.symbols)]
        price, big = ctx.price(symbol), 150.0
        if not price > 0.0:
            return
        near = {n: round(price * (1.0 + n / 1000.0), 2) for n in (-30, -10, -4, 0, 4, 10, 30)}
        group = ctx.group_name()
        deeds: list[Callable[[], object]] = [
            lambda: ctx.bracket(symbol, big, take_profit=near[10], stop_loss=near[-10]),
            lambda: ctx.bracket(symbol, -big, take_profit=near[-10], stop_loss=near[10], limit_price=near[4], time_in_force="gtc"),
            lambda: ctx.bracket(symbol, big, take_profit=near[30], trail_percent=1.5, limit_price=near[-4]),
            lambda: ctx.order(symbol, -big, trail_amount=round(price * 0.02, 2), time_in_force="gtc"),
            lambda: [ctx.order(symbol, s * big, stop_price=near[s * 4], group=group, time_in_force="gtc") for s in (1, -1)],
            lambda: [ctx.order(symbol, -big, limit_price=near[n], group=group, time_in_force="gtc") for n in (4, 10)],
            lambda: ctx.order(symbol, big, touch_price=near[-10]),
            lambda: ctx.order(symbol, -big, touch_price=near[4], limit_price=near[10], time_in_force="gtc"),
            lambda: ctx.order(symbol, big, time_in_force="cls"),
            lambda: ctx.order(symbol, -big, limit_price=near[0], time_in_force="opg"),
            lambda: ctx.order(symbol, big, limit_price=near[-10], time_in_force="gtd", expires=ctx.ts + 6 * 86_400_000_000_000),
            lambda: ctx.order(symbol, big, limit_price=near[0], post_only=True),
            lambda: ctx.order(symbol, -2.0 * big, reduce_only=True),
            lambda: ctx.cancel(ctx.open_orders()[ctx.row % len(ctx.open_orders())].order.client_order_id) if ctx.open_orders() else None,
        ]
        deeds[ctx.row % len(deeds)]()

    def on_order(self, ctx: Any, order: Any) -> None:
        """Remember."""
        self.heard.append((order.order.client_order_id, str(order.status)))


@pytest.mark.filterwarnings("ignore::qtnb.core.errors.DataWarning")
@pytest.mark.parametrize("path", ["adaptive", "worst"])
def test_families_of_orders(path: str) -> None:
    """Held, released, trailed, touched, auctioned and dated orders live the same lives, over splits and dividends too."""
    symbols = ["AIG", "BAC", "QQQ"]
    bars = sample(symbols, "2004-06-01", "2007-12-31", adjust="none")
    events = get_events(symbols, "2004-06-01", "2007-12-31", source="sample")
    rules = BarFill(path=path, participation=1e-5)
    twins = run_twins(Families, bars, cash=1_000_000.0, costs=PerShare(0.01, minimum=0.35), slippage=BpsSlippage(3), fill=rules, events=events)
    assert_same(twins)
    one, two, three = twins.strategies
    assert one.heard == two.heard == three.heard and {"held", "accepted", "canceled", "expired"} <= {status for _, status in one.heard}
    orders, fills = twins.lived.orders, twins.lived.fills
    assert set(fills["rule"]) >= {"open", "trailing_stop", "touched", "opening_auction", "closing_auction", "limit_through", "stop", "limit_open"}
    assert orders["reason"].str.contains("a dividend of").any() and orders["reason"].str.contains("of its group filled").any()


@pytest.mark.filterwarnings("ignore::qtnb.core.errors.DataWarning")
def test_checks_refuse_the_same_orders() -> None:
    """A limit on an order's value denies in the session what it denies in the back-test."""

    def at_most_ten_thousand(order: Any, account: Any) -> str:
        """Refuse expensive orders."""
        value = order.quantity * account.price(order.symbol)
        return f"its value of {value:.0f} is above 10000" if value > 10_000.0 else ""

    bars = sample(["QQQ"], "2011-03-23", "2013-12-31")
    twins = run_twins(Nasty, bars, cash=1_000_000.0, limits=[at_most_ten_thousand])
    assert_same(twins)
    assert twins.lived.orders["reason"].str.contains("above 10000").any()


class Eager(Nasty):
    """The same deeds with more money than the limits allow, through 2008."""

    def on_data(self, ctx: Any, bars: Any) -> None:
        """Lean against the limits at every bar."""
        super().on_data(ctx, bars)
        for symbol in ctx.symbols:
            if ctx.row % 5 == 0 and ctx.price(symbol) > 0.0:
                ctx.order(symbol, 600.0 if ctx.row % 15 else -400.0)


@pytest.mark.filterwarnings("ignore::qtnb.core.errors.DataWarning")
def test_limits_cut_refuse_and_halt_alike() -> None:
    """What limits cut and refuse, what the market breaks, when stop rules halt, resume and flatten: the same in a back-test, a session and a replay."""
    symbols = ["AIG", "BAC", "EEM"]
    rules = [
        NameLimit(0.6), GrossLimit(1.4), NetLimit(-0.5, 1.0, action="reject"), LiquidityLimit(0.02), LossStop(0.03), LossStop(0.06, per="week", then="flatten"),
        DrawdownStop(0.35, then="flatten"), OrderCountLimit(3), TurnoverLimit(0.5), ParticipationLimit(2e-5),
    ]  # fmt: skip
    bars = sample(symbols, "2007-01-03", "2009-06-30", adjust="none")
    twins = run_twins(Eager, bars, cash=100_000.0, limits=rules)
    assert_same(twins)
    record = twins.tested.manifest["limits"]
    assert twins.lived.manifest["limits"] == record and twins.tested.manifest["path"] == "event"
    assert {row["action"] for row in record["record"]} >= {"alarm", "halt", "flatten", "reset"} and record["stopped"].startswith("drawdown")
    reasons = twins.lived.orders["reason"]
    cut = ("cut from", "weight of", "net exposure", "turnover of the session", "order over daily value")
    for phrase in (*cut, "orders of the session", "trading is halted ("):
        assert reasons.str.contains(phrase, regex=False).any(), phrase
    assert twins.lived.manifest["halts"] and (twins.tested.positions.iloc[-1] == 0.0).all()


@pytest.mark.filterwarnings("ignore::qtnb.core.errors.DataWarning")
def test_raw_prices_with_splits_and_dividends() -> None:
    """Splits and dividends as events: in the book, on the orders that work, in the venue's own account, and in the journal."""
    symbols = ["AIG", "BAC", "EEM", "USO"]
    bars = sample(symbols, "2004-06-01", "2009-12-31", adjust="none")
    events = get_events(symbols, "2004-06-01", "2009-12-31", source="sample")
    twins = run_twins(Nasty, bars, cash=1_000_000.0, costs=Bps(1), events=events)
    assert_same(twins)
    assert not twins.lived.manifest["halts"]
    assert twins.lived.orders["reason"].str.contains("a split by").any()
    without = run_twins(Nasty, bars, cash=1_000_000.0, costs=Bps(1))
    assert without.lived.equity.iloc[-1] != twins.lived.equity.iloc[-1]


def test_other_currencies_and_multipliers() -> None:
    """A book in several currencies is the same book."""
    bars = random_panel(11, rows=120)
    instruments = [Instrument("AAA", currency="EUR", multiplier=10.0), Instrument("BBB", lot_size=5.0), Instrument("CCC", currency="JPY", tick_size=1.0)]
    twins = run_twins(Nasty, bars, cash=1_000_000.0, instruments=instruments, fx={"EUR": 1.1, "JPY": 0.007}, costs=Bps(2))
    assert_same(twins)
    assert set(twins.lived.fills["currency"]) == {"USD", "EUR", "JPY"}
    assert list(twins.session.engine.book.cash) == ["USD", "EUR", "JPY"]  # in an order that no hash decides


# -- random strategies on random bars ----------------------------------------------------------------------------------------------

seeds = st.integers(0, 2**32 - 1)
rules = st.builds(
    BarFill,
    path=st.sampled_from(["adaptive", "ohlc", "olhc"]),
    through_ticks=st.integers(0, 2),
    participation=st.sampled_from([None, 0.001, 0.01, 0.1]),
    fill_without_volume=st.booleans(),
)


@pytest.mark.slow
@settings(EFFORT, max_examples=EFFORT.max_examples // 2)
@given(panel=seeds, trader=seeds, fill=rules, interval=st.sampled_from(["1d", "1h"]), gaps=st.sampled_from([0.0, 0.1, 0.5]), every=st.integers(1, 80))
def test_random_strategies(panel: int, trader: int, fill: BarFill, interval: str, gaps: float, every: int) -> None:
    """Whatever a strategy does and however often the journal is flushed: the same results, and the same sights in every hook."""
    bars = random_panel(panel, rows=25, gaps=gaps, interval=interval)
    twins = run_twins(lambda: RandomTrader(trader), bars, every=every, cash=100_000.0, costs=Bps(3, minimum=0.5), slippage=BpsSlippage(4), fill=fill)
    assert_same(twins)
    one, two, three = twins.strategies
    assert one.seen == two.seen == three.seen


# -- what must not be the same ------------------------------------------------------------------------------------------------------


def test_the_comparison_can_fail() -> None:
    """Other costs, another parameter: the results differ and the differences are named."""
    bars = sample(["IBM"], "2015-01-02", "2016-12-30")
    twins = run_twins(lambda: SmaCross(fast=10, slow=30), bars, cash=100_000.0, costs=Bps(5))
    dearer = Backtest(SmaCross(fast=10, slow=30), bars, cash=100_000.0, costs=Bps(6)).run()
    other = Backtest(SmaCross(fast=11, slow=30), bars, cash=100_000.0, costs=Bps(5)).run()
    assert any(line.startswith("fills:") for line in twins.lived.differences(dearer))
    assert any(line.startswith("orders:") for line in twins.lived.differences(other))


def test_a_strategy_that_was_back_tested_before_knows_no_future() -> None:
    """What a strategy prepared for a back-test is forgotten when a session starts with the same object."""
    bars = sample(["IBM"], "2015-01-02", "2016-12-30")
    strategy = SmaCross(fast=10, slow=30)
    strategy.prepare(bars)
    fresh = run_twins(lambda: SmaCross(fast=10, slow=30), bars[:200], cash=100_000.0)
    stale = run_twins(lambda: strategy, bars[:200], cash=100_000.0)
    assert stale.lived.differences(fresh.lived) == []


def test_a_strategy_that_fails_fails_in_both(tmp_path: Path) -> None:
    """The same error at the same bar; the session has also cancelled what was working, and its journal says so."""

    class Fragile(Strategy):
        """Fails on its fiftieth bar."""

        def on_data(self, ctx: Any, bars: Any) -> None:
            """Rest an order, fail later."""
            if ctx.row == 10:
                ctx.order("IBM", 5.0, limit_price=1.0, time_in_force="gtc")
            1 / (49 - ctx.row)

    bars = sample(["IBM"], "2015-01-02", "2016-12-30")
    with pytest.raises(StrategyError) as tested:
        Backtest(Fragile(), bars).run()
    known = {"IBM": Instrument("IBM")}
    with SqliteJournal(tmp_path / "j.sqlite") as journal:
        session = LiveSession(Fragile(), ReplayStream(bars), venue=PaperVenue(known, cash=1e6), book=Book(known, cash=1e6), journal=journal)
        with pytest.raises(StrategyError) as lived:
            session.run()
    assert str(lived.value) == str(tested.value)
    assert session.result().orders["status"].tolist() == ["canceled"]
    report = replay(tmp_path / "j.sqlite", strategy=Fragile())
    assert report.identical and not report.finished
    with JournalFile(tmp_path / "j.sqlite") as journal:
        assert verify(journal).is_sound


# -- events of every kind ------------------------------------------------------------------------------------------------------------


class Buy(Strategy):
    """A hundred shares at the first bar, and nothing more."""

    def on_start(self, ctx: Any) -> None:
        """One order."""
        ctx.order(ctx.symbols[0], 100.0)

    def on_data(self, ctx: Any, bars: Any) -> None:
        """Hold."""


def test_a_spin_off_is_paid_in_cash_and_other_news_changes_no_holding() -> None:
    """Raw prices fall by what was handed out; the account does not, in the back-test and in the session."""
    closes = np.array([50.0, 50.0, 20.0, 20.0, 20.0])
    ts = np.arange(1, 6) * 86_400_000_000_000
    panel = {name: closes[:, None] for name in ("open", "high", "low", "close")} | {"volume": np.full((5, 1), 1e6)}
    bars = Bars(ts, ["X"], interval="1d", **panel)
    when, kinds = pd.to_datetime(ts[[2, 3, 4]] - 1, utc=True), ["spin_off", "symbol_change", "delisting"]
    told = {"symbol": "X", "ts": when, "kind": kinds, "value": [30.0, np.nan, np.nan], "text": ["Y", "XX", "merged"]}
    events = normalise_events(pd.DataFrame(told))
    twins = run_twins(Buy, bars, cash=10_000.0, events=events)
    assert_same(twins)
    assert twins.tested.equity.tolist() == [10_000.0] * 5 and len(twins.tested.fills) == 1
    assert [w for w in twins.tested.manifest["warnings"] if "jumps" in w] == []
    assert any("'X' was delisted on 1970-01-05; the back-test does not book it" in w for w in twins.tested.manifest["warnings"])
    with pytest.raises(DataError, match="a spin_off of 'X' was given for prices adjusted for 'splits'"):
        Backtest(Buy(), Bars(ts, ["X"], interval="1d", adjust="splits", **panel), cash=10_000.0, events=events)
    Backtest(Buy(), Bars(ts, ["X"], interval="1d", adjust="all", **panel), cash=10_000.0, events=events[1:])  # news without money fits any prices
