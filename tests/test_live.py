"""A session against the world: killed processes, full disks, second writers, signals, and venues that misbehave."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from properties.scenarios import RandomTrader, random_panel

from qtnb.core.book import Book
from qtnb.core.clock import SimClock
from qtnb.core.errors import ConfigError, DataError, StateMismatch, StorageError, StrategyError, UnknownNameError
from qtnb.core.events import BarsEvent, Cancel, Control, Event, OrderEventKind, OrderUpdate, Submit
from qtnb.core.protocols import Accepted, Capabilities, Outcome, Rejected, Unknown
from qtnb.enums import OrderStatus, Side
from qtnb.live.adapters.base import VENUES, venue_problems
from qtnb.live.adapters.paper import PaperVenue
from qtnb.live.data_streams import ReplayStream
from qtnb.live.exec_engine import LiveSession, SessionOptions
from qtnb.live.order_router import OrderRouter
from qtnb.live.replay import replay
from qtnb.live.state_store import JournalFile, Record, SqliteJournal, verify
from qtnb.strategies.base import Strategy
from qtnb.types import Fill, Instrument, Order

BARS = random_panel(7, rows=60, gaps=0.0)
KNOWN = {symbol: Instrument(symbol) for symbol in BARS.symbols}
CASH = 100_000.0


class Steady(Strategy):
    """Buy one of the first symbol on every third bar."""

    def on_data(self, ctx: Any, bars: Any) -> None:
        """Order."""
        if ctx.row % 3 == 0:
            ctx.order(ctx.symbols[0], 1.0)


class Resting(Strategy):
    """One order that cannot fill."""

    def on_data(self, ctx: Any, bars: Any) -> None:
        """Order once."""
        if ctx.row == 0:
            ctx.order("AAA", 5.0, limit_price=0.01, time_in_force="gtc")


def session(path: Path, strategy: Any = None, *, venue: Any = None, bars: Any = BARS, pace: Any = None, **options: Any) -> LiveSession:
    """A session over random bars with a journal of its own."""
    journal = SqliteJournal(path, clock=SimClock(1), synchronous="NORMAL")
    stream = ReplayStream(bars, pace=pace)
    place = PaperVenue(KNOWN, cash=CASH) if venue is None else venue
    return LiveSession(
        strategy or Steady(), stream, venue=place, book=Book(KNOWN, cash=CASH), journal=journal, run_id="t", options=SessionOptions(**options)
    )


def records(path: Path) -> list[Record]:
    """Everything in a journal."""
    with JournalFile(path) as journal:
        return list(journal.read())


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a process that can say things and be killed."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


# -- durable before it leaves ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 3, 64])
def test_no_order_leaves_that_the_journal_on_disk_does_not_have(tmp_path: Path, every: int) -> None:
    """A venue that opens the file by itself finds each request there, whatever the size of a batch."""
    path = tmp_path / "j.sqlite"

    class Suspicious(PaperVenue):
        """Looks before it answers."""

        looked = 0

        def look(self, wanted: type, name: str) -> None:
            """The command must be in the file."""
            names = [getattr(r.record, "client_order_id", getattr(getattr(r.record, "order", None), "client_order_id", "")) for r in records(path)
                     if isinstance(r.record, wanted)]
            assert name in names
            Suspicious.looked += 1

        async def submit(self, order: Order) -> Outcome:
            """Look, then take it."""
            self.look(Submit, order.client_order_id)
            return await super().submit(order)

        async def cancel(self, client_order_id: str) -> Outcome:
            """Look, then end it."""
            self.look(Cancel, client_order_id)
            return await super().cancel(client_order_id)

    run = session(path, RandomTrader(3), venue=Suspicious(KNOWN, cash=CASH), commit_every=every)
    run.run()
    run.journal.close()
    assert Suspicious.looked > 20


def test_bars_without_a_decision_share_a_commit(tmp_path: Path) -> None:
    """One commit for each instant on which something leaves, one for every `commit_every` records, one at the end."""
    run = session(tmp_path / "j.sqlite", commit_every=16)
    manifest = run.run().manifest
    run.journal.close()
    decisions = len(BARS) // 3
    assert manifest["journal"]["requests"] == decisions
    assert decisions <= run.commits == run.journal.commits == manifest["journal"]["commits"] <= decisions + run.records // 16 + 1
    quiet = session(tmp_path / "quiet.sqlite", Resting())
    quiet.run()
    quiet.journal.close()
    assert quiet.commits == 2 and quiet.records == 3 + len(BARS) + 2  # header, start, stop; a command and its answer


KILLED = """
    import sys
    from pathlib import Path
    import test_live as t

    class Telling(t.PaperVenue):
        async def submit(self, order):
            print(order.client_order_id, flush=True)
            return await super().submit(order)

    bars = t.random_panel(7, rows=5000, gaps=0.0)
    t.session(Path(sys.argv[1]), t.RandomTrader(5), venue=Telling(t.KNOWN, cash=t.CASH), bars=bars).run()
