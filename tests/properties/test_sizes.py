"""What must hold of sizes whatever the targets: they can be paid, fit their lots, keep their side, and the exact ones miss least."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from qtnb.risk.rounding import round_weights
from qtnb.risk.sizing import fixed_fractional, kelly_growth, kelly_weights, volatility_scale
from qtnb.types import Instrument

PRICE = st.floats(0.5, 900.0).map(lambda x: round(x, 2))
LOT = st.sampled_from([1.0, 10.0, 0.1, 0.001])
NAME = st.tuples(st.floats(-0.6, 0.6).map(lambda x: round(x, 3)), PRICE, LOT, st.sampled_from([0.0, 5.0, 200.0]), st.sampled_from(["equity", "future"]))
BOOK = st.lists(NAME, min_size=1, max_size=7)


@settings(max_examples=60, deadline=None)
@given(BOOK, st.floats(100.0, 50_000.0), st.floats(0.0, 0.3))
def test_lots_can_be_paid_and_traded(names: list[tuple[float, float, float, float, str]], equity: float, part: float) -> None:
    """Never more is spent than equity (or the targets) less the reserve; whole lots, on the side of the target, none too small to order."""
    labels = [f"s{k}" for k in range(len(names))]
    weights, prices = pd.Series([n[0] for n in names], labels), pd.Series([n[1] for n in names], labels)
    instruments = {s: Instrument(s, lot_size=n[2], min_notional=n[3], asset_class=n[4]) for s, n in zip(labels, names, strict=True)}
    reserve = part * equity
    books = {m: round_weights(weights, prices, equity, instruments=instruments, reserve=reserve, method=m) for m in ("nearest", "exact")}
    paid = sum(w * equity for w, n in zip(weights, names, strict=True) if n[4] == "equity")
    for book in books.values():
        assert equity - book.cash <= max(equity, paid) - reserve + 1e-6 * equity
        for s in labels:
            quantity, instrument = book.quantities[s], instruments[s]
            assert quantity * weights[s] >= 0.0
            assert math.isclose(quantity / instrument.lot_size, round(quantity / instrument.lot_size), abs_tol=1e-6)
            assert quantity == 0.0 or abs(quantity) * prices[s] >= instrument.min_notional * (1 - 1e-9)
    if books["exact"].is_proven:
        cost = {m: b.error + abs((equity - b.cash) - paid) for m, b in books.items()}
        assert cost["exact"] <= cost["nearest"] * (1 + 1e-6) + 1e-6


@given(st.floats(0.01, 2.0), st.floats(0.01, 2.0), st.floats(0.05, 1.0), st.floats(0.1, 5.0))
def test_more_volatility_is_never_a_larger_position(one: float, other: float, target: float, cap: float) -> None:
    """The scale falls with the forecast, and never passes its cap."""
    low, high = sorted((one, other))
    assert volatility_scale(high, target, cap=cap) <= volatility_scale(low, target, cap=cap) <= cap


@given(st.floats(10.0, 500.0), st.floats(0.3, 0.99), st.floats(0.001, 0.1), st.floats(0.001, 0.1))
def test_less_risk_is_a_smaller_position(entry: float, part: float, one: float, other: float) -> None:
    """The loss at the stop is the share of equity that was asked for, and grows with it."""
    low, high = (fixed_fractional(1e5, entry, entry * part, risk=r) for r in sorted((one, other)))
    assert 0.0 < low <= high and math.isclose(high * entry * (1 - part), max(one, other) * 1e5, rel_tol=1e-9)


@given(st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=3), st.integers(0, 50), st.lists(st.floats(-2, 2), min_size=3, max_size=3))
def test_no_book_grows_faster_than_kelly(mean: list[float], seed: int, other: list[float]) -> None:
    """Every other book grows less than the full one, or as much."""
    roots = np.random.default_rng(seed).normal(0, 0.2, (3, 6))
    covariance = pd.DataFrame(roots @ roots.T + 0.01 * np.eye(3), index=list("abc"), columns=list("abc"))
    aim = pd.Series(mean, list("abc"))
    best = kelly_growth(kelly_weights(aim, covariance), aim, covariance)
    assert kelly_growth(other, aim, covariance) <= best + 1e-9
