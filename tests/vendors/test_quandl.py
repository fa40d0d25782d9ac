"""Quandl: a year of the real WIKI table with the vendor's own adjustment, and a server that pages, throttles, lies and listens for the key."""

from __future__ import annotations

import json
import logging
import traceback
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from vendors.fakes import CLOSES, COLUMNS, FAKES, KEY, Reply, ask, call, rows_of, same

from qtnb.core.errors import ConfigError, DataWarning, VendorError, VendorRefused
from qtnb.data.adjust import adjust_bars
from qtnb.data.providers.base import PROVIDERS, Request
from qtnb.data.providers.quandl import QuandlVendor, parse_events, read_bars, read_csv, read_series, read_table, vendor_references
from qtnb.data.providers.windows import window_chunk
from qtnb.data.schema import check_bars

SAMPLE = Path(__file__).parents[1] / "payloads" / "quandl" / "wiki_prices_2014.csv"
TABLE, SERIES = FAKES["quandl table"], FAKES["quandl series"]
FORMS = pytest.mark.parametrize("fake", [TABLE, SERIES], ids=["table", "series"])
NOW = int(pd.Timestamp("2015-01-01T00:00Z").value)


def sample(symbol: str) -> list[dict]:
    return [r for r in read_csv(SAMPLE.read_bytes(), name="the sample") if r["ticker"] == symbol]


def bars_and_events(symbol: str) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Raw bars, events, and the vendor's rows."""
    rows = sample(symbol)
    ts, columns, wrong = read_bars(rows)
    chunk = window_chunk(Request("bars", (symbol,), 0, NOW), symbol, 0, NOW, ts, columns, wrong=wrong, source="quandl", known_at=NOW)
    assert len(chunk.refused) == 0 and check_bars(chunk.frame) == []
    return chunk.frame, parse_events(rows, symbol), pd.DataFrame(rows)


# -- the real table -------------------------------------------------------------------------------------------------------


def test_the_sample():
    bars, events, rows = bars_and_events("AAPL")
    assert len(bars) == len(rows) == 252 and bars["close"].tolist() == rows["close"].tolist()
    assert [str(t) for t in bars.index.get_level_values("ts")[[0, -1]]] == ["2014-01-02 21:00:00+00:00", "2014-12-31 21:00:00+00:00"]
    assert str(bars.index[229][0]) == "2014-11-28 18:00:00+00:00"  # the half-day after Thanksgiving
    assert events[["kind", "value"]].to_numpy().tolist() == [["dividend", 3.05], ["dividend", 3.29], ["split", 7.0], ["dividend", 0.47], ["dividend", 0.47]]
    split = events[events["kind"] == "split"].iloc[0]
    assert str(split["ts"]) == "2014-06-09 13:30:00+00:00" and (events["known_at"] == events["ts"]).all() and events["reference"].isna().all()


@pytest.mark.parametrize("symbol", ["AAPL", "MSFT", "ZEN"])
def test_the_vendors_adjustment_is_reproduced(symbol):
    """Raw bars and events give the vendor's adjusted columns to the last printed digit, with the vendor's way of measuring a dividend.

    The columns are printed with 12 decimals. Prices lie between 10 and 110, so a printed value is good to 5e-14 of itself, the quotient of two
    to 1e-13; the product of a handful of doubles adds less. 1e-12 is the bound. Dividing by the last row takes out the dividends after 2014.
    """
    bars, events, rows = bars_and_events(symbol)
    exact = adjust_bars(bars, vendor_references(events, bars))
    for column in ("open", "high", "low", "close"):
        theirs = rows[f"adj_{column}"].to_numpy(float)
        # one factor for all: the vendor's last close over the raw one
        ours = exact[column].to_numpy() * rows["adj_close"].iloc[-1] / bars["close"].iloc[-1]
        assert np.abs(ours / theirs - 1).max() < 1e-12
    assert np.abs(adjust_bars(bars, events, mode="splits")["volume"].to_numpy() - rows["adj_volume"].to_numpy(float)).max() == 0


