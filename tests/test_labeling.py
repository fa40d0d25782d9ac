"""Labels against slow plain-Python references written from their definitions, against statsmodels, and against published numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.api import OLS, add_constant

from qtnb.core.errors import DataError, ParameterError
from qtnb.features.labeling.events import at_events
from qtnb.features.labeling.forward_returns import forward_labels, forward_returns, scaled_forward_returns
from qtnb.features.labeling.meta import meta_labels
from qtnb.features.labeling.trend_scanning import trend_scanning
from qtnb.features.labeling.triple_barrier import Barriers, triple_barrier
from qtnb.features.labeling.uniqueness import average_uniqueness, concurrency
from qtnb.features.labeling.weights import draw_chances, return_attribution, sequential_bootstrap, time_decay

DAYS = pd.bdate_range("2023-01-02", periods=90, tz="UTC")


def _panels(seed: int, gaps: bool = True) -> dict[str, pd.DataFrame]:
    "Closes with gaps, highs, lows, a volatility and a side; prices on a grid of a half, so that barriers are met exactly too."
    rng = np.random.default_rng(seed)
    close = np.round(2 * (60 + np.cumsum(rng.normal(0, 1.0, (len(DAYS), 3)), axis=0))) / 2
    if gaps:
        close[rng.random(close.shape) < 0.08] = np.nan
    high, low = close + rng.choice([0, 0.5, 1.5, 4.0], close.shape), close - rng.choice([0, 0.5, 1.5, 4.0], close.shape)
    scale = rng.uniform(0.005, 0.04, close.shape)
    scale[rng.random(close.shape) < 0.05] = np.nan
    scale[rng.random(close.shape) < 0.05] = 0.0
    side = rng.choice([-1.0, 0.0, 1.0, np.nan, 0.3], close.shape)
    return {name: pd.DataFrame(values, DAYS, list("ABC")) for name, values in dict(close=close, high=high, low=low, scale=scale, side=side).items()}


# -- triple barrier ---------------------------------------------------------------------------------------------------------


def _slow_barrier(panels: dict[str, pd.DataFrame], rule: Barriers, start: int, symbol: str, *, scaled: bool, sided: bool, barred: bool) -> tuple[Any, ...]:
    "Row of the end, return, label and touch of one event, by the words of the notebook; None for no label."
    close, none = panels["close"][symbol].tolist(), (None, None, None, None)
    side = panels["side"][symbol].iloc[start] if sided else 1.0
    width = panels["scale"][symbol].iloc[start] if scaled else 1.0
    entry = close[start]
    if math.isnan(entry) or math.isnan(side) or side == 0 or math.isnan(width) or width == 0:
        return none
    side = 1 if side > 0 else -1
    if rule.horizon is None:
        until = 10**9
    elif isinstance(rule.horizon, pd.Timedelta):
        until = next((k for k, day in enumerate(DAYS) if day >= DAYS[start] + rule.horizon), 10**9)
    else:
        until = start + rule.horizon
    seen = None
    for t in range(start + 1, len(close)):
        if t > until:
            break
        if math.isnan(close[t]):
            continue
        seen = t
        top = panels["high"][symbol].iloc[t] if barred else close[t]
        bottom = panels["low"][symbol].iloc[t] if barred else close[t]
        best, worst = (top, bottom) if side > 0 else (bottom, top)
        if rule.stop is not None:
            level = entry * (1 - rule.stop * width) if side > 0 else entry * (1 + rule.stop * width)
            if (worst <= level) if side > 0 else (worst >= level):
                exit_price = min(level, top) if side > 0 else max(level, bottom)
                return t, side * (exit_price / entry - 1), -1.0, "stop"
        if rule.target is not None:
            level = entry * (1 + rule.target * width) if side > 0 else entry * (1 - rule.target * width)
            if (best >= level) if side > 0 else (best <= level):
                exit_price = max(level, bottom) if side > 0 else min(level, top)
                return t, side * (exit_price / entry - 1), 1.0, "target"
    if seen is None or (seen != until and rule.unfinished == "missing"):
        return none
    gained = side * (close[seen] / entry - 1)
    return seen, gained, (0.0 if rule.expired == "zero" else float(np.sign(gained))), "time"


RULES = [
    Barriers(1.0, 1.0, 10),
    Barriers(2.0, 0.5, 15, expired="zero"),
    Barriers(None, 1.5, 12, unfinished="last"),
    Barriers(1.5, None, pd.Timedelta(days=14)),
    Barriers(None, None, 7),
    Barriers(3.0, 3.0, None, unfinished="last"),
    Barriers(1.0, 2.0, 500),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize(("scaled", "sided", "barred"), [(True, False, False), (True, True, False), (True, False, True), (True, True, True)])
def test_every_label_is_that_of_the_slow_reference(rule: Barriers, scaled: bool, sided: bool, barred: bool) -> None:
    """540 events per case, with gaps, both sides, closes and bars."""
    touches = set()
    for seed in range(2):
        panels = _panels(seed)
        more = {"side": panels["side"]} if sided else {}
        more |= {"high": panels["high"], "low": panels["low"]} if barred else {}
        labels = triple_barrier(panels["close"], rule, scale=panels["scale"], events=[(day, s) for day in DAYS for s in "ABC"], **more)
        records = iter(labels.to_dict("records"))
        for start, day in enumerate(DAYS):
            for symbol in "ABC":
                row = next(records)
                end, gained, label, touch = _slow_barrier(panels, rule, start, symbol, scaled=scaled, sided=sided, barred=barred)
                assert (row["symbol"], row["t0"]) == (symbol, day)
                if end is None:
                    assert all(pd.isna(row[name]) for name in ("t1", "return", "label", "touch")), row
                    continue
                touches.add(touch)
                assert (row["t1"], row["touch"], row["label"]) == (DAYS[end], touch, label), row
                assert row["return"] == pytest.approx(gained, rel=1e-12, abs=1e-15)
    timed = not barred and rule.horizon != 500  # the bars are wide, so that horizontal barriers come first
    assert touches >= ({"time"} if timed else set()) | ({"target"} if rule.target else set()) | ({"stop"} if rule.stop else set())


def test_a_price_at_the_barrier_touches_it() -> None:
    """64 with a width of 1/32 has its barriers at 62 and 66 to the bit; one tick nearer nothing happens. Closes and bars, long and short."""
    rule, flat = Barriers(1 / 32, 1 / 32, 1, expired="zero"), np.array([64.0, 64.0])
    for price, label in [(66.0, 1.0), (65.99, 0.0), (62.0, -1.0), (62.01, 0.0)]:
        path = np.array([64.0, price])
        assert triple_barrier(path, rule, events=[0])["label"].tolist() == [label]
        assert triple_barrier(path, rule, events=[0], side=-np.ones(2))["label"].tolist() == [-label]
        bars = {"high": np.maximum(path, flat), "low": np.minimum(path, flat)}
        assert triple_barrier(flat, rule, events=[0], **bars)["label"].tolist() == [label]
        assert triple_barrier(flat, rule, events=[0], side=-np.ones(2), **bars)["label"].tolist() == [-label]


def test_the_stop_multiple_works_without_a_side() -> None:
    """A known defect elsewhere: without a side only the target's multiple was used."""
    path = np.array([100.0, 98.0, 94.0, 106.0])
    near, far = (triple_barrier(path, Barriers(0.05, stop, 3), events=[0])["touch"].tolist() for stop in (0.05, 0.20))
    assert near == ["stop"] and far == ["target"]


