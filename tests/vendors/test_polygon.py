"""Polygon: answers that the vendor recorded, and a server that pages, throttles, lies and listens for the key."""

from __future__ import annotations

import json
import logging
import traceback
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from vendors.fakes import CLOSES, FAKES, KEY, LATER, MINUTES, Reply, ask, call, rows_of, same

from qtnb.core.errors import ConfigError, DataWarning, VendorError, VendorRefused
from qtnb.data.providers.base import PROVIDERS, Request
from qtnb.data.providers.polygon import (
    PolygonVendor,
    parse_changes,
    parse_dividends,
    parse_splits,
    parse_tickers,
    read_bars,
    read_body,
    read_quotes,
    read_trades,
)
from qtnb.data.providers.windows import window_chunk
from qtnb.data.schema import check_table

PAYLOADS = Path(__file__).parents[1] / "payloads" / "polygon"
POLYGON = FAKES["polygon"]


def recorded(name: str) -> dict:
    return json.loads((PAYLOADS / f"{name}.json").read_text(encoding="utf-8"))


def results(name: str):
    return read_body(recorded(name), name=name).results


def chunk_of(kind: str, ts, columns, wrong):
    end = 2 * LATER
    return window_chunk(Request(kind, ("AAPL",), 0, end, "tick"), "AAPL", 0, end, ts, columns, wrong=wrong, source="polygon", known_at=end)


# -- recorded answers -----------------------------------------------------------------------------------------------------


def test_recorded_bars():
    body = recorded("aggregates_AAPL_day")
    with pytest.raises(VendorError, match="came adjusted"):  # recorded with the vendor's default
        read_body(body, name="bars of AAPL", ticker="AAPL")
    ts, columns, wrong = read_bars(read_body(body | {"adjusted": False}, name="bars of AAPL", ticker="AAPL").results, "1d")
    # midnight was 05:00 UTC on 1 April 2005 and 04:00 UTC on the 4th: the clocks changed in between
    assert [str(t) for t in pd.to_datetime(ts, utc=True)] == ["2005-04-01 21:00:00+00:00", "2005-04-04 20:00:00+00:00"]
    assert wrong == [] and columns["open"].tolist() == [1.5032, 1.4639] and columns["volume"].tolist() == [642646396.0, 578172308.0]


def test_recorded_trades_contradict_each_other():
    """The vendor edited one of two equal trades; nobody can know which is true, so both are set aside."""
    ts, columns, wrong = read_trades(results("trades_AAPL"))
    assert columns["price"].tolist() == [156.43, 157.43] and columns["conditions"] == ["12,37 correction=1"] * 2 and columns["seq"].tolist() == [7179341] * 2
    chunk = chunk_of("trades", ts, columns, wrong)
    assert len(chunk.frame) == 0 and chunk.refused["rule"].unique().tolist() == ["one key has one row; these contradict each other"]


def test_recorded_quotes():
    rows = results("quotes_AAPL")
    ts, columns, wrong = read_quotes(rows)
    chunk = chunk_of("quotes", ts, columns, wrong)
    assert len(chunk.frame) == len(rows) == 10 and check_table(chunk.frame, "quotes") == []
    first = chunk.frame.iloc[-1]  # recorded from the latest to the earliest
    assert (first["bid"], first["ask"], first["bid_size"], first["exchange"]) == (155.86, 155.87, 1.0, "19|19")
    assert chunk.frame.index[-1][0].value == 1652191872690386918  # to the nanosecond


def test_recorded_splits():
    splits = parse_splits(results("splits"))
    assert len(splits) == 10 and (splits["kind"] == "split").all()
    by_symbol = splits.set_index("symbol")["value"]
    assert by_symbol["AMZN"] == 20.0 and by_symbol["BRW"] == 0.5 and by_symbol["CIG.C"] == 4 / 3
    assert str(splits.loc[splits["symbol"] == "AMZN", "ts"].iloc[0]) == "2022-06-06 13:30:00+00:00"


def test_recorded_dividends_were_known_long_before():
    dividends = parse_dividends(results("dividends"))
    assert len(dividends) == 10 and (dividends["known_at"] < dividends["ts"]).all()
    told = dividends.groupby("symbol").agg({"value": ["min", "max"], "known_at": ["min", "max"]})
    assert told.loc["CSSEN"].tolist() == [0.59375, 0.59375, *[pd.Timestamp("2020-09-10T04:00Z")] * 2]  # declared on 9 September, in summer time
    assert told.loc["AIRTP"].tolist() == [0.5, 0.5, *[pd.Timestamp("2022-02-11T05:00Z")] * 2]


