"""The HTTP client of the vendors against a server that throttles, truncates, stalls, lies and repeats our keys to us."""

from __future__ import annotations

import asyncio
import logging
import traceback
from email.utils import formatdate

import pytest
from vendors import loopback
from vendors.loopback import LoopbackVendor, as_json

from qtnb.core.errors import VendorError, VendorRefused
from qtnb.data.providers.answers import PageGuard, follow_pages
from qtnb.data.providers.transport import HttpPolicy, RemainingRequests, Secrets, UsedWeight, VendorHttp, run_async

KEY = "canary/5f0c+77=e1"  # with letters that change in an address
QUICK = HttpPolicy(connect_seconds=5.0, read_seconds=5.0, total_seconds=20.0, attempts=4, backoff_seconds=0.5, per_second=1e6)
HASTY = HttpPolicy(read_seconds=0.15, attempts=4, backoff_seconds=0.5, per_second=1e6)  # for servers that say nothing at all
ROWS = [[n, f"row {n}"] for n in range(200)]


class ToldTime:
    """A clock that moves only when somebody waits, at once."""

    def __init__(self):
        self.now, self.waits = 1_736_942_400.0, []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    @property
    def options(self) -> dict:
        return {"sleep": self.sleep, "timer": lambda: self.now, "clock": lambda: self.now, "seed": 1}


@pytest.fixture
def told() -> ToldTime:
    return ToldTime()


@pytest.fixture
def server():
    with LoopbackVendor({"/rows": lambda call: as_json(ROWS)}) as running:
        yield running


def ask(server: LoopbackVendor, told: ToldTime, target: str = "rows", *, times: int = 1, **options):
    """Ask the server, and return the last answer."""
    silent = loopback.stall in server.upcoming
    options = {"policy": HASTY if silent else QUICK, **told.options, **options}

    async def asking():
        async with VendorHttp("demo", server.url, **options) as http:
            for _ in range(times):
                answer = await http.get_json(target)
            return answer

    return run_async(asking())


# -- another try ----------------------------------------------------------------------------------------------------------

PASSING = {
    "429 with seconds": loopback.throttle(2),
    "429 without": loopback.throttle(None),
    "418 with seconds": loopback.throttle(3, 418),
    "500": loopback.status(500),
    "503": loopback.status(503, b"<html>overloaded</html>"),
    "cut JSON": loopback.cut_json,
    "empty body": loopback.status(200, b""),
    "connection closed early": loopback.promise_more,
    "length too short": loopback.promise_less,
    "no gzip": loopback.broken_gzip,
    "silence": loopback.stall,
    "hung up": loopback.hang_up,
}


@pytest.mark.parametrize("twist", PASSING.values(), ids=PASSING.keys())
def test_what_passes_is_asked_again(server: LoopbackVendor, told: ToldTime, twist) -> None:
    """Two bad answers, then a good one: the good one comes back, whole, and nobody hears of the others."""
    server.twist(twist, twist)
    assert ask(server, told) == ROWS
    assert len(server.calls) == 3


@pytest.mark.parametrize("twist", PASSING.values(), ids=PASSING.keys())
def test_tries_end(server: LoopbackVendor, told: ToldTime, twist) -> None:
    """A vendor that never recovers is given up after the tries of the policy, with one error that counts them."""
    server.always(twist)
    with pytest.raises(VendorError, match="4 times") as caught:
        ask(server, told)
    assert len(server.calls) == 4
    assert not isinstance(caught.value, VendorRefused)
    assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_nobody_listens(told: ToldTime) -> None:
    """A port without a server is a connection error, tried as often."""
    with LoopbackVendor({}) as gone:
        pass
    with pytest.raises(VendorError, match="could not be read: ConnectError.*4 times"):
        ask(gone, told)


def test_a_drip_is_cut_off(server: LoopbackVendor, told: ToldTime) -> None:
    """Every byte comes in time, and the answer as a whole does not."""
    server.always(loopback.drip(0.005))
    policy = HttpPolicy(read_seconds=1.0, total_seconds=0.05, attempts=2, per_second=1e6)
    with pytest.raises(VendorError, match=r"did not finish its answer within 0.05 s .*2 times"):
        ask(server, told, policy=policy)


