"""An account with rules inside a whole run: rates, calls of margin, liquidations, settlement, delistings, the cost of holding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from qtnb.backtest.carry import BorrowFee, BorrowRate, Carries, Funding, InterestRate, MarginInterest, Recall
from qtnb.backtest.corporate_actions import actions_by_row
from qtnb.backtest.costs import Bps, NoCosts
from qtnb.backtest.custodian import AccountRules, Custodian, open_book, rates_of
from qtnb.backtest.execution_sim import BarFill, SimulatedVenue
from qtnb.backtest.simulation import Simulation
from qtnb.backtest.slippage import NoSlippage
from qtnb.core.bars import Bars
from qtnb.core.book import account_curve, equity, pnl
from qtnb.core.engine import TradingEngine
from qtnb.core.margin import CashAccount, FuturesMargin, PerpetualMargin, RegT
from qtnb.types import Instrument
from qtnb.utils.time import DAY_NS

CLOSE = 21 * 3_600_000_000_000  # bars close at 21:00 UTC


class Plan:
    """A strategy that does what it was told for each row."""

    name = "plan"

    def __init__(self, steps: dict[int, Callable[[Any], None]]):
        self.steps = steps
        self.seen: list[tuple[int, float, float]] = []

    def on_data(self, ctx: Any, bars: Any) -> None:
        """Note equity and cash, and act."""
        self.seen.append((ctx.row, ctx.equity, ctx.cash))
        if ctx.row in self.steps:
            self.steps[ctx.row](ctx)


def panel(prices: dict[str, Sequence[float]], first: int = 19_800, step: int = DAY_NS, interval: str = "1d") -> Bars:
    """Bars whose four prices are one."""
    table = np.array(list(prices.values()), dtype=float).T
    ts = (np.arange(len(table), dtype=np.int64) * step) + first * DAY_NS + CLOSE
    return Bars(ts, tuple(prices), **{n: table for n in ("open", "high", "low", "close")}, volume=np.full(table.shape, 1e9), interval=interval)


def run(
    bars: Bars, steps: dict[int, Callable[[Any], None]], rules: AccountRules | None, *, instruments: Sequence[Instrument] = (),
    cash: float = 10_000.0, costs: Any = NoCosts(), events: pd.DataFrame | None = None, base_currency: str = "USD",
) -> tuple[Simulation, Plan, Custodian | None]:
    """Play a plan in an account with rules, put together as a back-test does it."""
    known = {i.symbol: i for i in instruments}
    items = {s: known.get(s) or Instrument(s) for s in bars.symbols}
    book = open_book(rules, items, bars.ts, cash=cash, base_currency=base_currency)
    custodian = None if rules is None else Custodian(rules, book, bars.ts, costs=costs)
    checks = [custodian.check] if custodian is not None and custodian.check is not None else []
    plan = Plan(steps)
    engine = TradingEngine(plan, bars, book=book, run_id="r", checks=checks)
    simulation = Simulation(engine, SimulatedVenue(items, costs=costs, slippage=NoSlippage(), fill=BarFill()), bars, custodian)
    extra = {} if rules is None else {"delisting": rules.delisting, "cash_in_lieu": rules.cash_in_lieu, "pay_delay_days": rules.pay_delay_days}
    simulation.actions.extend(actions_by_row(events, bars, **extra))
    simulation.run()
    curve = account_curve(book, bars.ts, bars.symbols, bars.mark)
    marks = dict(zip(bars.symbols, bars.mark[-1].tolist(), strict=True))
    assert curve.equity[-1] == equity(book, marks)
    start = sum(v * book.initial_fx[c] for c, v in book.initial_cash.items())
    assert abs(equity(book, marks) - start - book.deposits - pnl(book, marks).net) < 1e-6
    assert [e for _, e, _ in plan.seen] == curve.equity.tolist()  # what the strategy saw is what is reported
    return simulation, plan, custodian


def buy(symbol: str, quantity: float) -> Callable[[Any], None]:
    """An order at the market."""
    return lambda ctx: ctx.order(symbol, quantity)


def reasons(simulation: Simulation) -> list[str]:
    """Why orders were refused."""
    return [s.reason for s in simulation.engine.orders.values() if s.status == "denied"]


def test_a_euro_share_over_two_rates() -> None:
    """100 shares at 50 euros on credit: the gain of 100 euros counts at the rate of the end, and the debt moves with the euro."""
    bars = panel({"SAP": [50.0, 50.0, 51.0, 51.0]})
    index = pd.to_datetime(bars.ts, utc=True)
    rules = AccountRules(fx=pd.DataFrame({"EUR": [1.10, 1.10, 1.10, 1.00]}, index=index))
    simulation, plan, _ = run(bars, {0: buy("SAP", 100.0)}, rules, instruments=[Instrument("SAP", currency="EUR")])
    assert [e for _, e, _ in plan.seen] == pytest.approx([10_000.0, 10_000.0, 10_110.0, 10_100.0])
    parts = pnl(simulation.engine.book, {"SAP": 51.0})
    assert (parts.unrealised, parts.currency) == (pytest.approx(100.0), pytest.approx(0.0))  # paid with borrowed euros: nothing at risk


def test_a_margin_call_that_is_not_met_ends_in_a_forced_close() -> None:
    """The call forbids to add, a session later everything is sold at the next open, a penalty is charged, and trading goes on."""
    bars = panel({"IBM": [100.0, 100.0, 60.0, 62.0, 61.0, 61.0, 61.0]})
    rules = AccountRules(margin=RegT(), penalty_bps=50.0)
    steps = {0: buy("IBM", 200.0), 2: buy("IBM", 1.0), 4: buy("IBM", 10.0), 5: lambda ctx: None}
    simulation, plan, custodian = run(bars, steps, rules, cash=10_500.0)
    assert custodian is not None
    assert [(s.step, s.ts) for s in custodian.steps] == [("call", bars.ts[2]), ("close", bars.ts[3]), ("closed", bars.ts[4])]
    assert [(f.ts, f.side.value, f.quantity, f.price) for f in simulation.fills][:2] == [
        (bars.ts[1], "buy", 200.0, 100.0), (bars.ts[4], "sell", 200.0, 61.0)
    ]
    assert reasons(simulation) == ["trading may only reduce; only orders that reduce a position may leave"]
    assert simulation.fills[2].quantity == 10.0  # after the close trading goes on
    assert simulation.engine.book.flows[0].kind == "penalty" and simulation.engine.book.flows[0].amount == -0.005 * 200 * 62.0
    assert plan.seen[4][1] == 10_500.0 - 200 * 39.0 - 62.0


def test_a_margin_call_that_is_met() -> None:
    """Selling a part in time lifts the restriction."""
    bars = panel({"IBM": [100.0, 100.0, 60.0, 61.0, 61.0, 61.0]})
    steps = {0: buy("IBM", 200.0), 2: buy("IBM", -150.0), 4: buy("IBM", 1.0)}
    simulation, _, custodian = run(bars, steps, AccountRules(margin=RegT()), cash=10_500.0)
    assert custodian is not None and [s.step for s in custodian.steps] == ["call", "cured"]
    assert reasons(simulation) == [] and [f.quantity for f in simulation.fills] == [200.0, 150.0, 1.0]


def test_a_perpetual_through_a_liquidation() -> None:
    """A position of ten times its margin is closed at the next price after the breach, pays a fee, and the venue bears what is missing."""
    bars = panel({"PERP": [100.0, 100.0, 96.0, 85.0, 84.0]}, step=8 * 3_600_000_000_000, interval="1h")
    perp = Instrument("PERP", asset_class="perpetual", lot_size=0.001)
    rules = AccountRules(margin=PerpetualMargin({"PERP": [(0, 0.05, 20)]}, leverage=10), on_breach="close", is_insured=True, penalty_bps=100.0)
    simulation, plan, custodian = run(bars, {0: buy("PERP", 10.0)}, rules, instruments=[perp], cash=100.0)
    assert custodian is not None and [s.step for s in custodian.steps] == ["close", "insured", "closed"]
    assert [f.price for f in simulation.fills] == [100.0, 84.0]
    assert [e for _, e, _ in plan.seen] == [100.0, 100.0, 60.0, pytest.approx(100.0 - 150.0 - 8.5), 0.0]
    assert [f.kind for f in simulation.engine.book.flows] == ["penalty", "insurance"]


def test_funding_and_its_stamps() -> None:
    """A perpetual pays at the stamps of its record, whatever the bars, and only while it is held."""
    bars = panel({"PERP": [100.0] * 6}, first=19_800, step=6 * 3_600_000_000_000, interval="1h")
    stamps = np.arange(0, 6) * 8 * 3_600_000_000_000 + 19_800 * DAY_NS + 16 * 3_600_000_000_000
    record = pd.DataFrame({"ts": stamps, "symbol": "PERP", "rate": 0.001, "mark": 100.0})
    perp = Instrument("PERP", asset_class="perpetual")
    simulation, _, _ = run(bars, {0: buy("PERP", 5.0), 3: buy("PERP", -5.0)}, AccountRules(carry=Funding(record)), instruments=[perp])
    held = [f.ts for f in simulation.fills]
    due = [int(t) for t in stamps if held[0] <= t < held[1]]
    assert [f.ts for f in simulation.engine.book.flows] == due and all(f.amount == -0.5 for f in simulation.engine.book.flows)


def test_cash_that_has_not_settled_buys_nothing() -> None:
    """In a cash account the proceeds of a sale can be spent a session later; shorts are refused by name."""
    bars = panel({"IBM": [100.0] * 6, "SPY": [100.0] * 6})
    steps = {0: buy("IBM", 100.0), 1: buy("IBM", -100.0), 2: buy("SPY", 50.0), 3: buy("SPY", 50.0), 4: buy("SPY", -80.0)}
    simulation, _, _ = run(bars, steps, AccountRules(margin=CashAccount(), settlement_days=1), costs=Bps(10.0), cash=10_010.0)
    first, second = reasons(simulation)
    assert "opening 50 SPY at 100 ties up 5,000.00 and costs 5.00 in fees, and 0.00 USD is free" in first
    assert "short 30 SPY; a cash account sells only what it holds" in second
    assert [(f.symbol, f.quantity) for f in simulation.fills] == [("IBM", 100.0), ("IBM", 100.0), ("SPY", 50.0)]


def test_orders_of_one_instant_share_what_is_free() -> None:
    """Of three orders that fit one by one, two fit together; a cancelled one gives back what it reserved."""

    def three(ctx: Any) -> None:
        for price in (90.0, 91.0, 92.0):
            ctx.order("IBM", 80.0, limit_price=price, time_in_force="gtc")

    def one_less(ctx: Any) -> None:
        ctx.cancel_all()

    bars = panel({"IBM": [100.0] * 5})
    simulation, _, _ = run(bars, {0: three, 1: one_less, 2: three}, AccountRules(margin=RegT()), cash=8_000.0)
    states = [s.status.value for s in simulation.engine.orders.values()]
    assert states == ["canceled", "canceled", "denied", "accepted", "accepted", "denied"]


def test_futures_by_contract() -> None:
    """Three contracts fit, a fourth does not, and the variation of the price changes what is free."""
    es = Instrument("ES", multiplier=50.0, tick_size=0.25, asset_class="future")
    bars = panel({"ES": [4_000.0, 4_000.0, 4_400.0, 4_400.0]})
    rules = AccountRules(margin=FuturesMargin({"ES": (13_000.0, 12_000.0)}))
    steps = {0: lambda ctx: [ctx.order("ES", q) for q in (3.0, 1.0)], 2: buy("ES", 3.0)}
    simulation, plan, _ = run(bars, steps, rules, instruments=[es], cash=40_000.0)
    assert len(reasons(simulation)) == 1 and [f.quantity for f in simulation.fills] == [3.0, 3.0]
    assert plan.seen[2][1] == 40_000.0 + 3 * 400 * 50


@pytest.mark.parametrize(("rule", "value", "brings"), [("last_price", np.nan, 80.0), ("worthless", np.nan, 0.0), ("worthless", 12.5, 12.5)])
def test_a_delisting_in_a_run(rule: str, value: float, brings: float) -> None:
    """What was held becomes money at the row after its last bar, and its mark is needed no more."""
    bars = panel({"X": [100.0, 100.0, 80.0, np.nan, np.nan], "Y": [10.0] * 5})
    events = pd.DataFrame({"symbol": ["X"], "ts": [pd.Timestamp(int(bars.ts[2]) + 1, tz="UTC")], "kind": ["delisting"], "value": [value]})
    simulation, plan, _ = run(bars, {0: buy("X", 10.0)}, AccountRules(delisting=rule), events=events)
    assert [e for _, e, _ in plan.seen] == [10_000.0, 10_000.0, 9_800.0, 9_000.0 + 10 * brings, 9_000.0 + 10 * brings]
    assert plan.seen[3][2] == 9_000.0 + 10 * brings and simulation.engine.book.holdings["X"].quantity == 0.0


def test_a_dividend_with_a_pay_date_in_a_run() -> None:
    """Equity does not fall on the ex-date, cash rises on the pay date, tax is kept back, and a fraction is paid out."""
    bars = panel({"X": [30.0, 30.0, 29.0, 29.0, 19.333333333333332, 19.333333333333332]})
    when = [pd.Timestamp(int(bars.ts[r]) - CLOSE, tz="UTC") for r in (2, 4)]
    pay = [pd.Timestamp(int(bars.ts[4]) - CLOSE, tz="UTC"), pd.NaT]
    events = pd.DataFrame({"symbol": "X", "ts": when, "kind": ["dividend", "split"], "value": [1.0, 1.5], "pay_ts": pay})
    simulation, plan, _ = run(bars, {0: buy("X", 7.0)}, AccountRules(withholding=0.25), events=events)
    assert [e for _, e, _ in plan.seen] == pytest.approx([10_000.0, 10_000.0, 9_998.25, 9_998.25, 9_998.25, 9_998.25])
    assert [round(c, 2) for _, _, c in plan.seen] == [10_000.0, 9_790.0, 9_790.0, 9_790.0, 9_804.92, 9_804.92]
    assert simulation.engine.book.holdings["X"].quantity == 10.0


def test_nights_are_charged_once_a_session() -> None:
    """Interest on a debit and the fee of a borrowed share, on daily bars and on hourly ones, come to the same money."""
    models = Carries(MarginInterest((InterestRate("USD", 0.0625),)), BorrowFee(rates=(BorrowRate("Y", 0.05),)))
    steps = {0: lambda ctx: [ctx.order("X", 150.0), ctx.order("Y", -10.0)]}
    paid = []
    for hours in (24, 6):
        rows = 6 * 24 // hours
        bars = panel({"X": [100.0] * rows, "Y": [50.0] * rows}, step=hours * 3_600_000_000_000, interval="1d" if hours == 24 else "1h")
        simulation, _, _ = run(bars, steps, AccountRules(carry=models))
        flows = simulation.engine.book.flows
        kinds = [f.kind for f in flows]
        assert set(kinds) == {"interest", "borrow"} and all(f.amount < 0.0 for f in flows)
        paid.append({f.note: f.amount for f in flows if f.kind == "borrow"})
    daily, hourly = paid
    assert set(daily) <= set(hourly) and all(hourly[note] == amount for note, amount in daily.items())


def test_a_recall_closes_the_short() -> None:
    """The lender wants his shares: the short is bought back at the next open, and trading goes on."""
    bars = panel({"Y": [50.0] * 8}, first=19_800)
    day = str(pd.Timestamp(int(bars.ts[3]), tz="UTC").tz_convert("America/New_York").date())
    rules = AccountRules(carry=BorrowFee(default=0.05, recalls=(Recall(day, "Y"),)))
    simulation, _, _ = run(bars, {0: buy("Y", -10.0), 6: buy("Y", -1.0)}, rules)
    assert [(f.side.value, f.quantity, f.ts) for f in simulation.fills] == [("sell", 10.0, bars.ts[1]), ("buy", 10.0, bars.ts[4]), ("sell", 1.0, bars.ts[7])]


def test_an_account_with_rules_that_do_nothing_is_a_plain_account() -> None:
    """The same orders, fills and equity, to the last bit."""
    random = np.random.default_rng(1)
    prices = {s: np.round(50.0 + np.cumsum(random.normal(0, 1, 60)), 2).tolist() for s in ("X", "Y")}
    steps = {n: buy("XY"[n % 2], float(random.integers(-20, 20) or 1)) for n in range(0, 58, 3)}
    plain, one, _ = run(panel(prices), steps, None)
    ruled, two, _ = run(panel(prices), steps, AccountRules(margin=RegT(), fx={"EUR": 1.1}, settlement_days=1))
    assert plain.fills == ruled.fills and [s[:2] for s in one.seen] == [s[:2] for s in two.seen]


def test_what_is_bought_within_the_check_is_carried_by_the_account() -> None:
    """Random orders that pass the check, filled at the price that was checked, never leave less than nothing free."""
    for seed in range(30):
        random = np.random.default_rng(seed)
        prices = {s: [float(random.integers(5, 100))] * 20 for s in ("X", "Y", "Z")}

        def act(ctx: Any, random: np.random.Generator = random) -> None:
            for _ in range(int(random.integers(0, 4))):
                ctx.order("XYZ"[int(random.integers(3))], float(random.integers(1, 200)) * (1 if random.random() < 0.5 else -1))

        simulation, _, custodian = run(panel(prices), dict.fromkeys(range(18), act), AccountRules(margin=RegT()), costs=Bps(5.0))
        assert custodian is not None and custodian.check is not None
        book, marks = simulation.engine.book, {s: p[0] for s, p in prices.items()}
        assert RegT().excess(book, marks) >= -1e-9 and custodian.steps == []
        assert simulation.fills and (seed > 5 or reasons(simulation))


def test_rates_are_told_once_and_in_order() -> None:
    """Whatever the bars, every rate after the start comes once, at or after its instant, in the order of its instants."""
    random = np.random.default_rng(3)
    ts = np.sort(random.choice(10_000, 300, replace=False)).astype(np.int64)
    pairs = {c: tuple((int(t), float(random.uniform(0.5, 2))) for t in np.sort(random.choice(10_000, 80, replace=False))) for c in ("EUR", "GBP")}
    first = {c: (0, p[0][1]) for c, p in pairs.items()}
    rules = AccountRules(fx={c: (first[c], *(x for x in p if x[0] > 0)) for c, p in pairs.items()})
    book = open_book(rules, [Instrument("A", currency="EUR"), Instrument("B", currency="GBP")], ts, cash=0.0)
    custodian = Custodian(rules, book, ts)
    told = [(int(t), event) for t in ts for event in custodian.due(int(t))]
    assert [e.ts for _, e in told] == sorted(e.ts for _, e in told) and all(e.ts <= t for t, e in told)
    wanted = [(c, x) for c, p in rules.fx for x in p if ts[0] < x[0] <= ts[-1]]
    assert sorted((e.currency, (e.ts, e.rate)) for _, e in told) == sorted(wanted)
    assert rates_of(rules.fx) == rules.fx and eval(repr(rules)) == rules