def test_recorded_renames_and_tickers():
    renamed = parse_changes(results("ticker_events_META"), "META")
    assert renamed[["symbol", "kind", "text"]].to_numpy().tolist() == [["META", "symbol_change", "META"]]
    assert str(renamed["ts"].iloc[0]) == "2022-06-13 13:30:00+00:00"  # recorded for a Saturday: it holds from Monday's open
    answer = read_body(recorded("tickers"), name="tickers")
    assert answer.next_url.startswith("https://api.massive.com/v3/reference/tickers?cursor=")
    table = parse_tickers(answer.results)
    assert table["note"].tolist() == ["CS BBG001SCTQY4", "CS BBG00B3T3HF1"]
    assert table[["symbol", "venue", "currency"]].to_numpy().tolist() == [["A", "XNYS", "USD"], ["AA", "XNYS", "USD"]]


# -- the server -----------------------------------------------------------------------------------------------------------


def test_what_is_asked(serve):
    server = serve(POLYGON.answer)
    ask(POLYGON.make(server.url), POLYGON.request("bars/1d"))
    first, second = server.asked[:2]
    assert first.path == "/v2/aggs/ticker/AAPL/range/1/day/2014-01-02/2014-12-31" and first.params == {"adjusted": "false", "sort": "asc", "limit": "37"}
    assert set(second.params) == {"cursor"} and len(server.asked) == -(-len(CLOSES) // 37)
    assert all(KEY not in json.dumps([a.path, a.params]) and a.headers["authorization"] == f"Bearer {KEY}" for a in server.asked)


def test_the_new_name_is_the_same_vendor():
    assert PROVIDERS.get("massive") is PolygonVendor and "api.massive.com" in repr(PolygonVendor(base_url="https://api.massive.com"))


def test_instruments_come_in_pages(serve):
    server = serve(POLYGON.answer)
    table = call(POLYGON.make(server.url), "fetch_instruments")
    gone = table[table["symbol"] == "GONE"].iloc[0]
    assert gone["valid_to"] == "2015-03-31" and {a.params["active"] for a in server.asked} == {"true", "false"}


def test_events_are_summed_and_known_early(serve):
    events = call(POLYGON.make(serve(POLYGON.answer).url), "fetch_events", ["AAPL", "MSFT"], int(CLOSES[0]), int(CLOSES[-1]))
    assert events[["kind", "value"]].to_numpy().tolist() == [["dividend", 3.29], ["split", 7.0], ["dividend", 0.47]]
    assert events["known_at"].dt.strftime("%Y-%m-%d").tolist() == ["2014-04-24", "2014-06-09", "2014-04-24"]


def test_a_delayed_plan_promises_nothing_about_the_last_minutes(serve):
    server = serve(POLYGON.answer)
    server.lie = lambda asked, reply: Reply(reply.body | {"status": "DELAYED"})
    now = int(MINUTES[100])
    chunks = ask(POLYGON.make(server.url, now=lambda: now), POLYGON.request("trades", end=int(CLOSES[-1])))
    assert chunks[-1].last == now - 15 * 60 * 10**9
    same(rows_of(chunks), POLYGON.truth["trades"]())


def test_a_row_that_cannot_be_read_is_set_aside_and_the_others_stay(serve):
    server = serve(POLYGON.answer)

    def spoil(asked, reply):
        rows = [dict(r) for r in reply.body["results"]]
        rows[3]["sip_timestamp"], rows[5]["price"], rows[7]["size"] = None, "n/a", -4
        return Reply(reply.body | {"results": rows})

    server.faults = [spoil]
    chunks = ask(POLYGON.make(server.url), POLYGON.request("trades"))
    refused = pd.concat([c.refused for c in chunks])
    assert len(refused) == 3 and len(rows_of(chunks)) == len(POLYGON.truth["trades"]()) - 3
    assert any("whole number `sip_timestamp`" in rule for rule in refused["rule"]) and "the quantity is 0 or more" in set(refused["rule"])


def test_a_bar_on_a_holiday_is_set_aside(serve):
    server, holiday = serve(POLYGON.answer), int(pd.Timestamp("2014-01-04", tz="America/New_York").value // 10**6)

    def add(asked, reply):
        rows = reply.body["results"]
        return Reply(reply.body | {"results": [*rows[:2], rows[2] | {"t": holiday}, *rows[2:]]})

    server.faults = [add]
    chunks = ask(POLYGON.make(server.url), POLYGON.request("bars/1d"))
    assert chunks[0].refused[["rule", "value"]].to_numpy().tolist() == [["the day is a session of XNYS", "2014-01-04T00:00:00+00:00"]]
    same(rows_of(chunks), POLYGON.truth["bars/1d"]())


@pytest.mark.parametrize(("dataset", "lie", "message"), [
    ("trades", lambda body: body | {"results": [*body["results"], body["results"][-1] | {"sip_timestamp": LATER + 10**18}]}, "lies inside the window"),
    ("bars/1m", lambda body: body | {"results": [*body["results"], body["results"][-1] | {"t": LATER // 10**6 + 10**9}]}, "lies inside the window"),
    ("bars/1m", lambda body: body | {"results": body["results"][::-1]}, "pages run forward in time"),
    ("bars/1d", lambda body: body | {"adjusted": True}, "came adjusted"),
    ("bars/1d", lambda body: body | {"ticker": "MSFT"}, "were answered for 'MSFT'"),
    ("bars/1d", lambda body: body | {"results": "none"}, "neither a list nor an object"),
    ("bars/1d", lambda body: body | {"results": [[1, 2]]}, "without one row that can be read"),
    ("bars/1d", lambda body: body | {"status": "CLOSED"}, "status 'CLOSED'"),
], ids=["a trade from the future", "a bar from the future", "backward", "adjusted", "another ticker", "text for rows", "lists for rows", "another status"])
def test_a_lie_is_one_error(dataset, lie, message, serve):
    server = serve(POLYGON.answer)
    server.lie = lambda asked, reply: Reply(lie(reply.body))
    with pytest.raises(VendorError, match=message):
        ask(POLYGON.make(server.url), POLYGON.request(dataset))


@pytest.mark.parametrize("dataset", ["bars/1d", "bars/1m", "trades", "quotes"])
def test_a_page_sent_again_is_an_error_and_what_came_before_stays(dataset, serve):
    server, kept = serve(POLYGON.answer), []

    def again(asked, reply):
        kept.append(reply.body)
        return Reply(kept[0] | {"next_url": kept[-1].get("next_url", "")}) if len(kept) == 3 else reply

    server.lie = again
    vendor, chunks = POLYGON.make(server.url), []

    with pytest.raises(VendorError, match="twice"):
        ask(vendor, POLYGON.request(dataset), into=chunks)
    truth = POLYGON.truth[dataset]()
    same(rows_of(chunks), truth[: sum(len(c.frame) for c in chunks)])
    assert len(server.asked) == 3 and 0 < sum(len(c.frame) for c in chunks) < len(truth)


def test_a_vendor_without_an_end_is_left(serve):
    """Pages without a row, each with a new address for the next."""
    numbers = iter(range(10**6))
    server = serve(lambda asked, url: Reply({"status": "OK", "results": [], "next_url": f"{url}/v3/trades/AAPL?cursor={next(numbers)}"}))
    with pytest.raises(VendorError, match="sent 21 pages of trades of AAPL without a row"):
        ask(POLYGON.make(server.url), POLYGON.request("trades"))
    assert len(server.asked) == 21


# -- the key --------------------------------------------------------------------------------------------------------------


def test_a_refusal_names_the_remedy(serve):
    server = serve(POLYGON.answer)
    with pytest.raises(VendorRefused, match="401.*Unknown API Key.*check the key"):
        ask(POLYGON.make(server.url, api_key="wrong-key"), POLYGON.request("bars/1d"))
    server.lie = lambda asked, reply: Reply({"status": "NOT_AUTHORIZED", "message": "You are not entitled to this data."}, 200)
    with pytest.raises(VendorRefused, match="NOT_AUTHORIZED.*plan covers"):
        ask(POLYGON.make(server.url), POLYGON.request("bars/1d"))


def test_the_key_comes_from_the_settings(workspace, monkeypatch):
    with pytest.raises(ConfigError, match="QTNB_POLYGON_API_KEY"):
        PolygonVendor.from_settings()
    monkeypatch.setenv("QTNB_POLYGON_API_KEY", KEY)
    assert KEY not in repr(PolygonVendor.from_settings())


def test_the_key_is_sent_to_nobody_else(serve):
    server, thief = serve(POLYGON.answer), serve(lambda asked, url: Reply({"status": "OK", "results": []}))
    server.lie = lambda asked, reply: Reply(reply.body | {"next_url": f"{thief.url}/v2/aggs/ticker/AAPL?cursor=1"})
    with pytest.raises(VendorError, match="a request stays on 127.0.0.1") as caught:
        ask(POLYGON.make(server.url), POLYGON.request("bars/1d"))
    assert thief.asked == [] and KEY not in str(caught.value)
    server.lie = lambda asked, reply: Reply({}, 302, {"Location": f"{thief.url}/v2/aggs"})
    with pytest.raises(VendorError, match="redirect"):
        ask(POLYGON.make(server.url), POLYGON.request("bars/1d"))
    assert thief.asked == []


ECHOES = [
    lambda asked, reply: Reply({"status": "ERROR", "error": f"Unknown API Key {KEY}"}, 401),
    lambda asked, reply: Reply({"status": "ERROR", "error": f"Unknown API Key {KEY}"}, 200),
    lambda asked, reply: Reply(f"<html>{asked.headers['authorization']}</html>".encode()),
    lambda asked, reply: Reply(f'{{"key": "{KEY}"'.encode()),
    lambda asked, reply: Reply({"error": KEY}, 500),
    lambda asked, reply: Reply(reply.body | {"next_url": f"https://elsewhere.example/?apiKey={KEY}"}),
]


@pytest.mark.parametrize("echo", ECHOES, ids=["401", "error with 200", "HTML", "cut JSON", "500", "next page elsewhere"])
def test_the_key_never_shows(echo, serve, caplog, capsys):
    """A vendor that repeats the key wherever it can: in no log line, message, traceback, repr or frame does it appear."""
    caplog.set_level(logging.DEBUG)
    server = serve(POLYGON.answer)
    vendor = POLYGON.make(server.url)
    ask(vendor, POLYGON.request("trades"))
    server.lie = echo
    with pytest.raises(VendorError) as caught:
        ask(vendor, POLYGON.request("bars/1d"))
    told = "".join(traceback.format_exception(caught.value)) + caplog.text + "".join(capsys.readouterr()) + repr(vendor) + repr(vars(vendor))
    assert KEY not in told and len(server.asked) > 1


def test_the_key_stands_in_no_frame(serve):
    server = serve(POLYGON.answer)
    chunks = ask(POLYGON.make(server.url), POLYGON.request("quotes"))
    events = call(POLYGON.make(server.url), "fetch_events", ["AAPL"], int(CLOSES[0]), int(CLOSES[-1]))
    assert KEY not in rows_of(chunks).to_csv() + events.to_csv() + repr(chunks) + "".join(c.refused.to_csv() for c in chunks)


# -- events that cannot be meant ------------------------------------------------------------------------------------------


def test_a_dividend_that_cannot_be_meant_is_left_out_aloud():
    good = {"ticker": "X", "ex_dividend_date": "2014-05-08", "cash_amount": 1.0}
    with pytest.warns(DataWarning, match="2 dividend.s. of Polygon left out") as caught:
        kept = parse_dividends([good, good | {"currency": "CAD"}, good | {"cash_amount": 0}])
    assert len(kept) == 1 and kept["value"].tolist() == [1.0] and len(caught) == 1
    with pytest.warns(DataWarning, match="1 split.s. of Polygon left out"):
        assert len(parse_splits([{"ticker": "X", "execution_date": "2014-05-08", "split_from": 0, "split_to": 2}])) == 0


def test_a_ticker_used_by_three_companies_has_three_rows():
    rows = [{"ticker": "X", "name": n, "active": end is None, "delisted_utc": end, "type": "CS"} for n, end in
            [("now", None), ("first", "2001-05-04T00:00:00Z"), ("second", "2010-12-31T05:00:00Z")]]
    table = parse_tickers(rows)
    assert table[["name", "valid_from", "valid_to"]].to_numpy().tolist() == [["first", "", "2001-05-04"], ["second", "2001-05-05", "2010-12-31"],
                                                                             ["now", "2011-01-01", ""]]
    assert np.array_equal(table["symbol"].unique(), ["X"])