def test_the_pauses_are_random_below_a_doubling_ceiling(server: LoopbackVendor, told: ToldTime) -> None:
    """Full jitter: between nothing and 0.5, 1, 2 s; the same seed waits the same, another one does not."""
    policy = HttpPolicy(attempts=9, backoff_seconds=0.5, backoff_cap_seconds=4.0, per_second=1e9)
    waits = []
    for seed in (1, 1, 2):
        server.twist(*[loopback.status(500)] * 8)
        told.waits.clear()
        ask(server, told, policy=policy, seed=seed)
        waits.append([w for w in told.waits if w > 1e-6])  # the rest is the pace
    assert waits[0] == waits[1] != waits[2]
    assert all(w <= ceiling for w, ceiling in zip(waits[0], [0.5, 1, 2, 4, 4, 4, 4, 4], strict=True))
    assert max(waits[0][3:]) > 1.0


# -- no other try ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [400, 401, 403, 404, 408, 410, 422, 451])
def test_a_no_is_not_asked_again(server: LoopbackVendor, told: ToldTime, code: int) -> None:
    """Every other 4xx is the vendor's decision."""
    server.always(loopback.status(code, b'{"msg": "no"}'))
    with pytest.raises(VendorRefused, match=f"answered {code}") as caught:
        ask(server, told)
    assert len(server.calls) == 1 and told.waits == [] and caught.value.exit_code == 2


def test_a_page_of_html_is_named(server: LoopbackVendor, told: ToldTime) -> None:
    """Status 200 does not make it data, and asking again does not either."""
    server.always(loopback.html)
    with pytest.raises(VendorError, match="a page of HTML with a status of success: '<!DOCTYPE html><html><body>We will be back soon</body></html'"):
        ask(server, told)
    assert len(server.calls) == 1


def test_a_redirect_is_not_followed(server: LoopbackVendor, told: ToldTime) -> None:
    """The other host is never asked."""
    with LoopbackVendor({"/rows": lambda call: as_json("stolen")}) as thief:
        server.always(loopback.redirect(thief.url))
        with pytest.raises(VendorError, match="a redirect to 127.0.0.1:.*not followed"):
            ask(server, told, secrets=Secrets(params={"apiKey": KEY}))
        assert thief.connections == 0


@pytest.mark.parametrize("place", ["{thief}/rows", "//{host}/rows", "https://{mine}/rows", "http://{mine}@{host}/rows", "http://user:pw@{mine}/rows"])
def test_the_next_page_stays_on_the_host(server: LoopbackVendor, told: ToldTime, place: str) -> None:
    """Wherever the vendor says to go on: no request leaves."""
    with LoopbackVendor({"/rows": lambda call: as_json("stolen")}) as thief:
        target = place.format(thief=thief.url, host=thief.url.removeprefix("http://"), mine=server.url.removeprefix("http://"))
        with pytest.raises(VendorError, match="a request stays on 127.0.0.1"):
            ask(server, told, target)
        assert thief.connections == 0 == len(server.calls)


def test_an_answer_that_is_too_large(server: LoopbackVendor, told: ToldTime) -> None:
    """It is cut off where the policy says."""
    with pytest.raises(VendorError, match="sent more than 100 bytes"):
        ask(server, told, policy=HttpPolicy(max_bytes=100))


def test_deep_nesting_is_an_error(server: LoopbackVendor, told: ToldTime) -> None:
    """A parser that runs out of stack is not a crash."""
    server.always(loopback.status(200, b"[" * 100_000 + b"]" * 100_000))
    with pytest.raises(VendorError, match="cannot be read"):
        ask(server, told)


# -- pauses ---------------------------------------------------------------------------------------------------------------


def test_retry_after_in_both_spellings(server: LoopbackVendor, told: ToldTime) -> None:
    """The pause is at least as long as asked, and not much longer."""
    server.twist(loopback.throttle(7))
    ask(server, told)
    assert 7 <= sum(told.waits) <= 7.5
    told.waits.clear()
    server.twist(loopback.throttle(formatdate(told.now + 9, usegmt=True)))
    ask(server, told)
    assert 8 <= sum(told.waits) <= 9.5


@pytest.mark.parametrize("twist", [loopback.throttle(3600), loopback.throttle(86_400, 418), loopback.throttle(None, 418)])
def test_a_long_ban_ends_the_request(server: LoopbackVendor, told: ToldTime, twist) -> None:
    """Nobody sleeps through an hour in silence, and nobody knocks during a ban."""
    server.always(twist)
    with pytest.raises(VendorError, match="before anything is asked"):
        ask(server, told)
    assert len(server.calls) == 1 and told.waits == []


