"""Several things at once, hand-worked: intervals, tapes, strategies, timers, algorithms, orders, accounts and bad input, through `Backtest`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from qtnb.backtest.brokers import Alpaca
from qtnb.backtest.carry import BorrowFee, Funding
from qtnb.backtest.costs import PerShare
from qtnb.backtest.custodian import AccountRules
from qtnb.backtest.engine import Backtest
from qtnb.backtest.execution_sim import BarFill
from qtnb.backtest.latency import ConstantLatency
from qtnb.backtest.tick_fills import QuoteFill
from qtnb.core.bars import Bars
from qtnb.core.errors import ConfigError, DataError, StrategyError
from qtnb.core.events import Control, ControlAction
from qtnb.core.margin import RegT
from qtnb.core.sessions import Schedule
from qtnb.evaluation.results import Result
from qtnb.strategies.base import Strategy
from qtnb.strategies.execution import ChildTerms, Pov, Twap
from qtnb.types import Instrument

DAY, MINUTE, SECOND = 86_400_000_000_000, 60_000_000_000, 1_000_000_000
Step = Callable[[Any], Any]


def panel(
    rows: Sequence[Any],  # (T, 4) or (T, N, 4): open, high, low, close; or (T,) or (T, N) of closes
    symbols: Sequence[str] = ("IBM",),
    start: str = "2024-01-02",
    step: str = "1D",
    volume: float = 1000.0,
    interval: str = "1d",
) -> Bars:
    """A panel of bars, stamped at the close."""
    table = np.asarray(rows, dtype=float)
    if table.shape[-1] != 4 or table.ndim == 1:
        table = np.stack([table] * 4, axis=-1)
    if table.ndim == 2:
        table = table[:, None, :]
    ts = pd.date_range(start, periods=len(table), freq=step, tz="UTC").as_unit("ns").asi8
    o, h, l, c = (table[:, :, n] for n in range(4))
    return Bars(ts, list(symbols), open=o, high=h, low=l, close=c, volume=np.full(o.shape, volume), interval=interval)


def minutes(count: int, symbols: Sequence[str] = ("IBM",), price: float = 10.0) -> Bars:
    """Minutes of one price, the first of which closes at 14:31."""
    return panel(np.full((count, len(symbols)), price) if len(symbols) > 1 else [price] * count, symbols, "2024-01-02 14:31", "1min", interval="1m")


class Script(Strategy):
    """Does what it is told at the rows and hooks it is told, and writes down what it is called for."""

    name = "script"

    def __init__(self, steps: Mapping[int, Step] | None = None, *, name: str = "script", **hooks: Callable[..., Any]):
        super().__init__()
        self.name, self.steps, self.hooks, self.seen = name, dict(steps or {}), hooks, []  # type: ignore[misc]

    def _do(self, hook: str, ctx: Any, *news: Any) -> None:
        if hook in self.hooks:
            self.hooks[hook](ctx, *news)

    def on_start(self, ctx: Any) -> None:
        self._do("start", ctx)

    def on_data(self, ctx: Any, bars: Any) -> None:
        if ctx.row in self.steps:
            self.steps[ctx.row](ctx)
        self._do("data", ctx, bars)

    def on_bars(self, ctx: Any, bars: Any) -> None:
        self._do("bars", ctx, bars)

    def on_timer(self, ctx: Any, name: str) -> None:
        self.seen.append((name, ctx.ts))
        self._do("timer", ctx, name)

    def on_fill(self, ctx: Any, fill: Any) -> None:
        self.seen.append(("fill", fill.symbol, fill.signed_quantity, fill.price))
        self._do("fill", ctx, fill)

    def on_order(self, ctx: Any, state: Any) -> None:
        self.seen.append(("order", state.order.client_order_id, str(state.status), state.reason))
        self._do("order", ctx, state)

    def on_quote(self, ctx: Any, quote: Any) -> None:
        self._do("quote", ctx, quote)

    def on_trade(self, ctx: Any, trade: Any) -> None:
        self._do("trade", ctx, trade)

    def on_stop(self, ctx: Any) -> None:
        self._do("stop", ctx)


def twice(make: Callable[[], Backtest]) -> Result:
    """Run it twice; the second result has the same bits."""
    first, second = make().run(), make().run()
    assert first.differences(second) == []
    return first


def play(steps: Mapping[int, Step], bars: Bars, **options: Any) -> Result:
    """Run a script twice and return its result."""
    return twice(lambda: Backtest(Script(steps), bars, **{"cash": 10_000.0, **options}))


def buy(quantity: float, symbol: str = "IBM", **terms: Any) -> Step:
    """A step that orders."""
    return lambda ctx: ctx.order(symbol, quantity, **terms)


def filled(result: Result) -> list[tuple[int, float, float, str]]:
    """Row of the bar, signed quantity, price and rule of each fill."""
    sign = {"buy": 1.0, "sell": -1.0}
    return [(int(f.row), sign[f.side] * f.quantity, f.price, f.rule) for f in result.fills.itertuples()]


def statuses(result: Result) -> list[str]:
    """The last state of each order."""
    return result.orders["status"].tolist()


# --- several intervals


def test_other_intervals_show_their_closed_bars_only_and_before_the_main_ones() -> None:
    """Five-minute bars beside minutes: `on_bars` comes before `on_data` of the same instant, and no history holds a later row."""
    base = minutes(21)
    closes = np.arange(21.0) + 100.0
    base = panel(closes, start="2024-01-02 14:31", step="1min", interval="1m")
    fives = panel(np.arange(5.0) + 500.0, start="2024-01-02 14:35", step="5min", interval="5m")
    log: list[tuple[str, int]] = []

    def on_bars(ctx: Any, bars: Any) -> None:
        log.append(("bars", ctx.ts))
        seen = ctx.history("close", 99, symbol="IBM", interval="5m")
        assert seen.tolist() == [500.0 + n for n in range(len(seen))]
        assert ctx.ts == fives.ts[len(seen) - 1]
        main = ctx.history("close", 99, symbol="IBM")
        assert len(main) == ctx.row + 1 and base.ts[ctx.row] < ctx.ts  # the main bar of this instant is not known yet

    def on_data(ctx: Any, bars: Any) -> None:
        log.append(("data", ctx.ts))
        known = len(ctx.history("close", 99, symbol="IBM", interval="5m"))
        assert known == np.searchsorted(fives.ts, ctx.ts, side="right")
        assert ctx.history("close", 3, symbol="IBM")[-1] == closes[ctx.row]

    make = lambda: Backtest(Script({3: buy(5)}, bars=on_bars, data=on_data), base, more=[fives], cash=10_000.0)  # noqa: E731
    result = make().run()
    assert sum(k == "bars" for k, _ in log) == 4 and log == sorted(log, key=lambda e: (e[1], e[0] == "data"))
    assert filled(result) == [(4, 5.0, 104.0, "open")]
    assert make().run().differences(result) == []


def test_a_panel_of_other_bars_changes_the_identity_and_bad_ones_are_refused() -> None:
    """What a strategy can see determines the result; an interval twice or one that is not there is an error."""
    base, fives = minutes(10), panel([1.0, 2.0], start="2024-01-02 14:35", step="5min", interval="5m")
    alone, beside = Backtest(Script(), base), Backtest(Script(), base, more=[fives])
    assert alone.result_id != beside.result_id
    with pytest.raises(ConfigError, match="two panels had the interval '5m'"):
        Backtest(Script(), base, more=[fives, fives]).run()
    with pytest.raises(StrategyError, match="interval of the run '1h'"):
        Backtest(Script({2: lambda ctx: ctx.history("close", 1, interval="1h")}), base, more=[fives]).run()


# --- quotes and trades


def tape(rows: Sequence[tuple[Any, ...]], columns: Sequence[str]) -> pd.DataFrame:
    """A frame of quotes or trades: seconds after 14:30, symbol, values; numbered."""
    start = pd.Timestamp("2024-01-02 14:30", tz="UTC")
    stamps = pd.DatetimeIndex([start + pd.Timedelta(seconds=r[0]) for r in rows]).as_unit("ns")
    index = pd.MultiIndex.from_arrays([stamps, [r[1] for r in rows]], names=["ts", "symbol"])
    return pd.DataFrame([r[2:] for r in rows], index=index, columns=list(columns)).assign(seq=range(len(rows)))


def quotes(*rows: tuple[Any, ...]) -> pd.DataFrame:
    """Seconds, symbol, bid, ask, bid size, ask size."""
    return tape(rows, ("bid", "ask", "bid_size", "ask_size"))


def prints(*rows: tuple[Any, ...]) -> pd.DataFrame:
    """Seconds, symbol, price, quantity."""
    return tape(rows, ("price", "quantity"))


def test_symbols_with_and_without_a_tape_in_one_run() -> None:
    """AAA fills on its quotes and trades, BBB on its bars; each fill names what filled it."""
    bars = minutes(6, ("AAA", "BBB"))
    q = quotes((5, "AAA", 9.9, 10.1, 100, 100), (65, "AAA", 9.8, 10.2, 100, 100), (125, "AAA", 9.8, 10.2, 100, 100))
    t = prints((70, "AAA", 9.8, 150.0))

    def first(ctx: Any) -> None:
        ctx.order("AAA", 10)
        ctx.order("BBB", 10)
        ctx.order("AAA", 20, limit_price=9.8)

    result = twice(lambda: Backtest(Script({0: first}), bars, quotes=q, trades=t, cash=10_000.0))
    got = result.fills[["symbol", "quantity", "price", "source", "rule"]].to_numpy().tolist()
    assert [g[:4] for g in got] == [["AAA", 10.0, 10.1, "quote"], ["AAA", 20.0, 9.8, "trade"], ["BBB", 10.0, 10.0, "bar"]]
    assert result.fills["row"].tolist() == [0, 0, 1]  # of the quotes, of the trades, of the bars
    assert result.fills["queue_ahead"].tolist()[1] == 0.0 or result.fills["rule"].tolist()[1] in ("queue", "through")
    assert math.isclose(result.equity.iloc[-1], 10_000.0 - 10 * 0.1 + 20 * 0.2, abs_tol=1e-9)


def test_equal_instants_shuffled_give_the_same_bytes() -> None:
    """Rows of quotes and trades of one instant come in another order; their numbers tell which was first."""
    bars = minutes(4, ("AAA", "BBB"))
    q = quotes(*[(s, name, 9.9 - n / 100, 10.1 + n / 100, 5 + n, 6 + n) for s in (5, 65, 65, 65, 125) for n, name in enumerate(("AAA", "BBB", "AAA"))])
    t = prints(*[(s, name, 9.85 - n / 50, 3.0 + n) for s in (65, 65, 125, 125) for n, name in enumerate(("BBB", "AAA", "BBB"))])

    def busy(ctx: Any, quote: Any) -> None:
        ctx.order(quote.symbol, 1 + ctx.random.integers(5), limit_price=ctx.round_price(quote.symbol, quote.bid))
        if ctx.position(quote.symbol) > 3:
            ctx.order(quote.symbol, -2)

    make = lambda q, t: Backtest(Script(quote=busy), bars, quotes=q, trades=t, seed=4).run()  # noqa: E731
    first = make(q, t)
    assert len(first.fills) > 8 and set(first.fills["source"]) == {"quote", "trade"}
    for seed in (1, 2, 3):
        mixed = [f.sample(frac=1.0, random_state=seed) for f in (q, t)]
        again = make(*mixed)
        assert first.differences(again) == []
        assert again.manifest["result_id"] == first.manifest["result_id"]


@pytest.mark.parametrize(("entry", "status", "reached"), [(0, "canceled", 0.0), (30 * SECOND, "filled", 10.0)])
def test_a_cancel_on_its_way_loses_to_the_trade(entry: int, status: str, reached: float) -> None:
    """The limit is canceled at 70 s; a message that takes half a minute arrives after the trade at 90 s."""
    q = quotes((5, "IBM", 9.9, 10.1, 0, 100), (70, "IBM", 9.9, 10.1, 0, 100))
    t = prints((90, "IBM", 9.8, 500.0))
    names: list[str] = []

    def on_quote(ctx: Any, quote: Any) -> None:
        if names:
            ctx.cancel(names[0])
        else:
            names.append(ctx.order("IBM", 10, limit_price=9.9, time_in_force="gtc"))

    def make() -> Backtest:
        names.clear()
        latency = ConstantLatency(entry_ns=entry, response_ns=SECOND)
        return Backtest(Script(quote=on_quote), minutes(4), quotes=q, trades=t, latency=latency, cash=10_000.0)

    result = twice(make)
    assert statuses(result) == [status] and result.fills["quantity"].sum() == reached
    if reached:
        assert result.fills["price"].tolist() == [9.9]


def test_tick_rules_change_the_fills_and_the_identity() -> None:
    """An order that may only trade from the next quote on pays the next quote's price; a size that is not shown is not had at once."""
    q = quotes((5, "IBM", 9.9, 10.1, 100, 4), (65, "IBM", 10.0, 10.3, 100, 4), (66, "IBM", 10.0, 10.4, 100, 100))
    make = lambda rules: Backtest(Script({0: buy(10)}), minutes(4), quotes=q, tick_fill=rules, cash=10_000.0)  # noqa: E731
    now, following, whole = (make(r) for r in (None, QuoteFill(arrival="next"), QuoteFill(partial=False)))
    assert len({b.result_id for b in (now, following, whole)}) == 3
    assert now.run().fills[["quantity", "price"]].to_numpy().tolist() == [[4.0, 10.1], [4.0, 10.3], [2.0, 10.4]]
    assert following.run().fills[["quantity", "price"]].to_numpy().tolist() == [[4.0, 10.3], [6.0, 10.4]]
    assert whole.run().fills[["quantity", "price"]].to_numpy().tolist() == [[10.0, 10.1]]


