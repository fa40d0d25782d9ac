"""Binance against an exchange on this machine that pages, throttles, truncates and lies: the rows are right, or there is an error."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from vendors import loopback
from vendors.loopback import STEPS, LoopbackVendor, SyntheticExchange, as_json, binance_routes

from qtnb.core.errors import UnknownNameError, VendorError, VendorRefused
from qtnb.data.providers.base import PROVIDERS, Chunk, Request, Vendor
from qtnb.data.providers.binance import BinanceVendor
from qtnb.data.providers.streams import StreamReader, read_binance
from qtnb.data.providers.transport import HttpPolicy, run_async
from qtnb.data.schema import check_table
from qtnb.enums import Side
from qtnb.types import Bar
from qtnb.utils.time import index_to_ns

MS = 1_000_000
EXCHANGE = SyntheticExchange()
QUICK = HttpPolicy(attempts=3, per_second=1e6)
KEY = "canary-77aa-binance"


async def at_once(seconds: float) -> None:
    """A pause that takes no time."""


@pytest.fixture
def server():
    with LoopbackVendor(binance_routes(EXCHANGE) | binance_routes(EXCHANGE, "/fapi/v1")) as running:
        yield running


def vendor_of(server: LoopbackVendor, market: str = "spot", **options) -> BinanceVendor:
    return BinanceVendor(market, base_url=server.url, **{"policy": QUICK, "sleep": at_once, "seed": 1, **options})


def fetch(server: LoopbackVendor, request: Request, market: str = "spot", *, stop: int | None = None, **options) -> list[Chunk]:
    """The chunks of an answer; only the first `stop` of them when given."""

    async def reading():
        vendor, found = vendor_of(server, market, **options), []
        try:
            async for chunk in vendor.chunks(request):
                found.append(chunk)
                if len(found) == stop:
                    break
        finally:
            await vendor.close()
        return found

    return run_async(reading())


def bars(interval: str, first: int, last: int, *symbols: str) -> Request:
    """Bars between two opening times of the exchange, counted in bars since it began."""
    step = STEPS[interval] * MS
    return Request("bars", symbols or ("BTCUSDT",), EXCHANGE.listed * MS + first * step, EXCHANGE.listed * MS + last * step, interval)


def trades(first_ms: int, last_ms: int) -> Request:
    """Trades between two times, ms since the exchange began."""
    return Request("trades", ("BTCUSDT",), (EXCHANGE.listed + first_ms) * MS, (EXCHANGE.listed + last_ms) * MS, "tick")


def together(chunks: list[Chunk]) -> pd.DataFrame:
    return pd.concat([chunk.frame for chunk in chunks])


def windows_cover(chunks: list[Chunk], first: int, last: int) -> bool:
    """Whether the windows follow each other and cover a range, each row inside its own."""
    inside = all(((ts := index_to_ns(c.frame.index.get_level_values(0))) >= c.first).all() and (ts <= c.last).all() for c in chunks)
    joined = all(a.last + 1 == b.first for a, b in zip(chunks, chunks[1:], strict=False))
    return inside and joined and chunks[0].first == first and chunks[-1].last == last


def expected_bars(interval: str, first: int, last: int, symbol: str = "BTCUSDT") -> list[tuple]:
    """Every complete bar that closes within the range, straight from the exchange."""
    step = STEPS[interval]
    klines = [EXCHANGE.kline(symbol, interval, EXCHANGE.listed + n * step) for n in range(max(first - 1, 0), last)]
    return [((k[0] + step) * MS, *(float(v) for v in k[1:6])) for k in klines if k[0] + step <= EXCHANGE.now]


def rows_of(frame: pd.DataFrame) -> list[tuple]:
    ts = index_to_ns(frame.index.get_level_values(0))
    return [(int(t), *map(float, row)) for t, row in zip(ts, frame.to_numpy(), strict=True)]


# -- honest answers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("market", "interval", "first", "last", "pages"),
    [
        ("spot", "1m", 1, 1440, 2),
        ("usdm", "1m", 1, 1440, 1),
        ("spot", "1m", 3, 3, 1),
        ("spot", "1m", 1, 1000, 1),
        ("spot", "1m", 1, 1001, 2),
        ("spot", "5m", 10, 200, 1),
        ("spot", "1h", 0, 24, 1),
        ("usdm", "1d", 0, 1, 1),
        ("spot", "1s", 1, 2500, 3),
    ],
)
def test_every_bar_of_a_range(server: LoopbackVendor, market: str, interval: str, first: int, last: int, pages: int) -> None:
    """Exactly the bars that closed within the range, each value as the exchange has it, in as few pages as there must be."""
    request = bars(interval, first, last)
    chunks = fetch(server, request, market)
    frame = together(chunks)
    assert rows_of(frame) == expected_bars(interval, first, last)
    assert check_table(frame) == [] and windows_cover(chunks, request.start, request.end)
    assert len(server.asked("klines")) == pages and not any(len(c.refused) for c in chunks)


def test_two_symbols_one_after_the_other(server: LoopbackVendor) -> None:
    """Each symbol has its own windows."""
    chunks = fetch(server, bars("1m", 1, 1200, "ETHUSDT", "BTCUSDT"))
    assert [c.symbol for c in chunks] == ["ETHUSDT", "ETHUSDT", "BTCUSDT", "BTCUSDT"]
    assert rows_of(together(chunks[:2])) == expected_bars("1m", 1, 1200, "ETHUSDT")


def test_bounds_between_bars(server: LoopbackVendor) -> None:
    """A range that begins and ends in the middle of bars holds the bars that close inside."""
    start, step = EXCHANGE.listed * MS, 60_000 * MS
    chunks = fetch(server, Request("bars", ("BTCUSDT",), start + step + 1, start + 4 * step - 1, "1m"))
    assert [ts for ts, *_ in rows_of(together(chunks))] == [start + 2 * step, start + 3 * step]


def test_before_the_listing_there_is_nothing(server: LoopbackVendor) -> None:
    """A window without rows is an answer."""
    request = Request("bars", ("BTCUSDT",), 0, EXCHANGE.listed * MS, "1m")
    chunks = fetch(server, request)
    assert len(chunks) == 1 and len(chunks[0].frame) == 0 and windows_cover(chunks, request.start, request.end)


def test_the_bar_being_traded_is_not_returned(server: LoopbackVendor) -> None:
    """The exchange sends it; the vendor does not pass it on, and its last window ends now."""
    now = EXCHANGE.now + 90_500
    with LoopbackVendor(binance_routes(replace(EXCHANGE, now=now))) as later:
        chunks = fetch(later, bars("1m", 1430, 3000))
        frame = together(chunks)
        assert index_to_ns(frame.index.get_level_values(0)).max() == (EXCHANGE.now + 60_000) * MS
        assert chunks[-1].last == now * MS
        assert fetch(later, Request("bars", ("BTCUSDT",), now * MS + 1, now * MS + 10**12, "1m")) == []
    early = fetch(server, bars("1m", 1, 10), now=lambda: (EXCHANGE.listed + 5 * 60_000 - 1) * MS)
    assert len(together(early)) == 4 and len(server.asked("time")) == 0


@pytest.mark.parametrize(("at_once_", "every"), [(1, 20_000), (3, 20_000), (40, 400_000)])
def test_every_trade_of_a_range(at_once_: int, every: int) -> None:
    """Several trades share a millisecond, and pages end between them: each trade comes once, in order, with its side."""
    exchange = replace(EXCHANGE, at_once=at_once_, trade_every=every)
    with LoopbackVendor(binance_routes(exchange)) as server:
        request = trades(5_000_000, 30_000_000)
        chunks = fetch(server, request)
    frame = together(chunks)
    everything = [exchange.trade("BTCUSDT", n) for n in range((exchange.now - exchange.listed) // every * at_once_)]
    wanted = [t for t in everything if 5_000_000 <= t["T"] - exchange.listed <= 30_000_000]
    assert frame["seq"].tolist() == [t["a"] for t in wanted] and len(wanted) > 1000 * (at_once_ > 1)
    assert frame["price"].tolist() == [float(t["p"]) for t in wanted] and frame["quantity"].tolist() == [float(t["q"]) for t in wanted]
    assert frame["aggressor"].tolist() == [-1.0 if t["m"] else 1.0 for t in wanted]
    assert check_table(frame, "trades") == [] and windows_cover(chunks, request.start, request.end)


def test_trades_that_begin_hours_later(server: LoopbackVendor) -> None:
    """The search for the first trade goes hour by hour; a range that ends before it has none."""
    request = trades(-5 * 3_600_000, 10_000)
    chunks = fetch(server, request)
    assert len(together(chunks)) == 15 * 3 and windows_cover(chunks, request.start, request.end)
    nothing = fetch(server, trades(-5 * 3_600_000, -1))
    assert len(nothing) == 1 and len(nothing[0].frame) == 0


def test_instruments(server: LoopbackVendor) -> None:
    """Steps, currency and names, of all symbols or of some."""
    for market, venue in (("spot", "BINANCE"), ("usdm", "BINANCE-USDM")):
        table = run_async(vendor_of(server, market).fetch_instruments())
        assert table["symbol"].tolist() == ["BTCUSDT", "ETHUSDT"] and set(table["venue"]) == {venue} and set(table["currency"]) == {"USDT"}
        some = run_async(vendor_of(server, market).fetch_instruments(["ETHUSDT"]))
        assert some[["tick_size", "lot_size", "min_notional"]].to_numpy().tolist() == [[0.01, 0.00001, 5.0]]
    with pytest.raises(UnknownNameError, match="Did you mean 'ETHUSDT'"):
        run_async(vendor_of(server, "usdm").fetch_instruments(["ETHUSD"]))
    with pytest.raises(VendorRefused, match="Invalid symbol"):
        run_async(vendor_of(server).fetch_instruments(["ETHUSD"]))


def test_the_vendor_is_found_by_name() -> None:
    """The registry, the protocol, and no events."""
    vendor = PROVIDERS.get("binance")()
    assert isinstance(vendor, Vendor) and vendor.name == "binance" and "1s" in vendor.offers["bars"]
    assert len(run_async(vendor.fetch_events(["BTCUSDT"], 0, 1))) == 0


# -- interruption ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [bars("1s", 1, 4500), trades(1_000_000, 3_000_000)], ids=["bars", "trades"])
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_going_on_after_an_interruption(server: LoopbackVendor, request_: Request, stop: int) -> None:
    """Stop after some chunks, ask again from the end of the last: together the same rows, none twice."""
    whole = fetch(server, request_)
    assert len(whole) > 3
    before = fetch(server, request_, stop=stop)
    after = fetch(server, replace(request_, start=before[-1].last + 1))
    pd.testing.assert_frame_equal(together(before + after), together(whole))
    assert windows_cover(before + after, request_.start, request_.end)


def test_an_error_in_the_middle_keeps_what_came(server: LoopbackVendor) -> None:
    """The chunks before the error were already handed over; the rest comes later."""
    request = bars("1s", 1, 4500)
    whole, got = fetch(server, request), []

    async def reading():
        async for chunk in vendor_of(server).chunks(request):
            got.append(chunk)

    server.twist(loopback.honest, loopback.honest, loopback.html, path="klines")
    with pytest.raises(VendorError, match="a page of HTML"):
        run_async(reading())
    assert len(got) == 2
    rest = fetch(server, replace(request, start=got[-1].last + 1))
    pd.testing.assert_frame_equal(together(got + rest), together(whole))


# -- a network that fails, and recovers -----------------------------------------------------------------------------------

TROUBLE = [loopback.throttle(1), loopback.status(502), loopback.cut_json, loopback.promise_more, loopback.hang_up, loopback.broken_gzip]


@pytest.mark.parametrize("seed", range(5))
def test_trouble_changes_nothing(server: LoopbackVendor, seed: int) -> None:
    """Whatever passes on the way, the rows are the same."""
    request = bars("1s", 1, 4000)
    dice = np.random.default_rng(seed)
    for _ in range(5):
        server.twist(TROUBLE[dice.integers(len(TROUBLE))], loopback.honest)
    assert rows_of(together(fetch(server, request))) == expected_bars("1s", 1, 4000)
    assert len(server.calls) == 5 + 5 and server.upcoming == [loopback.honest]  # the time and four pages; five troubles, all used up


def test_the_weight_is_watched(server: LoopbackVendor) -> None:
    """Near the limit the vendor waits for the next minute, and is never throttled."""
    waits = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    server.twist(loopback.with_headers(X_MBX_USED_WEIGHT_1M="5990"), path="klines")
    fetch(server, bars("1s", 1, 2500), sleep=note, clock=lambda: 1000.0, timer=lambda: 0.0)
    assert max(waits) == pytest.approx(20, abs=0.01)


def test_an_unknown_symbol_is_a_no(server: LoopbackVendor) -> None:
    """With the exchange's own words."""
    with pytest.raises(VendorRefused, match="Invalid symbol"):
        fetch(server, bars("1m", 1, 2, "NOPE"))
    assert len(server.asked("klines")) == 1


