"""The market around a fill and the models that ask it: against pandas, against the authors' own program, and against what may not matter."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from effort import EFFORT
from hypothesis import given
from hypothesis import strategies as st

from qtnb.backtest.calibration import ALL, fit_slippage, fitted_slippage
from qtnb.backtest.impact import AlmgrenCoefficients, AlmgrenImpact, ImpactFeedback, SessionImpact, SquareRootImpact, square_root_impact
from qtnb.backtest.market import BarMarket, corwin_schultz
from qtnb.backtest.slippage import Added, BpsSlippage, BySymbol, HalfSpread, NoSlippage, TickSlippage, VolatilitySlippage, VolumeShareSlippage
from qtnb.core.bars import DAY_NS, FIELDS, Bars, BarsWindow
from qtnb.core.events import CorporateAction
from qtnb.core.protocols import Execution
from qtnb.types import Instrument

OPEN = 14 * 3_600_000_000_000


def intraday(seed: int, *, sessions: int = 8, bars: int = 5, symbols: tuple[str, ...] = ("AAA", "BBB"), gaps: float = 0.15) -> Bars:
    """Sessions of a few bars, with bars that are missing, sessions that are missing, and volumes that nobody knows."""
    random = np.random.default_rng(seed)
    shape = (sessions * bars, len(symbols))
    close = 50.0 * np.exp(np.cumsum(random.normal(0.0, 0.01, shape), axis=0))
    open_ = np.vstack([np.full(shape[1], 50.0), close[:-1]]) * np.exp(random.normal(0.0, 0.003, shape))
    high, low = np.maximum(open_, close) * 1.002, np.minimum(open_, close) * 0.998
    volume = random.integers(0, 5_000, shape).astype(float)
    volume[random.random(shape) < gaps / 2] = np.nan
    arrays = dict(zip(FIELDS, (open_, high, low, close, volume), strict=True))
    away = (random.random(shape) < gaps) | np.repeat(random.random((sessions, shape[1])) < gaps, bars, axis=0)
    for array in arrays.values():
        array[away] = np.nan
    ts = np.repeat(np.arange(sessions) + 19_000, bars) * DAY_NS + OPEN + np.tile(np.arange(1, bars + 1), sessions) * 3_600_000_000_000
    return Bars(ts, symbols, **arrays, interval="1h")


def by_pandas(bars: Bars, row: int, column: int, sessions: int) -> tuple[float, float]:
    """Volatility and average volume of the sessions before, the slow way."""
    frame = pd.DataFrame({n: getattr(bars, n)[:, column] for n in ("close", "volume")} | {"day": bars.session})
    frame = frame[(frame["day"] < bars.session[row]) & frame["close"].notna()]
    days = frame.groupby("day").agg(close=("close", "last"), volume=("volume", lambda v: v.sum(min_count=1)))
    returns = days["close"].pct_change().dropna().iloc[-sessions:]
    volatility = returns.std() if len(returns) >= max(2, sessions // 2) else math.nan
    return float(volatility), float(days["volume"].iloc[-sessions:].mean()) if len(days) else math.nan


@EFFORT
@given(seed=st.integers(0, 10**6), sessions=st.integers(1, 9))
def test_figures_of_the_sessions_before_are_those_of_pandas(seed: int, sessions: int) -> None:
    """At every row of every column, in any order."""
    bars = intraday(seed)
    market = BarMarket(bars)
    rows = np.random.default_rng(seed).permutation(len(bars))[:8]
    for row, column in [(int(r), c) for r in rows for c in (0, 1)]:
        market.at(row, column)
        assert (market.volatility(sessions), market.average_volume(sessions)) == pytest.approx(by_pandas(bars, row, column, sessions), nan_ok=True, rel=1e-9)


@EFFORT
@given(seed=st.integers(0, 10**6), sessions=st.integers(1, 9))
def test_nothing_after_the_fill_matters_and_a_growing_window_tells_the_same(seed: int, sessions: int) -> None:
    """The whole panel, the panel cut off after the fill, and a window that has only seen so far: the same bits."""
    bars = intraday(seed)
    window = BarsWindow(bars.symbols, interval="1h", capacity=4)
    whole, growing = BarMarket(bars), BarMarket(window)
    for row in range(len(bars)):
        window.append(int(bars.ts[row]), [getattr(bars, name)[row].tolist() for name in FIELDS])
        cut = BarMarket(bars[: row + 1])
        for column in (0, 1):
            seen = [
                repr((m.volatility(sessions), m.average_volume(sessions), m.high_low_spread(sessions), m.close, m.volume, m.session, m.spread))
                for m in (whole.at(row, column), growing.at(row, column), cut.at(row, column))
            ]
            assert seen[0] == seen[1] == seen[2]


@EFFORT
@given(seed=st.integers(0, 10**6), ratio=st.sampled_from([0.1, 0.5, 2.0, 7.0]), day=st.integers(1, 7))
def test_a_split_that_is_told_changes_nothing_but_the_unit(seed: int, ratio: float, day: int) -> None:
    """Raw prices with the split told: the volatility of the adjusted ones; volumes and spreads in shares of the day."""
    bars = intraday(seed, gaps=0.0)
    before = (np.arange(len(bars)) < 5 * day)[:, None]
    scale = np.where(before, 1.0, 1.0 / ratio)
    raw = Bars(bars.ts, bars.symbols, **{n: getattr(bars, n) * scale for n in FIELDS[:4]}, volume=bars.volume / scale, interval="1h")
    plain, told = BarMarket(bars), BarMarket(raw)
    for symbol in bars.symbols:
        told.act(CorporateAction(int(bars.ts[5 * day - 1]) + 1, symbol, "split", ratio))
    for row in range(0, len(bars), 3):
        unit = 1.0 if row < 5 * day else ratio
        a, b = plain.at(row, 1), told.at(row, 1)
        assert b.volatility(4) == pytest.approx(a.volatility(4), rel=1e-9, nan_ok=True)
        assert b.average_volume(4) == pytest.approx(a.average_volume(4) * unit, nan_ok=True)
        assert b.high_low_spread(4) == pytest.approx(a.high_low_spread(4) / unit, nan_ok=True, rel=1e-6, abs=1e-12)


def test_a_dividend_is_part_of_the_return() -> None:
    """A price that falls by exactly what is paid has not moved."""
    close = np.array([[100.0], [100.0], [99.0], [99.0], [99.0]])
    bars = Bars(np.arange(5) * DAY_NS + OPEN, ["AAA"], open=close, high=close, low=close, close=close, volume=close)
    market = BarMarket(bars)
    assert market.at(4, 0).volatility(3) > 0.0
    market.act(CorporateAction(int(bars.ts[1]) + 1, "AAA", "dividend", 1.0))
    assert market.at(4, 0).volatility(3) == 0.0


# -- the spread out of highs and lows ------------------------------------------------------------------------------------------


def by_the_authors(high: np.ndarray, low: np.ndarray, close: np.ndarray) -> np.ndarray:
    """The steps of the program that Corwin published with the paper, as array operations; every session has a range."""
    shift = np.where(close[:-1] < low[1:], close[:-1] - low[1:], np.where(close[:-1] > high[1:], close[:-1] - high[1:], 0.0))
    h2, l2, h1, l1 = high[1:] + shift, low[1:] + shift, high[:-1], low[:-1]
    beta = np.log(h2 / l2) ** 2 + np.log(h1 / l1) ** 2
    gamma = np.log(np.maximum(h1, h2) / np.minimum(l1, l2)) ** 2
    const = 3 - 2 * np.sqrt(2)
    alpha = (np.sqrt(2 * beta) - np.sqrt(beta)) / const - np.sqrt(gamma / const)
    return np.maximum(2 * (np.exp(alpha) - 1) / (1 + np.exp(alpha)), 0.0)


@EFFORT
@given(seed=st.integers(0, 10**6))
def test_the_estimate_is_the_authors(seed: int) -> None:
    """Random sessions, with jumps over night."""
    random = np.random.default_rng(seed)
    close = 50.0 * np.exp(np.cumsum(random.normal(0.0, 0.03, 20)))
    high, low = close * np.exp(random.exponential(0.01, 20) + 1e-6), close * np.exp(-random.exponential(0.01, 20) - 1e-6)
    np.testing.assert_allclose(corwin_schultz(high.tolist(), low.tolist(), close.tolist()), by_the_authors(high, low, close), rtol=1e-9, atol=1e-12)


# -- the models ------------------------------------------------------------------------------------------------------------------

BARS = intraday(1, sessions=40, gaps=0.0)
BARS = Bars(BARS.ts, BARS.symbols, **{n: getattr(BARS, n) for n in FIELDS[:4]}, volume=np.full(BARS.close.shape, 1e5), interval="1h")
NOW = BarMarket(BARS, spreads=np.full(BARS.close.shape, 0.03)).at(len(BARS) - 1, 0)
STOCK = Instrument("AAA")
MODELS: list[Any] = [
    NoSlippage(), BpsSlippage(7), TickSlippage(3), HalfSpread(), VolatilitySlippage(0.2), VolumeShareSlippage(),
    SquareRootImpact(0.8), SquareRootImpact(0.8, 0.6), AlmgrenImpact(1e9, days=0.1), Added(HalfSpread(), SquareRootImpact()),
    BySymbol({"AAA": TickSlippage(2)}),
]  # fmt: skip


def trade(sign: int, quantity: float, price: float = 50.0) -> Execution:
    """An execution at the last row of BARS."""
    return Execution(STOCK, sign, quantity, price, int(BARS.ts[-1]))


@EFFORT
@given(model=st.sampled_from(MODELS), quantity=st.floats(1.0, 1e5), more=st.floats(1.0, 10.0))
def test_slippage_goes_against_the_order_alike_on_both_sides_and_never_falls_with_size(model: Any, quantity: float, more: float) -> None:
    """A buyer never pays less than was shown, a seller never gets more, and by the same distance."""
    up, down = model.price(trade(+1, quantity), NOW) - 50.0, 50.0 - model.price(trade(-1, quantity), NOW)
    assert up >= 0.0 and up == pytest.approx(down, abs=1e-9)
    assert model.price(trade(+1, quantity * more), NOW) - 50.0 >= up - 1e-9


@EFFORT
@given(parts=st.lists(st.floats(1.0, 1e4), min_size=1, max_size=8), exponent=st.sampled_from([0.5, 0.6]), sign=st.sampled_from([-1, 1]))
def test_pieces_of_a_session_cost_what_the_whole_costs(parts: list[float], exponent: float, sign: int) -> None:
    """However an order is cut, by SessionImpact; and piece by piece it never costs more than whole."""
    plain = SquareRootImpact(0.9, exponent)
    together = SessionImpact(plain)
    whole = abs(plain.price(trade(sign, sum(parts)), NOW) - 50.0) * sum(parts)
    assert sum(abs(together.price(trade(sign, q), NOW) - 50.0) * q for q in parts) == pytest.approx(whole, rel=1e-9)
    assert sum(abs(plain.price(trade(sign, q), NOW) - 50.0) * q for q in parts) <= whole * (1.0 + 1e-9)


@EFFORT
@given(parts=st.lists(st.floats(1.0, 1e4), min_size=1, max_size=8))
def test_linear_permanent_impact_closes_its_books(parts: list[float]) -> None:
    """Pieces that pay half their own impact and all of the earlier ones pay in sum what the whole pays; a round trip leaves nothing."""
    model = AlmgrenImpact(1e9, days=0.1, coefficients=AlmgrenCoefficients(eta=0.0))
    kept = ImpactFeedback(model)
    paid = sum((kept.price(trade(+1, q), NOW) - 50.0) * q for q in parts)
    assert paid == pytest.approx((model.price(trade(+1, sum(parts)), NOW) - 50.0) * sum(parts), rel=1e-9)
    kept.price(trade(-1, sum(parts)), NOW)
    assert kept.shifts["AAA"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("days", "cost"), [(0.1, 32.22), (0.2, 24.64), (0.5, 18.42)])
def test_the_example_of_almgren_et_al(days: float, cost: float) -> None:
    """Table of the paper: a tenth of the daily volume of IBM."""
    fitted = AlmgrenCoefficients()
    assert round(fitted.permanent(656_100, 6.561e6, 0.0157, 1.728e9) * 1e4, 2) == 19.86
    assert round(fitted.cost(656_100, 6.561e6, 0.0157, 1.728e9, days) * 1e4, 2) == cost


def test_the_square_root_law() -> None:
    """One per cent of the volume at 2 % a day, Y = 1: 20 bp."""
    assert round(square_root_impact(1.0, 100.0, 0.02) * 1e4, 10) == 20.0


# -- calibration -----------------------------------------------------------------------------------------------------------------


@EFFORT
@given(half=st.floats(0.0, 50.0), y=st.floats(0.0, 3.0), exponent=st.sampled_from([0.5, 0.6]), seed=st.integers(0, 10**6))
def test_a_fit_finds_what_made_the_fills(half: float, y: float, exponent: float, seed: int) -> None:
    """Without noise the coefficients come back, and the model made of them prices as the true one."""
    random = np.random.default_rng(seed)
    sigma, share, sign = random.uniform(0.005, 0.05, 40), 10 ** random.uniform(-4, -1, 40), random.choice([-1.0, 1.0], 40)
    cost = half * 1e-4 + y * sigma * share**exponent
    frame = pd.DataFrame({"symbol": "AAA", "side": np.where(sign > 0, "buy", "sell"), "quantity": share * 1e6, "price": 20.0 * (1.0 + sign * cost),
                          "reference": 20.0, "volatility": sigma, "average_volume": 1e6})
    fits = fit_slippage(frame, exponent=exponent)
    assert fits.loc["AAA", "half_spread_bps"] == pytest.approx(half, abs=1e-6)
    assert fits.loc["AAA", "coefficient"] == pytest.approx(y, abs=1e-6)
    assert fits.loc[ALL, "coefficient"] == fits.loc["AAA", "coefficient"]
    true = Added(BpsSlippage(half), SquareRootImpact(y, exponent))
    assert fitted_slippage(fits).price(trade(+1, 500.0), NOW) == pytest.approx(true.price(trade(+1, 500.0), NOW), rel=1e-8)


@EFFORT
@given(seed=st.integers(0, 10**6))
def test_a_fit_is_never_negative_and_its_errors_cover_the_truth(seed: int) -> None:
    """Pure noise around nothing: coefficients at zero or within four of their errors of it."""
    random = np.random.default_rng(seed)
    sigma, share = random.uniform(0.005, 0.05, 200), 10 ** random.uniform(-4, -1, 200)
    frame = pd.DataFrame({"symbol": "AAA", "side": "buy", "quantity": share * 1e6, "price": 20.0 * (1.0 + 0.003 * random.normal(size=200)),
                          "reference": 20.0, "volatility": sigma, "average_volume": 1e6})
    row = fit_slippage(frame).loc["AAA"]
    for value, error in (("half_spread_bps", "half_spread_error"), ("coefficient", "coefficient_error")):
        assert row[value] >= 0.0
        assert math.isnan(row[error]) or row[value] <= 4.5 * row[error]
