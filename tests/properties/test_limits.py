"""What must hold of limits whatever the book: a fitted trade breaks none, tightening never leaves more room, and stops follow the account."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from qtnb.risk.limits import (
    BookState,
    ConcentrationLimit,
    CurrencyLimit,
    FactorLimit,
    GrossLimit,
    GroupLimit,
    LargestLimit,
    Limit,
    LiquidityLimit,
    NameLimit,
    NetLimit,
    book_state,
    check,
    effective_names,
    fit_trade,
)
from qtnb.risk.stops import DrawdownStop, LossStop, Pace, ParticipationLimit, TurnoverLimit, begin_course, first_stop, follow, pace_room

NAMES = ["a", "b", "c", "d"]
VALUE = st.floats(-80.0, 80.0).map(lambda x: round(x, 2))
VALUES = st.lists(VALUE, min_size=4, max_size=4)
BOUND = st.floats(0.05, 2.0).map(lambda x: round(x, 3))
GROUPS, LOADINGS = {"a": "x", "b": "x", "c": "y", "d": "y"}, {"a": 1.0, "b": -0.5, "c": 1.4, "d": 0.2}
DAILY = {"a": 100.0, "b": 1000.0, "c": 50.0, "d": 400.0}
KINDS = [
    lambda b: GrossLimit(b), lambda b: NetLimit(-b, b), lambda b: NameLimit(b), lambda b: GroupLimit(b, GROUPS),
    lambda b: GroupLimit(b, GROUPS, kind="net"), lambda b: CurrencyLimit(b), lambda b: FactorLimit(-b, b, LOADINGS),
    lambda b: ConcentrationLimit(b), lambda b: LargestLimit(b, 2), lambda b: LiquidityLimit(10 * b, 0.1, DAILY),
]  # fmt: skip
LIMITS = st.lists(st.tuples(st.sampled_from(KINDS), BOUND).map(lambda p: p[0](p[1])), min_size=1, max_size=4)


def state(values: list[float]) -> BookState:
    """A book of four names, one of them in euros, and a hundred of equity."""
    return book_state(pd.Series(values, NAMES), 100.0, currencies={"b": "EUR"})


def measured(limits: list[Limit], book: BookState) -> list[tuple[str, float, float]]:
    """Every number with its bound."""
    gauges = [limit.gauge(book) for limit in limits]
    return [(name, float(m), float(b)) for g in gauges for name, m, b in zip(g.labels, g.measure(book.values, book.equity, None), g.bounds, strict=True)]


@given(LIMITS, VALUES, st.sampled_from(NAMES), VALUE)
def test_after_a_fitted_trade_no_limit_is_broken(limits: list[Limit], values: list[float], symbol: str, trade: float) -> None:
    """Numbers stay within their bounds, or do not get worse when they were beyond; a part of the trade passes, and never its opposite."""
    before = state(values)
    part, told = fit_trade(limits, before, symbol, trade, parts=1000)
    assert 0.0 <= part * math.copysign(1.0, trade) <= abs(trade) and (part == trade or told)
    moved = list(values)
    moved[NAMES.index(symbol)] += part
    for (name, now, bound), (_, was, _) in zip(measured(limits, state(moved)), measured(limits, before), strict=True):
        assert now <= max(bound, was) + 1e-6, name
    if not check(limits, before):
        assert not check(limits, state(moved))


@given(st.sampled_from(KINDS), BOUND, BOUND, VALUES, st.sampled_from(NAMES), VALUE)
def test_a_tighter_limit_never_lets_more_pass(kind, one: float, other: float, values: list[float], symbol: str, trade: float) -> None:  # noqa: ANN001
    """Of a book within both bounds, the tighter limit leaves at most the room of the wider one, and the book after it has no higher number."""
    low, high = sorted((one, other))
    tight, wide, before = kind(low), kind(high), state(values)
    if check([tight], before):
        return
    parts = [fit_trade([limit], before, symbol, trade, parts=1000)[0] for limit in (tight, wide)]
    assert abs(parts[0]) <= abs(parts[1])
    books = []
    for part in parts:
        moved = list(values)
        moved[NAMES.index(symbol)] += part
        books.append(max(m for _, m, _ in measured([tight], state(moved))))
    assert books[0] <= max(books[1], low) + 1e-6


@given(LIMITS, VALUES, VALUES)
def test_every_number_is_convex_in_the_positions(limits: list[Limit], one: list[float], other: list[float]) -> None:
    """Halfway between two books a number is at most halfway between its values: what the cutting of trades rests on."""
    half = [(a + b) / 2 for a, b in zip(one, other, strict=True)]
    for (_, m, _), (_, a, _), (_, b, _) in zip(measured(limits, state(half)), measured(limits, state(one)), measured(limits, state(other)), strict=True):
        assert m <= (a + b) / 2 + 1e-9


@given(LIMITS, VALUES)
def test_closing_everything_obeys(limits: list[Limit], values: list[float]) -> None:
    """A flat book has no breach, and half of a book has no higher number than the whole."""
    assert check(limits, state([0.0] * 4)) == []
    for (_, half, _), (_, whole, _) in zip(measured(limits, state([v / 2 for v in values])), measured(limits, state(values)), strict=True):
        assert half <= max(whole, 0.0) + 1e-9


@given(st.lists(st.floats(0.01, 5.0), min_size=1, max_size=30))
def test_effective_names_lie_between_one_and_all(weights: list[float]) -> None:
    """One for a single name, N for equal ones."""
    found = effective_names(pd.Series(weights))
    assert 1.0 - 1e-9 <= found <= len(weights) + 1e-9
    assert math.isclose(effective_names(pd.Series([weights[0]] * len(weights))), len(weights))


@given(st.lists(st.tuples(st.floats(50.0, 150.0), st.integers(0, 1), st.floats(-20.0, 20.0)), min_size=1, max_size=25))
def test_the_course_follows_the_account(steps: list[tuple[float, int, float]]) -> None:
    """The peak is the running maximum without deposits; a session begins where the last one ended; deposits alone never stop anything."""
    course, plain, paid, session = begin_course(100.0), [100.0], 0.0, 0
    for equity, new, deposit in steps:
        session, last = session + new, course
        paid += deposit
        course = follow(course, equity + paid, session, session // 5, paid)
        plain.append(equity)
        assert math.isclose(course.peak - paid, max(plain), abs_tol=1e-9)
        if new:
            assert math.isclose(course.session_start, last.equity + deposit, abs_tol=1e-9)
    still = begin_course(100.0)
    for _, new, deposit in steps:
        still = follow(still, still.equity + abs(deposit), still.session + new, 0, still.deposits + abs(deposit))
        assert first_stop([DrawdownStop(0.001), LossStop(0.001)], still) is None


@given(st.floats(0.0, 200.0), st.floats(0.01, 100.0), BOUND, BOUND)
def test_a_tighter_pace_never_lets_more_pass(traded: float, value: float, one: float, other: float) -> None:
    """Room falls with the bound, and what passes keeps the bound or is nothing."""
    low, high = sorted((one, other))
    pace = Pace(traded=traded, equity=100.0, daily_value=500.0)
    for kind in (TurnoverLimit, ParticipationLimit):
        rooms = [pace_room(kind(bound), pace, value)[0] for bound in (low, high)]
        assert 0.0 <= rooms[0] <= rooms[1] <= value
    passed = pace_room(TurnoverLimit(low), pace, value)[0]
    assert passed == 0.0 or traded + passed <= 100.0 * low * (1 + 1e-9) + 1e-9
    assert np.isfinite(passed)
