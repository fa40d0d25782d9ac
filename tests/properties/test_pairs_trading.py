"""Pairs trading: the weights against a second computation by statsmodels, the rules of a trade, what may not matter, and what is seldom found."""

from __future__ import annotations

from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties.effort import EFFORT
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.multitest import multipletests
from statsmodels.tools import add_constant
from statsmodels.tsa.stattools import coint

from qtnb.backtest.costs import Bps
from qtnb.backtest.engine import Backtest
from qtnb.backtest.slippage import BpsSlippage
from qtnb.backtest.sweep import sweep
from qtnb.core.bars import Bars
from qtnb.core.errors import DataError, ParameterError
from qtnb.data.loader import get_bars
from qtnb.strategies import mr_pairs
from qtnb.strategies.mr_pairs import PairsTrading, form_pairs, pair_distances, pair_sides

pytestmark = pytest.mark.filterwarnings("ignore::qtnb.core.errors.DataWarning")
EAGER: dict[str, Any] = {"formation": 60, "renew": "month", "level": 0.9, "correction": "none", "entry": 1.0, "candidates": 4, "pairs": 3}


def to_bars(close: np.ndarray, symbols: list[str] | None = None) -> Bars:
    """Daily bars of closes."""
    day = pd.date_range("2020-01-01 21:00", periods=len(close), freq="B", tz="UTC").as_unit("ns")
    names = symbols or [f"S{n}" for n in range(close.shape[1])]
    return Bars(day.asi8, names, open=close, high=close, low=close, close=close, volume=np.full(close.shape, 1e6))


def walks(seed: int, rows: int = 252, names: int = 10, gaps: float = 0.0) -> np.ndarray:
    """Random walks, with gaps."""
    random = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(random.normal(0.0, 0.01, (rows, names)), axis=0))
    close[random.random(close.shape) < gaps] = np.nan
    return close


def related(seed: int, rows: int = 252, names: int = 6) -> np.ndarray:
    """The first is 0.9 of the second and a spread with a half-life of four days; the others are walks."""
    close, random = walks(seed, rows, names), np.random.default_rng(seed + 1_000)
    spread = np.zeros(rows)
    for t in range(1, rows):
        spread[t] = 0.84 * spread[t - 1] + random.normal(0.0, 0.01)
    close[:, 0] = 2.0 * close[:, 1] ** 0.9 * np.exp(spread)
    return close


@pytest.fixture(scope="module")
def real() -> Bars:
    """Nine real symbols; one begins later."""
    names = ["AIG", "BAC", "BNO", "EEM", "GOOG", "GOOGL", "IBM", "QQQ", "USO"]
    return Bars.from_frame(get_bars(names, "2011-03-23", "2021-03-31", source="sample", adjust="all"))


# -- the whole strategy, computed once more ---------------------------------------------------------------------------------------------


def plain_sides(score: np.ndarray, entry: float, exit: float, stop: float, longest: int, bridge: int) -> list[float]:
    """The rules of a trade by looking back at each row, without a running state except the trade itself."""
    sides: list[float] = []
    opened: int | None = None
    barred = False
    for t, now in enumerate(score):
        recent = score[max(0, t - bridge) : t + 1]
        lost = len(recent) == bridge + 1 and np.isnan(recent).all()
        if lost:
            opened, barred = None, True
        elif opened is not None:
            away = np.sign(score[opened]) * now
            if away <= exit:
                opened = None
            elif away >= stop or t - opened >= longest:
                opened, barred = None, True
        if not np.isnan(now) and opened is None:
            barred = barred and not abs(now) <= exit
            if not barred and entry <= abs(now) < stop:
                opened = t
        sides.append(0.0 if opened is None else float(np.sign(score[opened])))
    return sides


