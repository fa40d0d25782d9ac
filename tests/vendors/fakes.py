"""Servers on this machine that answer like Polygon and Quandl, from seeded data, and misbehave on request; with Binance's, the register of fakes."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

import numpy as np
import pandas as pd
from vendors import loopback
from vendors.loopback import Call, LoopbackVendor, SyntheticExchange, binance_routes

from qtnb.data.calendars import session_close, session_open, sessions
from qtnb.data.providers.base import Chunk, Request, Vendor
from qtnb.data.providers.binance import BinanceVendor
from qtnb.data.providers.polygon import PolygonVendor
from qtnb.data.providers.quandl import QuandlVendor
from qtnb.data.providers.transport import HttpPolicy, run_async
from qtnb.data.schema import normalise_bars, normalise_table

KEY = "canary-5e1f-of-the-vendors"
MINUTE = 60_000_000_000
FAST = HttpPolicy(per_second=100_000, attempts=4, read_seconds=10)


@dataclass
class Reply:
    """What the server sends: an object becomes JSON, bytes go as they are."""

    body: object = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None  # send only so many bytes of the body

    def sent(self) -> loopback.Reply:
        raw = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        return loopback.Reply(raw[: self.cut], self.status, {"Content-Type": "application/json", **self.headers})


Answer = Callable[[Call, str], Reply]  # a call and the server's own address -> the honest reply
Fault = Callable[[Call, Reply], Reply]


class Server:
    """A vendor that answers every path by one function; `faults` change one reply each, in order, `lie` changes every one."""

    def __init__(self, answer: Answer):
        self.asked: list[Call] = []
        self.faults: list[Fault] = []
        self.lie: Fault | None = None
        self._answer, self._vendor = answer, LoopbackVendor({})
        self._vendor.always(lambda call, _: self._reply(call))
        self._vendor.__enter__()
        self.url = self._vendor.url

    def _reply(self, call: Call) -> loopback.Reply:
        call = Call(unquote(call.path), call.params, call.headers)
        self.asked.append(call)
        reply = self._answer(call, self.url)
        for change in [*([self.faults.pop(0)] if self.faults else []), *([self.lie] if self.lie else [])]:
            reply = change(call, reply)
        return reply.sent()

    def close(self) -> None:
        self._vendor.__exit__()


class Pauses:
    """A sleep that takes no time and remembers what was asked for."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


# -- seeded data ----------------------------------------------------------------------------------------------------------


def prices(n: int, seed: int) -> pd.DataFrame:
    """Rows of open, high, low, close, volume with two decimals, as a tape prints them."""
    rng = np.random.default_rng(seed)
    close = np.round(100 * np.exp(rng.normal(0, 0.01, n).cumsum()), 2)
    opened = np.round(close * (1 + rng.normal(0, 0.003, n)), 2)
    high, low = np.round(np.maximum(opened, close) + 0.25, 2), np.round(np.minimum(opened, close) - 0.25, 2)
    return pd.DataFrame({"open": opened, "high": high, "low": low, "close": close, "volume": rng.integers(1, 10**6, n).astype(float)})


def bars_of(symbol: str, ts: np.ndarray, table: pd.DataFrame, interval: str) -> pd.DataFrame:
    """The truth, built by another way than the vendors' parsers."""
    return normalise_bars(table.assign(ts=pd.to_datetime(ts, unit="ns", utc=True), symbol=symbol), interval=interval)


DAYS = sessions("XNYS", "2014-01-02", "2014-12-31")["session"].dt.strftime("%Y-%m-%d").tolist()
CLOSES = session_close("XNYS", DAYS)
AAPL = prices(len(DAYS), 1)
MINUTES = (session_open("XNYS", ["2014-11-28"])[0] + np.arange(210) * MINUTE).astype(np.int64)  # starts; a half-day
AAPL_MINUTES = prices(210, 2)
_rng = np.random.default_rng(3)
TAPE_TS = np.sort(MINUTES[0] + _rng.integers(0, 40, 130))  # many share a nanosecond
TAPE = pd.DataFrame({"price": np.round(100 + _rng.normal(0, 1, 130), 2), "quantity": _rng.integers(1, 500, 130).astype(float)})
SPLIT_DAY, DIVIDEND_DAY = "2014-06-09", "2014-05-08"


@functools.cache
def aapl_days() -> pd.DataFrame:
    """The truth about daily bars."""
    return bars_of("AAPL", CLOSES, AAPL, "1d")


@functools.cache
def aapl_minutes() -> pd.DataFrame:
    """The truth about bars of a minute."""
    return bars_of("AAPL", MINUTES + MINUTE, AAPL_MINUTES, "1m")


