"""Limits in a back-test: what leaves obeys, exits are let alone, a halt holds, and the run says what happened."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtnb.backtest.engine import Backtest
from qtnb.core.bars import Bars
from qtnb.core.book import Book
from qtnb.core.errors import ConfigError
from qtnb.core.events import Control, ControlAction
from qtnb.core.rebalance import Rebalance
from qtnb.live.adapters.paper import PaperVenue
from qtnb.live.data_streams import ReplayStream
from qtnb.live.exec_engine import LiveSession
from qtnb.live.replay import replay
from qtnb.live.state_store import SqliteJournal
from qtnb.risk.guard import Guard
from qtnb.risk.limits import CurrencyLimit, FactorLimit, GrossLimit, LargestLimit, NameLimit, NetLimit
from qtnb.risk.stops import DrawdownStop, LossStop, OrderValueLimit, TurnoverLimit, follow
from qtnb.strategies.base import Strategy
from qtnb.strategies.sma_cross import SmaCross
from qtnb.types import Instrument

DAY = 86_400_000_000_000


def panel(closes: np.ndarray, symbols: list[str]) -> Bars:
    """Daily bars whose opens are the closes before."""
    closes = np.asarray(closes, dtype=float)
    opens = np.vstack([closes[:1], closes[:-1]])
    prices = {"open": opens, "high": np.maximum(opens, closes), "low": np.minimum(opens, closes), "close": closes}
    return Bars(np.arange(1, len(closes) + 1) * DAY, symbols, **prices, volume=np.full_like(closes, 1e6))


class Scripted(Strategy):
    """Does at each row what it is told, and keeps the gross exposure that its orders stand for."""

    def __init__(self, script: Any):
        """Nothing yet."""
        super().__init__()
        self.script, self.seen = script, []

    def on_data(self, ctx: Any, bars: Any) -> None:
        """The script of this row."""
        self.script(ctx)
        value = {s: (ctx.position(s) + ctx.in_flight(s)) * ctx.price(s) for s in ctx.symbols}
        before = {s: ctx.position(s) * ctx.price(s) for s in ctx.symbols}
        self.seen.append((sum(map(abs, value.values())) / ctx.equity, sum(map(abs, before.values())) / ctx.equity, value, ctx.equity))


ORDERS = st.lists(st.tuples(st.integers(0, 2), st.integers(-400, 400)), min_size=0, max_size=4)


@settings(max_examples=40, deadline=None)
@given(st.lists(ORDERS, min_size=4, max_size=10), st.floats(0.1, 1.5), st.floats(0.05, 0.8), st.integers(0, 1000))
def test_what_is_held_and_ordered_obeys(script: list[list[tuple[int, int]]], gross: float, name: float, seed: int) -> None:
    """Whatever a strategy orders, what it holds and has ordered is within the limits, or no worse than the market left it."""
    closes = 100.0 * np.exp(np.random.default_rng(seed).normal(0, 0.02, (len(script), 3)).cumsum(axis=0))

    def act(ctx: Any) -> None:
        """The orders of a row."""
        for column, quantity in script[ctx.row]:
            if quantity:
                ctx.order(ctx.symbols[column], float(quantity))

    strategy = Scripted(act)
    Backtest(strategy, panel(closes, ["A", "B", "C"]), cash=100_000.0, limits=[GrossLimit(gross), NameLimit(name)]).run()
    for after, before, value, equity in strategy.seen:
        assert after <= max(gross, before) + 1e-6
        assert all(abs(v) / equity <= max(name, before) + 1e-6 for v in value.values())


DEEDS = st.lists(st.tuples(st.sampled_from(["market", "limit", "stop", "cancel", "replace", "exit"]), st.integers(0, 2), st.integers(1, 200)), max_size=5)


@settings(max_examples=40, deadline=None)
@given(st.lists(DEEDS, min_size=3, max_size=9), st.integers(0, 100))
def test_what_a_guard_remembers_is_what_it_would_work_out_afresh(script: list[list[tuple[str, int, int]]], seed: int) -> None:
    """Whatever is ordered, changed, cancelled and filled, the values and the pace that are carried on equal those of a guard that starts anew."""
    closes = 100.0 * np.exp(np.random.default_rng(seed).normal(0, 0.03, (len(script), 3)).cumsum(axis=0))
    seen = []

    class Suspicious(Guard):
        """Works everything out twice."""

        def ordered(self, desk: Any, order: Any) -> Any:
            """The book, and the same by a new guard."""
            found, new = super().ordered(desk, order), Guard([])
            new._since = self._since
            seen.append((found.values.copy(), new.ordered(desk, order).values, self._so_far(desk, order.client_order_id),
                         new._so_far(desk, order.client_order_id)))
            return found

    def act(ctx: Any) -> None:
        """The deeds of a row."""
        for deed, column, size in script[ctx.row]:
            symbol, price = ctx.symbols[column], ctx.price(ctx.symbols[column])
            mine = [o.order.client_order_id for o in ctx.open_orders()]
            if deed == "market":
                ctx.order(symbol, float(size - 100) or 1.0)
            elif deed in ("limit", "stop"):
                ctx.order(symbol, float(size), time_in_force="gtc", **{f"{deed}_price": round(price * (0.99 if deed == "limit" else 1.01), 2)})
            elif deed == "exit":
                ctx.order(symbol, -float(size), limit_price=round(price * 1.02, 2), reduce_only=True)
            elif mine:
                ctx.cancel(mine[0]) if deed == "cancel" else ctx.replace(mine[-1], quantity=float(size))

    test = Backtest(Scripted(act), panel(closes, ["A", "B", "C"]), cash=100_000.0)
    test.limits = (Suspicious([GrossLimit(0.6), NameLimit(0.4), TurnoverLimit(0.9)]),)
    test.simulation().run()
    for values, fresh, pace, anew in seen:
        assert np.allclose(values, fresh, atol=1e-6) and pace[0] == anew[0] and abs(pace[1] - anew[1]) < 1e-6


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 300), min_size=3, max_size=8), st.floats(0.05, 1.2), st.floats(0.05, 1.2))
def test_a_tighter_limit_never_holds_more(sizes: list[int], one: float, other: float) -> None:
    """Of the same purchases at the same prices, the tighter limit ends with the smaller position."""
    held = []
    for bound in sorted((one, other)):
        strategy = Scripted(lambda ctx: ctx.order("A", float(sizes[ctx.row])))
        result = Backtest(strategy, panel(np.full((len(sizes), 1), 100.0), ["A"]), cash=100_000.0, limits=[GrossLimit(bound)]).run()
        held.append(result.positions["A"].iloc[-1])
    assert held[0] <= held[1]


def test_limits_take_the_event_path_and_say_so() -> None:
    """A compiled run with limits is refused with the reason; "auto" falls to events; the bound is part of what tells runs apart."""
    bars = panel(100.0 + np.arange(200.0)[:, None] % 17, ["A"])
    with pytest.raises(ConfigError, match="`limits` was given"):
        Backtest(SmaCross(fast=5, slow=20), bars, limits=[NameLimit(0.5)], path="compiled").run()
    half, plain = (Backtest(SmaCross(fast=5, slow=20), bars, limits=limits) for limits in ([NameLimit(0.5)], ()))
    found = half.run()
    assert found.manifest["path"] == "event" and "`limits` was given" in found.manifest["path_reason"]
    ids = [Backtest(SmaCross(fast=5, slow=20), bars, limits=[NameLimit(b)]).result_id for b in (0.5, 0.5, 0.6)]
    assert ids[0] == ids[1] != ids[2] != plain.result_id
    assert (found.weights.abs().max() < plain.run().weights.abs().max()).all() and found.orders["reason"].str.contains("cut from").any()


def test_a_limit_that_does_not_bind_changes_nothing() -> None:
    """With bounds far away, orders, fills and account are those of a run without limits."""
    bars = panel(100.0 + np.arange(200.0)[:, None] % 17, ["A"])
    wide = Backtest(SmaCross(fast=5, slow=20), bars, limits=[GrossLimit(50.0), DrawdownStop(1.0), TurnoverLimit(1e6)]).run()
    plain = Backtest(SmaCross(fast=5, slow=20), bars, path="event").run()
    assert [*wide.fills["quantity"]] == [*plain.fills["quantity"]] and wide.equity.equals(plain.equity)


def test_exits_are_never_cut() -> None:
    """A bracket's exits leave whole, whatever the limits say; its entry is cut, and the exits follow what has filled."""

    def act(ctx: Any) -> None:
        """One bracket."""
        if ctx.row == 0:
            ctx.bracket("A", 500.0, take_profit=120.0, stop_loss=90.0)

    closes = np.array([100.0, 100.0, 100.0, 85.0, 85.0])[:, None]
    result = Backtest(Scripted(act), panel(closes, ["A"]), cash=100_000.0, limits=[NameLimit(0.2)]).run()
    assert result.orders["quantity"].tolist()[0] == 200.0 and result.positions["A"].tolist()[-1] == 0.0
    assert result.fills["quantity"].tolist() == [200.0, 200.0]