"""


@pytest.mark.parametrize("after", [1, 40, 150])
def test_a_killed_session_has_every_order_that_left_in_its_journal(tmp_path: Path, after: int) -> None:
    """SIGKILL at an arbitrary instant: the chain holds, no order is unknown, and what is there replays to the same commands."""
    path = tmp_path / "j.sqlite"
    process = python(KILLED, path)
    assert process.stdout is not None
    told = [process.stdout.readline().strip() for _ in range(after)]
    process.kill()
    told += [line for line in process.communicate()[0].split("\n")[:-1] if line]
    with JournalFile(path) as journal:
        assert verify(journal).is_sound and journal.runs()[-1]["ended_ns"] is None
    known = {r.record.order.client_order_id for r in records(path) if isinstance(r.record, Submit)}
    assert len(told) >= after and set(told) <= known
    report = replay(path, strategy=RandomTrader(5))
    assert report.identical and not report.finished and report.result is not None
    assert len(report.result.orders) >= len(told)
    with SqliteJournal(path) as journal:
        assert journal.epoch == 2


FULL = """
    import resource, sys
    from pathlib import Path
    import test_live as t

    class Telling(t.PaperVenue):
        async def submit(self, order):
            print(order.client_order_id, flush=True)
            return await super().submit(order)

    run = t.session(Path(sys.argv[1]), venue=Telling(t.KNOWN, cash=t.CASH), bars=t.random_panel(7, rows=5000, gaps=0.0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    try:
        run.run()
    except t.StorageError as error:
        print("refused:", error, flush=True)
        sys.exit(2)
"""


def test_when_the_disk_is_full_nothing_more_leaves(tmp_path: Path) -> None:
    """The file may not grow any more: the session ends with one clear error, and the venue got only what the journal has."""
    path = tmp_path / "j.sqlite"
    process = python(FULL, path)
    told = process.communicate()[0].split("\n")[:-1]
    assert process.returncode == 2 and told[-1].startswith(f"refused: journal {str(path)!r} could not be written")
    known = [r.record.order.client_order_id for r in records(path) if isinstance(r.record, Submit)]
    assert len(told) > 10 and told[:-1] == known
    with JournalFile(path) as journal:
        assert verify(journal).is_sound


@pytest.mark.parametrize("hook", ["on_start", "on_stop", "on_order"])
def test_a_strategy_that_fails_in_a_hook(tmp_path: Path, hook: str) -> None:
    """The error comes out at the end, trading is halted, and the journal replays up to it and beyond."""
    kind = type("Broken", (Resting,), {"name": "broken", hook: lambda self, *arguments: 1 / 0})
    run = session(tmp_path / "j.sqlite", kind())
    with pytest.raises(StrategyError, match=f"raised ZeroDivisionError in `{hook}`"):
        run.run()
    run.journal.close()
    assert run.engine.halted and not [s for s in run.engine.orders.values() if s.status is OrderStatus.ACCEPTED]
    report = replay(tmp_path / "j.sqlite", strategy=kind())
    assert report.identical, report.first_difference


def test_a_strategy_that_fails_between_two_bars(tmp_path: Path) -> None:
    """In the hook of a fill, whose bar was not handled any more: the frames end with the last whole instant."""

    class Startled(Steady):
        """Fails at its second fill."""

        def on_fill(self, ctx: Any, fill: Fill) -> None:
            """Count, then fail."""
            1 / (1 - len(ctx.order_state(fill.client_order_id).exec_ids) if ctx.position("AAA") > 1.0 else 1)

    run = session(tmp_path / "j.sqlite", Startled())
    with pytest.raises(StrategyError, match="in `on_fill` at bar 3"):
        run.run()
    run.journal.close()
    so_far = run.result()
    assert len(so_far.account) == 4 and len(so_far.fills) == 1 and run.engine.context.position("AAA") == 2.0
    report = replay(tmp_path / "j.sqlite", strategy=Startled())
    assert report.identical and report.result is not None and report.result.differences(so_far) == []


# -- one writer --------------------------------------------------------------------------------------------------------------------

HOLDER = """
    import sys
    from qtnb.live.state_store import SqliteJournal
    journal = SqliteJournal(sys.argv[1])
    journal.append("event", 1, {})
    journal.commit()
    print("ready", flush=True)
    sys.stdin.read() if sys.stdin else None
    import threading; threading.Event().wait()
"""


def test_a_second_engine_on_a_journal_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    """By the process that holds it; a reader is welcome; after a kill the next one may write, and sees the epoch before."""
    path = tmp_path / "j.sqlite"
    process = python(HOLDER, path)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    try:
        with pytest.raises(StorageError, match=f"being written by process {process.pid} on .*, epoch 1"):
            SqliteJournal(path)
        assert len(records(path)) == 1
    finally:
        process.kill()
        process.communicate()
    with SqliteJournal(path) as journal:
        assert journal.epoch == 2 and journal.append("event", 2, {}) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["j.sqlite"]


def test_a_lease_of_another_machine_has_to_be_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock here says nothing about a process there."""
    path = tmp_path / "j.sqlite"
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("socket.gethostname", lambda: "elsewhere")
        journal = SqliteJournal(path)
        journal._database.close()
        journal._lock.release()
    with pytest.raises(StorageError, match="leased to process .* on 'elsewhere'.*take_over=True"):
        SqliteJournal(path)
    with SqliteJournal(path, take_over=True) as journal:
        assert journal.epoch == 2


def test_a_journal_that_cannot_be_made(tmp_path: Path) -> None:
    """No folder, a file in place of the folder, a wrong mode of durability."""
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    for path in (tmp_path / "missing/j.sqlite", tmp_path / "file/j.sqlite"):
        with pytest.raises(StorageError, match="could not be opened for writing"):
            SqliteJournal(path)
    with pytest.raises(StorageError, match="'FULL' or 'NORMAL'"):
        SqliteJournal(tmp_path / "j.sqlite", synchronous="OFF")  # type: ignore[arg-type]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


def test_a_journal_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    """Nobody else may read it, while it is written and afterwards; and it was closed, so nothing can be added."""
    journal = SqliteJournal(tmp_path / "j.sqlite")
    journal.append("event", 1, {})
    journal.commit()
    assert {p.stat().st_mode & 0o077 for p in tmp_path.iterdir()} == {0}
    journal.close()
    journal.close()
    assert (tmp_path / "j.sqlite").stat().st_mode & 0o777 == 0o600
    with pytest.raises(StorageError, match="is closed"):
        journal.append("event", 2, {})


# -- stopping ------------------------------------------------------------------------------------------------------------------------

PACED = """
    import sys
    from pathlib import Path
    import test_live as t

    class Telling(t.Steady):
        def on_data(self, ctx, bars):
            super().on_data(ctx, bars)
            print("bar", flush=True)

        def on_stop(self, ctx):
            print("on_stop", flush=True)

    run = t.session(Path(sys.argv[1]), Telling(), bars=t.random_panel(7, rows=5000, gaps=0.0), pace=0.01, progress=True)
    print(run.run().manifest["stopped"], flush=True)
    run.journal.close()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_session_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    """The strategy is told, the journal ends with the reason, the result is there, and the exit is a normal one."""
    path = tmp_path / "j.sqlite"
    process = python(PACED, path)
    assert process.stdout is not None
    for _ in range(5):
        assert process.stdout.readline() == "bar\n"
    process.send_signal(number)
    out, errors = process.communicate()
    assert out.split()[-2:] == ["on_stop", number.name] and process.returncode == 0
    assert "session" in errors and "Traceback" not in errors
    last = records(path)[-1]
    assert last.kind == "stop" and last.record["reason"] == number.name
    assert len(records(path)) < 5000


def test_a_session_is_bounded_by_the_wall(tmp_path: Path) -> None:
    """A stream that never says anything is left when the time is up, with a result of no rows."""

    class Silent(ReplayStream):
        """Says nothing."""

        async def __aiter__(self) -> Any:
            """Wait for ever."""
            await asyncio.Event().wait()
            yield None

    run = session(tmp_path / "j.sqlite", max_seconds=0.05)
    run.stream = Silent(BARS)
    result = run.run()
    run.journal.close()
    assert result.manifest["stopped"] == "0.05 s have passed" and len(result.account) == len(result.orders) == 0
    assert replay(tmp_path / "j.sqlite", strategy=Steady()).identical


def test_a_session_runs_inside_a_running_loop_too(tmp_path: Path) -> None:
    """As in a notebook: `run` from a coroutine, and `serve` awaited, with the same result."""

    async def both() -> list[str]:
        """Run one of each."""
        one, two = session(tmp_path / "1.sqlite"), session(tmp_path / "2.sqlite")
        first, second = one.run(), await two.serve()
        one.journal.close()
        two.journal.close()
        return first.differences(second)

    assert asyncio.run(both()) == []
    assert replay(tmp_path / "1.sqlite", strategy=Steady()).last_hash == replay(tmp_path / "2.sqlite", strategy=Steady()).last_hash


@pytest.mark.parametrize(("options", "words"), [({"max_seconds": 0.0}, "`max_seconds` was 0.0"), ({"commit_every": 0}, "`commit_every` was 0")])
def test_bounds_that_are_none_are_refused(options: dict[str, Any], words: str) -> None:
    """Before anything starts."""
    with pytest.raises(ConfigError, match=words):
        SessionOptions(**options)


# -- venues that misbehave ------------------------------------------------------------------------------------------------------------


class Odd(PaperVenue):
    """A paper venue with one thing wrong with it."""

    def __init__(self, wrong: str):
        """Say what is wrong."""
        super().__init__(KNOWN, cash=CASH)
        self.wrong = wrong

    async def submit(self, order: Order) -> Outcome:
        """Refuse, lose or break."""
        if self.wrong == "refuses":
            return Rejected("not today")
        if self.wrong == "loses":
            return Unknown("no answer within 10 s")
        if self.wrong == "breaks":
            raise ConnectionResetError("connection reset by peer")
        return await super().submit(order)

    def on_market(self, event: BarsEvent) -> Iterator[Event]:
        """Fills, and perhaps something else."""
        if self.wrong == "waits for bars":
            return
        for found in super().on_market(event):
            yield found
            if self.wrong == "twice":
                yield found
        if event.ts != int(BARS.ts[20]):
            return
        if self.wrong == "invents an order":
            yield OrderUpdate(event.ts, "q1-nobody", OrderEventKind.CANCEL)
        if self.wrong == "overfills":
            name = next(r.client_order_id for r in self._executions)
            yield Fill(event.ts, "again", name, "AAA", Side.BUY, 1.0, 50.0)

    async def account(self) -> Any:
        """What it holds, or not quite."""
        told = await super().account()
        if self.wrong == "miscounts":
            told.positions["AAA"] += 1.0
        return told


@pytest.mark.parametrize("wrong", ["refuses", "loses", "breaks", "twice", "invents an order", "overfills", "miscounts"])
def test_a_venue_that_misbehaves(tmp_path: Path, wrong: str) -> None:
    """Nothing is guessed: lost orders stay unknown, repeated fills count once, contradictions halt; and all of it replays."""
    path = tmp_path / "j.sqlite"
    run = session(path, venue=Odd(wrong))
    result = run.run()
    run.journal.close()
    statuses = set(result.orders["status"])
    expected = {"refuses": {"rejected"}, "loses": {"unknown"}, "breaks": {"unknown"}, "twice": {"filled", "accepted"}}
    if wrong in expected:
        assert statuses <= expected[wrong] and not run.halts
    else:
        assert len(run.halts) == 1 and run.engine.halted and result.manifest["halts"] == run.halts
        halt = [r for r in records(path) if isinstance(r.record, Control)]
        assert len(halt) == 1 and halt[0].kind == "event"
    if wrong in ("invents an order", "overfills"):
        after = BARS.index[20]
        assert "denied" in statuses and not (result.fills["ts"] > after).any()
        assert set(result.orders.loc[result.orders["ts"] > after, "status"]) == {"denied"}
    assert result.fills["exec_id"].is_unique
    report = replay(path, strategy=Steady())
    assert report.identical and report.result is not None and report.result.differences(result) == []


@pytest.mark.parametrize(("options", "bars"), [({"symbols": ("BBB", "AAA", "CCC")}, BARS), ({"interval": "1h"}, BARS), ({}, BARS.select(["AAA"]))])
def test_a_venue_is_not_shown_the_prices_of_something_else(tmp_path: Path, options: dict[str, Any], bars: Any) -> None:
    """Other columns, another order of them, another interval: refused before anything runs."""
    with pytest.raises(ConfigError, match="the venue expects 1[dh] bars of"):
        session(tmp_path / "j.sqlite", venue=PaperVenue(KNOWN, **options), bars=bars)


def test_a_bar_from_the_past_ends_a_session_in_order(tmp_path: Path) -> None:
    """The error comes out at the end; what worked was cancelled; the journal has it all and replays."""

    class Jumping(ReplayStream):
        """Plays the tenth bar twice."""

        async def __aiter__(self) -> Any:
            """Play."""
            async for event in ReplayStream(self.bars, max_bars=10):
                yield event
            yield event

    run = session(tmp_path / "j.sqlite", Resting(), venue=Odd("waits for bars"))
    run.stream = Jumping(BARS)
    with pytest.raises(DataError, match="bars must move forward in time"):
        run.run()
    run.journal.close()
    assert [s.status for s in run.engine.orders.values()] == [OrderStatus.CANCELED]
    assert replay(tmp_path / "j.sqlite", strategy=Resting()).identical


def test_a_failing_strategy_and_a_stubborn_venue_come_to_an_end(tmp_path: Path) -> None:
    """A strategy that fails at every answer, and a venue that refuses every cancel: one halt, one cancel per order."""

    class Stubborn(PaperVenue):
        """Cancels nothing."""

        async def cancel(self, client_order_id: str) -> Outcome:
            """Refuse."""
            return Rejected("no")

    kind = type("Broken", (Resting,), {"name": "broken", "on_order": lambda self, *arguments: 1 / 0})
    run = session(tmp_path / "j.sqlite", kind(), venue=Stubborn(KNOWN, cash=CASH))
    with pytest.raises(StrategyError):
        run.run()
    run.journal.close()
    assert len(run.halts) == 1 and run.router.sent == 2
    assert replay(tmp_path / "j.sqlite", strategy=kind()).identical


def test_what_a_venue_cannot_do_is_not_asked_of_it(tmp_path: Path) -> None:
    """An order type outside its list is refused here, in the same words for the strategy, and nothing leaves."""

    class Modest(PaperVenue):
        """Market orders only."""

        def capabilities(self) -> Capabilities:
            """Little."""
            return Capabilities(simulated=True, order_types=frozenset({"market"}))

    run = session(tmp_path / "j.sqlite", Resting(), venue=Modest(KNOWN, cash=CASH))
    result = run.run()
    run.journal.close()
    assert run.router.sent == 0 and result.orders["status"].tolist() == ["rejected"]
    assert "order type 'limit' is not known to this venue" in result.orders["reason"].iloc[0]


def test_a_venue_that_says_it_is_simulated_must_look_at_the_market() -> None:
    """Otherwise its orders would wait for ever."""

    class Blind:
        """Says it is simulated, and is not."""

        def capabilities(self) -> Capabilities:
            """A lie."""
            return Capabilities(simulated=True)

    with pytest.raises(StateMismatch, match="on_market"):
        OrderRouter(Blind(), SimClock(1))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", VENUES.names())
def test_every_registered_venue_is_one(name: str) -> None:
    """It has every method of the protocol, asynchronous where it must be."""
    assert venue_problems(VENUES.get(name)) == []  # type: ignore[arg-type]


def test_an_unknown_venue_is_named() -> None:
    """With the nearest name."""
    with pytest.raises(UnknownNameError, match="Did you mean 'paper'"):
        VENUES.get("papers")


def test_the_answer_of_a_venue_is_an_outcome(tmp_path: Path) -> None:
    """The paper venue, asked directly: accepted, refused, working, ended."""

    async def talk() -> None:
        """One order's life."""
        venue = PaperVenue(KNOWN, cash=CASH)
        order = Order("q1-a", 1, "AAA", Side.BUY, 5.0)
        assert await venue.submit(order) == Accepted() and await venue.query("q1-a") == order
        assert await venue.cancel("q1-a") == Accepted()
        assert [u.kind for u in venue.updates()] == [OrderEventKind.CANCEL] and await venue.query("q1-a") is None
        assert isinstance(await venue.cancel("q1-a"), Rejected)

    asyncio.run(talk())


# -- replay --------------------------------------------------------------------------------------------------------------------------


def test_a_replay_needs_the_same_strategy_and_checks(tmp_path: Path) -> None:
    """Another seed decides differently and the first difference is named; missing checks are asked for."""
    run = session(tmp_path / "j.sqlite", RandomTrader(4))
    run.run()
    run.journal.close()
    assert replay(tmp_path / "j.sqlite", strategy=RandomTrader(4)).identical
    other = replay(tmp_path / "j.sqlite", strategy=RandomTrader(5))
    assert not other.identical and other.result is None and other.first_difference.startswith("record ")
    with pytest.raises(ConfigError, match="pass the same ones as `checks`"):
        replay(tmp_path / "j.sqlite", strategy=RandomTrader(4), checks=[lambda order, account: ""])
    with pytest.raises(ConfigError, match="Pass the strategy of the session as `strategy`"):
        replay(tmp_path / "j.sqlite")


def test_a_journal_that_ends_anywhere_replays_as_far_as_it_goes(tmp_path: Path) -> None:
    """Cut after any record, as a crash may leave it, also between an event and its commands: no difference, but no end either."""
    run = session(tmp_path / "j.sqlite", RandomTrader(9), bars=random_panel(9, rows=25))
    run.run()
    run.journal.close()
    whole = records(tmp_path / "j.sqlite")
    assert len(whole) > 60
    for length in range(2, len(whole), 3):
        path = tmp_path / f"{length}.sqlite"
        with SqliteJournal(path, clock=SimClock(1), synchronous="NORMAL") as journal:
            for entry in whole[:length]:
                journal.append(entry.kind, entry.ts, entry.record)
        report = replay(path, strategy=RandomTrader(9))
        assert report.identical, report.first_difference
        assert not report.finished and report.result is not None


def test_a_strategy_that_orders_more_or_less_than_before_is_found(tmp_path: Path) -> None:
    """A command too many, a command too few, one that is another: each is a difference."""

    class Eager(Steady):
        """One more order at the end."""

        name = "steady"

        def on_stop(self, ctx: Any) -> None:
            """Order."""
            ctx.order("AAA", 1.0)

    class Lazy(Steady):
        """Nothing at all."""

        name = "steady"

        def on_data(self, ctx: Any, bars: Any) -> None:
            """Wait."""

    run = session(tmp_path / "j.sqlite")
    run.run()
    run.journal.close()
    assert replay(tmp_path / "j.sqlite", strategy=Steady()).identical
    assert "after the last record: the replay gives a further command Submit" in replay(tmp_path / "j.sqlite", strategy=Eager()).first_difference
    assert "the replay gives nothing" in replay(tmp_path / "j.sqlite", strategy=Lazy()).first_difference


def test_a_journal_without_a_session_is_refused(tmp_path: Path) -> None:
    """Empty, of something else, or not there."""
    with SqliteJournal(tmp_path / "empty.sqlite"):
        pass
    with SqliteJournal(tmp_path / "other.sqlite") as journal:
        journal.append("event", 1, {})
    for name, words in (("empty.sqlite", "does not begin with the header"), ("other.sqlite", "does not begin"), ("none.sqlite", "does not exist")):
        with pytest.raises(StorageError, match=words):
            replay(tmp_path / name)


def test_an_order_that_was_lost_stays_unknown(tmp_path: Path) -> None:
    """Silence proves nothing: the order counts as in flight until the venue has spoken."""
    run = session(tmp_path / "j.sqlite", venue=Odd("loses"))
    run.run()
    run.journal.close()
    states = list(run.engine.orders.values())
    assert {s.status for s in states} == {OrderStatus.UNKNOWN} and run.engine.context.in_flight("AAA") == len(states)