def plain_choice(prices: pd.DataFrame, candidates: int, most: int, level: float) -> list[tuple[str, str, float, float, float, float]]:
    """Names, ratio, intercept, mean and deviation of the pairs of a window, by Holm's correction."""
    levels = prices / prices.bfill().iloc[0]
    near = sorted(combinations(prices.columns, 2), key=lambda pair: float(((levels[pair[0]] - levels[pair[1]]) ** 2).mean()))[:candidates]
    asked = [order for a, b in near for order in ((a, b), (b, a))]
    logs_of = {order: np.log(prices[list(order)]).dropna() for order in asked}
    p_values = [coint(logs[a], logs[b], maxlag=1, autolag=None)[1] for (a, b), logs in logs_of.items()]
    passed = multipletests(p_values, alpha=level, method="holm")[1] < level
    found: dict[frozenset[str], tuple[str, str, float, float, float, float]] = {}
    for k in np.argsort(p_values, kind="stable"):
        (a, b), logs = asked[k], logs_of[asked[k]]
        fitted = OLS(logs[a], add_constant(logs[b])).fit()
        rest = fitted.resid.to_numpy()
        again = OLS(rest[1:], add_constant(rest[:-1])).fit()
        constant, slope = again.params
        if passed[k] and len(found) < most and frozenset((a, b)) not in found and fitted.params.iloc[1] > 0 and 0 < slope < 1:
            deviation = np.sqrt(again.scale / (1 - slope**2))
            found[frozenset((a, b))] = (a, b, fitted.params.iloc[1], fitted.params.iloc[0], constant / (1 - slope), deviation)
    return list(found.values())


def test_the_weights_of_ten_real_years_are_those_of_a_second_computation(real: Bars) -> None:
    """Distances, tests, regressions, scores, sides and legs once more, by statsmodels and loops."""
    candidates, most, level, exposure = 3, 2, 0.2, 0.8
    table = PairsTrading(candidates=candidates, pairs=most, level=level, exposure=exposure).weights(real)
    closes = pd.DataFrame(real.close, columns=list(real.symbols))
    quarters = real.index.year * 4 + real.index.quarter
    starts = [t for t in range(251, len(real)) if quarters[t] != quarters[t - 1]]
    traded = 0
    for start, end in zip(starts, [*starts[1:], len(real)], strict=True):
        wanted = np.zeros((end - start, len(real.symbols)))
        window = closes.iloc[start - 251 : start + 1]
        window = window.loc[:, window.notna().mean() >= 0.95]  # GOOG begins in April 2014
        for a, b, ratio, intercept, mean, deviation in plain_choice(window, candidates, most, level):
            score = (mean + intercept - np.log(closes[a]) + ratio * np.log(closes[b]))[start:end].to_numpy() / deviation
            side, share = np.array(plain_sides(score, 2.0, 0.5, 4.0, 40, 5)), exposure / most
            wanted[:, real.columns[a]] += side * share / (1 + ratio)
            wanted[:, real.columns[b]] -= side * share * ratio / (1 + ratio)
        stated = pd.DataFrame(table[start:end]).ffill().to_numpy()
        np.testing.assert_allclose(stated, wanted, atol=1e-9)
        traded += int((np.diff(wanted, axis=0) != 0).any(axis=1).sum())
    assert np.isnan(table[: starts[0]]).all() and traded > 30


# -- the rules of a trade ---------------------------------------------------------------------------------------------------------------

SCORES = st.lists(st.one_of(st.floats(-6, 6), st.just(float("nan")), st.sampled_from([-4.0, -2.0, -0.5, 0.5, 2.0, 4.0])), max_size=40)


@EFFORT
@given(SCORES, st.integers(1, 8), st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.9]))
def test_sides_follow_their_rules(values: list[float], longest: int, bridge: int, exit: float) -> None:
    """As the plain rules say; mirrored scores give mirrored sides; the past does not depend on the future."""
    score = np.array(values, dtype=np.float64)
    sides = partial(pair_sides, exit=exit, longest=longest, bridge=bridge)
    found = sides(score)
    assert found.tolist() == plain_sides(score, 2.0, exit, 4.0, longest, bridge)
    assert (sides(-score) == -found).all()
    for cut in range(len(score)):
        assert sides(score[:cut]).tolist() == found[:cut].tolist()


# -- what may not matter ------------------------------------------------------------------------------------------------------------------