def test_a_day_order_ends_with_its_day_when_the_tape_has_ended() -> None:
    """Bars let time pass for the orders of a symbol whose quotes have stopped."""
    bars = panel([10.0] * 4, start="2024-01-02 15:00", step="1D")
    q = quotes((5, "IBM", 9.9, 10.1, 100, 100), (1805, "IBM", 9.9, 10.1, 100, 100))
    result = play({0: buy(1, limit_price=5.0)}, bars, quotes=q)
    assert statuses(result) == ["expired"]
    until = pd.Timestamp("2024-01-03 15:00", tz="UTC")
    assert statuses(play({0: buy(1, limit_price=5.0, time_in_force="gtd", expires=until)}, bars, quotes=q)) == ["expired"]


def test_a_split_takes_effect_before_the_quotes_of_its_day() -> None:
    """Ten shares are twenty when the first quote after the split comes, not only at the day's close."""
    bars = panel([[10.0], [10.0], [5.0]], start="2024-01-02 21:00")
    day = 86_400 * 2
    q = quotes((5, "IBM", 9.9, 10.0, 100, 100), (86_405, "IBM", 9.9, 10.0, 100, 100), (day, "IBM", 4.9, 5.0, 100, 100))
    split = pd.DataFrame([{"symbol": "IBM", "ts": pd.Timestamp("2024-01-04", tz="UTC"), "kind": "split", "value": 2.0}])
    held: list[float] = []
    make = lambda: Backtest(  # noqa: E731
        Script({0: buy(10)}, quote=lambda ctx, q: held.append(ctx.position("IBM"))), bars, quotes=q, events=split, cash=10_000.0
    )
    result = make().run()
    assert held == [0.0, 10.0, 20.0]
    assert result.positions["IBM"].tolist() == [10.0, 10.0, 20.0]  # the quote of 21:00 fills what that close decided


def test_a_timer_comes_before_a_message_that_arrives_later() -> None:
    """With a latency, timers, messages and ticks happen in the order of their times: no timer hears of what comes after it."""
    q = quotes((5, "IBM", 9.9, 10.1, 100, 100), (300, "IBM", 9.8, 10.2, 100, 100))
    start = pd.Timestamp("2024-01-02 14:30", tz="UTC").value
    begin = lambda ctx: [ctx.order("IBM", 1), ctx.set_timer("early", start + 20 * SECOND)]  # noqa: E731
    script = Script(start=begin, timer=lambda ctx, name: script.seen.append(ctx.position("IBM")))
    latency = ConstantLatency(entry_ns=10 * SECOND, response_ns=40 * SECOND)
    Backtest(script, panel([10.0] * 2, start="2024-01-02 14:35", step="5min", interval="5m"), quotes=q, latency=latency, cash=1_000.0).run()
    assert script.seen[0] == ("early", start + 20 * SECOND) and script.seen[1] == 0.0
    assert ("fill", "IBM", 1.0, 10.1) in script.seen