# -- lies -----------------------------------------------------------------------------------------------------------------


def test_a_bar_from_the_future(server: LoopbackVendor) -> None:
    """A row outside the window that was asked for: nothing of the page is used."""
    for request, path in ((bars("1m", 1, 100), "klines"), (trades(0, 60_000), "aggTrades")):
        server.twist(loopback.from_the_future, path=path)
        with pytest.raises(VendorError, match="when it was asked for"):
            fetch(server, request)


def test_a_page_that_is_repeated(server: LoopbackVendor) -> None:
    """An error instead of an endless loop."""
    for request, path in ((bars("1s", 1, 4500), "klines"), (trades(1_000_000, 3_000_000), "aggTrades")):
        first: list = []

        def repeat(call, reply, first=first):
            first.append(reply)
            return first[0]

        server.twist(*[repeat] * 50, path=path)
        before = len(server.calls)
        with pytest.raises(VendorError, match="the same page"):
            fetch(server, request)
        assert len(server.calls) - before <= 4


def test_pages_of_other_rows(server: LoopbackVendor) -> None:
    """The exchange ignores where it was asked to begin."""

    def shifted(call, reply):
        return as_json(EXCHANGE.trades("BTCUSDT", None, None, int(call.params["fromId"]) - 7, 1000))

    server.twist(loopback.honest, shifted, path="aggTrades")
    with pytest.raises(VendorError, match="does not go on at number"):
        fetch(server, trades(1_000_000, 3_000_000))