def test_money_to_trade_for_shrinks_with_the_order() -> None:
    """Weights that are sized at the fill are cut in money too: the position is worth the bound at the price it filled at."""

    class Half(Strategy):
        """Nine tenths in one share, sized at the fill."""

        def on_data(self, ctx: Any, bars: Any) -> None:
            """Once."""
            if ctx.row == 0:
                ctx.target_weights({"A": 0.9}, rebalance=Rebalance(sizing="fill"))

    bars = panel(np.array([100.0, 100.0, 100.0])[:, None], ["A"])
    result = Backtest(Half(), bars, cash=100_000.0, limits=[NameLimit(0.3)]).run()
    assert result.positions["A"].iloc[-1] == 300.0


def test_a_replacement_beyond_a_limit_is_not_sent() -> None:
    """More of a resting order is refused as a whole, the order stays, and an alert tells why; what it has in mind already is not counted twice."""

    def act(ctx: Any) -> None:
        """A resting purchase of forty per cent, then of fifty, then of ninety."""
        if ctx.row == 0:
            act.name = ctx.order("A", 400.0, limit_price=50.0, time_in_force="gtc")  # type: ignore[attr-defined]
        elif ctx.row in (1, 2):
            ctx.replace(act.name, quantity={1: 500.0, 2: 900.0}[ctx.row])  # type: ignore[attr-defined]

    result = Backtest(Scripted(act), panel(np.full((5, 1), 100.0), ["A"]), cash=100_000.0, limits=[NameLimit(0.5)]).run()
    assert result.orders["quantity"].tolist() == [500.0]
    assert any("it would be cut from 900 to 500: weight of A 0.9 is above 0.5" in a for a in result.manifest["alerts"])


