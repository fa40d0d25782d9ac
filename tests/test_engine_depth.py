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
    script = Script(start=lambda ctx: [ctx.order("IBM", 1), ctx.set_timer("early", start + 20 * SECOND)], timer=lambda ctx, name: script.seen.append(ctx.position("IBM")))
    latency = ConstantLatency(entry_ns=10 * SECOND, response_ns=40 * SECOND)
    Backtest(script, panel([10.0] * 2, start="2024-01-02 14:35", step="5min", interval="5m"), quotes=q, latency=latency, cash=1_000.0).run()
    assert script.seen[0] == ("early", start + 20 * SECOND) and script.seen[1] == 0.0
    assert ("fill", "IBM", 1.0, 10.1) in script.seen


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
        return [
            Script(steps(n, name), name=name, start=lambda ctx, n=n: ctx.set_timer("wake", int(bars.ts[n])), timer=lambda ctx, name, n=n: ctx.order("IBM", 10 * n))
            for n, name in ((1, "one"), (3, "three"))
        ]

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