@pytest.mark.parametrize("body", [{"code": 0}, "ok", None, 5])
def test_a_page_that_is_no_list(server: LoopbackVendor, body) -> None:
    """JSON, with status 200, and not what was asked."""
    for request, path in ((bars("1m", 1, 100), "klines"), (trades(0, 60_000), "aggTrades")):
        server.twist(loopback.status(200, json.dumps(body).encode()), path=path)
        with pytest.raises(VendorError, match="a page is a list of rows"):
            fetch(server, request)


def test_a_page_without_one_row_that_can_be_read(server: LoopbackVendor) -> None:
    """Nothing says where to go on, so it is an error and no loop."""
    for request, path in ((bars("1m", 1, 100), "klines"), (trades(0, 60_000), "aggTrades")):
        server.twist(loopback.status(200, b'[["x"], {}]'), path=path)
        with pytest.raises(VendorError, match="nothing of it was used"):
            fetch(server, request)


def test_a_short_page_is_not_believed(server: LoopbackVendor) -> None:
    """Ten rows instead of a thousand: the vendor asks on until there is nothing more to ask."""
    server.twist(loopback.rows(lambda page: page[:10]), path="klines")
    assert rows_of(together(fetch(server, bars("1m", 1, 300)))) == expected_bars("1m", 1, 300)
    server.twist(loopback.rows(lambda page: page[:10]), path="aggTrades")
    assert len(together(fetch(server, trades(0, 350_000)))) == 501 * 3