def test_fills_on_bars_are_told_as_late_as_the_answers_before_them() -> None:
    """A replacement and the fill of what it added travel one after the other, whatever each leg takes: no fill overtakes its order."""
    class Slowing:
        """Answers that take longer first."""

        def __repr__(self) -> str:
            return "Slowing()"

        def entry(self, ts: int, number: int) -> int:
            return SECOND

        def response(self, ts: int, number: int) -> int:
            return (100 - 45 * number) * SECOND if number < 3 else SECOND

        def feed(self, ts: int, number: int) -> int:
            return 0

    names: list[str] = []
    steps = {
        0: lambda ctx: names.append(ctx.order("BBB", 10, limit_price=9.0, time_in_force="gtc")),
        2: lambda ctx: ctx.replace(names[-1], quantity=17, limit_price=10.5),
    }
    q = quotes((5, "AAA", 9.9, 10.1, 100, 100))
    make = lambda: Backtest(Script(steps), minutes(9, ("AAA", "BBB")), quotes=q, latency=Slowing(), cash=10_000.0)  # noqa: E731
    assert twice(make).fills[["symbol", "quantity", "price", "source"]].to_numpy().tolist() == [["BBB", 17.0, 10.0, "bar"]]


# --- several strategies in one book


def lanes_of(strategies: Sequence[Strategy], bars: Bars, **options: Any) -> tuple[Result, Any]:
    """Run strategies side by side; the result, and the engine with its lanes."""
    test = Backtest(list(strategies), bars, **{"cash": 10_000.0, **options})
    simulation = test.simulation()
    simulation.run()
    return test.result_of(simulation), simulation.engine


def assert_sleeves_add_up(engine: Any) -> None:
    """Cash, receivables, quantities and profit by source of the sleeves are those of the account."""
    books = [lane.book for lane in engine.lanes]
    for currency, cash in engine.book.cash.items():
        assert math.isclose(math.fsum(b.cash[currency] for b in books), cash, rel_tol=1e-12, abs_tol=1e-7)
        assert math.isclose(math.fsum(b.receivable.get(currency, 0.0) for b in books), engine.book.receivable.get(currency, 0.0), abs_tol=1e-9)
    for symbol, holding in engine.book.holdings.items():
        mine = [b.holdings[symbol] for b in books]
        assert math.fsum(h.quantity for h in mine) == holding.quantity
        assert math.isclose(math.fsum(h.fees for h in mine), holding.fees, abs_tol=1e-9)


def test_sleeves_add_up_to_the_account() -> None:
    """Fills, fees, a split, dividends paid later, settlement and borrow fees of two strategies are those of the account."""
    rng = np.random.default_rng(3)
    closes = np.round(20 + np.cumsum(rng.normal(0, 0.3, (40, 2)), axis=0), 2)
    bars = panel(closes, ("AAA", "BBB"))
    ex = bars.index
    events = pd.DataFrame(
        [{"symbol": "AAA", "ts": ex[10], "kind": "dividend", "value": 0.5}, {"symbol": "AAA", "ts": ex[15], "kind": "split", "value": 2.0},
         {"symbol": "BBB", "ts": ex[20], "kind": "dividend", "value": 0.25}]
    )  # fmt: skip
    rules = AccountRules(settlement_days=2, pay_delay_days=5, carry=BorrowFee(default=0.05))

    def make() -> list[Script]:
        one = Script({1: buy(30, "AAA"), 12: buy(-10, "AAA"), 22: buy(-20, "BBB")}, name="one")
        two = Script({2: buy(-50, "BBB"), 3: buy(20, "AAA"), 30: buy(15, "BBB")}, name="two")
        return [one, two]

    options = {"events": events, "account": rules, "costs": PerShare(0.01), "shares": [0.6, 0.3]}
    result, engine = lanes_of(make(), bars, **options)
    assert len(result.fills) == 6 and {"dividend", "borrow"} <= set(result.cash_flows["kind"])
    whole = math.fsum(engine.shares)
    assert whole == pytest.approx(0.9)
    for lane in engine.lanes:  # a tenth of the cash belongs to nobody
        lane.book.settle(engine.ts)
    books = [lane.book for lane in engine.lanes]
    assert math.fsum(b.cash["USD"] for b in books) == pytest.approx(engine.book.cash["USD"] - 1_000.0, abs=1e-7)
    result, engine = lanes_of(make(), bars, **{**options, "shares": None})
    assert_sleeves_add_up(engine)
    again = Backtest(make(), bars, cash=10_000.0, **{**options, "shares": None})
    first = again.run()
    assert math.isclose(sum(p["final_equity"] for p in first.manifest["strategies"].values()), first.equity.iloc[-1], rel_tol=1e-12)
    assert Backtest(make(), bars, cash=10_000.0, **{**options, "shares": None}).run().differences(first) == []


@pytest.mark.parametrize("account", [None, AccountRules(pay_delay_days=2)])
def test_a_dividend_reaches_the_cash_of_each_sleeve_on_its_pay_date(account: AccountRules | None) -> None:
    """A long and a short of equal size owe each other nothing as an account, and each its dividend as a strategy."""
    bars = panel([10.0] * 10)
    events = pd.DataFrame([{"symbol": "IBM", "ts": bars.index[4], "kind": "dividend", "value": 1.0}])
    cash: dict[str, list[float]] = {"long": [], "short": []}
    strategies = [
        Script({0: buy(sign * 10)}, name=name, data=lambda ctx, bars, name=name: cash[name].append(ctx.cash)) for name, sign in (("long", 1), ("short", -1))
    ]
    Backtest(strategies, bars, cash=10_000.0, events=events, account=account).run()
    paid = 4 if account is None else 6
    assert cash["long"][paid - 1 : paid + 1] == [4_900.0, 4_910.0] and cash["short"][paid - 1 : paid + 1] == [5_100.0, 5_090.0]


def test_each_strategy_sees_its_own_positions_orders_and_timers() -> None:
    """Positions, open orders, what is on its way, fills and timers of one name stay apart."""
    seen: dict[str, Any] = {}

    def look(name: str) -> Step:
        def step(ctx: Any) -> None:
            seen[name] = (ctx.position("IBM"), len(ctx.open_orders()), ctx.in_flight("IBM"), ctx.cash)
            ctx.cancel_all()

        return step

    bars = panel([10.0] * 8)

    def make() -> list[Script]:
        seen.clear()
        steps = lambda n, name: {0: buy(n), 2: buy(-n, limit_price=20.0, time_in_force="gtc"), 4: look(name)}  # noqa: E731
        wake = lambda n: lambda ctx: ctx.set_timer("wake", int(bars.ts[n]))  # noqa: E731
        ring = lambda n: lambda ctx, name: ctx.order("IBM", 10 * n)  # noqa: E731
        return [Script(steps(n, name), name=name, start=wake(n), timer=ring(n)) for n, name in ((1, "one"), (3, "three"))]

    one, three = make()
    result = Backtest([one, three], bars, cash=10_000.0).run()
    assert seen["one"] == (11.0, 1, -1.0, 4_890.0)  # the timer's ten filled on row 2
    assert seen["three"] == (33.0, 1, -3.0, 4_670.0)
    assert [s for s in one.seen if s[0] == "wake"] == [("wake", bars.ts[1])] and [s for s in three.seen if s[0] == "wake"] == [("wake", bars.ts[3])]
    assert [s[2] for s in one.seen if s[0] == "fill"] == [1.0, 10.0] and [s[2] for s in three.seen if s[0] == "fill"] == [3.0, 30.0]
    assert result.orders.groupby("strategy")["status"].value_counts().to_dict() == {
        (n, s): c for n in ("one", "three") for s, c in (("filled", 2), ("canceled", 1))
    }
    assert Backtest(make(), bars, cash=10_000.0).run().differences(result) == []


@pytest.mark.parametrize("shares", [[0.5], [0.5, 0.6], [0.0, 0.5], [-0.1, 0.5], [math.nan, 0.5]])
def test_shares_that_do_not_fit_are_refused(shares: list[float]) -> None:
    """One number above 0 for each, together at most 1."""
    with pytest.raises(ConfigError, match="`shares` was .* one number above 0 for each of the 2 strategies, together at most 1"):
        Backtest([Script(name="a"), Script(name="b")], panel([10.0] * 3), shares=shares).run()


def test_errors_name_the_strategy_and_names_are_unique() -> None:
    """Of two strategies the message names the one that failed, hook by hook."""
    with pytest.raises(ConfigError, match=r"named \['a', 'a'\]"):
        Backtest([Script(name="a"), Script(name="a")], panel([10.0] * 3)).run()
    bars = panel([10.0] * 5)
    fail = lambda *news: 1 / 0  # noqa: E731
    for hook, steps in (("on_data", {2: fail}), ("on_start", {}), ("on_timer", {0: lambda ctx: ctx.set_timer("t", int(bars.ts[2]))}), ("on_fill", {0: buy(1)})):
        bad = Script(steps, name="bad", **({} if hook == "on_data" else {hook[3:]: fail}))
        with pytest.raises(StrategyError, match=rf"strategy 'bad' raised ZeroDivisionError in `{hook}`.*test_engine_depth.py:\d+"):
            Backtest([Script(name="good"), bad], bars).run()