def test_a_ban_holds_for_the_next_request_too(server: LoopbackVendor, told: ToldTime) -> None:
    """The client remembers, and says how long it still is."""

    async def twice():
        async with VendorHttp("demo", server.url, policy=QUICK, **told.options) as http:
            for _ in range(2):
                with pytest.raises(VendorError) as caught:
                    await http.get_json("rows")
            return caught.value

    server.twist(loopback.throttle(3600, 418))
    assert "asked for a pause of 3600 s" in str(run_async(twice())) and len(server.calls) == 1


def test_the_allowance_is_kept_before_it_is_used_up(server: LoopbackVendor, told: ToldTime) -> None:
    """Remaining and used: both make the next request wait for the reset, and no 429 is ever seen."""
    server.twist(loopback.with_headers(X_RateLimit_Remaining="0", X_RateLimit_Reset=str(int(told.now) + 30)))
    ask(server, told, times=2, throttle=RemainingRequests())
    assert sum(told.waits) == pytest.approx(30, abs=0.01)
    told.waits.clear()
    server.twist(loopback.with_headers(X_MBX_USED_WEIGHT_1M="5500"))
    before = told.now
    ask(server, told, times=2, throttle=UsedWeight("x-mbx-used-weight-1m", 6000))
    assert told.now % 60 == pytest.approx(0, abs=0.01) and 0 < told.now - before <= 60


def test_a_pause_holds_for_all_requests_under_way(server: LoopbackVendor, told: ToldTime) -> None:
    """One of four parallel requests is throttled; none of the later ones starts before the pause is over."""
    begun = []

    def note(call, reply):
        begun.append(told.now)
        return reply

    async def many():
        policy = HttpPolicy(concurrent=1, per_second=1e6)
        async with VendorHttp("demo", server.url, policy=policy, **told.options) as http:
            return await asyncio.gather(*(http.get_json("rows") for _ in range(4)))

    start = told.now
    server.twist(loopback.throttle(20))
    server.always(note)
    assert run_async(many()) == [ROWS] * 4
    assert len(begun) == 4 and min(begun) >= start + 20


def test_requests_are_spaced_and_bounded(server: LoopbackVendor, told: ToldTime) -> None:
    """Twelve requests at ten a second take eleven tenths, and never more than three connections are open."""

    async def many():
        policy = HttpPolicy(concurrent=3, per_second=10)
        async with VendorHttp("demo", server.url, policy=policy, **told.options) as http:
            await asyncio.gather(*(http.get_json("rows") for _ in range(12)))

    start = told.now
    run_async(many())
    assert told.now - start >= 1.1 - 1e-3 and server.connections <= 3 and len(server.calls) == 12


# -- keys -----------------------------------------------------------------------------------------------------------------

ECHOES = {
    "echoed 400": (loopback.echo(400), VendorRefused),
    "echoed 500": (loopback.echo(500), VendorError),
    "echoed 200": (loopback.echo(200), None),
    "redirect": (loopback.redirect("http://127.0.0.2:9"), VendorError),
    "cut": (loopback.promise_more, VendorError),
    "silence": (loopback.stall, VendorError),
    "html": (loopback.html, VendorError),
    "good": (loopback.honest, None),
}


@pytest.mark.parametrize(("twist", "kind"), ECHOES.values(), ids=ECHOES.keys())
@pytest.mark.parametrize("place", ["params", "headers", "bearer"])
def test_keys_never_show(server: LoopbackVendor, told: ToldTime, caplog, twist, kind, place: str) -> None:
    """The server sees the key; messages, chains, tracebacks, reprs and every log line of every library do not, even where the server repeats it."""
    kinds = {"params": Secrets(params={"apiKey": KEY}), "headers": Secrets(headers={"X-Key": KEY})}
    secrets = kinds.get(place) or Secrets(headers={"Authorization": f"Bearer {KEY}"})
    server.always(twist)
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "asyncio", "qtnb"):
        caplog.set_level(logging.DEBUG, logger=name)
    http = VendorHttp("demo", server.url, secrets=secrets, policy=HASTY if twist is loopback.stall else QUICK, **told.options)
    shown = [repr(http), repr(secrets), str(secrets), repr(vars(http)), repr(vars(vars(http)["_line"]).get("_secrets"))]

    async def asking():
        async with http:
            return await http.get_json("rows", {"symbol": "X"})

    if kind is None:
        run_async(asking())
    else:
        with pytest.raises(kind) as caught:
            run_async(asking())
        chained = caught.value
        while chained is not None:
            shown += [str(chained), repr(chained), *traceback.format_exception(chained)]
            chained = chained.__cause__ or chained.__context__
    sent = [*server.calls[0].params.values(), *server.calls[0].headers.values()]
    assert any(KEY in value for value in sent)  # the canary was there to be heard
    heard = [record for record in caplog.records if record.name.startswith(("httpx", "httpcore"))]
    assert heard or kind is not None
    assert not [record for record in heard if record.name == "httpx" and "apiKey" in record.getMessage()]  # it was not masked: it was never there
    shown += [logging.Formatter().format(record) for record in caplog.records] + [repr(record.__dict__) for record in caplog.records]
    for spelling in (KEY, *secrets.spellings()):
        assert not [text for text in shown if spelling in text]