def test_wrong_instruments(server: LoopbackVendor) -> None:
    """Another symbol than the one that was asked for, and a time that is none."""
    server.twist(lambda call, reply: as_json({"symbols": [{"symbol": "ETHUSDT"}]}), path="exchangeInfo")
    with pytest.raises(VendorError, match="not asked for, such as 'ETHUSDT'"):
        run_async(vendor_of(server).fetch_instruments(["BTCUSDT"]))
    server.twist(lambda call, reply: as_json({"serverTime": "noon"}), path="time")
    with pytest.raises(VendorError, match="serverTime"):
        fetch(server, bars("1m", 1, 2))


# -- bad rows -------------------------------------------------------------------------------------------------------------


def test_order_and_copies(server: LoopbackVendor) -> None:
    """A page backwards loses nothing; copies of rows are set aside as copies."""
    server.twist(loopback.backward, path="klines")
    assert rows_of(together(fetch(server, bars("1m", 1, 1200)))) == expected_bars("1m", 1, 1200)
    server.twist(loopback.doubled, path="klines")
    chunk = fetch(server, bars("1m", 1, 50))[0]
    assert rows_of(chunk.frame) == expected_bars("1m", 1, 50)
    assert chunk.refused["row"].tolist() == ["50", "51"] and set(chunk.refused["rule"]) == {"each row stands once; this one is a copy"}