def test_flatten_closes_what_each_strategy_holds() -> None:
    """A long and a short that net to a few shares are closed one by one, so that each is flat."""
    class Custody:
        """Flattens everything once."""

        def due(self, ts: int) -> list[Any]:
            return []

        def after(self, ts: int, marks: Any) -> list[Any]:
            return [Control(ts, ControlAction.FLATTEN, "drill")] if ts == bars.ts[3] else []

    bars = panel([10.0] * 8)
    test = Backtest([Script({0: buy(10)}, name="a"), Script({0: buy(-4)}, name="b")], bars, cash=10_000.0)
    simulation = test.simulation()
    simulation.keeper = Custody()
    simulation.run()
    assert [lane.book.holdings["IBM"].quantity for lane in simulation.engine.lanes] == [0.0, 0.0]
    assert [(f.signed_quantity) for f in simulation.fills] == [10.0, -4.0, -10.0, 4.0]
    tags = [s.order.tag for s in simulation.engine.orders.values()]
    assert tags == ["", "", "flatten: drill", "flatten: drill"]


def test_two_strategies_cannot_spend_the_same_buying_power() -> None:
    """What one has ordered at an instant is not free for the other."""
    bars = panel([10.0] * 4)
    both = [Script({0: buy(1_500)}, name=name) for name in ("a", "b")]
    result = Backtest(both, bars, cash=10_000.0, account=AccountRules(margin=RegT())).run()
    assert statuses(result) == ["filled", "denied"]
    assert "2,500.00 USD is free" in result.orders["reason"].iloc[1]


@pytest.mark.parametrize("path", ["ohlc", "worst"])
def test_an_exit_reduces_the_position_of_its_own_strategy(path: str) -> None:
    """The stop of a long works although the account, with the short of another strategy, is short."""
    rows = [(10, 10, 10, 10)] * 3 + [(10, 10, 8.5, 9)] + [(9, 9, 9, 9)] * 2
    long = Script({0: lambda ctx: ctx.bracket("IBM", 10, take_profit=12.0, stop_loss=9.5)}, name="long")
    test = Backtest([long, Script({0: buy(-50)}, name="short")], panel(rows), cash=10_000.0, fill=BarFill(path=path))
    result = test.run()
    assert filled(result) == [(1, 10.0, 10.0, "open"), (1, -50.0, 10.0, "open"), (3, -10.0, 9.5, "stop")]
    assert result.positions["IBM"].iloc[-1] == -50.0
    long.seen.clear()
    assert test.run().differences(result) == []


# --- timers, schedules, warm-up


@pytest.mark.parametrize("terms", [*({"time_in_force": t} for t in ("day", "ioc", "fok", "gtc")), {"limit_price": 10.5}, {"stop_price": 10.5}])
@pytest.mark.parametrize("step", [DAY, MINUTE])
def test_a_timer_inside_a_bar_does_not_trade_on_it(terms: dict[str, Any], step: int) -> None:
    """The bar during which an order is written had begun; only the next one can fill it."""
    rows = [(10, 11, 9, 10)] * 3 + [(10, 11, 9, 10.2)] * 4
    bars = panel(rows, step="1D") if step == DAY else panel(rows, start="2024-01-02 15:00", step="1min", interval="1m")
    when = int(bars.ts[2]) + step // 2
    make = lambda: Script({1: lambda ctx: ctx.set_timer("t", when)}, timer=lambda ctx, name: ctx.order("IBM", 5, **terms))  # noqa: E731
    script = make()
    result = Backtest(script, bars, cash=10_000.0).run()
    assert script.seen[0] == ("t", when)
    ((row, quantity, price, _),) = filled(result)
    assert (row, quantity) == (4, 5.0) and price == (10.5 if "stop_price" in terms else 10.0)
    assert result.orders["ts"].iloc[0].value == when
    assert Backtest(make(), bars, cash=10_000.0).run().differences(result) == []


def test_a_timer_does_not_know_what_comes_after_it() -> None:
    """Rates, splits and dividends of an instant after a timer come after it, however long the bar; those before it, before."""
    bars = panel([10.0] * 6)
    noon = int(bars.ts[2]) + DAY // 2
    seen: list[Any] = []
    events = pd.DataFrame([{"symbol": "IBM", "ts": bars.index[3], "kind": "split", "value": 2.0}])
    rates = {"EUR": [(int(bars.ts[0]), 1.0), (noon - 1, 1.1), (noon, 1.2), (int(bars.ts[3]), 1.5)]}

    def ring(ctx: Any, name: str) -> None:
        seen.append((ctx.ts, ctx.book.fx["EUR"], ctx.position("IBM")))

    script = Script({0: lambda ctx: [ctx.order("IBM", 10), ctx.set_timer("noon", noon), ctx.set_timer("close", int(bars.ts[3]))]}, timer=ring)
    Backtest(script, bars, instruments=[Instrument("IBM", currency="EUR")], events=events, account=AccountRules(fx=rates), cash=10_000.0).run()
    assert seen == [(noon, 1.2, 10.0), (int(bars.ts[3]), 1.5, 20.0)]


def test_a_rebalance_at_month_end_goes_by_the_exchange() -> None:
    """The last session of each month, an hour before its close: Good Friday of 2024 ends March on the 28th."""
    days = pd.bdate_range("2024-01-02", "2024-05-10").difference(pd.DatetimeIndex(["2024-01-15", "2024-02-19", "2024-03-29"]))
    closes = (days + pd.Timedelta(hours=16)).tz_localize("America/New_York").tz_convert("UTC").as_unit("ns").asi8
    table = np.full((len(days), 1), 10.0)
    bars = Bars(closes, ["IBM"], open=table, high=table, low=table, close=table, volume=table * 1e4, interval="1d")
    schedule = Schedule(every="month", which="last", at="close", offset_minutes=-60)

    def make() -> Script:
        return Script(start=lambda ctx: ctx.schedule("rebalance", schedule), timer=lambda ctx, name: ctx.order("IBM", 10))

    script = make()
    result = Backtest(script, bars, calendar="XNYS", cash=10_000.0).run()
    called = [pd.Timestamp(ts, tz="UTC").tz_convert("America/New_York").strftime("%m-%d %H:%M") for name, ts in [s for s in script.seen if s[0] == "rebalance"]]
    assert called == ["01-31 15:00", "02-29 15:00", "03-28 15:00", "04-30 15:00"]
    filled_on = result.fills["ts"].dt.tz_convert("America/New_York").dt.strftime("%m-%d").tolist()
    assert filled_on == ["02-01", "03-01", "04-01", "05-01"]
    assert Backtest(make(), bars, calendar="XNYS", cash=10_000.0).run().differences(result) == []
    with pytest.raises(StrategyError, match=r"schedule 'rebalance' needs a calendar .*calendar='XNYS'"):
        Backtest(make(), bars).run()


def test_a_timer_in_the_past_or_without_a_zone_is_refused() -> None:
    """The message holds the times."""
    bars = panel([10.0] * 4)
    for when, text in ((int(bars.ts[0]), "not after the present"), (pd.Timestamp("2024-01-05"), "was not an instant"), ("noon", "was not an instant")):
        with pytest.raises(StrategyError, match=text):
            Backtest(Script({1: lambda ctx, when=when: ctx.set_timer("t", when)}), bars).run()


def averages(ctx: Any, bars: Any) -> None:
    """In above the mean of five closes, out below; keeps the name of its stop, and moves it."""
    past = ctx.history("close", 5, symbol="IBM")
    if len(past) == 5:
        ctx.target_quantity("IBM", 10.0 if past[-1] > past.mean() else 0.0)


