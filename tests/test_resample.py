"""Hours made of minutes and days made of hours against the vendor's own, half-days, lunch, changed clocks, and pandas where it can do the same."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qtnb.core.errors import DataError, DataWarning
from qtnb.data.loader import get_bars
from qtnb.data.resample import bars_from_quotes, bars_from_trades, resample, trading_stretches
from qtnb.data.schema import bars_frame, check_table, table_frame

PAYLOADS = Path(__file__).parent / "payloads"
MINUTE = 60_000_000_000
PRICES = ["open", "high", "low", "close"]


def lean(table: pd.DataFrame, interval: str, length: str) -> pd.DataFrame:
    "Bars of the vendor, which names them by their start in New York."
    ts = (pd.DatetimeIndex(table["time"]).tz_localize("America/New_York") + pd.Timedelta(length)).tz_convert("UTC").as_unit("ns").asi8
    names = sorted(table["symbol"].unique())
    codes = np.array([names.index(s) for s in table["symbol"]])
    order = np.lexsort((codes, ts))
    return bars_frame(ts[order], codes[order], names, table[[*PRICES, "volume"]].to_numpy(float)[order], interval=interval)


@pytest.fixture(scope="module")
def minutes() -> pd.DataFrame:
    return lean(pd.read_parquet(PAYLOADS / "lean_minute_bac_ibm_201310.parquet"), "1m", "1min")


@pytest.fixture(scope="module")
def hours() -> pd.DataFrame:
    return lean(pd.read_csv(PAYLOADS / "lean_hour_bac_ibm_201310.csv"), "1h", "1h")


def test_days_of_the_vendors_hours_are_the_vendors_days(hours):
    ours = resample(hours, "1d", calendar="XNYS")
    daily = get_bars(["BAC", "IBM"], "2013-10-07", "2013-10-11", adjust="none", source="sample")
    pd.testing.assert_frame_equal(ours, daily)


def test_hours_of_the_vendors_minutes_are_the_vendors_hours_but_for_its_filters(minutes, hours):
    with pytest.warns(DataWarning, match="1205 of 5104 rows lie outside the sessions of XNYS, the first at 2013-10-07T08:01:00Z"):
        ours = resample(minutes, "1h", calendar="XNYS", anchor="clock")
    assert ours.index.equals(hours.index) and len(ours) == 70
    # the vendor filters its ticks for each resolution anew: prices differ by a cent (BAC) to seven (IBM), 0.08 % at most
    np.testing.assert_allclose(ours[PRICES], hours[PRICES], rtol=8e-4)
    differ = ours["volume"] != hours["volume"]
    assert differ.sum() == 4 and set(ours.index[differ].get_level_values("symbol")) == {"IBM"}
    assert {t.strftime("%H:%M") for t in ours.index[differ].get_level_values("ts")} == {"20:00"}  # 16:00 in New York
    # the vendor's last hour holds prints that its minutes have after 16:00: the closing auction
    after = minutes.loc[("2013-10-07T20:00:01Z"):("2013-10-07T20:02:00Z")].xs("IBM", level="symbol")["volume"].sum()
    last = ("2013-10-07T20:00:00Z", "IBM")
    assert hours.loc[last, "volume"] - ours.loc[last, "volume"] == after == 3040


def test_in_one_step_or_in_two(minutes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        for anchor in ("session", "clock"):
            how = {"calendar": "XNYS", "anchor": anchor, "since": "2013-10-07", "until": "2013-10-11"}
            for middle, last in (("5m", "30m"), ("5m", "1h"), ("30m", "4h"), ("1h", "1d"), ("15m", "1d")):
                pd.testing.assert_frame_equal(resample(resample(minutes, middle, **how), last, **how), resample(minutes, last, **how))


def test_hours_count_from_the_open_unless_the_clock_is_asked_for(minutes):
    inside = minutes.iloc[minutes.index.get_level_values("ts").indexer_between_time("13:31", "20:00")]
    inside.attrs["interval"] = "1m"
    closes = {a: resample(inside, "1h", calendar="XNYS", anchor=a).xs("BAC", level="symbol").loc["2013-10-08"].index.strftime("%H:%M").tolist()
              for a in ("session", "clock")}
    assert closes == {"session": ["14:30", "15:30", "16:30", "17:30", "18:30", "19:30", "20:00"],
                      "clock": ["14:00", "15:00", "16:00", "17:00", "18:00", "19:00", "20:00"]}


def test_a_days_bar_by_hand(minutes):
    day = minutes.xs("IBM", level="symbol").loc["2013-10-09T13:30:01Z":"2013-10-09T20:00:00Z"]
    with pytest.warns(DataWarning):
        bar = resample(minutes, "1d", calendar="XNYS").loc[("2013-10-09T20:00:00Z", "IBM")]
    assert bar.tolist() == [day["open"].iloc[0], day["high"].max(), day["low"].min(), day["close"].iloc[-1], day["volume"].sum()]


def grid(calendar: str, first: str, last: str, **values) -> pd.DataFrame:
    "One bar for each minute of trading."
    s = trading_stretches(calendar, pd.Timestamp(first).value, pd.Timestamp(last).value + 86_400_000_000_000 - 1)
    ts = np.concatenate([np.arange(a + MINUTE, b + 1, MINUTE) for a, b in zip(s.opens, s.closes, strict=True)])
    ts = ts[(ts > pd.Timestamp(first, tz="UTC").value) & (ts <= pd.Timestamp(last, tz="UTC").value + 86_400_000_000_000)]
    k = np.arange(len(ts)) + 1.0
    return bars_frame(ts, np.zeros(len(ts), int), ["X"], np.column_stack([k, k + 0.5, k - 0.5, k, np.ones(len(ts))]), interval="1m")


@pytest.mark.parametrize(("calendar", "first", "last", "interval", "volumes"), [
    ("XNYS", "2020-11-25", "2020-11-27", "1h", [60] * 6 + [30] + [60] * 3 + [30]),  # a full day, a holiday, a half-day
    ("XNYS", "2020-11-25", "2020-11-27", "4h", [240, 150, 210]),
    ("XNYS", "2020-03-06", "2020-03-09", "1d", [390, 390]),  # the clocks change between the two
    ("XLON", "2020-10-23", "2020-10-26", "4h", [240, 240, 30, 240, 240, 30]),
    ("XTKS", "2020-11-26", "2020-11-26", "1h", [60, 60, 30, 60, 60, 30]),  # lunch from 11:30 to 12:30
    ("XHKG", "2020-11-26", "2020-11-26", "1d", [330]),
    ("24/7", "2020-03-29", "2020-03-29", "4h", [240] * 6),  # where Europe has 23 hours, UTC has 24
    ("FX", "2020-03-05", "2020-03-10", "1d", [1440] * 3),  # Friday, Monday with Sunday evening, Tuesday; New York's clocks change on Sunday
    ("24/5", "2020-03-06", "2020-03-09", "4h", [240] * 12),
])
def test_every_bar_holds_the_minutes_of_its_time(calendar, first, last, interval, volumes):
    bars = resample(grid(calendar, first, last), interval, calendar=calendar)
    assert bars["volume"].tolist() == volumes
    assert (bars["open"] == np.r_[bars["close"].iloc[0] - volumes[0] + 1, bars["close"].iloc[:-1] + 1]).all() or calendar == "FX"


def test_seconds_add_up_to_minutes():
    ts = pd.Timestamp("2021-01-04T00:00Z").value + np.arange(1, 601) * 1_000_000_000
    k = np.arange(600) + 1.0
    seconds = bars_frame(ts, np.zeros(600, int), ["X"], np.column_stack([k, k, k, k, k]), interval="1s")
    assert resample(seconds, "1m", calendar="24/7")["volume"].tolist() == [sum(range(60 * i + 1, 60 * i + 61)) for i in range(10)]


@pytest.mark.parametrize("interval", ["5m", "15m", "30m", "1h", "4h", "1d"])
def test_pandas_agrees_where_the_market_never_closes(interval):
    rng = np.random.default_rng(5)
    ts = pd.Timestamp("2021-01-04T00:00Z").value + np.sort(rng.choice(np.arange(1, 4 * 1440), 3000, replace=False)) * MINUTE
    close = np.exp(rng.normal(0, 0.01, 3000).cumsum())
    bars = bars_frame(ts, np.zeros(3000, int), ["X"], np.column_stack([close, close * 1.01, close * 0.99, close, rng.integers(1, 99, 3000)]), interval="1m")
    ours = resample(bars, interval, calendar="24/7", since="2021-01-04", until="2021-01-07").droplevel("symbol")
    rule = interval.replace("m", "min").replace("1d", "24h")
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    theirs = bars.droplevel("symbol").resample(rule, closed="right", label="right", origin="epoch").agg(how).dropna()
    pd.testing.assert_frame_equal(ours, theirs, check_freq=False)


def test_each_symbol_ends_where_its_own_data_ends():
    ts = pd.Timestamp("2021-01-04T00:00Z").value + np.arange(1, 121) * MINUTE
    whole = bars_frame(np.repeat(ts, 2), np.tile([0, 1], 120), ["A", "B"], np.ones((240, 5)), interval="1m")
    keep = (whole.index.get_level_values("symbol") == "A") | (whole.index.get_level_values("ts") <= pd.Timestamp("2021-01-04T01:30Z"))
    cut = whole[keep]
    cut.attrs["interval"] = "1m"
    assert resample(cut, "1h", calendar="24/7").index.get_level_values("symbol").tolist() == ["A", "B", "A"]
    assert resample(cut, "1h", calendar="24/7", until="2021-01-04T02:00Z")["volume"].tolist() == [60, 60, 60, 30]


def test_adjusted_prices_stay_what_they_are():
    bars = get_bars("IBM", "2020-01-02", "2020-01-10", source="sample")
    with pytest.raises(DataError, match="bars can only become longer"):
        resample(bars, "1d", calendar="XNYS")
    bars = grid("XNYS", "2020-11-25", "2020-11-27")
    bars.attrs["adjust"] = "splits"
    assert resample(bars, "1h", calendar="XNYS").attrs == {"interval": "1h", "adjust": "splits"}


def tape(kind: str, rows: int, seed: int) -> pd.DataFrame:
    "A random tape of two symbols over three hours, with many rows in one instant."
    rng = np.random.default_rng(seed)
    ts = pd.Timestamp("2021-01-04T00:00Z").value + np.sort(rng.integers(0, 3 * 3600, rows)) * 1_000_000_000
    codes = rng.integers(0, 2, rows)
    order = np.lexsort((codes, ts))
    price = 100 + rng.normal(0, 0.1, rows).cumsum().round(2)
    values = np.column_stack([price, rng.integers(1, 9, rows), rng.integers(-1, 2, rows)]) if kind == "trades" else np.column_stack(
        [np.where(rng.random(rows) < 0.2, np.nan, price), price + 0.02, rng.integers(1, 9, rows), rng.integers(1, 9, rows)])
    return table_frame(kind, ts[order], codes[order], ["A", "B"], values, seq=np.arange(rows))


def test_trades_make_the_same_bars_at_once_or_by_way_of_minutes():
    trades, whole = tape("trades", 5_000, 1), {"calendar": "24/7", "since": "2021-01-04T00:00Z", "until": "2021-01-04T03:00Z"}
    ours = bars_from_trades(trades, "1h", **whole)
    assert check_table(ours, "bars") == [] and len(ours) == 6
    pd.testing.assert_frame_equal(resample(bars_from_trades(trades, "1m", **whole), "1h", **whole), ours)
    plain = trades.reset_index().groupby([pd.Grouper(key="ts", freq="1h"), "symbol"]).agg(
        open=("price", "first"), high=("price", "max"), low=("price", "min"), close=("price", "last"), volume=("quantity", "sum"))
    np.testing.assert_array_equal(ours.to_numpy(), plain.to_numpy())


def test_quotes_make_quote_bars_in_which_a_missing_side_stays_missing():
    quotes, whole = tape("quotes", 4_000, 2), {"calendar": "24/7", "since": "2021-01-04T00:00Z", "until": "2021-01-04T03:00Z"}
    ours = bars_from_quotes(quotes, "15m", **whole)
    assert check_table(ours, "quote_bars") == [] and len(ours) == 24
    pd.testing.assert_frame_equal(resample(bars_from_quotes(quotes, "1m", **whole), "15m", **whole), ours)
    first = quotes.xs("A", level="symbol").loc[:"2021-01-04T00:14:59Z"]
    bar = ours.loc[("2021-01-04T00:15:00Z", "A")]
    expected = {"bid_open": first["bid"].iloc[0], "bid_high": first["bid"].max(), "bid_low": first["bid"].min(), "bid_close": first["bid"].iloc[-1],
                "ask_open": first["ask"].iloc[0], "ask_close": first["ask"].iloc[-1], "bid_size": first["bid_size"].iloc[-1]}
    np.testing.assert_array_equal([bar[c] for c in expected], list(expected.values()))