def test_every_bad_row_is_set_aside_with_its_reason(server: LoopbackVendor) -> None:
    """Twelve bars, seven of them bad in seven ways: five good rows and seven reasons, and no row is missing."""

    def spoil(page: list) -> list:
        page[1][2] = "1.0"  # high below everything
        page[2][1] = "n/a"
        page[3][5] = "-4"
        page[4] = page[4][:3]
        page[5][6] += 60_000  # a bar of two minutes
        page[6][0] = None
        page[7][4] = None
        return page

    server.twist(loopback.rows(spoil), path="klines")
    chunk = fetch(server, bars("1m", 1, 12))[0]
    good = expected_bars("1m", 1, 12)
    assert rows_of(chunk.frame) == [good[0], *good[8:]]
    reasons = chunk.refused.groupby("row")["rule"].first().to_dict()
    assert set(reasons) == {str(n) for n in range(1, 8)} and len(chunk.frame) + len(reasons) == 12
    assert "highest" in reasons["1"] and "number" in reasons["2"] and "0 or more" in reasons["3"] and "seven cells" in reasons["4"]
    assert "open time plus interval" in reasons["5"] and "milliseconds or microseconds" in reasons["6"] and "number" in reasons["7"]
    assert set(chunk.refused["source"]) == {"binance"} and set(chunk.refused["dataset"]) == {"bars/1m"}


def test_bad_trades(server: LoopbackVendor) -> None:
    """No price, no side, no number: set aside; the others come."""

    def spoil(page: list) -> list:
        page[3]["p"] = "0"
        page[5]["m"] = "yes"
        page[7].pop("T")
        return page

    server.twist(loopback.rows(spoil), path="aggTrades")
    chunks = fetch(server, trades(0, 10_000))
    assert together(chunks)["seq"].tolist() == [n for n in range(45) if n not in (3, 5, 7)]
    refused = pd.concat([c.refused for c in chunks])
    assert sorted(rule.split()[0] for rule in refused["rule"]) == ["`m`", "the", "the"] and "the price is above 0" in set(refused["rule"])


# -- microseconds, streams, keys ------------------------------------------------------------------------------------------


def test_microseconds_are_the_same_bars(server: LoopbackVendor) -> None:
    """A server that answers in microseconds says the same."""
    honest = fetch(server, bars("1m", 1, 30))
    server.twist(loopback.rows(lambda page: [[k[0] * 1000, *k[1:6], (k[6] + 1) * 1000 - 1, *k[7:]] for k in page]), path="klines")
    pd.testing.assert_frame_equal(together(fetch(server, bars("1m", 1, 30))), together(honest))


def test_by_page_and_by_stream_the_same_values(server: LoopbackVendor) -> None:
    """The same klines and trades over the websocket, in the wrapper of a combined stream: the same values, bit by bit."""
    stored, reader = together(fetch(server, bars("5m", 1, 288))), StreamReader("binance", interval="5m")
    streamed = []
    for k in EXCHANGE.klines("BTCUSDT", "5m", None, None, 288):
        fields = {"t": k[0], "T": k[6], "s": "BTCUSDT", "i": "5m", "o": k[1], "h": k[2], "l": k[3], "c": k[4], "v": k[5]}
        for closed in (False, True):
            message = {"stream": "btcusdt@kline_5m", "data": {"e": "kline", "s": "BTCUSDT", "k": {**fields, "x": closed}}}
            streamed += reader.read(json.dumps(message))
    ts = index_to_ns(stored.index.get_level_values(0))
    assert streamed == [Bar(int(t), "BTCUSDT", *map(float, row)) for t, row in zip(ts, stored.to_numpy(), strict=True)]
    assert reader.counts == {"open": 288, "bars/5m": 288}
    tape = together(fetch(server, trades(0, 60_000)))
    for n, (instant, row) in enumerate(zip(index_to_ns(tape.index.get_level_values(0)), tape.itertuples(index=False), strict=True)):
        _, value = read_binance({"e": "aggTrade", "s": "BTCUSDT", **EXCHANGE.trade("BTCUSDT", n)})
        assert (value.ts, value.price, value.quantity) == (instant, row.price, row.quantity)
        assert value.aggressor is (Side.BUY if row.aggressor == 1 else Side.SELL)


def test_the_key_travels_and_does_not_show(server: LoopbackVendor, caplog) -> None:
    """In the header of each request; in no frame, no quarantine, no log and no error."""
    caplog.set_level(0)
    server.twist(loopback.doubled, path="klines")
    chunks = fetch(server, bars("1m", 1, 20), api_key=KEY)
    assert {call.headers["x-mbx-apikey"] for call in server.calls} == {KEY}
    server.always(loopback.echo(401))
    with pytest.raises(VendorRefused) as caught:
        fetch(server, bars("1m", 1, 20), api_key=KEY)
    vendor = vendor_of(server, api_key=KEY)
    shown = [str(caught.value), repr(vendor), repr(vars(vendor)), *(c.frame.to_csv() + c.refused.to_csv() + repr(c) for c in chunks), caplog.text]
    assert not [text for text in shown if KEY in text]
