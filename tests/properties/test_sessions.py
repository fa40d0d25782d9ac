"""Sessions and schedules against a slow restatement with dates and loops, on the calendars of real exchanges: half-days, holidays, summer time."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache

import numpy as np
import pandas as pd
import pytest
from effort import EFFORT
from hypothesis import given
from hypothesis import strategies as st

from qtnb.core.bars import Bars
from qtnb.core.errors import DataError
from qtnb.core.sessions import Schedule, Sessions
from qtnb.data.calendars import session_dates, sessions, sessions_of

EXCHANGES = ("XNYS", "XLON", "XTKS", "XASX", "CMES", "24/7")
DAY, MINUTE = 86_400_000_000_000, 60_000_000_000


@cache
def known(calendar: str) -> Sessions:
    """Four years of an exchange, with the pandemic's closures, leap day and four changes of the clocks."""
    return sessions_of(calendar, "2019-01-01", "2022-12-31")


@st.composite
def markets(draw: st.DrawFn) -> Sessions:
    """A stretch of an exchange's sessions that begins and ends anywhere."""
    whole = known(draw(st.sampled_from(EXCHANGES)))
    start = draw(st.integers(0, len(whole) - 2))
    stop = draw(st.integers(start + 1, min(len(whole), start + draw(st.sampled_from([3, 30, 300])))))
    rows = slice(start, stop)
    return Sessions(whole.name, whole.opens[rows], whole.closes[rows], whole.dates[rows])


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """Any schedule that can be written down."""
    every = draw(st.sampled_from(["session", "week", "month", "quarter", "year"]))
    counts = st.sampled_from([1, -1]) if every == "session" else st.integers(-8, 8).filter(bool)
    which = draw(st.one_of(st.sampled_from(["first", "last"]), counts))
    return Schedule(every, which, draw(st.sampled_from(["open", "close"])), draw(st.sampled_from([0, 0, -15, 30, -2000])))