@EFFORT
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.02]))
def test_distances_are_mean_squares(seed: int, gaps: float) -> None:
    """Pair by pair, over the rows at which both are known."""
    prices = pd.DataFrame(walks(seed, 60, 5, gaps))
    table = pair_distances(prices)
    fit = [n for n in prices if prices[n].notna().iloc[-1] and prices[n].notna().mean() >= 0.95]
    assert len(table) == len(fit) * (len(fit) - 1) // 2 and table["distance"].is_monotonic_increasing
    for left, right, distance in table.itertuples(index=False):
        one, other = (prices[n] / prices[n].dropna().iloc[0] for n in (left, right))
        assert distance == pytest.approx(float(((one - other) ** 2).mean()), rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_units_and_order_of_the_names_do_not_matter(seed: int) -> None:
    """Prices in other currencies, and columns in another order, give the same pairs, and weights that are moved with their columns."""
    close, order = related(seed, 300), np.random.default_rng(seed).permutation(6)
    plain = to_bars(close)
    scaled = to_bars(close * np.array([1.0, 7.0, 0.1, 3.0, 100.0, 1e-3]))
    mixed = to_bars(close[:, order], [plain.symbols[n] for n in order])
    table = PairsTrading(**EAGER).weights(plain)
    assert (np.nan_to_num(table) != 0.0).sum() > 20
    np.testing.assert_allclose(PairsTrading(**EAGER).weights(scaled), table, atol=1e-9)
    np.testing.assert_allclose(PairsTrading(**EAGER).weights(mixed), table[:, order], atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_the_future_does_not_matter_with_gaps(seed: int) -> None:
    """Every prefix of a panel with holes gives the weights that the whole gives there; exposure stays within its share."""
    bars, strategy = to_bars(walks(seed, 150, 5, 0.03)), PairsTrading(**EAGER)
    whole = strategy.weights(bars)
    assert (np.nan_to_num(whole) != 0.0).sum() > 10
    for cut in range(1, len(bars), 3):
        np.testing.assert_array_equal(strategy.weights(bars[:cut]), whole[:cut])
    stated = pd.DataFrame(whole).ffill().fillna(0.0).abs().sum(axis=1)
    assert stated.max() <= 0.95 + 1e-12


# -- what is found ------------------------------------------------------------------------------------------------------------------------


def test_related_prices_are_found_and_walks_seldom() -> None:
    """Of forty panels: the pair that is there in most of them, any pair among walks in few, and in many without a correction."""
    panels = [pd.DataFrame(walks(seed)) for seed in range(40)]
    false = sum(bool(form_pairs(p)) for p in panels)
    naive = sum(bool(form_pairs(p, correction="none")) for p in panels)
    true = sum(any({p.left, p.right} == {0, 1} for p in form_pairs(pd.DataFrame(related(seed)), candidates=15)) for seed in range(40))
    assert false <= 5 and naive >= 12 and true >= 24, (false, naive, true)


@pytest.mark.parametrize("seed", range(3))
def test_a_pair_that_is_there_earns_money_after_costs(seed: int) -> None:
    """A spread that returns pays; two walks, forced into a pair, do not on average."""
    terms: dict[str, Any] = {"cash": 1_000_000.0, "costs": Bps(2), "slippage": BpsSlippage(1.0)}
    bars = to_bars(related(seed, 1_000, 2))
    result = Backtest(PairsTrading(pairs=1), bars, **terms).run()
    assert len(result.fills) > 20 and result.metrics["sharpe"] > 1.0


def test_walks_that_are_forced_into_pairs_earn_nothing() -> None:
    """Twenty accounts that trade walks as if they were pairs: no gain before costs beyond three standard errors."""
    gains = [Backtest(PairsTrading(**EAGER), to_bars(walks(seed, 400, 3))).run().metrics["total_return"] for seed in range(20)]
    assert len(set(gains)) == 20 and np.mean(gains) < 3 * np.std(gains) / np.sqrt(20)


# -- choices are made once ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of windows that were searched."""
    calls: list[int] = []

    def counting(prices: pd.DataFrame, **terms: Any) -> Any:
        calls.append(len(prices))
        return form_pairs(prices, **terms)

    monkeypatch.setattr(mr_pairs, "form_pairs", counting)
    return calls


def test_a_window_is_searched_once(counted: list[int]) -> None:
    """Bar by bar as at once; again when a price of the window has changed; once for all thresholds of a sweep."""
    close = related(0, 200)
    bars, strategy = to_bars(close), PairsTrading(**EAGER)
    periods = len(strategy.formations(bars)["ts"].unique())
    assert len(counted) == periods > 4
    for cut in range(2, 200, 9):
        strategy.weights(bars[:cut])
    assert len(counted) == periods
    close[10, 3] *= 1.001
    strategy.weights(to_bars(close))
    windows = [row for row in np.flatnonzero(np.diff(bars.index.month)) + 1 if row >= 59]
    assert len(counted) - periods == sum(row - 59 <= 10 for row in windows)
    counted.clear()
    plan = {name: [value] for name, value in EAGER.items()} | {"entry": [1.0, 1.5, 2.0], "longest": [10, 20]}
    assert len(sweep(PairsTrading, plan, bars, executor="threads", progress=False).table) == 6 and len(counted) == periods


# -- what does not fit ------------------------------------------------------------------------------------------------------------------------


WRONG: list[dict[str, Any]] = [
    {"exit": 2.0}, {"entry": 4.0}, {"stop": 2.0}, {"exit": -0.1}, {"formation": 10}, {"renew": "fortnight"}, {"level": 0.0}, {"level": 1.0},
    {"correction": "holms"}, {"bridge": -1}, {"pairs": 0}, {"stop": float("nan")},
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_parameters_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    """With the name of the parameter, or the rule that binds several."""
    with pytest.raises(ParameterError, match=f"{next(iter(wrong))}|must rise"):
        PairsTrading(**wrong)


def test_prices_that_do_not_fit_are_refused() -> None:
    """No frame, one name, one name twice, infinite prices, rows out of order, one symbol."""
    good = pd.DataFrame(walks(0, 60, 3), columns=list("ABC"))
    for prices, words in ((good.to_numpy(), "ndarray"), (good[["A"]], "two names"), (good[["A", "A"]], "each name once"),
                          (good.replace(good.iloc[3, 0], np.inf), "infinite"), (good.iloc[::-1], "does not rise")):  # fmt: skip
        with pytest.raises(DataError, match=words):
            form_pairs(prices)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="load at least two"):
        Backtest(PairsTrading(), to_bars(walks(0, 300, 1))).run()


@pytest.mark.parametrize("what", ["all missing", "constant", "zero", "identical", "scaled"])
def test_columns_without_anything_to_trade_are_passed_over(what: str) -> None:
    """Two odd columns beside a pair: nothing is traded in them, and the pair is found as without them."""
    close = related(3, 320, 2)
    odd = {"all missing": np.full((320, 2), np.nan), "constant": np.full((320, 2), 5.0), "zero": np.zeros((320, 2)),
           "identical": np.repeat(walks(9, 320, 1), 2, axis=1), "scaled": walks(9, 320, 1) * [1.0, 3.0]}[what]  # fmt: skip
    terms: dict[str, Any] = {"candidates": 10, "level": 0.99, "correction": "none", "pairs": 1, "entry": 1.0}
    alone, beside = PairsTrading(**terms).weights(to_bars(close)), PairsTrading(**terms).weights(to_bars(np.c_[close, odd]))
    assert np.nan_to_num(alone).any()
    if what in ("identical", "scaled"):  # each of the two may still be paired with others; with one another never
        formed = PairsTrading(**{**terms, "pairs": 5}).formations(to_bars(np.c_[close, odd]))
        assert not any({a, b} == {"S2", "S3"} for a, b in zip(formed["left"], formed["right"], strict=True))
    else:
        np.testing.assert_array_equal(beside[:, :2], alone)
        assert not np.nan_to_num(beside[:, 2:]).any()
