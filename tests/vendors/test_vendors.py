"""Every vendor answers alike: one suite for all of them, each against a server on this machine that knows the truth."""

from __future__ import annotations

import pandas as pd
import pytest
from vendors.fakes import FAKES, LATER, Pauses, Reply, ask, call, rows_of, same

from qtnb.core.errors import UnknownNameError, VendorError, VendorRefused
from qtnb.data.providers.base import PROVIDERS, Chunk, Request, Vendor
from qtnb.data.providers.transport import run_async
from qtnb.data.reference import empty_events, empty_reference, normalise_events, normalise_instruments
from qtnb.data.schema import check_table

EVERY = [(name, dataset) for name, fake in FAKES.items() for dataset in fake.truth]
datasets = pytest.mark.parametrize(("name", "dataset"), EVERY, ids=[f"{n} {d}" for n, d in EVERY])
vendors = pytest.mark.parametrize("name", list(FAKES))


def check_cover(chunks: list[Chunk], request: Request, last: int | None = None) -> None:
    """Windows touch, from the request's start to its end, and hold their rows."""
    assert chunks[0].first == request.start and chunks[-1].last == (request.end if last is None else last)
    assert all(a.last + 1 == b.first for a, b in zip(chunks, chunks[1:], strict=False))
    for chunk in chunks:
        assert chunk.first <= chunk.last and chunk.request == request and chunk.symbol == request.symbols[0]
        assert check_table(chunk.frame, request.kind) == [] and list(chunk.refused.columns) == list(empty_reference("quarantine").columns)
        ts = chunk.frame.index.get_level_values("ts").asi8
        assert ((ts >= chunk.first) & (ts <= chunk.last)).all()


@vendors
def test_it_is_a_vendor_of_the_register(name, serve):
    vendor = FAKES[name].make(serve(FAKES[name].answer).url)
    assert isinstance(vendor, Vendor) and type(vendor) is PROVIDERS.get(vendor.name) and vendor.calendar
    run_async(vendor.close())


@datasets
def test_the_whole_answer_is_the_truth(name, dataset, serve):
    fake, server = FAKES[name], serve(FAKES[name].answer)
    request = fake.request(dataset)
    chunks = ask(fake.make(server.url), request)
    check_cover(chunks, request)
    assert len(chunks) > 1  # the answer had pages
    same(rows_of(chunks), fake.truth[dataset]())
    assert all(len(chunk.refused) == 0 for chunk in chunks)


@datasets
def test_both_ends_are_inside(name, dataset, serve):
    fake, server = FAKES[name], serve(FAKES[name].answer)
    truth = fake.truth[dataset]()
    ts = truth.index.get_level_values("ts")
    for start, end in [(ts[10].value, ts[20].value), (ts[10].value + 1, ts[20].value - 1), (ts[10].value, ts[10].value)]:
        request = fake.request(dataset, start, end)
        chunks = ask(fake.make(server.url), request)
        check_cover(chunks, request)
        want = truth[(ts.asi8 >= start) & (ts.asi8 <= end)]
        assert len(rows_of(chunks)) == len(want)
        if len(want):
            same(rows_of([c for c in chunks if len(c.frame)]), want)


@datasets
def test_a_download_that_stopped_goes_on_with_the_same_rows(name, dataset, serve):
    fake, server = FAKES[name], serve(FAKES[name].answer)
    request = fake.request(dataset)
    for stop in (1, 2):
        begun = ask(fake.make(server.url), request, stop_after=stop)
        rest = fake.request(dataset, start=begun[-1].last + 1, end=request.end)
        chunks = ask(fake.make(server.url), rest)
        check_cover(chunks, rest)
        same(rows_of([*begun, *chunks]), fake.truth[dataset]())


@datasets
def test_nothing_is_an_empty_chunk(name, dataset, serve):
    fake, server = FAKES[name], serve(FAKES[name].answer)
    begin = fake.request(dataset).start
    request = fake.request(dataset, start=begin - 3_600_000_000_000, end=begin - 1)  # an hour before there was anything
    chunks = ask(fake.make(server.url), request)
    check_cover(chunks, request)
    assert sum(len(c.frame) for c in chunks) == 0 and sum(len(c.refused) for c in chunks) == 0


@datasets
def test_an_unknown_symbol(name, dataset, serve):
    fake, server = FAKES[name], serve(FAKES[name].answer)
    request = fake.request(dataset, symbol=fake.unknown)
    if fake.refuses_unknown:
        with pytest.raises(VendorRefused):
            ask(fake.make(server.url), request)
        return
    chunks = ask(fake.make(server.url), request)
    check_cover(chunks, request)
    assert sum(len(c.frame) for c in chunks) == 0