# Rows from t0 to t1 by mlfinpy 0.1.2, get_events with pt_sl=[3, 2], target 0.01, a vertical barrier of 21 days and a side, on the path below
MLFINPY_ROWS = {
    1.0: [
        12, 9, 6, 3, 3, 15, 7, 9, 4, 15, 12, 9, 6, 7, 5, 2, 13, 10, 15, 3, 7, 4, 13, 10, 15, 15, 13, 3, 5, 15, 15, 12, 3, 9, 4, 3, 10, 7, 5, 4, 6, 3,
        4, 7, 4, 9, 6, 7, 2, 8, 5, 5, 3, 11, 8, 7, 5, 10, 4, 2,
    ],
    -1.0: [
        7, 4, 6, 4, 5, 9, 3, 15, 8, 15, 9, 6, 3, 4, 4, 2, 15, 15, 13, 4, 7, 4, 8, 5, 7, 4, 1, 10, 3, 4, 15, 15, 3, 15, 6, 15, 9, 6, 4, 2, 8, 6, 10, 7,
        3, 2, 3, 14, 4, 11, 8, 6, 3, 10, 7, 5, 2, 15, 7, 4,
    ],
}


def test_another_library_ends_labels_in_the_same_rows() -> None:
    """With a side mlfinpy agrees (without one it takes the target's multiple for the stop); its numbers were written down by a run of it."""
    days = pd.bdate_range("2020-01-01", periods=200)
    path = pd.Series(100 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.01, 200))), days)
    for side, rows in MLFINPY_ROWS.items():
        labels = triple_barrier(path, Barriers(0.03, 0.02, pd.Timedelta(days=21)), events=days[:180:3], side=pd.Series(side, days))
        assert (days.get_indexer(labels["t1"]) - days.get_indexer(labels["t0"])).tolist() == rows