@pytest.mark.parametrize(("symbol", "dividends"), [("AAPL", 4), ("MSFT", 4)])
def test_our_convention_differs_by_the_move_of_the_ex_date(symbol, dividends):
    """The stored events measure a dividend against the close before: the difference to the vendor is dividend share times that day's return."""
    bars, events, rows = bars_and_events(symbol)
    ours = adjust_bars(bars, events)["close"].to_numpy() / bars["close"].iloc[-1]
    theirs = rows["adj_close"].to_numpy(float) / rows["adj_close"].iloc[-1]
    cash, close = rows["ex-dividend"].to_numpy(float), rows["close"].to_numpy(float)
    at = np.flatnonzero(cash)
    bound = sum(abs((1 - cash[i] / close[i - 1]) / (close[i] / (close[i] + cash[i])) - 1) for i in at)
    assert len(at) == dividends and 1e-6 < np.abs(ours / theirs - 1).max() <= bound * 1.001 < 3e-4


def test_a_split_applied_twice_would_show():
    """The check can fail: prices that are adjusted already miss the vendor's column by the ratio."""
    bars, events, rows = bars_and_events("AAPL")
    split_early = bars.copy()
    split_early.iloc[:108, :4] /= 7.0
    wrong = adjust_bars(split_early, vendor_references(events, bars))["close"].to_numpy() / bars["close"].iloc[-1]
    assert np.abs(wrong / (rows["adj_close"].to_numpy(float) / rows["adj_close"].iloc[-1]) - 1).max() > 0.5


def test_as_of_the_day_before_the_split_nothing_was_known():
    bars, events, _ = bars_and_events("AAPL")
    early = adjust_bars(bars, events, mode="splits", as_of="2014-06-08")
    assert early["close"].tolist() == bars["close"].tolist()


def test_three_forms_are_read_alike():
    rows = sample("ZEN")
    names = list(rows[0])
    body = {"datatable": {"data": [list(r.values()) for r in rows], "columns": [{"name": n} for n in names]}, "meta": {"next_cursor_id": "abc"}}
    assert read_table(json.loads(json.dumps(body)), name="table") == (rows, "abc")
    titles = [n.replace("_", " ").title().replace("Adj ", "Adj. ") for n in names[1:]]
    series = {"dataset": {"column_names": titles, "data": [list(r.values())[1:] for r in rows]}}
    needed = ("date", "open", "high", "low", "close", "volume", "ex-dividend", "split_ratio")
    assert [[r[c] for c in needed] for r in read_series(series, name="series")] == [[r[c] for c in needed] for r in rows]


def test_every_cut_of_the_csv_is_an_error_or_a_shorter_table():
    """Cut anywhere, the file is refused, or what is left are whole rows of it (a cut within the last number cannot be seen)."""
    text = "\n".join(SAMPLE.read_text(encoding="utf-8").splitlines()[:4]) + "\n"
    rows = read_csv(text, name="whole")
    refused = 0
    begin = text.index("\n") + 1  # a file that ends with the names of its columns is a table without rows
    for size in range(begin, len(text)):
        try:
            some = read_csv(text[:size], name="cut")
        except VendorError as error:
            refused += "cells instead of" in str(error)
            continue
        assert [dict(r, adj_volume=0) for r in some] == [dict(r, adj_volume=0) for r in rows[: len(some)]]
    assert refused > (len(text) - begin) * 0.9


# -- the server -----------------------------------------------------------------------------------------------------------


def test_what_is_asked(serve):
    server = serve(TABLE.answer)
    ask(TABLE.make(server.url), TABLE.request("bars/1d"))
    assert {a.path for a in server.asked} == {"/api/v3/datatables/WIKI/PRICES.json"} and len(server.asked) == 7  # 4 windows of 100 days, up to 60 rows a page
    assert server.asked[0].params == {"ticker": "AAPL", "date.gte": "2014-01-02", "date.lte": "2014-04-12", "qopts.per_page": "10000"}
    assert all(KEY not in json.dumps([a.path, a.params]) and a.headers["x-api-token"] == KEY for a in server.asked)
    assert PROVIDERS.get("nasdaq-data-link") is QuandlVendor


