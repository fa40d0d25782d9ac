"""A vendor on this machine: a small HTTP server that answers honestly, or throttles, truncates, stalls and lies as it is told.

    with LoopbackVendor(binance_routes(SyntheticExchange())) as server:
        server.twist(status(503), throttle(2))      # what happens to the next two answers
        ...BinanceVendor(base_url=server.url)...
        server.calls                                # what was asked

A *route* gives the honest answer to a call. A *twist* is a function from a call and its honest answer to another answer.
Twists are used up one by one, each on the next call whose path holds its text. The server runs in a thread with an event loop
of its own, so it serves plain tests, async ones and child processes alike.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, urlsplit

# -- what is asked, what is answered --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """One request as it arrived."""

    path: str
    params: dict[str, str]
    headers: dict[str, str]  # names in lower case

    def number(self, name: str, default: int | None = None) -> int | None:
        return int(self.params[name]) if name in self.params else default


@dataclass(frozen=True)
class Reply:
    """One answer, and how it is sent."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    length: int | None = None  # Content-Length, when it is to differ from the truth
    drip: float = 0.0  # seconds between two bytes
    silent: bool = False  # accept and never answer
    hang_up: bool = False  # close without a word

    @property
    def data(self) -> object:
        return json.loads(self.body)


Route = Callable[[Call], Reply]
Twist = Callable[[Call, Reply], Reply]


def as_json(data: object, status: int = 200, **headers: str) -> Reply:
    """An answer in JSON."""
    return Reply(json.dumps(data).encode(), status, {"Content-Type": "application/json", **headers})


# -- twists ---------------------------------------------------------------------------------------------------------------


def honest(call: Call, reply: Reply) -> Reply:
    """No twist: keeps a place in a script."""
    return reply


def status(code: int, body: bytes = b"{}", **headers: str) -> Twist:
    """Another status."""
    return lambda call, reply: Reply(body, code, headers)


def throttle(seconds: float | str | None, code: int = 429) -> Twist:
    """Too many requests; come back after some seconds, or at a date."""
    return status(code, b'{"code":-1003,"msg":"Too many requests."}', **({} if seconds is None else {"Retry-After": str(seconds)}))


def with_headers(**headers: str) -> Twist:
    """The honest answer with further headers; underscores stand for dashes."""
    return lambda call, reply: replace(reply, headers={**reply.headers, **{k.replace("_", "-"): v for k, v in headers.items()}})