def test_a_label_past_the_end_is_missing_and_not_cut_short() -> None:
    """No method gives a truncated label unless it is asked to."""
    close = _panels(3, gaps=False)["close"]
    for labels in (triple_barrier(close, Barriers(None, None, 10)), forward_labels(close, 10), trend_scanning(close, 5, 11)):
        late = labels["t0"] >= DAYS[80]
        assert labels[late][["t1", "return", "label"]].isna().all(axis=None) and late.sum() == 30
        assert labels[~late][["t1", "return"]].notna().all(axis=None)
    asked = triple_barrier(close, Barriers(None, None, 10, unfinished="last"))
    assert (asked[asked["t0"].between(DAYS[80], DAYS[88])]["t1"] == DAYS[-1]).all()
    assert asked[asked["t0"] == DAYS[-1]]["t1"].isna().all()


def test_a_future_after_the_end_changes_no_label() -> None:
    """What comes after `t1` is no part of a label, so cutting the data there leaves it as it was."""
    panels = _panels(5)
    labels = triple_barrier(panels["close"], Barriers(2.0, 2.0, 12), scale=panels["scale"], high=panels["high"], low=panels["low"])
    for cut in (30, 60):
        part = {name: panel.iloc[:cut] for name, panel in panels.items()}
        again = triple_barrier(part["close"], Barriers(2.0, 2.0, 12), scale=part["scale"], high=part["high"], low=part["low"])
        done = labels[(labels["t1"] <= DAYS[cut - 1]) & labels["t1"].notna()].reset_index(drop=True)
        pd.testing.assert_frame_equal(again.dropna().reset_index(drop=True), done)


# -- forward returns, meta-labels -------------------------------------------------------------------------------------------


def test_forward_returns_by_a_plain_loop() -> None:
    """Plain and scaled, with gaps, and the labels made of them."""
    panels = _panels(11)
    close, scale = panels["close"], panels["scale"]
    plain, scaled = forward_returns(close, 4), scaled_forward_returns(close, scale, 4)
    labels = forward_labels(close, 4, threshold=0.8, scale=scale, events=[(day, s) for day in DAYS for s in "ABC"]).set_index(["t0", "symbol"])
    for t, day in enumerate(DAYS):
        for s in "ABC":
            later = close[s].iloc[t + 4] if t + 4 < len(DAYS) else math.nan
            gained, width = later / close[s].iloc[t] - 1, scale[s].iloc[t]
            unit = gained / (width * 2) if width > 0 else math.nan
            assert plain[s].iloc[t] == pytest.approx(gained, nan_ok=True) and scaled[s].iloc[t] == pytest.approx(unit, nan_ok=True)
            expected = math.nan if math.isnan(unit) else float(np.sign(gained)) if abs(gained) > 0.8 * width * 2 else 0.0
            assert labels.loc[(day, s), "label"] == pytest.approx(expected, nan_ok=True)


def test_meta_labels_ask_whether_the_bet_paid() -> None:
    """1 above the cost, 0 at or below it, and nothing else is changed."""
    labels = pd.DataFrame({"t0": range(4), "t1": [1, 2, 3, np.nan], "return": [0.02, 0.01, -0.01, np.nan], "side": [1.0, -1.0, 1.0, 1.0]})
    assert meta_labels(labels)["label"].tolist()[:3] == [1.0, 1.0, 0.0]
    judged = meta_labels(labels, cost=0.01)
    assert judged["label"].tolist()[:3] == [1.0, 0.0, 0.0] and np.isnan(judged["label"].iloc[3])
    pd.testing.assert_frame_equal(judged.drop(columns="label"), labels)


# -- trend scanning ---------------------------------------------------------------------------------------------------------