def test_a_warm_up_gives_what_a_run_with_history_gives() -> None:
    """Orders before the start are withheld, and the history is there: fills from the start on are those of decisions from then on."""
    closes = np.round(10 + 2 * np.sin(np.arange(60) / 3.0) + np.arange(60) / 50, 2)
    bars = panel(closes)

    def seen_all(ctx: Any, now: Any) -> None:
        if ctx.row >= 20:
            averages(ctx, now)

    warm = twice(lambda: Backtest(Script(data=averages), bars, cash=10_000.0, start=20))
    knowing = Backtest(Script(data=seen_all), bars, cash=10_000.0).run()
    assert len(warm.fills) > 4 and filled(warm) == filled(knowing)
    assert warm.equity.index[0] == bars.index[20] and warm.equity.tolist() == knowing.equity.tolist()[20:]
    assert warm.manifest["withheld_orders"] > 0 and warm.manifest["bars"] == 40
    dated = Backtest(Script(data=averages), bars, cash=10_000.0, start=bars.index[20]).run()
    assert dated.differences(warm) == [] and dated.manifest["result_id"] == warm.manifest["result_id"]


def test_what_a_strategy_keeps_from_the_warm_up_does_no_harm() -> None:
    """The name of a withheld order is empty: to cancel or replace it asks for nothing, during the warm-up and after it."""
    kept: list[Any] = []

    def during(ctx: Any) -> None:
        assert ctx.is_warming_up
        kept.append(ctx.order("IBM", 1))
        kept.append(ctx.bracket("IBM", 1, stop_loss=9.0))
        ctx.cancel(kept[0])

    def after(ctx: Any) -> None:
        assert not ctx.is_warming_up
        ctx.cancel(kept[0])
        ctx.replace(kept[0], limit_price=9.0)

    result = Backtest(Script({1: during, 4: after}), panel([10.0] * 8), start=3, cash=10_000.0).run()
    assert kept == ["", ("", "", "")] and len(result.orders) == 0 and result.manifest["withheld_orders"] == 2


# --- execution algorithms


@pytest.mark.parametrize("kind", ["twap", "pov"])
def test_an_algorithm_works_alike_from_the_start_and_from_a_bar(kind: str) -> None:
    """Handed over in `on_start`, or in `on_data` before its first slice is due: the same fills, also when bars are thin."""
    bars = minutes(40)
    start, end = pd.Timestamp(int(bars.ts[4]), tz="UTC"), pd.Timestamp(int(bars.ts[35]), tz="UTC")

    def algorithm() -> Any:
        if kind == "twap":
            return Twap("IBM", 600.0, start, end, 6, terms=ChildTerms(time_in_force="gtc"))  # type: ignore[arg-type]
        return Pov("IBM", 600.0, 0.05, start=start, end=end)

    def run(early: bool, participation: float | None) -> tuple[Result, Any]:
        worked = algorithm()
        script = Script(start=lambda ctx: ctx.work(worked)) if early else Script({2: lambda ctx: ctx.work(worked)})
        result = Backtest(script, bars, cash=100_000.0, fill=BarFill(participation=participation)).run()
        return result, worked

    for participation in (None, 0.03):
        (first, one), (second, two) = run(True, participation), run(False, participation)
        assert filled(first) == filled(second) and len(first.fills) > 5
        assert first.fills["exec_id"].tolist() == second.fills["exec_id"].tolist() or first.manifest["result_id"] != second.manifest["result_id"]
        assert one.filled == two.filled == first.fills["quantity"].sum()
        assert run(True, participation)[0].differences(first) == []
        if participation is not None:
            assert first.fills["quantity"].max() == 30.0 and "partially_filled" not in statuses(first)


# --- orders


def test_a_bracket_takes_profit_and_its_stop_goes() -> None:
    """Entry at the open, target at 12, stop gone; and the other way round when the bar falls first."""
    rise = [(10, 10, 10, 10)] * 2 + [(10, 12.5, 10, 12)] + [(12, 12, 12, 12)] * 2
    fall = [(10, 10, 10, 10)] * 2 + [(10, 10, 8, 8)] + [(8, 8, 8, 8)] * 2
    step = {0: lambda ctx: ctx.bracket("IBM", 10, take_profit=12.0, stop_loss=9.0)}
    up, down = play(step, panel(rise)), play(step, panel(fall))
    assert filled(up)[1:] == [(2, -10.0, 12.0, "limit_through")] and statuses(up) == ["filled", "filled", "canceled"]
    assert filled(down)[1:] == [(2, -10.0, 9.0, "stop")] and statuses(down) == ["filled", "canceled", "filled"]
    assert up.equity.iloc[-1] == 10_020.0 and down.equity.iloc[-1] == 9_990.0
    trailed = play({0: lambda ctx: ctx.bracket("IBM", 10, trail_percent=10.0)}, panel(rise[:3] + [(12, 12, 10, 10)] * 2))
    assert filled(trailed)[1:] == [(3, -10.0, 11.25, "trailing_stop")]
    with pytest.raises(StrategyError, match="a bracket was given no exit"):
        Backtest(Script({0: lambda ctx: ctx.bracket("IBM", 10)}), panel(rise)).run()


def test_oco_and_oto() -> None:
    """One of a group takes from the other; an order with a parent sleeps until the parent has filled, and shares its fate."""
    rows = [(10, 10, 10, 10)] * 2 + [(10, 10.6, 10, 10.5)] + [(10.5, 11, 9, 10)] * 2

    def oco(ctx: Any) -> None:
        group = ctx.group_name()
        ctx.order("IBM", 10, stop_price=10.5, group=group, time_in_force="gtc")
        ctx.order("IBM", 10, limit_price=9.5, group=group, time_in_force="gtc")

    both = play({0: oco}, panel(rows))
    assert filled(both) == [(2, 10.0, 10.5, "stop")] and statuses(both) == ["filled", "canceled"]

    def oto(ctx: Any) -> None:
        first = ctx.order("IBM", 10, limit_price=9.5, time_in_force="gtc")
        ctx.order("IBM", -10, limit_price=10.8, parent=first, time_in_force="gtc")

    after = play({0: oto}, panel(rows))
    assert filled(after) == [(3, 10.0, 9.5, "limit_through"), (4, -10.0, 10.8, "limit_through")]

    def orphan(ctx: Any) -> None:
        first = ctx.order("IBM", 10, limit_price=5.0, time_in_force="gtc")
        ctx.order("IBM", -10, limit_price=10.8, parent=first, time_in_force="gtc")
        kept.append(first)

    kept: list[str] = []
    gone = play({0: orphan, 2: lambda ctx: ctx.cancel(kept[-1])}, panel(rows))
    assert statuses(gone) == ["canceled", "canceled"] and "its parent ended without a fill" in gone.orders["reason"].iloc[1]


@pytest.mark.parametrize(
    ("terms", "price"), [({"trail_amount": 1.0}, 11.0), ({"trail_percent": 10.0}, 10.8), ({"trail_amount": 5.0, "stop_price": 10.5}, 10.5)]
)
def test_trailing_stops_by_amount_and_per_cent(terms: dict[str, float], price: float) -> None:
    """The best price is 12: a trail of one stands at 11, one of ten per cent at 10.80; a first stop counts while it is nearer."""
    rows = [(10, 10, 10, 10)] * 2 + [(11, 12, 11, 12), (12, 12, 10, 10), (10, 10, 10, 10)]
    result = play({0: buy(10), 1: buy(-10, time_in_force="gtc", **terms)}, panel(rows))
    assert filled(result)[1] == (3, -10.0, price, "trailing_stop")


def test_auction_orders() -> None:
    """MOO and LOO at the open, MOC and LOC at the close; a limit that is worse than the auction does not trade."""
    rows = [(10, 10, 10, 10), (11, 13, 9, 12), (11, 13, 9, 12), (11, 13, 9, 12)]

    def all_of_them(ctx: Any) -> None:
        for tif in ("opg", "cls"):
            ctx.order("IBM", 1, time_in_force=tif)
            ctx.order("IBM", 2, time_in_force=tif, limit_price=12.5)
            ctx.order("IBM", 4, time_in_force=tif, limit_price=10.5)

    result = play({0: all_of_them}, panel(rows))
    assert filled(result) == [
        (1, 1.0, 11.0, "opening_auction"), (1, 2.0, 11.0, "opening_auction"), (1, 1.0, 12.0, "closing_auction"), (1, 2.0, 12.0, "closing_auction")
    ]  # fmt: skip
    assert [s in ("canceled", "expired") for s in statuses(result)] == [False, False, True] * 2