def cut_json(call: Call, reply: Reply) -> Reply:
    """JSON that stops in the middle, with a Content-Length that fits."""
    return replace(reply, body=reply.body[: len(reply.body) // 2])


def promise_more(call: Call, reply: Reply) -> Reply:
    """The connection closes before the promised length is reached."""
    return replace(reply, length=len(reply.body) + 100)


def promise_less(call: Call, reply: Reply) -> Reply:
    """A Content-Length in the middle of the body."""
    return replace(reply, length=len(reply.body) // 2, headers={**reply.headers, "Connection": "close"})


def broken_gzip(call: Call, reply: Reply) -> Reply:
    """A body that says it is compressed and is not."""
    return replace(reply, headers={**reply.headers, "Content-Encoding": "gzip"})


def stall(call: Call, reply: Reply) -> Reply:
    """Accept, and never answer."""
    return replace(reply, silent=True)


def drip(seconds: float = 0.005) -> Twist:
    """One byte at a time, each in time for the read time-out."""
    return lambda call, reply: replace(reply, drip=seconds)


def hang_up(call: Call, reply: Reply) -> Reply:
    """Close the connection instead of answering."""
    return replace(reply, hang_up=True)


def html(call: Call, reply: Reply) -> Reply:
    """A page for people, with status 200."""
    return Reply(b"<!DOCTYPE html><html><body>We will be back soon</body></html>", 200, {"Content-Type": "text/html"})


def redirect(url: str) -> Twist:
    """Go elsewhere; the address holds what was asked, keys included, as real servers do."""

    def twist(call: Call, reply: Reply) -> Reply:
        query = "&".join(f"{k}={v}" for k, v in call.params.items())
        return Reply(b"", 302, {"Location": f"{url}{call.path}?{query}"})

    return twist


def echo(code: int = 400) -> Twist:
    """An error whose text and headers repeat everything that was sent, keys included."""

    def twist(call: Call, reply: Reply) -> Reply:
        sent = json.dumps({"you sent": {**call.params, **call.headers}})
        return Reply(sent.encode(), code, {"X-Echo": sent})

    return twist


def rows(change: Callable[[list], list]) -> Twist:
    """The honest page with its rows changed."""
    return lambda call, reply: replace(reply, body=json.dumps(change(reply.data)).encode())  # type: ignore[arg-type]


backward = rows(lambda page: page[::-1])
doubled = rows(lambda page: page + page[:2])


def from_the_future(call: Call, reply: Reply) -> Reply:
    """The last row of the page moved a hundred years on."""
    page = reply.data
    far = 100 * 366 * 86_400_000
    last = page[-1]  # type: ignore[index]
    moved = [last[0] + far, *last[1:6], last[6] + far, *last[7:]] if isinstance(last, list) else {**last, "T": last["T"] + far}
    return replace(reply, body=json.dumps([*page[:-1], moved]).encode())  # type: ignore[index]


# -- the server -----------------------------------------------------------------------------------------------------------


class LoopbackVendor:
    """Serves routes on a free port of this machine until it is closed."""

    def __init__(self, routes: Mapping[str, Route]):
        self.routes = dict(routes)
        self.calls: list[Call] = []
        self.connections = 0
        self._twists: list[tuple[str, Twist]] = []
        self._always: Twist = honest
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> LoopbackVendor:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def twist(self, *twists: Twist, path: str = "") -> None:
        """What happens to the next answers, in order; `path` chooses the calls they are for."""
        self._twists += [(path, twist) for twist in twists]

    def always(self, twist: Twist) -> None:
        """What happens to every answer that no other twist is for."""
        self._always = twist

    @property
    def upcoming(self) -> list[Twist]:
        """The twists that are still to come, the lasting one included."""
        return [*(twist for _, twist in self._twists), self._always]

    def asked(self, path: str) -> list[Call]:
        """The calls whose path holds a text."""
        return [call for call in self.calls if path in call.path]

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=30)

    async def _close(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: calls and answers until either side closes it."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while await self._answer(await reader.readuntil(b"\r\n\r\n"), writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, head: bytes, writer: asyncio.StreamWriter) -> bool:
        """Answer one call; False when the connection ends with it."""
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        target = urlsplit(first.split(" ")[1])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        call = Call(target.path, dict(parse_qsl(target.query, keep_blank_values=True)), headers)
        self.calls.append(call)
        route = self.routes.get(call.path, lambda call: as_json({"error": "no such path"}, 404))
        reply = self._next(call)(call, route(call))
        if reply.silent:
            await asyncio.Event().wait()
        if reply.hang_up:
            return False
        length = len(reply.body) if reply.length is None else reply.length
        lines = [f"HTTP/1.1 {reply.status} Told", *(f"{k}: {v}" for k, v in reply.headers.items()), f"Content-Length: {length}", "", ""]
        writer.write("\r\n".join(lines).encode("latin-1"))
        for part in [reply.body] if not reply.drip else [bytes([b]) for b in reply.body]:
            writer.write(part)
            await writer.drain()
            if reply.drip:
                await asyncio.sleep(reply.drip)
        await writer.drain()
        return length == len(reply.body)

    def _next(self, call: Call) -> Twist:
        for at, (path, twist) in enumerate(self._twists):
            if path in call.path:
                del self._twists[at]
                return twist
        return self._always


# -- an exchange like Binance ---------------------------------------------------------------------------------------------

INVALID_SYMBOL = {"code": -1121, "msg": "Invalid symbol."}
STEPS = {"1s": 1000, "1m": 60_000, "5m": 300_000, "15m": 900_000, "30m": 1_800_000, "1h": 3_600_000, "4h": 14_400_000, "1d": 86_400_000}


@dataclass
class SyntheticExchange:
    """Prices that are a function of symbol, time and seed, so that any question about any range has one right answer."""

    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")
    seed: int = 7
    listed: int = 1_736_899_200_000  # 2025-01-15 00:00 UTC, ms: nothing was traded before
    now: int = 1_736_985_600_000  # 2025-01-16 00:00 UTC, ms
    trade_every: int = 700  # ms between two moments with trades
    at_once: int = 3  # trades in each such moment

    def _noise(self, symbol: str, t: int) -> float:
        """A number in [0, 1) that belongs to a symbol and a time."""
        digest = hashlib.blake2b(f"{self.seed} {symbol} {t}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64

    def price(self, symbol: str, t: int) -> float:
        """The price at an instant, ms."""
        wave = math.sin(t / 7.0e6 + len(symbol)) + 0.3 * math.sin(t / 9.1e5)
        return round(100.0 * math.exp(0.05 * wave + 0.002 * self._noise(symbol, t)), 2)

    def kline(self, symbol: str, interval: str, opened: int) -> list:
        """The bar that opens at an instant; it opens where the one before closed."""
        step = STEPS[interval]
        o, c = self.price(symbol, opened), self.price(symbol, opened + step)
        wide = 1 + 0.001 * self._noise(symbol, opened + 1)
        volume = round(10 * self._noise(symbol, opened + 2), 5)
        texts = [f"{v:.8f}" for v in (o, max(o, c) * wide, min(o, c) / wide, c, volume)]
        return [opened, *texts, opened + step - 1, f"{volume * c:.8f}", 10, f"{volume / 2:.8f}", f"{volume * c / 2:.8f}", "0"]

    def klines(self, symbol: str, interval: str, start: int | None, end: int | None, limit: int) -> list[list]:
        """A page of bars by opening time, the one that is being traded included."""
        step = STEPS[interval]
        low, high = max(self.listed, start or 0), min(self.now, self.now if end is None else end)
        first = -(-low // step) * step
        return [self.kline(symbol, interval, t) for t in range(first, high + 1, step)[:limit]]

    def trade(self, symbol: str, number: int) -> dict:
        """The aggregate trade of a number."""
        t = self.listed + number // self.at_once * self.trade_every
        quantity = f"{0.001 + self._noise(symbol, -number - 1):.5f}"
        maker = self._noise(symbol, number) < 0.5
        return {"a": number, "p": f"{self.price(symbol, t):.2f}", "q": quantity, "f": number, "l": number, "T": t, "m": maker, "M": True}

    def trades(self, symbol: str, start: int | None, end: int | None, from_id: int | None, limit: int) -> list[dict]:
        """A page of trades, by time or by number."""
        count = ((self.now - self.listed) // self.trade_every + 1) * self.at_once
        if from_id is not None:
            return [self.trade(symbol, n) for n in range(from_id, count)[:limit]]
        first = max(-(-((start or 0) - self.listed) // self.trade_every), 0) * self.at_once
        last = min(((self.now if end is None else end) - self.listed) // self.trade_every * self.at_once + self.at_once, count)
        return [self.trade(symbol, n) for n in range(first, last)[:limit]]


def binance_routes(exchange: SyntheticExchange, prefix: str = "/api/v3") -> dict[str, Route]:
    """The paths of Binance's market data; `/fapi/v1` for the futures market. Weight is counted in a header."""
    limits = {"/api/v3": 1000, "/fapi/v1": 1500}
    used = [0]

    def weighed(answer: Callable[[Call], object]) -> Route:
        def route(call: Call) -> Reply:
            used[0] += 2
            known = call.params.get("symbol", exchange.symbols[0]) in exchange.symbols
            data = answer(call) if known else INVALID_SYMBOL
            return as_json(data, 400 if data is INVALID_SYMBOL else 200, **{"X-MBX-USED-WEIGHT-1M": str(used[0])})

        return route

    def klines(call: Call) -> object:
        limit = min(call.number("limit", 500), limits[prefix])
        return exchange.klines(call.params["symbol"], call.params["interval"], call.number("startTime"), call.number("endTime"), limit)

    def trades(call: Call) -> object:
        limit = min(call.number("limit", 500), 1000)
        return exchange.trades(call.params["symbol"], call.number("startTime"), call.number("endTime"), call.number("fromId"), limit)

    def info(call: Call) -> object:
        wanted = list(exchange.symbols)
        if "symbols" in call.params:
            wanted = json.loads(call.params["symbols"])
            if set(wanted) - set(exchange.symbols):
                return INVALID_SYMBOL
        filters = [
            {"filterType": "PRICE_FILTER", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "stepSize": "0.00001"},
            {"filterType": "NOTIONAL", "minNotional": "5.0"},
        ]
        entry = {"status": "TRADING", "quoteAsset": "USDT", "filters": filters}
        return {"symbols": [{"symbol": s, "baseAsset": s.removesuffix("USDT"), **entry} for s in wanted]}

    answers = {"klines": klines, "aggTrades": trades, "exchangeInfo": info, "time": lambda call: {"serverTime": exchange.now}}
    return {f"{prefix}/{name}": weighed(answer) for name, answer in answers.items()}