def test_a_resting_sale_makes_no_room() -> None:
    """A purchase is not let through because of a sale at a price that may never come; one at the market makes room."""

    def act(ctx: Any) -> None:
        """Buy; offer; buy more. Then sell at the market and buy the other."""
        if ctx.row == 0:
            ctx.order("A", 500.0)
        elif ctx.row == 1:
            ctx.order("A", -500.0, limit_price=150.0, time_in_force="gtc")
            ctx.order("B", 500.0)
        elif ctx.row == 2:
            ctx.cancel_all()
        elif ctx.row == 3:
            ctx.order("A", -500.0)
            ctx.order("B", 500.0)

    result = Backtest(Scripted(act), panel(np.full((6, 2), 100.0), ["A", "B"]), cash=100_000.0, limits=[GrossLimit(0.5)]).run()
    assert result.orders["status"].tolist() == ["filled", "canceled", "denied", "filled", "filled"]
    assert result.positions.iloc[-1].tolist() == [0.0, 500.0]


def test_strategies_share_the_limits_of_their_account() -> None:
    """Two strategies that buy the same share hold together what one may hold."""

    class Other(Scripted):
        """A second strategy."""

        name = "other"

    def act(ctx: Any) -> None:
        """Buy at the first bar."""
        if ctx.row == 0:
            ctx.order("A", 300.0)

    result = Backtest([Scripted(act), Other(act)], panel(np.full((4, 1), 100.0), ["A"]), cash=100_000.0, limits=[NameLimit(0.4)]).run()
    assert result.fills["quantity"].tolist() == [300.0, 100.0]


def test_a_drawdown_stop_flattens_at_the_next_open_and_for_good() -> None:
    """The stop is seen at the close that passes it, the position goes at the next open, later orders are denied with the stop's words."""
    closes = np.array([100.0, 100.0, 79.0, 60.0, 60.0, 90.0])[:, None]
    strategy = Scripted(lambda ctx: ctx.order("A", 1000.0 - ctx.position("A")) if ctx.position("A") < 1000 else None)
    result = Backtest(strategy, panel(closes, ["A"]), cash=100_000.0, limits=[DrawdownStop(0.2, then="flatten")]).run()
    assert result.fills["price"].tolist() == [100.0, 79.0] and result.equity.iloc[-1] == 79_000.0
    denied = result.orders[result.orders["status"] == "denied"]["reason"]
    assert denied.str.contains("drawdown 0.21 is above 0.2").all() and len(denied) >= 2
    [row] = result.manifest["limits"]["record"]
    assert row == {"ts": 3 * DAY, "action": "flatten", "limit": "drawdown", "value": pytest.approx(0.21), "bound": 0.2}


