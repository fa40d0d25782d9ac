"""Parent orders worked in pieces: arithmetic of the pieces, and whole random back-tests of the algorithms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from effort import EFFORT
from hypothesis import given
from hypothesis import strategies as st
from test_market import intraday

from qtnb.backtest.costs import PerShare
from qtnb.backtest.engine import Backtest
from qtnb.backtest.execution_sim import BarFill
from qtnb.backtest.slippage import BpsSlippage
from qtnb.core.bars import Bars
from qtnb.strategies.base import Strategy
from qtnb.strategies.execution import Algorithm, ChildTerms, Pov, Twap, Vwap, WorkOrders
from qtnb.strategies.execution_report import execution_report, execution_timeline, vwap
from qtnb.strategies.slices import curve_slices, equal_slices, volume_curve
from qtnb.types import Instrument

LOTS = st.sampled_from([1.0, 100.0, 0.001, 0.5, 1e-8])


def in_lots(quantities: list[float], lot: float) -> list[int]:
    """Quantities as whole numbers of lots; fails when one is no such number."""
    lots = [round(q / lot) for q in quantities]
    assert all(abs(n * lot - q) <= 1e-9 * max(q, lot) for n, q in zip(lots, quantities, strict=True))
    return lots


@EFFORT
@given(lots=st.integers(1, 10**6), count=st.integers(1, 50), lot=LOTS)
def test_equal_slices_add_up_and_the_last_takes_the_remainder(lots: int, count: int, lot: float) -> None:
    """n pieces, whole lots, all alike but the last, which is larger by less than n lots."""
    pieces = in_lots(equal_slices(lots * lot, count, lot), lot)
    assert len(pieces) == count
    assert sum(pieces) == lots
    assert set(pieces[:-1]) <= {lots // count}
    assert 0 <= pieces[-1] - lots // count < count


@EFFORT
@given(lots=st.integers(1, 10**6), weights=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40).filter(lambda w: sum(w) > 0.01), lot=LOTS)
def test_curve_slices_add_up_and_stay_within_a_lot_of_the_curve(lots: int, weights: list[float], lot: float) -> None:
    """Never ahead of the curve, never a lot behind it, exactly the whole at the end."""
    curve = np.array(weights) / sum(weights)
    pieces = in_lots(curve_slices(lots * lot, curve, lot), lot)
    assert sum(pieces) == lots
    assert min(pieces) >= 0
    lag = lots * np.cumsum(curve)[:-1] - np.cumsum(pieces)[:-1]
    assert ((lag > -1e-6) & (lag < 1.0 + 1e-6)).all()


@EFFORT
@given(seed=st.integers(0, 10**6), slices=st.sampled_from([1, 5]))
def test_the_curve_of_a_session_is_its_volume(seed: int, slices: int) -> None:
    """One session: the shares themselves; many: they add up to 1, and a scale of the volume does not matter."""
    bars = intraday(seed, symbols=("AAA",), gaps=0.0)
    prices = {n: getattr(bars, n) for n in ("open", "high", "low", "close")}
    bars = Bars(bars.ts, bars.symbols, **prices, volume=np.nan_to_num(bars.volume) + 1.0, interval="1h")
    options: dict[str, Any] = {"hours": ("14:00", "19:00"), "slices": slices, "timezone": "UTC"}
    one = volume_curve(bars[:5], "AAA", **options)
    assert one == pytest.approx(bars.volume[:5, 0].reshape(slices, -1).sum(axis=1) / bars.volume[:5, 0].sum())
    many = volume_curve(bars, "AAA", **options)
    assert many.sum() == pytest.approx(1.0)
    larger = Bars(bars.ts, bars.symbols, **prices, volume=bars.volume * 1024.0, interval="1h")
    assert volume_curve(larger, "AAA", **options) == pytest.approx(many)


# -- whole runs ------------------------------------------------------------------------------------------------------------------


def make(kind: str, quantity: float, bars: Bars, first: int, last: int, slices: int, rate: float, terms: ChildTerms) -> Algorithm:
    """An algorithm that works from one row to another."""
    start, end = int(bars.ts[first]), int(bars.ts[last])
    if kind == "twap":
        return Twap("AAA", quantity, start, end, slices, terms=terms)
    if kind == "vwap":
        weights = np.arange(1, slices + 1) / np.arange(1, slices + 1).sum()
        return Vwap("AAA", quantity, start, end, weights, terms=terms)
    return Pov("AAA", quantity, rate, start=start, end=end, terms=terms)


SCENARIO = {
    "seed": st.integers(0, 10**6),
    "kind": st.sampled_from(["twap", "vwap", "pov"]),
    "quantity": st.integers(1, 4_000).map(float),
    "sign": st.sampled_from([-1.0, 1.0]),
    "span": st.tuples(st.integers(0, 20), st.integers(1, 19)),
    "slices": st.integers(1, 8),
    "rate": st.sampled_from([0.05, 0.2, 1.0]),
    "room": st.sampled_from([None, 0.1, 0.5]),
    "cap": st.sampled_from([None, 0.1, 0.5]),
    "tif": st.sampled_from(["day", "gtc", "ioc"]),
    "limit": st.sampled_from([None, 50.0]),
}


@EFFORT
@given(**SCENARIO)
def test_a_parent_is_never_overdone_and_leaves_nothing_behind(
    seed: int, kind: str, quantity: float, sign: float, span: tuple[int, int], slices: int, rate: float,
    room: float | None, cap: float | None, tif: str, limit: float | None,
) -> None:  # fmt: skip
    """Missing bars, unknown volumes, caps at the venue and of its own, orders that expire: the books of the parent agree with those of the run."""
    bars = intraday(seed)
    first, last = span[0], span[0] + span[1]
    parent = make(kind, sign * quantity, bars, first, last, slices, rate, ChildTerms(limit, cap, tif))  # type: ignore[arg-type]
    result = Backtest(WorkOrders(parent), bars, cash=1e6, costs=PerShare(0.01), fill=BarFill(participation=room), slippage=BpsSlippage(2)).run()
    orders, fills = result.orders, result.fills

    filled = fills["quantity"].sum()
    assert parent.filled == pytest.approx(filled)
    assert filled <= quantity * (1.0 + 1e-9)
    assert [f.exec_id for f in parent.fills] == fills["exec_id"].to_list()
    assert list(parent.children) == orders["client_order_id"].to_list()
    assert result.positions["AAA"].iloc[-1] == pytest.approx(sign * filled)
    assert parent.is_done
    assert parent.in_flight == 0.0
    assert not orders["status"].isin(["accepted", "partially_filled", "submitted", "pending_cancel"]).any()
    if kind != "pov":
        assert len(orders) <= slices
    if len(fills):
        ts = fills["ts"].astype("datetime64[ns, UTC]").astype("int64")
        assert ts.min() > parent.start
        assert ts.max() <= parent.end
    _check_pace(parent, orders, bars, cap, rate, never_ends=tif == "gtc")
    _check_shortfall(parent, result, bars)


def _check_pace(parent: Algorithm, orders: pd.DataFrame, bars: Bars, cap: float | None, rate: float, *, never_ends: bool) -> None:
    """What was ordered never runs ahead of the plan, nor over the cap."""
    ts = orders["ts"].astype("datetime64[ns, UTC]").astype("int64").to_numpy()
    volume = bars.volume[:, 0]
    for when, ordered in zip(ts, orders["quantity"], strict=True):
        row = int(np.searchsorted(bars.ts, when))
        if cap is not None:
            assert ordered <= cap * volume[row] + 1e-9
        assert when < parent.end  # type: ignore[operator]
        if isinstance(parent, Pov):
            plan = rate * np.nansum(volume[(bars.ts > (parent.start or 0)) & (bars.ts <= when)])
        else:
            plan = sum(parent.slices[: int(np.searchsorted(parent.times, when, side="right"))])  # type: ignore[attr-defined]
        earlier = orders[ts <= when]
        assert earlier["filled_quantity"].sum() <= plan + 1e-9
        if never_ends:
            assert earlier["quantity"].sum() <= plan + 1e-9


def _check_shortfall(parent: Algorithm, result: Any, bars: Bars) -> None:
    """Shortfall is the paper portfolio's profit less the real one's: bought whole at the arrival price, valued at the end."""
    report = execution_report(parent, result.fills, bars)
    if not (report.arrival_price > 0.0 and report.end_price > 0.0):
        return
    fills = result.fills
    paper = parent.sign * parent.quantity * (report.end_price - report.arrival_price)
    real = parent.sign * float((fills["quantity"] * (report.end_price - fills["price"])).sum()) - float(fills["fee"].sum())
    assert report.shortfall == pytest.approx(paper - real, abs=1e-6)
    assert report.shortfall == report.execution_cost + report.opportunity_cost + report.fees
    assert repr(report) == repr(execution_report(parent, None, bars))
    assert execution_timeline(parent, None, bars)["filled"].iloc[-1] == pytest.approx(parent.filled)


class HandsOver(Strategy):
    """A strategy that hands its parent to the engine at the start."""

    name = "hands_over"

    def __init__(self, parent: Algorithm):
        super().__init__()
        self.parent = parent

    def on_start(self, ctx: Any) -> None:
        ctx.work(self.parent)

    def on_data(self, ctx: Any, bars: Any) -> None:
        """Nothing more to do."""


@EFFORT
@given(**SCENARIO)
def test_the_engine_calls_an_algorithm_as_a_forwarding_strategy_does(
    seed: int, kind: str, quantity: float, sign: float, span: tuple[int, int], slices: int, rate: float,
    room: float | None, cap: float | None, tif: str, limit: float | None,
) -> None:  # fmt: skip
    """Handed over by `ctx.work` or forwarded by hand: the same fills and the same report."""
    bars, told = intraday(seed), []
    for hand in (HandsOver, WorkOrders):
        parent = make(kind, sign * quantity, bars, span[0], span[0] + span[1], slices, rate, ChildTerms(limit, cap, tif))  # type: ignore[arg-type]
        result = Backtest(hand(parent), bars, cash=1e6, costs=PerShare(0.01), fill=BarFill(participation=room), slippage=BpsSlippage(2)).run()
        told.append((repr(execution_report(parent, None, bars)), result.fills[["ts", "side", "quantity", "price", "fee"]].to_csv(), parent.is_done))
    assert told[0] == told[1]


@EFFORT
@given(seed=st.integers(0, 10**6), quantity=st.integers(8, 4_000).map(float), slices=st.integers(1, 4), kind=st.sampled_from(["twap", "vwap"]))
def test_a_timetable_in_a_full_market_fills_as_planned(seed: int, quantity: float, slices: int, kind: str) -> None:
    """No missing bars and no caps: one fill per slice, of its quantity, at the open of the bar after it came due."""
    bars = intraday(seed, gaps=0.0, bars=9)
    parent = make(kind, quantity, bars, 10, 16, slices, 1.0, ChildTerms())
    result = Backtest(WorkOrders(parent), bars, cash=1e7, fill=BarFill(fill_without_volume=True)).run()
    wanted = [(q, int(np.searchsorted(bars.ts, t)) + 1) for q, t in zip(parent.slices, parent.times, strict=True) if q]  # type: ignore[attr-defined]
    assert result.fills["quantity"].to_list() == [q for q, _ in wanted]
    assert result.fills["price"].to_list() == [float(bars.open[row, 0]) for _, row in wanted]
    assert parent.filled == quantity
    assert execution_report(parent, None, bars).opportunity_cost == 0.0


def test_an_order_along_the_true_volume_pays_the_vwap() -> None:
    """When the typical price is the open and the curve is what happens one bar later, the average price is the VWAP and the cost nothing."""
    volume = np.array([100.0, 400.0, 200.0, 300.0, 500.0])
    price = np.array([10.0, 11.0, 13.0, 12.0, 14.0])
    ts = np.arange(1, 6) * 60_000_000_000 + 1_700_000_000_000_000_000
    column = price[:, None]
    bars = Bars(ts, ["AAA"], open=column, high=column, low=column, close=column, volume=volume[:, None], interval="1m")
    parent = Vwap("AAA", 1_400, int(ts[0]), int(ts[4]), volume[1:] / volume[1:].sum())
    result = Backtest(WorkOrders(parent), bars, cash=1e6).run()
    report = execution_report(parent, result.fills, bars)
    assert report.average_price == vwap(bars, "AAA", since=int(ts[0]), until=int(ts[4]))
    assert report.vwap_cost == 0.0
    assert report.participation == 1.0
    assert report.arrival_price == 10.0
    assert report.schedule_error == 0.0


def test_fractions_of_a_coin_keep_to_their_lots() -> None:
    """A lot of a thousandth: every child a multiple, together the whole."""
    bars = intraday(4, gaps=0.0, symbols=("BTC-USD",))
    parent = Twap("BTC-USD", 1.0, int(bars.ts[5]), int(bars.ts[9]), 3)
    coin = Instrument("BTC-USD", lot_size=0.001, base="BTC")
    result = Backtest(WorkOrders(parent), bars, cash=1e6, instruments=[coin], fill=BarFill(fill_without_volume=True)).run()
    assert result.fills["quantity"].to_list() == [0.333, 0.333, 0.334]
    assert math.fsum(result.fills["quantity"]) == 1.0


def test_two_runs_of_different_parents_are_different_runs() -> None:
    """The parents are part of what tells runs apart; the same ones give the same."""
    bars = intraday(4, gaps=0.0)
    ids = [Backtest(WorkOrders(Twap("AAA", 100, int(bars.ts[5]), int(bars.ts[9]), n)), bars).result_id for n in (2, 3, 2)]
    assert ids[0] == ids[2] != ids[1]