@FORMS
def test_events_come_from_the_same_rows(fake, serve):
    events = call(fake.make(serve(fake.answer).url), "fetch_events", ["AAPL"], int(CLOSES[0]), int(CLOSES[-1]))
    assert events[["kind", "value"]].to_numpy().tolist() == [["dividend", 3.29], ["split", 7.0], ["dividend", 0.47]]


@FORMS
def test_bad_rows_are_set_aside_and_the_others_stay(fake, serve):
    server = serve(fake.answer)

    def spoil(asked, reply):
        part = reply.body.get("datatable") or reply.body["dataset"]
        shift = 0 if "datatable" in reply.body else -1
        part["data"][3][5 + shift], part["data"][5][1 + shift], part["data"][7][1 + shift], part["data"][9][3 + shift] = None, "yesterday", "2014-01-04", 1e9
        part["data"][9][4 + shift] = 2e9
        return Reply(reply.body)

    server.faults = [spoil]
    chunks = ask(fake.make(server.url), fake.request("bars/1d"))
    refused = pd.concat([c.refused for c in chunks])
    assert len(rows_of(chunks)) == len(fake.truth["bars/1d"]()) - 4
    assert {"the cell is a number", "the date is like 2020-01-02", "the day is a session of XNYS"} <= set(refused["rule"])
    assert refused.groupby("cells").ngroups == 4 and refused["source"].unique().tolist() == ["quandl"]


def test_a_ratio_that_cannot_be_meant_is_left_out_aloud(serve):
    server = serve(TABLE.answer)

    def spoil(asked, reply):
        rows = reply.body["datatable"]["data"]
        rows[3][COLUMNS.index("split_ratio")] = 0.0
        rows[5][COLUMNS.index("ex-dividend")] = None
        return Reply(reply.body)

    server.faults = [spoil]
    with pytest.warns(DataWarning, match="left out: the value is a number above 0") as caught:
        events = call(TABLE.make(server.url), "fetch_events", ["AAPL"], int(CLOSES[0]), int(CLOSES[-1]))
    assert len(events) == 3 and len(caught) == 2


def _part(body: dict) -> dict:
    return body.get("datatable") or body["dataset"]


def _with_last_row(body: dict, day: str) -> dict:
    part = _part(body)
    row = list(part["data"][0])
    row[1 if "datatable" in body else 0] = day
    key = "datatable" if "datatable" in body else "dataset"
    return body | {key: part | {"data": [*part["data"], row]}}


@FORMS
@pytest.mark.parametrize(("lie", "message"), [
    (lambda body: _with_last_row(body, "2015-12-31"), "an answer lies inside the window"),
    (lambda body: {k: (v | {"data": [*v["data"], [1, 2]]} if k in ("datatable", "dataset") else v) for k, v in body.items()}, "2 cells instead of"),
    (lambda body: {"datatable": {"columns": [], "data": []}, "dataset": {"column_names": [], "data": []}}, "had no column date, open"),
    (lambda body: {"meta": {}}, "had no object"),
    (lambda body: {"quandl_error": "tired"}, "were refused: tired"),
], ids=["a bar of another year", "a short row", "no columns", "no table", "an error without a code"])
def test_a_lie_is_one_error(fake, lie, message, serve):
    server = serve(fake.answer)
    server.lie = lambda asked, reply: Reply(lie(reply.body))
    with pytest.raises(VendorError, match=message):
        ask(fake.make(server.url), fake.request("bars/1d"))


def test_rows_of_another_stock_are_an_error(serve):
    server = serve(TABLE.answer)
    server.faults = [lambda asked, reply: Reply(reply.body | {"datatable": reply.body["datatable"] | {
        "data": [["MSFT", *reply.body["datatable"]["data"][0][1:]], *reply.body["datatable"]["data"][1:]]}})]
    with pytest.raises(VendorError, match="held a row of 'MSFT'"):
        ask(TABLE.make(server.url), TABLE.request("bars/1d"))


