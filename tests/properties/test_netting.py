"""Books of several strategies add up, plans are the best of what is allowed, and rules of rebalancing are what a plain loop says."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from qtnb.backtest.attribution import attribute, split_position
from qtnb.backtest.costs import PerShare
from qtnb.backtest.engine import Backtest
from qtnb.backtest.slippage import BpsSlippage
from qtnb.core.bars import Bars
from qtnb.portfolio.allocators import DrawdownCut, FixedShares, InverseVolatilityShares, PerformanceShares, RiskParityShares, share_path
from qtnb.portfolio.constraints import Box, Budget, LongOnly, Turnover
from qtnb.portfolio.multi_period import multi_period
from qtnb.portfolio.rebalancing import DriftBand, EveryRows, Partly, drift, simulate_rebalancing
from qtnb.strategies.allocated import Allocated
from qtnb.strategies.base import WeightStrategy


class Told(WeightStrategy):
    """Wants what a table says."""

    def __init__(self, table: np.ndarray):
        """Keep the table, (T, N), NaN where nothing is decided."""
        super().__init__()
        self.wanted = table

    def weights(self, bars: Bars) -> np.ndarray:
        """The rows of the table that there are bars for."""
        return self.wanted[: len(bars)].copy()


def made(rng: np.random.Generator, rows: int, size: int, gaps: float) -> Bars:
    """Random bars; an asset may lack bars here and there."""
    close = 50.0 * np.cumprod(1.0 + rng.normal(size=(rows, size)) * 0.03, axis=0)
    open_ = close * (1.0 + rng.normal(size=(rows, size)) * 0.01)
    high, low = np.maximum(open_, close) * 1.001, np.minimum(open_, close) * 0.999
    hole = rng.random((rows, size)) < gaps
    parts = {name: np.where(hole, np.nan, values) for name, values in (("open", open_), ("high", high), ("low", low), ("close", close))}
    days = pd.date_range("2020-01-01 21:00", periods=rows, freq="B", tz="UTC").as_unit("ns")
    return Bars(days.asi8, [f"S{n}" for n in range(size)], volume=np.where(hole, np.nan, 1e6), **parts)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), members=st.integers(1, 4), size=st.integers(1, 4), gaps=st.sampled_from([0.0, 0.1]), cash=st.sampled_from([2e4, 1e6]))
def test_the_strategies_of_a_book_add_up(seed: int, members: int, size: int, gaps: float, cash: float) -> None:
    """Profits to the account at every bar, fees to the fees, positions to the positions, whatever is wanted."""
    rng = np.random.default_rng(seed)
    bars = made(rng, 60, size, gaps)
    wanted = {}
    for member in range(members):
        table = rng.uniform(-0.6, 0.9, (60, size))
        table[rng.random(60) < 0.8] = np.nan
        wanted[f"M{member}"] = Told(table)
    share = dict.fromkeys(wanted, 1.0 / members)
    book = Allocated(wanted, FixedShares(share), every="week")
    result = Backtest(book, bars, cash=cash, costs=PerShare(0.01, minimum=1.0), slippage=BpsSlippage(3.0)).run()
    found = attribute(result, book.parts(bars), bars)
    assert np.abs(found.profit.sum(axis=1) - (result.equity - cash)).max() < 1e-9 * cash
    assert abs(found.fees.sum() - result.fills["fee_base"].sum()) < 1e-9 * cash
    together = found.positions.T.groupby("symbol").sum().T
    for symbol in result.positions.columns:
        assert np.abs(together[symbol] - result.positions[symbol]).max() < 1e-9 * cash
    assert found.crossed >= -1e-9


@given(position=st.floats(-1e6, 1e6), wishes=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6))
def test_a_split_sums_to_the_position(position: float, wishes: list[float]) -> None:
    """Whatever the wishes were."""
    found = split_position(position, np.array(wishes), np.zeros(len(wishes)))
    assert abs(found.sum() - position) <= 1e-9 * (1.0 + abs(position) + np.abs(wishes).sum())


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(2, 6), width=st.floats(0.01, 0.3), fraction=st.floats(0.1, 1.0), every=st.integers(1, 10))
def test_rebalancing_is_what_a_plain_loop_says(seed: int, size: int, width: float, fraction: float, every: int) -> None:
    """In money rather than in weights: units, prices, cash, and a fee."""
    rng = np.random.default_rng(seed)
    returns = pd.DataFrame(rng.normal(size=(50, size)) * 0.05)
    target = rng.dirichlet(np.ones(size))
    for rule, due in (
        (DriftBand(width), lambda row, last, held: bool((np.abs(held - target) > width + 1e-12).any())),
        (EveryRows(every), lambda row, last, held: row - last >= every),
        (Partly(EveryRows(every), fraction), lambda row, last, held: row - last >= every),
    ):
        found = simulate_rebalancing(returns, pd.Series(target), rule, costs=0.002)
        money, cash, last, values = np.zeros(size), 1.0, -1, []
        for row in range(50):
            money = money * (1.0 + returns.iloc[row].to_numpy())
            total = money.sum() + cash
            held = money / total
            if last < 0 or due(row, last, held):
                share = 1.0 if last < 0 or not isinstance(rule, Partly) else fraction
                new = held + share * (target - held)
                total *= 1.0 - 0.002 * np.abs(new - held).sum()
                money, cash, last = new * total, (1.0 - new.sum()) * total, row
            values.append(money.sum() + cash)
        assert np.abs((1.0 + found.returns).cumprod().to_numpy() / np.array(values) - 1.0).max() < 1e-12


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), size=st.integers(2, 5), periods=st.integers(1, 4), cost=st.sampled_from([0, 0.001, 0.01]), cap=st.sampled_from([0, 0.1]))
def test_no_allowed_plan_is_better(seed: int, size: int, periods: int, cost: float, cap: float) -> None:
    """Random plans that obey the constraints, and doing nothing, have an objective at least as large; the answer obeys them itself."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size + 3, size)) * 0.02
    covariance, guess = pd.DataFrame(root.T @ root), pd.DataFrame(rng.normal(size=(periods, size)) * 0.01)
    held = rng.dirichlet(np.ones(size)) * 0.5 + 0.5 / size
    rules = [LongOnly(), Budget(), Box(high=0.95), *([Turnover(cap)] if cap else [])]
    plan = multi_period(guess, covariance, 2.0, held=pd.Series(held), costs=cost, constraints=rules)

    def worth(path: np.ndarray) -> float:
        trades = np.abs(np.diff(np.vstack([held, path]), axis=0)).sum()
        return float(sum(w @ covariance.to_numpy() @ w - g @ w for w, g in zip(path, guess.to_numpy(), strict=True)) + cost * trades)

    best = worth(plan.weights.to_numpy())
    assert abs(best - plan.first.objective) < 1e-9
    assert plan.first.residual < 1e-8
    others = [np.repeat(held[None, :], periods, axis=0)]
    for _ in range(30):
        step = rng.dirichlet(np.ones(size)) - held
        size_of = np.abs(step).sum()
        step *= min(1.0, (cap / size_of) if cap and size_of > 0 else 1.0) * rng.uniform()
        others.append(np.repeat((held + step)[None, :], periods, axis=0))
    assert all(best <= worth(other) + 1e-9 for other in others if other.max() <= 0.95)
    for now, before in zip(plan.weights.to_numpy(), np.vstack([held, plan.weights.to_numpy()[:-1]]), strict=True):
        assert now.min() > -1e-9
        assert now.max() < 0.95 + 1e-7
        assert abs(now.sum() - 1.0) < 1e-7
        assert not cap or np.abs(now - before).sum() < cap + 1e-6


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 5), at=st.integers(0, 199), floor=st.floats(0.0, 0.2), every=st.integers(1, 30))
def test_shares_are_shares_and_see_no_future(seed: int, size: int, at: int, floor: float, every: int) -> None:
    """At least 0, at most 1 in sum, within floor and cap, and the same whatever comes at the row or after it."""
    rng = np.random.default_rng(seed)
    returns = pd.DataFrame(rng.normal(size=(200, size)) * 0.01)
    other = returns.copy()
    other.iloc[at:] = rng.normal(size=(200 - at, size)) * 0.05
    kinds = [InverseVolatilityShares(30), RiskParityShares(30), PerformanceShares(floor=floor, warm_up=30), DrawdownCut(PerformanceShares(floor=floor), 0.05)]
    for kind in kinds:
        path = share_path(returns, kind, every)
        assert path.min(axis=None) >= 0.0
        assert path.sum(axis=1).max() <= 1.0 + 1e-9
        assert share_path(other, kind, every).iloc[: at + 1].equals(path.iloc[: at + 1])
        if isinstance(kind, PerformanceShares):
            assert path.min(axis=None) >= floor - 1e-12


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 3), change=st.sampled_from(["nothing", "price", "decision"]))
def test_a_book_that_goes_on_bar_by_bar_is_the_book_of_the_whole_panel(seed: int, size: int, change: str) -> None:
    """Tracks that go on from where they were, or begin again when the past has changed, give the bits of a fresh book."""
    rng = np.random.default_rng(seed)
    bars, wanted = made(rng, 70, size, 0.05), {}
    for member in range(2):
        table = rng.uniform(-0.6, 0.9, (70, size))
        table[rng.random(70) < 0.7] = np.nan
        wanted[f"M{member}"] = Told(table)
    going = Allocated(wanted, PerformanceShares(), every="week", cost_bps=10.0)
    for rows in (40, 41, 55, 30, 69):
        fresh = Allocated(wanted, PerformanceShares(), every="week", cost_bps=10.0)
        assert np.array_equal(going.weights(bars[:rows]), fresh.weights(bars[:rows]), equal_nan=True)
    if change == "price":
        bars = made(np.random.default_rng(seed + 1), 70, size, 0.05)
    elif change == "decision":
        wanted["M0"].wanted[20] = 0.123
    assert np.array_equal(going.weights(bars), Allocated(wanted, PerformanceShares(), every="week", cost_bps=10.0).weights(bars), equal_nan=True)


def test_one_function_drifts_weights() -> None:
    """A book without trades is worth what its parts are worth."""
    rng = np.random.default_rng(3)
    held, moves = rng.dirichlet(np.ones(5)) * 0.8, rng.normal(size=(40, 5)) * 0.03
    values, worth = held.copy(), 1.0
    for row in moves:
        values = values * (1.0 + row)
        held, gain = drift(held, row)
        worth *= 1.0 + gain
    assert np.allclose(held * worth, values, rtol=1e-13) and abs(worth - (values.sum() + 0.2)) < 1e-14