def test_the_filters_go_when_the_client_goes(server: LoopbackVendor, told: ToldTime) -> None:
    """Nothing of a client stays behind in the loggers of the libraries."""
    before = list(logging.getLogger("httpx").filters)
    ask(server, told, secrets=Secrets(params={"apiKey": KEY}))
    assert logging.getLogger("httpx").filters == before


# -- running, pages -------------------------------------------------------------------------------------------------------


def test_one_client_in_two_loops(server: LoopbackVendor, told: ToldTime) -> None:
    """Connections belong to a loop; the client opens new ones in the next."""
    http = VendorHttp("demo", server.url, policy=QUICK, **told.options)

    async def from_a_running_loop():
        return run_async(http.get_json("rows"))  # as a notebook does it

    assert run_async(http.get_json("rows")) == asyncio.run(from_a_running_loop()) == ROWS
    run_async(http.close())


def test_run_async_hands_errors_through() -> None:
    """The coroutine's own exception arrives, with and without a running loop."""

    async def fails():
        raise LookupError("mine")

    async def inside():
        run_async(fails())

    for run in (lambda: run_async(fails()), lambda: asyncio.run(inside())):
        with pytest.raises(LookupError, match="mine"):
            run()


def paging_server(pages: dict[str, dict]) -> LoopbackVendor:
    return LoopbackVendor({"/list": lambda call: as_json(pages[call.params.get("cursor", "")])})


async def read_pages(http: VendorHttp) -> list:
    where, guard = {"cursor_of": lambda p: p.get("next_url"), "rows_of": lambda p: p["rows"]}, PageGuard("demo", "the list")
    pages = follow_pages(http.get_json("list"), http.get_json, guard=guard, **where)
    return [row async for page in pages for row in page["rows"]]


def test_pages_in_order_with_the_key_on_each(told: ToldTime) -> None:
    """A vendor's own next address is followed; the key is added anew, once."""
    pages: dict[str, dict] = {}
    with paging_server(pages) as server:
        pages |= {"": {"rows": [1, 2], "next_url": f"{server.url}/list?cursor=b&apiKey=old"}, "c": {"rows": []}}
        pages["b"] = {"rows": [3], "next_url": f"{server.url}/list?cursor=c"}
        http = VendorHttp("demo", server.url, secrets=Secrets(params={"apiKey": KEY}), policy=QUICK, **told.options)
        assert run_async(read_pages(http)) == [1, 2, 3]
        assert [call.params.get("apiKey") for call in server.calls] == [KEY] * 3
        run_async(http.close())


@pytest.mark.parametrize("second", [{"rows": [1, 2], "cursor": "c"}, {"rows": [3], "cursor": "b"}], ids=["same rows", "same cursor"])
def test_a_vendor_that_repeats_itself(told: ToldTime, second: dict) -> None:
    """The loop ends with an error."""
    pages: dict[str, dict] = {}
    with paging_server(pages) as server:
        turn = {"rows": second["rows"], "next_url": f"{server.url}/list?cursor={second['cursor']}"}
        pages |= {"": {"rows": [1, 2], "next_url": f"{server.url}/list?cursor=b"}, "b": turn, "c": turn}
        with pytest.raises(VendorError, match="the same (page|cursor) of the list twice"):
            run_async(read_pages(VendorHttp("demo", server.url, policy=QUICK, **told.options)))
        assert len(server.calls) <= 3