def period(every: str, day: date) -> tuple[int, ...]:
    """The period a day lies in, by the words of the calendar."""
    year, week, _ = day.isocalendar()
    return {"session": (day.toordinal(),), "week": (year, week), "month": (day.year, day.month), "quarter": (day.year, (day.month - 1) // 3),
            "year": (day.year,)}[every]  # fmt: skip


def slow_instants(schedule: Schedule, market: Sessions) -> list[int]:
    """Every due instant: group the sessions by hand, leave out what the sessions do not show whole, count."""
    days = [date.fromisoformat(str(d)) for d in market.dates]
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, day in enumerate(days):
        groups.setdefault((*period(schedule.every, day), row) if schedule.every == "session" else period(schedule.every, day), []).append(row)
    due = []
    for rows in groups.values():
        first, last = rows[0], rows[-1]
        begun = first > 0 or schedule.every == "session" or period(schedule.every, days[first] - timedelta(1)) != period(schedule.every, days[first])
        ended = last < len(days) - 1 or schedule.every == "session" or period(schedule.every, days[last] + timedelta(1)) != period(schedule.every, days[last])
        count = {"first": 1, "last": -1}.get(str(schedule.which)) or int(schedule.which)
        if not (begun if count > 0 else ended) or abs(count) > len(rows):
            continue
        row = rows[count - 1] if count > 0 else rows[count]
        due.append(int((market.opens if schedule.at == "open" else market.closes)[row]) + schedule.offset_minutes * MINUTE)
    return due


@EFFORT
@given(markets(), schedules(), st.data())
def test_a_schedule_is_what_counting_by_hand_gives(market: Sessions, schedule: Schedule, data: st.DataObject) -> None:
    """All due instants agree, and `due_after` finds the first of them that is later: at instants, just before them and anywhere."""
    due = slow_instants(schedule, market)
    assert schedule.instants(market).tolist() == due == sorted(due)
    anywhere = st.integers(int(market.opens[0]) - 9 * DAY, int(market.closes[-1]) + 9 * DAY)
    near = st.sampled_from(due).flatmap(lambda t: st.sampled_from([t - 1, t, t + 1])) if due else anywhere
    for ts in data.draw(st.lists(st.one_of(anywhere, near), min_size=1, max_size=8)):
        assert schedule.due_after(market, ts) == next((t for t in due if t > ts), None)


@EFFORT
@given(markets(), st.data())
def test_numbers_and_edges_are_what_a_search_gives(market: Sessions, data: st.DataObject) -> None:
    """`number`, `is_open`, `next_open` and `next_close` agree with loops; beyond the range they refuse."""
    edges = [int(t) + d for t in (*market.opens, *market.closes) for d in (-1, 0, 1)]
    for ts in data.draw(st.lists(st.one_of(st.sampled_from(edges), st.integers(edges[0], edges[-1])), min_size=1, max_size=8)):
        opens, closes = market.opens.tolist(), market.closes.tolist()
        later = {"next_open": [t for t in opens if t > ts], "next_close": [t for t in closes if t > ts]}
        for name, times in later.items():
            if times:
                assert getattr(market, name)(ts) == times[0]
            else:
                with pytest.raises(DataError, match="give sessions over a longer range"):
                    getattr(market, name)(ts)
        if not opens[0] <= ts <= closes[-1]:
            with pytest.raises(DataError, match="has no session"):
                market.number(ts)
            continue
        assert market.number(ts) == next(n for n, close in enumerate(closes) if ts <= close)
        assert market.is_open(ts) == any(a <= ts < b for a, b in zip(opens, closes, strict=True))


@EFFORT
@given(markets(), st.data())
def test_bars_carry_their_sessions(market: Sessions, data: st.DataObject) -> None:
    """However a panel is cut and selected, its numbers are those of its own stamps; a bar outside the hours is refused unless it is meant."""
    closes = market.closes.tolist()
    inside = st.integers(0, len(market) - 1).flatmap(lambda n: st.integers(int(market.opens[n]) + 1, closes[n]))
    ts = sorted(data.draw(st.sets(inside, min_size=1, max_size=12)))
    table = np.ones((len(ts), 2))
    bars = Bars(ts, ["A", "B"], open=table, high=table, low=table, close=table, volume=table).with_sessions(market)
    a, b = sorted(data.draw(st.tuples(st.integers(0, len(ts)), st.integers(0, len(ts)))))
    assert bars[a:b].select(["B"]).session.tolist() == [market.number(t) for t in ts[a:b]]
    between = [c + 1 for c, o in zip(closes, market.opens[1:].tolist(), strict=False) if c < o]
    if between:
        stamps = sorted({*ts, between[0]})
        table = np.ones((len(stamps), 1))
        night = Bars(stamps, ["A"], open=table, high=table, low=table, close=table, volume=table)
        with pytest.raises(DataError, match="lay in no session"):
            night.with_sessions(market)
        assert night.with_sessions(market, extended=True).session.tolist() == [market.number(t) for t in stamps]


@pytest.mark.parametrize("calendar", EXCHANGES)
def test_sessions_of_a_calendar(calendar: str) -> None:
    """Opens, closes and dates are the calendar's, and the rule for dates that are not given names the same days."""
    market, table = known(calendar), sessions(calendar, "2018-12-01", "2023-01-31")
    assert market.opens.tolist() == table["open"].tolist() and market.closes.tolist() == table["close"].tolist()
    assert (market.dates == table["session"].to_numpy().astype("M8[D]")).all()
    assert (Sessions(calendar, market.opens, market.closes).dates == market.dates).all()
    assert (session_dates(calendar, market.closes) == market.dates[market.number(market.closes)]).all()
    if calendar == "24/7":
        plain = Sessions.from_days("2018-12-01", "2023-01-31")
        assert repr(plain) == repr(market)


def local(schedule: Schedule, calendar: str, zone: str, start: str, end: str) -> list[str]:
    """The due instants between two days, as wall-clock times."""
    due = pd.DatetimeIndex(schedule.instants(known(calendar)), tz="UTC").tz_convert(zone)
    return [f"{t:%a %Y-%m-%d %H:%M}" for t in due[(due >= start) & (due < end)]]


def test_half_days_holidays_and_summer_time_by_hand() -> None:
    """Dates that can be looked up: the exchanges' own announcements of their holidays and early closes."""
    before_close, weekly = Schedule("week", "last", "close", -30), Schedule("week")
    new_york = "America/New_York"
    assert local(before_close, "XNYS", new_york, "2019-11-25", "2019-12-02") == ["Fri 2019-11-29 12:30"]  # the day after Thanksgiving
    assert local(before_close, "XNYS", new_york, "2019-04-15", "2019-04-22") == ["Thu 2019-04-18 15:30"]  # Good Friday
    assert local(weekly, "XNYS", new_york, "2020-01-18", "2020-01-29") == ["Tue 2020-01-21 09:30", "Mon 2020-01-27 09:30"]  # M. L. King
    assert local(weekly, "XNYS", new_york, "2020-03-02", "2020-03-14") == ["Mon 2020-03-02 09:30", "Mon 2020-03-09 09:30"]  # summer time
    monthly = Schedule("month", 1, "open").instants(known("XNYS"))
    assert {(int(t) // (60 * MINUTE)) % 24 for t in monthly} == {13, 14}  # the same wall clock, two hours of UTC
    assert local(Schedule("year", "last", "close"), "XLON", "Europe/London", "2020-12-01", "2021-01-05") == ["Thu 2020-12-31 12:30"]  # half-day
    assert local(Schedule("month", "first"), "XTKS", "Asia/Tokyo", "2019-05-01", "2019-06-01") == ["Tue 2019-05-07 09:00"]  # ten days of Golden Week