@datasets
def test_no_window_reaches_into_the_future(name, dataset, serve):
    """With a clock within the data, the answer ends now: later bars are left for later, a bar that is growing too."""
    fake, server = FAKES[name], serve(FAKES[name].answer)
    request, truth = fake.request(dataset), fake.truth[dataset]()
    ts = truth.index.get_level_values("ts").asi8
    now = int(ts[30]) - 1
    chunks = ask(fake.make(server.url, now=lambda: now), request)
    check_cover(chunks, request, last=now)
    same(rows_of(chunks), truth[ts <= now])
    assert sum(len(c.refused) for c in chunks) == 0


@vendors
def test_what_is_not_offered_is_refused_before_anything_is_sent(name, serve):
    fake, server = FAKES[name], serve(FAKES[name].answer)
    with pytest.raises(UnknownNameError, match="quote_bars"):
        ask(fake.make(server.url), Request("quote_bars", ("X",), 0, 1, "1m"))
    assert server.asked == []


@vendors
def test_events_are_canonical_and_in_range(name, serve):
    fake, server = FAKES[name], serve(FAKES[name].answer)
    request = fake.request(next(iter(fake.truth)), end=LATER)
    start = request.start - 400 * 86_400_000_000_000
    events = call(fake.make(server.url), "fetch_events", list(request.symbols), start, LATER)
    assert len(events) == fake.events
    pd.testing.assert_frame_equal(normalise_events(events), events)
    assert events.dtypes.equals(empty_events().dtypes)
    if fake.events:
        at = events["ts"].iloc[1].value
        for first, last, count in [(at, at, 1), (at + 1, LATER, fake.events - 2), (start, at - 1, 1)]:
            assert len(call(fake.make(server.url), "fetch_events", list(request.symbols), first, last)) == count


@vendors
def test_instruments_are_canonical(name, serve):
    fake, server = FAKES[name], serve(FAKES[name].answer)
    everything = call(fake.make(server.url), "fetch_instruments")
    assert tuple(everything["symbol"]) == fake.listed
    pd.testing.assert_frame_equal(normalise_instruments(everything), everything)
    one = call(fake.make(server.url), "fetch_instruments", [fake.listed[0]])
    pd.testing.assert_frame_equal(one, everything[:1])


@vendors
def test_a_throttled_vendor_is_asked_again_after_the_time_it_names(name, serve):
    fake, server, pauses = FAKES[name], serve(FAKES[name].answer), Pauses()
    dataset = next(iter(fake.truth))
    server.faults = [lambda asked, reply: Reply({"error": "slow down"}, 429, {"Retry-After": "17"}), lambda asked, reply: Reply(b"", 503)]
    chunks = ask(fake.make(server.url, sleep=pauses), fake.request(dataset))
    same(rows_of(chunks), fake.truth[dataset]())
    assert any(16 < pause <= 17 for pause in pauses.seconds)


@vendors
@pytest.mark.parametrize(("lie", "message"), [
    (lambda asked, reply: Reply(b"<html><body>maintenance</body></html>"), "HTML"),
    (lambda asked, reply: Reply(reply.body, cut=60), "breaks off"),
    (lambda asked, reply: Reply([1, 2, 3] if isinstance(reply.body, dict) else {"rows": 3}), None),
    (lambda asked, reply: Reply(b"", 500), "500"),
], ids=["a page of HTML", "JSON cut in the middle", "JSON of another form", "trouble"])
def test_an_answer_that_cannot_be_used_is_one_clear_error(name, lie, message, serve):
    fake, server = FAKES[name], serve(FAKES[name].answer)
    server.lie = lie
    dataset = next(iter(fake.truth))
    with pytest.raises(VendorError, match=message) as caught:
        ask(fake.make(server.url), fake.request(dataset))
    assert str(caught.value).count("\n") == 0 and ";" in str(caught.value)


@vendors
def test_a_page_that_was_cut_once_is_asked_for_again(name, serve):
    fake, server = FAKES[name], serve(FAKES[name].answer)
    server.faults = [lambda asked, reply: Reply(reply.body, cut=60)]
    dataset = next(iter(fake.truth))
    same(rows_of(ask(fake.make(server.url), fake.request(dataset))), fake.truth[dataset]())