def test_gtd_post_only_reduce_only() -> None:
    """An end of its own; no liquidity taken; never through zero."""
    bars = panel([(10, 10.5, 9.5, 10)] * 3 + [(10, 10.5, 8.0, 10)] * 3)
    expires = int(bars.ts[2])
    late = play({0: buy(10, limit_price=9.0, time_in_force="gtd", expires=expires)}, bars)
    assert statuses(late) == ["expired"]
    rest = play({0: buy(10, limit_price=9.0, time_in_force="gtd", expires=int(bars.ts[3]))}, bars)
    assert filled(rest) == [(3, 10.0, 9.0, "limit_through")]
    post = play({0: lambda ctx: [ctx.order("IBM", 1, limit_price=11.0, post_only=True), ctx.order("IBM", 2, limit_price=9.6, post_only=True)]}, bars)
    assert statuses(post) == ["canceled", "filled"] and "would have taken liquidity at 10" in post.orders["reason"].iloc[0]
    reduce = play({0: buy(10), 2: buy(-25, reduce_only=True), 4: buy(-5, reduce_only=True)}, bars)
    assert reduce.positions["IBM"].tolist() == [0.0, 10.0, 10.0, 0.0, 0.0, 0.0]
    assert "no position left to reduce" in reduce.orders["reason"].iloc[-1]


def test_notional_lots_and_ticks() -> None:
    """A value buys whole lots; fractions of a share need a lot that allows them; `round_price` gives what the venue takes."""
    bars = panel([30.0] * 4)
    fine = {"instruments": [Instrument("IBM", lot_size=0.001, tick_size=0.05)]}
    assert play({0: buy(notional=1_000.0, quantity=0)}, bars).fills["quantity"].tolist() == [33.0]
    assert play({0: buy(notional=-1_000.0, quantity=0)}, bars, **fine).fills[["side", "quantity"]].to_numpy().tolist() == [["sell", 33.333]]
    assert play({0: buy(0.125)}, bars, **fine).fills["quantity"].tolist() == [0.125]
    assert "multiple of the lot size 1.0" in play({0: buy(0.125)}, bars).orders["reason"].iloc[0]
    assert "multiple of the lot size 0.001" in play({0: buy(0.1255)}, bars, **fine).orders["reason"].iloc[0]
    asked: list[float] = []
    play({0: lambda ctx: asked.extend(ctx.round_price("IBM", 30.13, d) for d in ("nearest", "down", "up"))}, bars, **fine)
    assert asked[:3] == [30.15, 30.10, 30.15]
    small = [Instrument("IBM", min_notional=100.0)]
    assert "traded from 100 on" in play({0: buy(3)}, bars, instruments=small).orders["reason"].iloc[0]
    nothing = play({0: buy(notional=math.nan, quantity=0)}, bars)
    assert statuses(nothing) == ["denied"] and "`quantity` was nan" in nothing.orders["reason"].iloc[0]


def test_cancel_and_replace_after_the_fill() -> None:
    """Requests that come too late change nothing; a replacement below what has filled is refused with the numbers."""
    rows = [(10, 10.5, 9.5, 10)] * 8
    names: list[str] = []

    def late(ctx: Any) -> None:
        ctx.cancel(names[-1])
        ctx.replace(names[-1], quantity=20, limit_price=9.9)

    done = play({0: lambda ctx: names.append(ctx.order("IBM", 10, limit_price=10.0)), 2: late}, panel(rows))
    assert statuses(done) == ["filled"] and done.orders["quantity"].tolist() == [10.0]

    def less(ctx: Any) -> None:
        names.append(ctx.order("IBM", 100, limit_price=10.0, time_in_force="gtc"))

    for wanted, fills, status in ((15, 7, "partially_filled"), (20, 7, "partially_filled"), (30, 3, "filled")):  # twenty have filled by then
        steps = {0: less, 2: lambda ctx, n=wanted: ctx.replace(names[-1], quantity=n)}
        result = play(steps, panel(rows, volume=100.0), fill=BarFill(participation=0.1))
        assert result.fills["quantity"].tolist() == [10.0] * fills and statuses(result) == [status]
        assert wanted == 30 or "20" in result.orders["reason"].iloc[0]
    changed = play({0: less, 1: lambda ctx: ctx.replace(names[-1], limit_price=9.6, quantity=30)}, panel([(10, 10.5, 10.1, 10.2)] * 2 + rows))
    assert filled(changed) == [(2, 30.0, 9.6, "limit_through")]


def test_replacing_and_canceling_inside_the_bar_in_which_a_bracket_fills() -> None:
    """From `on_fill`, the exits of a bracket can be moved, and canceling the parent when it has partly filled keeps exits for what filled."""
    rows = [(10, 10, 10, 10)] * 2 + [(10, 11.6, 10, 11.5)] * 3
    orders: list[Any] = []

    def on_fill(ctx: Any, fill: Any) -> None:
        if fill.client_order_id == orders[-1].entry:
            ctx.replace(orders[-1].take_profit, limit_price=11.5)

    def make() -> Backtest:
        script = Script({0: lambda ctx: orders.append(ctx.bracket("IBM", 10, take_profit=13.0, stop_loss=9.0))}, fill=on_fill)
        return Backtest(script, panel(rows), cash=10_000.0)

    assert filled(twice(make))[1] == (2, -10.0, 11.5, "limit_through")

    def cancel(ctx: Any) -> None:
        ctx.cancel(orders[-1].entry)

    steps = {0: lambda ctx: orders.append(ctx.bracket("IBM", 100, take_profit=11.5, stop_loss=9.0, time_in_force="gtc")), 1: cancel}
    result = twice(lambda: Backtest(Script(steps), panel(rows, volume=100.0), cash=10_000.0, fill=BarFill(participation=0.1)))
    assert result.positions["IBM"].tolist() == [0.0, 10.0, 0.0, 0.0, 0.0] and statuses(result) == ["canceled", "filled", "canceled"]


# --- the account


def test_regulation_t_denies_with_the_numbers() -> None:
    """Ten thousand dollars buy twenty thousand worth of shares, and no more."""
    bars = panel([10.0] * 5)
    rules = AccountRules(margin=RegT())
    result = play({0: lambda ctx: [ctx.order("IBM", 2_001), ctx.order("IBM", 2_000)], 2: buy(1), 3: buy(-500)}, bars, account=rules)
    assert statuses(result) == ["denied", "filled", "denied", "filled"]
    assert "opening 2001 IBM at 10 ties up 10,005.00" in result.orders["reason"].iloc[0] and "10,000.00 USD is free" in result.orders["reason"].iloc[0]
    assert "0.00 USD is free" in result.orders["reason"].iloc[2]


def test_a_margin_call_that_is_not_met_ends_in_a_forced_close() -> None:
    """2,000 shares at 10 on 10,000 of one's own: at 6.50 equity is 3,000 and the requirement 3,250; a session later everything is sold."""
    closes = [10.0, 10.0, 8.0, 6.5, 6.5, 6.4, 6.3, 6.3]
    rules = AccountRules(margin=RegT(), penalty_bps=10.0)
    result = play({0: buy(2_000), 4: buy(100), 7: buy(10)}, panel(closes), account=rules)
    steps = result.manifest["margin"]
    assert [s["step"] for s in steps] == ["call", "close", "closed"]
    assert (steps[0]["equity"], steps[0]["required"]) == (3_000.0, 3_250.0)
    days = [pd.Timestamp(s["ts"], tz="UTC").strftime("%m-%d") for s in steps]
    assert days[0] == "01-05" and days == sorted(days)
    mine = result.orders[~result.orders["tag"].str.startswith("flatten")]
    assert mine["status"].tolist() == ["filled", "denied", "accepted"] and "only orders that reduce" in mine["reason"].iloc[1]
    assert len(result.orders) - len(mine) == 1 and result.positions["IBM"].iloc[-1] == 0.0
    (fine,) = result.cash_flows[result.cash_flows["kind"] == "penalty"].itertuples()
    assert fine.amount == pytest.approx(-2_000 * closes[panel(closes).index.get_loc(fine.ts)] * 0.001)


def test_a_margin_call_that_is_met_lets_trading_go_on() -> None:
    """Selling three quarters cures the call; then one may buy again."""
    closes = [10.0, 10.0, 6.5, 6.5, 6.5, 6.5]
    result = play({0: buy(2_000), 2: buy(-1_500), 4: buy(10)}, panel(closes), account=AccountRules(margin=RegT()))
    assert [s["step"] for s in result.manifest["margin"]] == ["call", "cured"] and statuses(result) == ["filled"] * 3


def test_sales_settle_after_a_session_and_what_has_not_settled_is_told() -> None:
    """T+1: what a sale brings is cash at once and settled cash a session later."""
    seen: list[Any] = []

    def look(ctx: Any, bars: Any) -> None:
        seen.append((ctx.cash, ctx.book.settled_cash("USD"), ctx.book.settled_quantity("IBM")))

    make = lambda: Backtest(Script({0: buy(100), 2: buy(-100)}, data=look), panel([10.0] * 7), cash=10_000.0, account=AccountRules(settlement_days=1))  # noqa: E731
    result = make().run()
    plain, spent = (10_000.0, 10_000.0, 0.0), (9_000.0, 9_000.0, 100.0)
    assert seen == [plain, (9_000.0, 10_000.0, 0.0), spent, (10_000.0, 9_000.0, 100.0), plain, plain, plain]
    assert result.account["cash"].tolist() == [s[0] for s in seen] and make().run().differences(result) == []