def test_trend_scanning_is_statsmodels_ols() -> None:
    """Lopez de Prado, Machine Learning for Asset Managers, snippets 5.1 and 5.2: all windows by statsmodels, prices near 1 and near a million."""
    rng = np.random.default_rng(17)
    for level in (0.0, 1e6):
        path = level + 5 + np.cumsum(rng.normal(0, 1, 45))
        labels = trend_scanning(path, 4, 12)
        for start in range(0, 34, 3):
            values = {n: OLS(path[start : start + n] - level, add_constant(np.arange(n))).fit().tvalues[1] for n in range(4, 13)}
            winner = max(values, key=lambda n: abs(values[n]))
            row = labels.iloc[start]
            assert row["t_value"] == pytest.approx(values[winner], rel=1e-6 if level else 1e-9)
            assert (row["trend_end"], row["t1"], row["label"]) == (start + winner - 1, start + 11, np.sign(values[winner]))
        assert labels["label"].iloc[34:].isna().all()


def test_the_end_of_a_scanned_label_covers_all_that_it_looked_at() -> None:
    """Changing a price up to t1 can change the label, also after the end of the trend; changing one behind it cannot."""
    rng = np.random.default_rng(2)
    path = 50 + np.cumsum(rng.normal(0, 1, 40))
    row = trend_scanning(path, 5, 20, events=[0]).iloc[0]
    assert row["trend_end"] < row["t1"] == 19
    behind, inside = path.copy(), path.copy()
    behind[20:] += 1000.0
    last = int(row["trend_end"])
    inside[last + 1 : 20] = path[last] + np.arange(1, 20 - last) * 5.0
    assert trend_scanning(behind, 5, 20, events=[0]).iloc[0].equals(row)
    assert trend_scanning(inside, 5, 20, events=[0]).iloc[0]["t_value"] != row["t_value"]


# -- uniqueness and weights -------------------------------------------------------------------------------------------------

BOOK = pd.DataFrame({"t0": [0, 2, 4], "t1": [3, 4, 6]})  # Lopez de Prado 2018, section 4.5.3: returns r(0,3), r(2,4), r(4,6)


def test_the_books_example_of_uniqueness_and_sequential_bootstrap() -> None:
    """Published: uniqueness 5/6, 3/4, 1; chances 1/3 each, then 5/14, 3/14, 6/14 after label 2, then 5/11, 3/11, 3/11 after label 3."""
    prices = np.ones(7)
    assert concurrency(BOOK, prices)[1:].tolist() == [1, 1, 2, 1, 1, 1]
    np.testing.assert_allclose(average_uniqueness(BOOK, prices), [5 / 6, 3 / 4, 1], rtol=1e-14)
    for drawn, chances in [([], [1 / 3] * 3), ([1], [5 / 14, 3 / 14, 6 / 14]), ([1, 2], [5 / 11, 3 / 11, 3 / 11])]:
        np.testing.assert_allclose(draw_chances(BOOK, prices, drawn), chances, rtol=1e-14)


def _intervals(seed: int, symbols: str = "AB") -> tuple[pd.DataFrame, pd.DataFrame]:
    "Random labels on a random panel, some without an end, some without a return."
    rng = np.random.default_rng(seed)
    prices = pd.DataFrame(np.exp(np.cumsum(rng.normal(0, 0.02, (40, len(symbols))), axis=0)), columns=list(symbols))
    begin = rng.integers(0, 40, 30)
    end = np.minimum(begin + rng.integers(0, 12, 30), 39).astype(float)
    end[rng.random(30) < 0.1] = np.nan
    return pd.DataFrame({"symbol": rng.choice(list(symbols), 30), "t0": begin, "t1": end}), prices


@pytest.mark.parametrize("seed", range(6))
def test_weights_by_an_indicator_matrix(seed: int) -> None:
    """Everything again from the matrix of which label uses which return."""
    labels, prices = _intervals(seed)
    places = [(s, t) for s in prices for t in range(40)]
    matrix = np.array([[s == row.symbol and row.t0 < t <= row.t1 for row in labels.itertuples()] for s, t in places], dtype=float)
    count, used = matrix.sum(axis=1), matrix.sum(axis=0) > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        unique = np.array([np.mean(1 / count[matrix[:, i] > 0]) if used[i] else np.nan for i in range(30)])
        moves = np.concatenate([np.append(0.0, np.diff(np.log(prices[s]))) for s in prices])
        weights = np.array([abs(np.sum((moves / count)[matrix[:, i] > 0])) if used[i] else np.nan for i in range(30)])
    np.testing.assert_array_equal(concurrency(labels, prices).to_numpy().T.ravel(), count)
    np.testing.assert_allclose(average_uniqueness(labels, prices), unique, rtol=1e-12)
    np.testing.assert_allclose(return_attribution(labels, prices), weights / np.nanmean(weights), rtol=1e-9)
    drawn = [3, 5, 3, 9]
    held = count * 0 + matrix[:, drawn].sum(axis=1)
    chances = np.array([np.mean(1 / (1 + held[matrix[:, i] > 0])) if used[i] else 0.0 for i in range(30)])
    np.testing.assert_allclose(draw_chances(labels, prices, drawn), chances / chances.sum(), rtol=1e-12)


