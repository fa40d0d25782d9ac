"""Adjusted series of vendors against ours: the same raw closes and events, their factors and our factors, with the tolerance that each needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qtnb.data.adjust import adjust_bars
from qtnb.data.reference import normalise_events
from qtnb.data.schema import bars_frame

PAYLOADS = Path(__file__).parent / "payloads"
HOUR = 3_600_000_000_000


def raw_and_events(dates, close, volume, dividend, split) -> tuple[pd.DataFrame, pd.DataFrame]:
    "Daily bars of X that close at 21:00 UTC, and the events that its vendor lists, from 14:30 UTC of their day on."
    day = pd.to_datetime(dates).to_numpy().astype("M8[ns]").astype(np.int64)
    close = np.asarray(close, float)
    raw = bars_frame(day + 21 * HOUR, np.zeros(len(day), int), ["X"], np.column_stack([close, close, close, close, np.asarray(volume, float)]))
    rows = [(d, "dividend", v) for d, v in zip(day, dividend, strict=True) if v] + [(d, "split", v) for d, v in zip(day, split, strict=True) if v != 1.0]
    table = pd.DataFrame(rows, columns=["ts", "kind", "value"])
    return raw, normalise_events(table.assign(symbol="X", ts=pd.to_datetime(table["ts"] + 14.5 * HOUR, utc=True)))


def factors(adjusted, raw) -> np.ndarray:
    "What a series was multiplied by, measured from the last row: later events of the vendor cancel."
    ratio = np.asarray(adjusted, float) / np.asarray(raw, float)
    return ratio / ratio[-1]


@pytest.fixture(scope="module")
def wiki() -> dict[str, pd.DataFrame]:
    table = pd.read_csv(PAYLOADS / "wiki_prices_aapl_msft_2014.csv")
    return {str(s): own.reset_index(drop=True) for s, own in table.groupby("ticker")}


@pytest.mark.parametrize(("ticker", "events", "tolerance"), [("AAPL", 5, 4e-5), ("MSFT", 4, 2e-4)])
def test_wiki_differs_by_the_close_at_which_a_dividend_is_reinvested(wiki, ticker, events, tolerance):
    own = wiki[ticker]
    raw, happened = raw_and_events(own["date"], own["close"], own["volume"], own["ex-dividend"], own["split_ratio"])
    ours = adjust_bars(raw, happened)
    theirs = factors(own["adj_close"], own["close"])
    assert len(happened) == events and len(ours) == 252
    np.testing.assert_allclose(factors(ours["close"], raw["close"]), theirs, rtol=tolerance)
    np.testing.assert_allclose(factors(ours["volume"], raw["volume"]), factors(own["adj_volume"], own["volume"]), rtol=1e-12)
    # the whole of the difference: they divide by 1 + dividend / close of the ex-date, we multiply by 1 - dividend / close before it
    close, dividend, split = (own[c].to_numpy() for c in ("close", "ex-dividend", "split_ratio"))
    steps = np.r_[(close / (close + dividend) / split)[1:], 1.0]
    np.testing.assert_allclose(np.cumprod(steps[::-1])[::-1], theirs, rtol=1e-12)


def test_without_dividends_wiki_is_met_to_the_last_digits(wiki):
    own = wiki["AAPL"]
    raw, happened = raw_and_events(own["date"], own["close"], own["volume"], own["ex-dividend"] * 0, own["split_ratio"])
    ours = factors(adjust_bars(raw, happened, mode="splits")["close"], raw["close"])
    assert happened["value"].tolist() == [7.0] and sorted(set(ours.round(12))) == [round(1 / 7, 12), 1.0]
    before = own["date"] < "2014-06-09"
    assert (ours[before] == 1 / 7).all() and (ours[~before] == 1.0).all()
    then = adjust_bars(raw, happened, as_of="2014-06-06")
    assert then["close"].tolist() == raw["close"].tolist()  # as of the day before the split, prices are unsplit


@pytest.mark.parametrize(("symbol", "rows", "dividends"), [("EWG", 662, 5), ("IBE-MC", 677, 8)])
def test_yahoo_dividend_adjustment_is_met(symbol, rows, dividends):
    table = pd.read_csv(PAYLOADS / "yfinance_adj_close.csv")
    own = table[table["symbol"] == symbol].sort_values("Date")
    raw, happened = raw_and_events(own["Date"], own["Close"], np.ones(len(own)), own["Dividends"], np.ones(len(own)))
    assert (len(own), len(happened)) == (rows, dividends)
    np.testing.assert_allclose(factors(adjust_bars(raw, happened)["close"], raw["close"]), factors(own["Adj Close"], own["Close"]), rtol=5e-7)


@pytest.mark.parametrize(("symbol", "ratio", "ex_date"), [("AAPL", 7.0, "2014-06-09"), ("KO", 2.0, "2012-08-13")])
def test_a_split_that_is_in_the_prices_already_is_applied_twice_by_whoever_trusts_the_column(symbol, ratio, ex_date):
    table = pd.read_csv(PAYLOADS / "zipline_csvdir_split_rows.csv")
    own = table[table["symbol"] == symbol].reset_index(drop=True)
    at = own.index[own["date"] == ex_date][0]
    moves = own["close"].pct_change()
    assert own["split"][at] == ratio and abs(moves[at]) < 0.02  # the column says split, the price does not move: it is adjusted already
    raw, happened = raw_and_events(own["date"], own["close"], own["volume"], own["dividend"], own["split"])
    twice = adjust_bars(raw, happened, mode="splits")["close"].to_numpy()
    assert twice[at] / twice[at - 1] == pytest.approx(ratio * (1 + moves[at]))  # a jump that nobody saw: the trap, made visible