def test_a_daily_loss_stop_is_over_the_next_day() -> None:
    """Orders are denied on the day of the loss and leave on the next one."""
    closes = np.array([100.0, 100.0, 90.0, 90.0, 90.0, 90.0])[:, None]
    strategy = Scripted(lambda ctx: ctx.order("A", 100.0))
    result = Backtest(strategy, panel(closes, ["A"]), cash=20_000.0, limits=[LossStop(0.03)]).run()
    assert result.orders["status"].tolist()[:4] == ["filled", "filled", "denied", "filled"]
    assert [r["action"] for r in result.manifest["limits"]["record"]] == ["halt", "reset"] and result.manifest["limits"]["stopped"] == ""


def test_a_stop_that_follows_a_stop_is_over_in_its_time_too() -> None:
    """Two days of loss in a row halt twice, and the day after trading goes on; a flatten takes over from a halt."""
    closes = np.array([100.0, 100.0, 90.0, 80.0, 80.0, 80.0, 80.0])[:, None]
    strategy = Scripted(lambda ctx: ctx.order("A", 50.0))
    result = Backtest(strategy, panel(closes, ["A"]), cash=20_000.0, limits=[LossStop(0.02)]).run()
    assert [r["action"] for r in result.manifest["limits"]["record"]] == ["halt", "reset", "halt", "reset"]
    assert result.orders["status"].tolist()[:6] == ["filled", "filled", "denied", "denied", "filled", "filled"]
    both = [LossStop(0.02, resume="never"), DrawdownStop(0.06, then="flatten")]
    result = Backtest(Scripted(lambda ctx: ctx.order("A", 50.0)), panel(closes, ["A"]), cash=20_000.0, limits=both).run()
    assert [r["action"] for r in result.manifest["limits"]["record"]] == ["halt", "flatten"] and result.positions["A"].iloc[-1] == 0.0
    assert result.orders["reason"].iloc[-1].startswith("trading is halted (drawdown")


def test_a_halt_from_elsewhere_outlives_a_stop() -> None:
    """A person's halt and reduce stay when the period of a stop is over."""
    closes = np.array([100.0, 100.0, 90.0, 90.0, 90.0])[:, None]
    simulation = Backtest(Scripted(lambda ctx: ctx.order("A", 100.0)), panel(closes, ["A"]), cash=20_000.0, limits=[LossStop(0.03)]).simulation()
    engine = simulation.engine
    for row in range(2):
        simulation._row(row, (row + 1) * DAY)
    engine.process(Control(engine.ts, ControlAction.REDUCE, "quiet"))
    simulation._row(2, 3 * DAY)
    assert engine.halted and engine.reducing
    simulation._row(3, 4 * DAY)
    assert not engine.halted and engine.reducing
    engine.process(Control(engine.ts, ControlAction.HALT, "the feed"))
    engine.guards[0].course = follow(engine.guards[0].course, 50_000.0, 3, 0)
    simulation._row(4, 5 * DAY)
    assert engine.halted and engine.halt_reason == "the feed"


def test_other_limits_at_work() -> None:
    """A beta limit refuses the long leg and takes the hedge; the two largest names share a bound; a slip of the finger is refused."""

    def act(ctx: Any) -> None:
        """A long and a short."""
        if ctx.row == 0:
            ctx.order("A", 600.0)
            ctx.order("B", -400.0)
            ctx.order("A", 600.0)

    bars = panel(np.full((3, 3), 100.0), ["A", "B", "C"])
    beta = FactorLimit(-0.5, 0.5, {"A": 1.0, "B": 1.0, "C": 1.0})
    hedged = Backtest(Scripted(act), bars, cash=100_000.0, limits=[beta, NetLimit(-1, 1)]).run()
    assert hedged.positions.iloc[-1].tolist() == [900.0, -400.0, 0.0]
    assert Backtest(Scripted(act), bars, cash=100_000.0, limits=[LargestLimit(0.8, 2)]).run().positions.iloc[-1].tolist() == [600.0, -200.0, 0.0]
    assert Backtest(Scripted(act), bars, cash=100_000.0, limits=[OrderValueLimit(0.5)]).run().positions.iloc[-1].tolist() == [0.0, -400.0, 0.0]


def test_a_limit_must_know_every_symbol() -> None:
    """A beta that nobody gave is an error before anything trades, with the symbol's name."""
    with pytest.raises(ConfigError, match="nothing for B"):
        Backtest(Scripted(lambda ctx: ctx.order("A", 1.0)), panel(np.full((3, 2), 100.0), ["A", "B"]), limits=[FactorLimit(0, 1, {"A": 1.0})]).run()