def test_the_bootstrap_draws_by_its_chances() -> None:
    """Frequencies of the first two draws over many seeds, against the chances; five standard errors."""
    rounds = 4000
    pairs = np.array([sequential_bootstrap(BOOK, np.ones(7), 2, seed=s) for s in range(rounds)])
    first = np.bincount(pairs[:, 0], minlength=3) / rounds
    second = np.bincount(pairs[pairs[:, 0] == 1, 1], minlength=3) / (pairs[:, 0] == 1).sum()
    np.testing.assert_allclose(first, 1 / 3, atol=5 * (2 / 9 / rounds) ** 0.5)
    np.testing.assert_allclose(second, [5 / 14, 3 / 14, 6 / 14], atol=5 * (0.25 / (rounds / 3)) ** 0.5)


def test_time_decay_by_the_books_straight_line() -> None:
    """Section 4.7: 1 at the newest; at the far end `oldest`, or zero for the oldest share of -`oldest`."""
    labels, prices = _intervals(9, "A")
    unique = average_uniqueness(labels, prices)
    order = labels["t0"].sort_values(kind="stable").index
    age = unique.loc[order].fillna(0).cumsum()
    for oldest in (1.0, 0.4, 0.0, -0.3):
        slope = (1 - oldest) / age.iloc[-1] if oldest >= 0 else 1 / ((1 + oldest) * age.iloc[-1])
        line = (1 - slope * age.iloc[-1] + slope * age).clip(lower=0)
        expected = line.reindex(labels.index).where(unique.notna())
        pd.testing.assert_series_equal(time_decay(labels, unique, oldest), expected, check_names=False, rtol=1e-12)


# -- one rule for bad input -------------------------------------------------------------------------------------------------

METHODS = {
    "forward": lambda prices: forward_labels(prices, 5),
    "barrier": lambda prices: triple_barrier(prices, Barriers(0.05, 0.05, 5)),
    "trend": lambda prices: trend_scanning(prices, 3, 6),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_bad_input_has_one_rule(method: Any) -> None:
    """Unsorted and infinite are errors; an empty column, too little data and no event give no label."""
    close = _panels(1, gaps=False)["close"]
    with pytest.raises(DataError, match="does not rise"):
        method(close.iloc[::-1])
    with pytest.raises(DataError, match="infinite"):
        method(close.assign(C=[np.inf, *close["C"].iloc[1:]]))
    assert "B" not in method(close.assign(B=np.nan))["symbol"].tolist()
    assert method(close.iloc[:4])["label"].isna().all() and method(close.iloc[:4])["t1"].isna().all()
    assert len(method(close.iloc[:0])) == 0
    constant = method(close * 0 + 7.0)
    assert not constant["label"].isin([-1, 1]).any()
    np.testing.assert_array_equal(method(close.to_numpy())["label"], method(close)["label"])
    one = method(close["A"])
    pd.testing.assert_frame_equal(one, method(close[["A"]]), check_index_type=False)


def test_panels_that_do_not_line_up_are_refused() -> None:
    """By shape, by index, by columns; and a volatility below zero."""
    panels = _panels(1, gaps=False)
    close, scale = panels["close"], panels["scale"]
    for wrong in (scale.iloc[1:], scale.rename(columns={"A": "Z"}), scale.set_axis(DAYS + pd.Timedelta(days=1))):
        with pytest.raises(DataError):
            triple_barrier(close, Barriers(), scale=wrong)
        with pytest.raises(DataError):
            at_events(wrong, forward_labels(close, 5))
    with pytest.raises(DataError, match="negative"):
        triple_barrier(close, Barriers(), scale=-scale)
    with pytest.raises(ParameterError):
        Barriers(target=np.nan)
