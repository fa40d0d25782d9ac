"""Properties of longer bars: what is summed adds up, one step equals two, and the future changes nothing that was returned."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st

from qtnb.core.errors import DataWarning
from qtnb.data.resample import bars_from_trades, resample
from qtnb.data.schema import bars_frame, check_bars, table_frame

MINUTE = 60_000_000_000
START = {"24/7": "2020-11-26T00:00Z", "XNYS": "2020-11-25T14:30Z", "XTKS": "2020-11-26T00:00Z", "FX": "2020-11-26T22:00Z"}  # an open of each market
calendars = st.sampled_from(list(START))
steps = [("5m", "15m"), ("5m", "1h"), ("15m", "30m"), ("30m", "1h"), ("1h", "4h"), ("30m", "1d"), ("4h", "1d")]


@st.composite
def minute_bars(draw, calendar: str) -> pd.DataFrame:
    "Sparse minute bars of one to three symbols over some days, inside the sessions and outside."
    count, names = draw(st.integers(1, 60)), list("ABC")[: draw(st.integers(1, 3))]
    keys = draw(st.sets(st.tuples(st.integers(1, 3 * 1440), st.integers(0, len(names) - 1)), min_size=count, max_size=count + 30))
    minute, code = np.array(sorted(keys)).T
    seed = draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    four = np.sort(rng.uniform(10, 20, (len(minute), 4)).round(2), axis=1)
    swap = rng.random(len(minute)) < 0.5
    opened, closed = np.where(swap, four[:, 1], four[:, 2]), np.where(swap, four[:, 2], four[:, 1])
    ts = pd.Timestamp(START[calendar]).value + minute * MINUTE
    return bars_frame(ts, code, names, np.column_stack([opened, four[:, 3], four[:, 0], closed, rng.integers(0, 100, len(minute))]), interval="1m")


with_calendar = calendars.flatmap(lambda c: st.tuples(st.just(c), minute_bars(c)))


def quiet(bars, interval, calendar, make=resample, **how):
    "Resample without the remark on rows outside the sessions."
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return make(bars, interval, calendar=calendar, **how)


def until(bars: pd.DataFrame, instant) -> pd.DataFrame:
    "What was there at an instant."
    cut = bars[bars.index.get_level_values("ts") <= instant]
    cut.attrs = dict(bars.attrs)
    return cut


@settings(EFFORT)
@given(with_calendar, st.sampled_from(["5m", "30m", "1h", "4h", "1d"]), st.sampled_from(["session", "clock"]))
def test_long_bars_hold_what_the_short_ones_hold(drawn, interval, anchor):
    calendar, bars = drawn
    whole = {"since": "2020-11-01", "until": "2020-12-31", "anchor": anchor}
    long = quiet(bars, interval, calendar, **whole)
    assert check_bars(long) == []
    every = quiet(bars, "5m", calendar, **whole)  # the same rows lie inside the sessions, whatever the interval
    assert long["volume"].sum() == every["volume"].sum()
    if len(long):
        by_symbol = [frame.groupby(level="symbol").agg({"high": "max", "low": "min", "open": "first", "close": "last"}) for frame in (long, every)]
        pd.testing.assert_frame_equal(*by_symbol)
    if calendar == "24/7":
        assert long["volume"].sum() == bars["volume"].sum() and long["high"].max() == bars["high"].max()


@settings(EFFORT)
@given(with_calendar, st.sampled_from(steps), st.sampled_from(["session", "clock"]))
def test_two_steps_are_one(drawn, step, anchor):
    calendar, bars = drawn
    whole = {"since": "2020-11-01", "until": "2020-12-31", "anchor": anchor}
    middle, last = step
    pd.testing.assert_frame_equal(quiet(quiet(bars, middle, calendar, **whole), last, calendar, **whole), quiet(bars, last, calendar, **whole))


@settings(EFFORT)
@given(with_calendar, st.sampled_from(["5m", "1h", "4h", "1d"]), st.integers(0, 4 * 1440))
def test_the_future_changes_no_bar_that_was_returned(drawn, interval, minute):
    calendar, bars = drawn
    then = pd.Timestamp(START[calendar]) + pd.Timedelta(minutes=minute)
    before, after = quiet(until(bars, then), interval, calendar), quiet(bars, interval, calendar)
    assert before.index.isin(after.index).all()
    pd.testing.assert_frame_equal(before, after.loc[before.index])
    assert (before.index.get_level_values("ts") <= then).all()
    # who knows that the data is complete up to then gets every bar that has ended
    told = quiet(until(bars, then), interval, calendar, until=then, since="2020-11-01")
    known = quiet(bars, interval, calendar, until="2020-12-31", since="2020-11-01")
    pd.testing.assert_frame_equal(told, until(known, then))


@settings(EFFORT)
@given(
    st.lists(st.tuples(st.integers(0, 600), st.integers(0, 1), st.integers(1, 50)), min_size=1, max_size=60),
    st.sampled_from(["1s", "1m", "5m"]),
    st.integers(0, 700),
)
def test_trades_and_the_future(rows, interval, second):
    rows = sorted(rows, key=lambda r: r[:2])
    at, code, price = (np.array(c) for c in zip(*rows, strict=True))
    ts = pd.Timestamp(START["24/7"]).value + at * 1_000_000_000
    trades = table_frame("trades", ts, code, ["A", "B"], np.column_stack([price, price, np.zeros(len(rows))]), seq=np.arange(len(rows)))
    then = pd.Timestamp(START["24/7"]) + pd.Timedelta(seconds=second)
    before, after = (quiet(t, interval, "24/7", bars_from_trades) for t in (until(trades, then), trades))
    pd.testing.assert_frame_equal(before, after.loc[before.index])
    whole = quiet(trades, interval, "24/7", bars_from_trades, since="2020-11-01", until="2020-12-31")
    assert whole["volume"].sum() == price.sum() and check_bars(whole) == []