@functools.cache
def tape_of(kind: str) -> pd.DataFrame:
    """The truth about trades or quotes."""
    base = pd.DataFrame({"ts": pd.to_datetime(TAPE_TS, unit="ns", utc=True), "symbol": "AAPL", "seq": np.arange(130) * 7})
    if kind == "trades":
        return normalise_table(pd.concat([base, TAPE], axis=1).assign(aggressor=0.0, exchange="11", conditions="12,37"), "trades")
    quotes = base.assign(bid=TAPE["price"], ask=TAPE["price"] + 0.5, bid_size=TAPE["quantity"], ask_size=3.0, exchange="11|12", conditions="")
    quotes.loc[quotes.index % 10 == 0, ["bid", "bid_size"]] = np.nan
    return normalise_table(quotes, "quotes")


# -- Polygon --------------------------------------------------------------------------------------------------------------


def _day_ms(day: str) -> int:
    return int(pd.Timestamp(day, tz="America/New_York").value // 10**6)


def _polygon_rows(asked: Call) -> list[dict] | Reply:
    """Every row that the question selects."""
    parts = asked.path.strip("/").split("/")
    if asked.path.startswith("/v2/aggs/"):
        ticker, span, begin, end = parts[3], parts[6], parts[7], parts[8]
        times, table = ([_day_ms(d) for d in DAYS], AAPL) if span == "day" else ((MINUTES // 10**6).tolist(), AAPL_MINUTES)
        low, high = ((_day_ms(begin), _day_ms(end)) if span == "day" else (int(begin), int(end)))
        rows = [{"t": t, "o": r.open, "h": r.high, "l": r.low, "c": r.close, "v": r.volume, "n": 5} for t, r in zip(times, table.itertuples(), strict=True)]
        return [r for r in rows if ticker == "AAPL" and low <= r["t"] <= high]
    if parts[0] == "v3" and parts[1] in ("trades", "quotes"):
        rows = []
        for i, (t, r) in enumerate(zip(TAPE_TS.tolist(), TAPE.itertuples(), strict=True)):
            row = {"sip_timestamp": t, "sequence_number": i * 7}
            if parts[1] == "trades":
                row |= {"price": r.price, "size": r.quantity, "exchange": 11, "conditions": [12, 37], "id": str(i)}
            else:
                row |= {"bid_price": r.price if i % 10 else 0, "bid_size": r.quantity if i % 10 else 0, "ask_price": r.price + 0.5, "ask_size": 3,
                        "bid_exchange": 11, "ask_exchange": 12}
            rows.append(row)
        return [r for r in rows if parts[2] == "AAPL" and int(asked.params["timestamp.gte"]) <= r["sip_timestamp"] <= int(asked.params["timestamp.lte"])]
    ticker = asked.params.get("ticker")
    if asked.path == "/v3/reference/splits":
        rows = [{"ticker": "AAPL", "execution_date": SPLIT_DAY, "split_from": 1, "split_to": 7, "id": "S1"}]
        day = "execution_date"
    elif asked.path == "/v3/reference/dividends":
        paid = {"ticker": "AAPL", "ex_dividend_date": DIVIDEND_DAY, "declaration_date": "2014-04-23", "cash_amount": 3.0, "currency": "USD"}
        rows = [paid | {"id": "D1"}, paid | {"id": "D2", "cash_amount": 0.29}, paid | {"id": "D3", "ex_dividend_date": "2014-08-07", "cash_amount": 0.47}]
        day = "ex_dividend_date"
    elif asked.path == "/v3/reference/tickers":
        alive = asked.params["active"] == "true"
        rows = [{"ticker": t, "name": f"{t} Inc.", "type": "CS", "active": alive, "currency_name": "usd", "primary_exchange": "XNAS"}
                | ({} if alive else {"delisted_utc": "2015-03-31T00:00:00Z"}) for t in (("AAPL", "MSFT", "ZEN") if alive else ("GONE",))]
        return [r for r in rows if ticker in (None, r["ticker"])]
    else:
        return Reply({"status": "NOT_FOUND", "message": "Ticker not found."}, 404)
    return [r for r in rows if r["ticker"] == ticker and asked.params[f"{day}.gte"] <= r[day] <= asked.params[f"{day}.lte"]]


def polygon(asked: Call, url: str) -> Reply:
    """Answer like Polygon; the next page lies at the vendor's new name every other time."""
    if asked.headers.get("authorization") != f"Bearer {KEY}":
        return Reply({"status": "ERROR", "error": "Unknown API Key", "request_id": "1"}, 401)
    offset = 0
    if "cursor" in asked.params:
        kept = json.loads(asked.params["cursor"])
        asked, offset = Call(asked.path, kept["params"], asked.headers), kept["offset"]
    rows = _polygon_rows(asked)
    if isinstance(rows, Reply):
        return rows
    size = int(asked.params["limit"])
    body = {"status": "OK", "request_id": "1", "results": rows[offset:offset + size]}
    if asked.path.startswith("/v2/"):
        body |= {"ticker": asked.path.split("/")[4], "adjusted": asked.params.get("adjusted") != "false", "resultsCount": len(body["results"])}
        if not rows:
            del body["results"]
    if offset + size < len(rows):
        cursor = quote(json.dumps({"params": asked.params, "offset": offset + size}))
        host = "https://api.massive.com" if (offset // size) % 2 else url
        body["next_url"] = f"{host}{quote(asked.path)}?cursor={cursor}"
    return Reply(body)


# -- Quandl ---------------------------------------------------------------------------------------------------------------

COLUMNS = ["ticker", "date", "open", "high", "low", "close", "volume", "ex-dividend", "split_ratio", "adj_close"]


def _wiki_rows(symbol: str, first: str, last: str) -> list[list]:
    rows = []
    for day, r in zip(DAYS, AAPL.itertuples(), strict=True):
        cash, ratio = {DIVIDEND_DAY: 3.29, "2014-08-07": 0.47}.get(day, 0.0), 7.0 if day == SPLIT_DAY else 1.0
        rows.append([symbol, day, r.open, r.high, r.low, r.close, r.volume, cash, ratio, r.close])
    return [row for row in rows if symbol == "AAPL" and first <= row[1] <= last]


def _described(symbol: str) -> dict:
    return {"dataset_code": symbol, "database_code": "WIKI", "name": f"{symbol} Inc. ({symbol}) Prices, Dividends, Splits and Trading Volume",
            "oldest_available_date": DAYS[0], "newest_available_date": DAYS[-1]}


def quandl(asked: Call, _: str) -> Reply:
    """Answer like Nasdaq Data Link; the table is not sorted."""
    if asked.headers.get("x-api-token") != KEY:
        return Reply({"quandl_error": {"code": "QEAx01", "message": "We could not recognize your API key. Please check your API key and try again."}}, 400)
    p, missing = asked.params, {"quandl_error": {"code": "QECx02", "message": "You have submitted an incorrect Quandl code. Please check it."}}
    if asked.path == "/api/v3/datatables/WIKI/PRICES.json":
        rows, size = _wiki_rows(p["ticker"], p["date.gte"], p["date.lte"]), min(int(p["qopts.per_page"]), 60)
        rows, offset = rows[1::2] + rows[::2], int(p.get("qopts.cursor_id", "c0")[1:])
        table = {"data": rows[offset:offset + size], "columns": [{"name": c, "type": "text"} for c in COLUMNS]}
        return Reply({"datatable": table, "meta": {"next_cursor_id": f"c{offset + size}" if offset + size < len(rows) else None}})
    if asked.path == "/api/v3/datasets.json":
        page = int(p["page"])
        return Reply({"datasets": [_described(s) for s in (["AAPL"], ["MSFT"], ["ZEN"])[page - 1]], "meta": {"next_page": page + 1 if page < 3 else None}})
    symbol = asked.path.split("/")[5].removesuffix(".json")
    if symbol != "AAPL":
        return Reply(missing, 404)
    if asked.path.endswith("/metadata.json"):
        return Reply({"dataset": _described(symbol)})
    rows = [row[1:] for row in _wiki_rows(symbol, p["start_date"], p["end_date"])]
    names = ["Date", "Open", "High", "Low", "Close", "Volume", "Ex-Dividend", "Split Ratio", "Adj. Close"]
    return Reply({"dataset": _described(symbol) | {"column_names": names, "data": rows}})


# -- Binance: the exchange of `loopback`, two days long ------------------------------------------------------------------------

EXCHANGE = SyntheticExchange(listed=1_400_000_040_000, now=1_400_000_040_000 + 2 * 86_400_000, trade_every=100_000)
_routes = binance_routes(EXCHANGE)


def binance(asked: Call, _: str) -> Reply:
    """Answer like Binance's spot market."""
    told = _routes[asked.path](asked)
    return Reply(told.data, told.status, dict(told.headers))


@functools.cache
def _btc_bars() -> pd.DataFrame:
    opened = np.arange(EXCHANGE.listed, EXCHANGE.now, 60_000)
    rows = np.array([EXCHANGE.kline("BTCUSDT", "1m", t)[1:6] for t in opened.tolist()], dtype=np.float64)
    return bars_of("BTCUSDT", opened * 10**6 + MINUTE, pd.DataFrame(rows, columns=["open", "high", "low", "close", "volume"]), "1m")


@functools.cache
def _btc_trades() -> pd.DataFrame:
    table = pd.DataFrame(EXCHANGE.trades("BTCUSDT", None, None, None, 10**6))
    numbers = {"price": table["p"].astype(float), "quantity": table["q"].astype(float), "aggressor": np.where(table["m"], -1.0, 1.0), "seq": table["a"]}
    return normalise_table(pd.DataFrame({"ts": pd.to_datetime(table["T"], unit="ms", utc=True), "symbol": "BTCUSDT", **numbers}), "trades")


# -- the register ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fake:
    """A vendor with its server, what can be asked of it, and the truth."""

    answer: Answer
    make: Callable[..., Vendor]  # url, further options -> the vendor
    truth: dict[str, Callable[[], pd.DataFrame]]  # dataset -> the whole table
    unknown: str  # a symbol that the vendor does not have
    listed: tuple[str, ...]  # symbols of `fetch_instruments()`
    events: int = 0  # how many events of the truth's symbol there are
    refuses_unknown: bool = False  # whether the vendor refuses an unknown symbol, instead of sending nothing

    def request(self, dataset: str, start: int | None = None, end: int | None = None, symbol: str | None = None) -> Request:
        """A request for all of a dataset, or for a part of it."""
        table = self.truth[dataset]()
        ts = table.index.get_level_values("ts")
        kind, _, interval = dataset.partition("/")
        return Request(kind, (symbol or table.index[0][1],), ts[0].value if start is None else start, ts[-1].value if end is None else end, interval or "tick")


LATER = int(pd.Timestamp("2016-01-04T12:00Z").value)  # the clock of the fakes stands here


def _options(more: dict) -> dict:
    return {"policy": FAST, "sleep": Pauses(), "now": lambda: LATER} | more


FAKES: dict[str, Fake] = {
    "polygon": Fake(
        polygon, lambda url, **more: PolygonVendor(base_url=url, **({"api_key": KEY, "page_rows": 37} | _options(more))),
        {"bars/1d": aapl_days, "bars/1m": aapl_minutes, "trades": lambda: tape_of("trades"), "quotes": lambda: tape_of("quotes")},
        unknown="NOPE", listed=("AAPL", "GONE", "MSFT", "ZEN"), events=3),
    "quandl table": Fake(
        quandl, lambda url, **more: QuandlVendor(base_url=url, **({"api_key": KEY, "window_days": 100} | _options(more))),
        {"bars/1d": aapl_days}, unknown="NOPE", listed=("AAPL", "MSFT", "ZEN"), events=3),
    "quandl series": Fake(
        quandl, lambda url, **more: QuandlVendor(base_url=url, form="series", **({"api_key": KEY, "window_days": 100} | _options(more))),
        {"bars/1d": aapl_days}, unknown="NOPE", listed=("AAPL", "MSFT", "ZEN"), events=3, refuses_unknown=True),
    "binance": Fake(
        binance, lambda url, **more: BinanceVendor(base_url=url, **({"api_key": KEY} | _options(more))),
        {"bars/1m": _btc_bars, "trades": _btc_trades},
        unknown="NOPEUSDT", listed=("BTCUSDT", "ETHUSDT"), refuses_unknown=True),
}


# -- asking ---------------------------------------------------------------------------------------------------------------


def ask(vendor: Vendor, request: Request, stop_after: int | None = None, into: list[Chunk] | None = None) -> list[Chunk]:
    """Read an answer, or its first chunks, and close the vendor; chunks that came before an error stay in `into`."""
    chunks: list[Chunk] = [] if into is None else into

    async def read() -> None:
        try:
            async for chunk in vendor.chunks(request):
                chunks.append(chunk)
                if len(chunks) == stop_after:
                    break
        finally:
            await vendor.close()

    run_async(read())
    return chunks


def call(vendor: Vendor, method: str, *arguments: object) -> pd.DataFrame:
    """Call one of the other methods, and close the vendor."""

    async def read() -> pd.DataFrame:
        try:
            return await getattr(vendor, method)(*arguments)
        finally:
            await vendor.close()

    return run_async(read())


def rows_of(chunks: list[Chunk]) -> pd.DataFrame:
    return pd.concat([chunk.frame for chunk in chunks])


def same(found: pd.DataFrame, truth: pd.DataFrame) -> None:
    """Equal to the last bit, in the same order."""
    pd.testing.assert_frame_equal(found, truth, check_freq=False, check_exact=True)