def test_a_short_pays_for_its_shares_every_night() -> None:
    """A hundred shares at 10 (collateral 102 %, rounded up to the dollar) at 36 % a year of 360 days: a dollar and two cents per 1,020 and night."""
    bars = panel([10.0] * 12, start="2024-01-02 21:00")
    result = play({0: buy(-100), 5: buy(100)}, bars, account=AccountRules(carry=BorrowFee(default=0.36)))
    fees = result.cash_flows[result.cash_flows["kind"] == "borrow"]
    assert len(fees) >= 1 and (fees["amount"] < 0.0).all()
    nights = fees["amount"].sum() / -(100 * math.ceil(10.0 * 1.02) * 0.36 / 360)
    assert nights == pytest.approx(round(nights)) and round(nights) == 5
    assert result.equity.iloc[-1] == pytest.approx(10_000.0 + fees["amount"].sum())
    with pytest.raises((DataError, StrategyError), match="without a borrow rate"):
        Backtest(Script({0: buy(-100)}), bars, account=AccountRules(carry=BorrowFee())).run()


def test_funding_of_a_perpetual_is_paid_on_its_stamps() -> None:
    """Two contracts at 100: a rate of one per mille takes 0.20 from a long each time it is held over a stamp."""
    bars = panel([100.0] * 13, ("BTC-PERP",), start="2024-01-02 01:00", step="1h", interval="1h")
    stamps = pd.to_datetime(["2024-01-02 00:00", "2024-01-02 08:00", "2024-01-02 16:00"], utc=True)
    rates = pd.DataFrame({"ts": stamps, "symbol": "BTC-PERP", "rate": 0.001, "mark": 100.0})
    perp = Instrument("BTC-PERP", asset_class="perpetual", lot_size=0.001)
    result = play({0: buy(2, "BTC-PERP")}, bars, instruments=[perp], account=AccountRules(carry=Funding(rates)))
    paid = result.cash_flows
    assert paid[["kind", "symbol"]].to_numpy().tolist() == [["funding", "BTC-PERP"]]
    assert paid["amount"].tolist() == [pytest.approx(-0.2)] and paid["ts"].tolist() == [stamps[1]]


def test_dated_exchange_rates_move_the_account() -> None:
    """A hundred shares at 10 EUR bought at 1.10: at 1.20 the shares are worth more dollars, and the debt in euro costs more."""
    bars = panel([10.0, 10.0, 11.0, 11.0])
    rates = {"EUR": [(int(bars.ts[0]), 1.10), (int(bars.ts[2]), 1.20)]}
    ibm = [Instrument("IBM", currency="EUR")]
    result = play({0: buy(100)}, bars, instruments=ibm, account=AccountRules(fx=rates))
    assert result.equity.tolist() == [10_000.0, 10_000.0, pytest.approx(10_000.0 + 100 * 1.2), pytest.approx(10_120.0)]
    with pytest.raises(DataError, match="`fx` had no rate of 'EUR' at"):
        Backtest(Script(), bars, instruments=ibm, account=AccountRules(fx={"EUR": [(int(bars.ts[1]), 1.1)]})).run()


@pytest.mark.parametrize(("how", "worth"), [("last_price", 8.0), ("worthless", 0.0)])
def test_a_delisted_share_brings_its_last_price_or_nothing(how: str, worth: float) -> None:
    """The position ends, working orders too, and the money is there or is not."""
    table = np.array([[10.0, 5.0], [10.0, 5.0], [8.0, 5.0], [np.nan, 5.0], [np.nan, 5.0]])
    bars = panel(table, ("OLD", "NEW"))
    events = pd.DataFrame([{"symbol": "OLD", "ts": bars.index[3], "kind": "delisting", "value": np.nan}])
    step = {0: buy(10, "OLD"), 1: buy(-10, "OLD", limit_price=20.0, time_in_force="gtc")}
    result = play(step, bars, events=events, account=AccountRules(delisting=how))
    assert result.positions["OLD"].tolist() == [0.0, 10.0, 10.0, 0.0, 0.0]
    assert result.equity.iloc[-1] == 10_000.0 - 100.0 + 10 * worth
    assert statuses(result) == ["filled", "canceled"] and "OLD was delisted" in result.orders["reason"].iloc[1]


def test_fees_by_the_day_are_charged_when_sessions_end() -> None:
    """Alpaca's regulatory fees of three days of trading come as three days of cash flows, that of the last session too."""
    bars = panel([100.0] * 6, start="2024-01-08 21:00", volume=1e6)
    steps = {0: buy(100), 1: buy(-50), 4: buy(-50)}

    def make() -> Backtest:
        return Backtest(Script(steps), bars, cash=20_000.0, costs=Alpaca())

    result = twice(make)
    fees = result.cash_flows[result.cash_flows["kind"] == "fee"]
    assert result.fills["fee"].sum() == 0.0 and len(fees) > 2
    days = fees["ts"].dt.strftime("%m-%d")
    assert set(days) <= {"01-09", "01-10", "01-13"} and {"01-10", "01-13"} <= set(days)
    assert all(day in note for day, note in zip(fees["ts"].dt.strftime("%Y-%m-%d"), fees["note"], strict=True))
    sold = [n for n in fees["note"] if n.startswith("SEC")]
    assert len(sold) == 2
    assert result.equity.iloc[-1] == result.account["cash"].iloc[-1] == pytest.approx(20_000.0 + fees["amount"].sum())


def test_one_object_runs_twice_alike() -> None:
    """Meters of costs and carry begin anew with each run of the same back-test."""
    bars = panel([100.0] * 8, start="2024-01-08 21:00", volume=1e6)
    test = Backtest(
        Script({0: buy(-100), 1: buy(50), 6: buy(50)}), bars, cash=50_000.0, costs=Alpaca(), account=AccountRules(carry=BorrowFee(default=0.1), margin=RegT())
    )
    first, second = test.run(), test.run()
    assert {"fee", "borrow"} <= set(first.cash_flows["kind"]) and first.differences(second) == []
    assert first.manifest["result_id"] == second.manifest["result_id"] == test.result_id


# --- bad input


def test_an_order_for_an_unknown_instrument_names_the_near_one() -> None:
    """A slip in the strategy's code stops it, with the symbol meant."""
    with pytest.raises(StrategyError, match=r"in `on_data` at bar 1 .*'IBN'.* Did you mean 'IBM'"):
        Backtest(Script({1: buy(1, "IBN")}), panel([10.0] * 3)).run()


@pytest.mark.parametrize("quantity", [math.nan, math.inf, -math.inf, 0.0])
def test_quantities_that_are_none_are_denied(quantity: float) -> None:
    """The run goes on, the order says why it did not leave, the manifest warns."""
    result = play({1: buy(quantity), 2: buy(1)}, panel([10.0] * 5))
    assert statuses(result) == ["denied", "filled"]
    assert f"`quantity` was {abs(quantity)!r}; it must be a positive finite number" in result.orders["reason"].iloc[0]
    assert any("was denied: `quantity`" in a for a in result.manifest["alerts"])


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        ({"limit_price": 10.005}, "`limit_price` was 10.005; it must be a multiple of the tick size 0.01; round it by `ctx.round_price`"),
        ({"stop_price": 10.001}, "`stop_price` was 10.001; it must be a multiple of the tick size 0.01"),
        ({"limit_price": math.nan}, "`limit_price` was nan; a limit order needs a positive finite price"),
        ({"stop_price": math.inf}, "`stop_price` was inf; a stop order needs a positive finite price"),
        ({"limit_price": -1.0}, "`limit_price` was -1.0"),
        ({"trail_percent": 100.0}, "`trail_percent` was 100.0; it must lie between 0 and 100"),
        ({"trail_amount": math.nan}, "`trail_amount` was nan; it must be a positive finite distance"),
        ({"time_in_force": "gtd", "limit_price": 9.0, "expires": 1}, "`expires` was 1; a gtd order needs an instant after"),
        ({"time_in_force": "gtd", "limit_price": 9.0}, "`expires` was None; a gtd order needs an instant after"),
        ({"limit_price": 9.0, "expires": 1}, "only a gtd order has an end of its own"),
        ({"stop_price": 11.0, "time_in_force": "opg"}, "cannot wait for an auction"),
        ({"post_only": True}, "only a limit order that may rest can refuse to take liquidity"),
        ({"parent": "q1-nobody"}, "`parent` was 'q1-nobody'; it must be an order of this run"),
    ],
)
def test_terms_that_make_no_sense_are_denied(terms: dict[str, Any], text: str) -> None:
    """Each with the value, the rule and what to do."""
    result = play({1: buy(1, **terms), 2: buy(1)}, panel([10.0] * 5))
    assert statuses(result) == ["denied", "filled"] and text in result.orders["reason"].iloc[0]


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        ({"stop_price": 9.0, "touch_price": 9.0}, "a stop and a touch exclude each other"),
        ({"trail_amount": 1.0, "limit_price": 9.0}, "a trailing stop takes no other price than its first stop"),
        ({"time_in_force": "forever"}, "'forever' is not a valid TimeInForce"),
        ({"time_in_force": "gtd", "expires": "tomorrow"}, "time 'tomorrow' was not an instant"),
    ],
)
def test_terms_that_cannot_be_read_are_errors(terms: dict[str, Any], text: str) -> None:
    """What cannot be made an order at all is a mistake in the code."""
    with pytest.raises(StrategyError, match=re.escape(text)):
        Backtest(Script({1: buy(1, **terms)}), panel([10.0] * 4)).run()