def test_a_replay_asks_for_the_same_bounds(tmp_path: Any) -> None:
    """A journal knows its limits with their bounds, and does not replay under others."""
    bars, instruments = panel(np.full((4, 1), 100.0), ["A"]), {"A": Instrument("A")}

    def fresh() -> Scripted:
        """The strategy of the session."""
        return Scripted(lambda ctx: ctx.order("A", 900.0))

    with SqliteJournal(tmp_path / "journal.sqlite") as journal:
        session = LiveSession(
            fresh(), ReplayStream(bars), venue=PaperVenue(instruments, cash=100_000.0), book=Book(instruments.values(), cash=100_000.0),
            journal=journal, checks=[NameLimit(0.5)],
        )  # fmt: skip
        lived = session.run()
    assert lived.positions["A"].iloc[-1] == 500.0 and lived.manifest["limits"] == {"record": [], "stopped": ""}
    assert replay(tmp_path / "journal.sqlite", strategy=fresh(), checks=[NameLimit(0.5)]).identical
    with pytest.raises(ConfigError, match="bound=0.6"):
        replay(tmp_path / "journal.sqlite", strategy=fresh(), checks=[NameLimit(0.6)])


def test_a_calendar_tells_sessions() -> None:
    """With an exchange's sessions, a loss stop follows them: two half-days of one session are one day."""
    ts = pd.to_datetime(["2024-01-03 18:00", "2024-01-03 21:00", "2024-01-04 18:00", "2024-01-04 21:00"], utc=True)
    closes = np.array([100.0, 100.0, 96.0, 92.0])[:, None]
    frame = {name: closes for name in ("open", "high", "low", "close")}
    bars = Bars(ts.astype("int64").to_numpy(), ["A"], **frame, volume=np.ones_like(closes), interval="3h")
    strategy = Scripted(lambda ctx: ctx.order("A", 100.0) if ctx.row == 0 else None)
    result = Backtest(strategy, bars, cash=10_000.0, limits=[LossStop(0.06)], calendar="XNYS").run()
    [row] = result.manifest["limits"]["record"]
    assert row["ts"] == int(bars.ts[3]) and row["value"] == pytest.approx(0.08)


def test_contracts_and_currencies_are_worth_what_they_are() -> None:
    """A future of ten euros a point counts its face value in dollars, and a foreign share counts against the currency limit."""

    def act(ctx: Any) -> None:
        """Two contracts too many, and shares."""
        if ctx.row == 0:
            ctx.order("FX", 8.0)
            ctx.order("EU", 800.0)

    instruments = [Instrument("FX", currency="EUR", multiplier=10.0, asset_class="future"), Instrument("EU", currency="EUR")]
    bars = panel(np.array([[1000.0, 50.0]] * 3), ["FX", "EU"])
    held = Backtest(Scripted(act), bars, cash=100_000.0, instruments=instruments, fx={"EUR": 1.25}, limits=[NameLimit(0.8), CurrencyLimit(0.9)]).run()
    assert held.positions.iloc[-1].tolist() == [6.0, 240.0]  # 6 x 1000 x 10 x 1.25 = 75,000, and 240 x 50 x 1.25 = 15,000


def test_limits_hold_between_the_bars_too() -> None:
    """Orders written on quotes are cut by the price of the quote, and fill from it."""
    bars = panel(np.full((4, 1), 100.0), ["A"])
    times = pd.to_datetime([int(bars.ts[1]) + k * 1_000_000_000 for k in range(1, 6)], utc=True)
    quotes = pd.DataFrame(
        {"bid": [99.9, 199.9, 199.9, 199.9, 199.9], "ask": [100.1, 200.1, 200.1, 200.1, 200.1], "bid_size": 1e4, "ask_size": 1e4},
        index=pd.MultiIndex.from_arrays([times, ["A"] * 5], names=["ts", "symbol"]),
    )

    class Quick(Scripted):
        """Buys on the second quote, when the price has doubled."""

        def on_quote(self, ctx: Any, quote: Any) -> None:
            """Once."""
            if quote.bid > 150.0 and not self.seen_quote:
                self.seen_quote = True
                ctx.order("A", 400.0)

    strategy = Quick(lambda ctx: None)
    strategy.seen_quote = False
    result = Backtest(strategy, bars, cash=100_000.0, quotes=quotes, limits=[NameLimit(0.5)]).run()
    assert result.fills["quantity"].tolist() == [250.0] and result.fills["price"].tolist() == [200.1]