def test_a_page_sent_again_is_an_error_and_what_came_before_stays(serve):
    server, kept = serve(TABLE.answer), []

    def again(asked, reply):
        kept.append(reply.body)
        return Reply(kept[2]) if len(kept) == 4 else reply  # the second page of the second window

    server.lie = again
    vendor, chunks = TABLE.make(server.url), []

    with pytest.raises(VendorError, match="twice"):
        ask(vendor, TABLE.request("bars/1d"), into=chunks)
    assert len(chunks) == 1
    same(rows_of(chunks), TABLE.truth["bars/1d"]()[: len(chunks[0].frame)])


# -- refusals and the key -------------------------------------------------------------------------------------------------

REFUSALS = [
    ("QEAx01", 400, VendorRefused, "check QTNB_QUANDL_API_KEY"),
    ("QEPx04", 403, VendorRefused, "the account may not read this"),
    ("QECx02", 404, VendorRefused, "there is no such code"),
    ("QESx04", 422, VendorRefused, "the question was not understood"),
    ("QELx06", 422, VendorError, "limit of calls or rows is used up"),
    ("QELx02", 429, VendorError, "limit of calls or rows is used up"),
    ("QEMx01", 503, VendorError, "the vendor is disturbed"),
]


@pytest.mark.parametrize("with_success", [False, True], ids=["with its status", "with 200"])
@pytest.mark.parametrize(("code", "status", "error", "remedy"), REFUSALS, ids=[r[0] for r in REFUSALS])
def test_each_refusal_has_its_remedy(code, status, error, remedy, with_success, serve):
    server = serve(TABLE.answer)
    server.lie = lambda asked, reply: Reply({"quandl_error": {"code": code, "message": "A sentence of the vendor."}}, 200 if with_success else status)
    with pytest.raises(VendorError, match=f"were refused with {code}.*{remedy}") as caught:
        ask(TABLE.make(server.url), TABLE.request("bars/1d"))
    assert type(caught.value) is error


def test_a_wrong_key_is_refused(serve):
    with pytest.raises(VendorRefused, match="QEAx01.*check QTNB_QUANDL_API_KEY"):
        ask(TABLE.make(serve(TABLE.answer).url, api_key=None), TABLE.request("bars/1d"))


def test_the_key_comes_from_the_settings(workspace, monkeypatch):
    with pytest.raises(ConfigError, match="QTNB_QUANDL_API_KEY"):
        QuandlVendor.from_settings()
    monkeypatch.setenv("QTNB_QUANDL_API_KEY", KEY)
    assert KEY not in repr(QuandlVendor.from_settings(form="series"))


@FORMS
@pytest.mark.parametrize("echo", [
    lambda asked, reply: Reply({"quandl_error": {"code": "QEAx01", "message": f"We do not know {KEY}"}}, 400),
    lambda asked, reply: Reply({"quandl_error": {"code": "QEAx01", "message": f"We do not know {KEY}"}}, 200),
    lambda asked, reply: Reply({"quandl_error": KEY}, 200),
    lambda asked, reply: Reply(f"<html>{asked.headers['x-api-token']}</html>".encode()),
    lambda asked, reply: Reply(f'{{"key": "{KEY}"'.encode()),
    lambda asked, reply: Reply({}, 302, {"Location": f"https://elsewhere.example/?api_key={KEY}"}),
], ids=["400", "error with 200", "another error", "HTML", "cut JSON", "redirect"])
def test_the_key_never_shows(fake, echo, serve, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    server = serve(fake.answer)
    vendor = fake.make(server.url)
    chunks = ask(vendor, fake.request("bars/1d"))
    server.lie = echo
    with pytest.raises(VendorError) as caught:
        ask(vendor, fake.request("bars/1d"))
    told = "".join(traceback.format_exception(caught.value)) + caplog.text + "".join(capsys.readouterr()) + repr(vendor) + repr(vars(vendor))
    assert KEY not in told + rows_of(chunks).to_csv() + repr(chunks)