def test_orders_after_the_end_are_told() -> None:
    """An order of the last bar and one of `on_stop` cannot fill; the result says so."""
    script = Script({3: buy(1)}, stop=lambda ctx: ctx.order("IBM", 1))
    result = Backtest(script, panel([10.0] * 4), cash=1_000.0).run()
    assert len(result.fills) == 0 and len(result.orders) == 2
    assert any("after the last bar" in w for w in result.manifest["warnings"])


def test_bars_that_go_back_or_stand_twice_are_refused() -> None:
    """With the place, before the first bar is handled."""
    bars = panel([10.0] * 4)
    table = bars.close.copy()
    for ts in ([1, 3, 2, 4], [1, 2, 2, 4]):
        with pytest.raises(DataError, match="ascend|increas|order|twice|go back"):
            Bars(ts, ["IBM"], open=table, high=table, low=table, close=table, volume=table)
    frame = bars.to_frame()
    with pytest.raises(DataError, match="twice|duplicate"):
        Backtest(Script(), pd.concat([frame, frame.iloc[[1]]]))


def raising(ctx: Any, bars: Any) -> None:
    """Trade now and then, and fail at bar 10,000."""
    symbol = "IBM"
    if ctx.row % 100 == 0:
        ctx.order(symbol, 1 if ctx.position(symbol) <= 0 else -1)
    if ctx.row == 10_000:
        ctx.order(symbol, 77)
        raise ValueError("the model has no answer")


def test_a_strategy_that_fails_at_bar_ten_thousand_keeps_what_it_did(tmp_path: Path) -> None:
    """The message has the bar, its time, the symbol, the file and line; the result up to there is whole, and can be saved."""
    bars = panel(np.full(12_000, 10.0) + np.arange(12_000) % 7 / 100, start="2024-01-02 00:01", step="1min", interval="1m")
    with pytest.raises(StrategyError) as failed:
        Backtest(Script(data=raising), bars, cash=10_000.0, costs=PerShare(0.01)).run()
    message, result = str(failed.value), failed.value.result
    line = raising.__code__.co_firstlineno + 7
    when = bars.index[10_000].strftime("%Y-%m-%dT%H:%M:%S")
    assert f"strategy 'script' raised ValueError in `on_data` at bar 10000 ({when}+00:00) while it looked at 'IBM': the model has no answer" in message
    assert f"test_engine_depth.py:{line}, in raising" in message
    assert isinstance(failed.value.__cause__, ValueError)
    assert len(result.equity) == 10_001 and result.equity.index[-1] == bars.index[10_000] and result.manifest["stopped"] == message
    whole = Backtest(Script(data=lambda ctx, now: raising(ctx, now) if ctx.row < 10_000 else None), bars, cash=10_000.0, costs=PerShare(0.01)).run()
    assert len(result.fills) == 100 and result.fills["price"].tolist() == whole.fills["price"].tolist()
    assert result.equity.tolist() == whole.equity.tolist()[:10_001]
    assert statuses(result)[-2:] == ["denied", "denied"] and "the strategy failed while this order was being written" in result.orders["reason"].iloc[-1]
    assert Result.load(result.save(tmp_path / "partial")).differences(result) == []
    assert result.metrics["total_return"] == pytest.approx(result.equity.iloc[-1] / 10_000.0 - 1.0) and len(result.trades) > 40


def test_ten_thousand_orders_a_bar_are_stopped_unless_they_are_meant() -> None:
    """The limit and its name are in the message; what was done before is kept; `max_orders` raises it."""
    flood = {1: buy(1), 3: lambda ctx: [ctx.order("IBM", 1) for _ in range(10_000)]}
    with pytest.raises(StrategyError, match=r"at bar 3 .*1,001 orders were written at one instant; the limit is 1,000 \(`max_orders`\)") as failed:
        Backtest(Script(flood), panel([10.0] * 6)).run()
    result = failed.value.result
    assert len(result.fills) == 1 and result.orders["status"].value_counts().to_dict() == {"denied": 1_000, "filled": 1}
    test = Backtest(Script(flood), panel([10.0] * 6), max_orders=10_000)
    assert test.run().positions["IBM"].iloc[-1] == 10_001.0
    assert test.result_id != Backtest(Script(flood), panel([10.0] * 6)).result_id


def test_an_answer_to_every_fill_is_no_flood_and_one_to_every_denial_is() -> None:
    """A strategy that orders again whenever it is denied would go on for ever; it is told."""
    again = lambda ctx, state: ctx.order("IBM", 0.5) if str(state.status) == "denied" else None  # noqa: E731
    with pytest.raises(StrategyError, match="orders in a row were denied; do not answer each denial|`max_orders`"):
        Backtest(Script({0: buy(0.5)}, order=again), panel([10.0] * 3)).run()


# -- the plainest order -----------------------------------------------------------------------------------------------------


class Plainly(Strategy):
    """Market orders at random, some of which no engine may take; `words` asks for a day order by its word, which no short way understands."""

    def __init__(self, words: bool, hears: bool, seed: int):
        super().__init__()
        self.more: dict[str, Any] = {"time_in_force": "day"} if words else {}
        self.draw, self.seen = np.random.default_rng(seed), []
        if hears:
            self.on_order = lambda ctx, state: self.seen.append((ctx.ts, state.order.client_order_id, state.status))  # type: ignore[method-assign]

    def on_data(self, ctx: Any, bars: Any) -> None:
        for _ in range(self.draw.integers(0, 3)):
            quantity = float(self.draw.choice([1, 2, -1, -3, 0.5, 0, math.nan, math.inf]))
            ctx.order(str(self.draw.choice(ctx.symbols)), quantity, tag="t", **self.more)

    def on_fill(self, ctx: Any, fill: Any) -> None:
        self.seen.append((ctx.ts, fill.exec_id, fill.quantity, ctx.position(fill.symbol)))


@pytest.mark.parametrize("settles", [False, True])
@pytest.mark.parametrize("hears", [False, True])
@pytest.mark.parametrize("warm_up", [0, 7])
def test_the_short_way_of_an_order_leaves_what_the_long_way_leaves(settles: bool, hears: bool, warm_up: int) -> None:
    """Orders, fills, account and what the strategy was told are the same, with gaps, odd quantities, a warm-up and settlement."""
    for seed in range(6):
        draw = np.random.default_rng(seed)
        closes = np.round(10 + np.cumsum(draw.normal(0, 0.1, (60, 2)), axis=0), 2)
        closes[draw.random((60, 2)) < 0.1] = np.nan
        found = []
        for words in (False, True):
            strategy = Plainly(words, hears, seed)
            options: dict[str, Any] = {"account": AccountRules(settlement_days=1), "calendar": "XNYS"} if settles else {}
            bars = panel(closes, ("IBM", "AIG"))
            found.append((Backtest(strategy, bars, cash=1e6, costs=PerShare(0.01), start=warm_up, **options).run(), strategy.seen))
        (plain, told), (worded, heard) = found
        assert len(plain.fills) > 10 and (plain.orders["status"] == "denied").any()
        assert plain.orders["reason"].ne("").any() and told == heard
        assert plain.differences(worded) == []
