"""The journal keeps what it was given, in order, and knows when a single bit of it is no longer what was written."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from effort import EFFORT
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qtnb.core.clock import SimClock
from qtnb.core.errors import StorageError
from qtnb.core.events import (
    Alert,
    BarsEvent,
    Cancel,
    Control,
    ControlAction,
    CorporateAction,
    Halt,
    OrderEventKind,
    OrderUpdate,
    Replace,
    SetTimer,
    Submit,
    TimerEvent,
)
from qtnb.enums import OrderType, Side, TimeInForce
from qtnb.live.state_store import JournalFile, SqliteJournal, verify
from qtnb.types import Fill, Order
from qtnb.utils.serialization import to_json

# -- anything a session may write --------------------------------------------------------------------------------------------------

ts = st.integers(-(2**62), 2**62)
text = st.text(max_size=12)
price = st.floats(allow_nan=True, allow_infinity=True)
column = st.lists(price, min_size=1, max_size=3).map(tuple)
maybe = st.none() | st.floats(0.01, 1e6)
order = st.builds(Order, text, ts, text, st.sampled_from(Side), price, st.sampled_from(OrderType), maybe, maybe, st.sampled_from(TimeInForce), text, text)
records = st.one_of(
    st.builds(BarsEvent, ts, column, column, column, column, column),
    st.builds(TimerEvent, ts, text),
    st.builds(CorporateAction, ts, text, st.sampled_from(["split", "dividend"]), price),
    st.builds(OrderUpdate, ts, text, st.sampled_from(OrderEventKind), text, maybe, maybe, maybe),
    st.builds(Fill, ts, text, text, text, st.sampled_from(Side), price, price, price, text, text),
    st.builds(Control, ts, st.sampled_from(ControlAction), text),
    st.builds(Submit, order),
    st.builds(Cancel, ts, text),
    st.builds(Replace, ts, text, maybe, maybe, maybe),
    st.builds(SetTimer, ts, text),
    st.builds(Alert, ts, text, text),
    st.builds(Halt, ts, text),
    st.dictionaries(text, st.none() | st.booleans() | ts | price | text | st.lists(ts, max_size=2), max_size=3),
)
kinds = st.sampled_from(["header", "start", "event", "command", "stop", "error"])
entries = st.lists(st.tuples(kinds, ts, records), min_size=1, max_size=12)
Entry = tuple[str, int, Any]


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for one example."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def write(path: Path, lines: list[Entry], *, commit_every: int = 3) -> None:
    """A closed journal of these lines."""
    with SqliteJournal(path, clock=SimClock(1), synchronous="NORMAL") as journal:
        for number, (kind, when, record) in enumerate(lines, 1):
            assert journal.append(kind, when, record) == number
            if number % commit_every == 0:
                journal.commit()


def read(path: Path) -> list[tuple[int, str, int, str]]:
    """Everything in a journal, as text that shows types and bits."""
    with JournalFile(path) as journal:
        return [(r.seq, r.kind, r.ts, to_json(r.record)) for r in journal.read()]


def expected(lines: list[Entry]) -> list[tuple[int, str, int, str]]:
    """What `read` must give."""
    return [(number, kind, when, to_json(record)) for number, (kind, when, record) in enumerate(lines, 1)]


FIXED: list[Entry] = [("event", n, {"n": n, "text": "x" * 30}) for n in range(1, 31)]


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed journal of thirty records."""
    path = tmp_path_factory.mktemp("journal") / "fixed.sqlite"
    write(path, FIXED)
    return path


# -- it keeps ----------------------------------------------------------------------------------------------------------------------


@EFFORT
@given(entries, st.integers(1, 5))
def test_what_is_read_is_what_was_written(lines: list[Entry], every: int) -> None:
    """Values, types, order and bits, NaN included; the chain holds; the same lines give the same fingerprint."""
    with scratch() as folder:
        write(folder / "a.sqlite", lines, commit_every=every)
        write(folder / "b.sqlite", lines, commit_every=every + 1)
        assert read(folder / "a.sqlite") == expected(lines)
        with JournalFile(folder / "a.sqlite") as a, JournalFile(folder / "b.sqlite") as b:
            assert verify(a) == verify(b) and verify(a).is_sound and verify(a).records == len(lines)
            for record, (_, _, given) in zip(a.read(), lines, strict=True):
                assert type(record.record) is type(given) or not dataclasses.is_dataclass(given)


@EFFORT
@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.data())
def test_a_copy_taken_at_any_time_holds_what_was_committed(batches: list[int], data: st.DataObject) -> None:
    """The files as they lie after a commit, copied as a dying machine would leave them: all committed records, nothing else."""
    with scratch() as folder:
        journal = SqliteJournal(folder / "j.sqlite", clock=SimClock(1))
        total = 0
        for number, size in enumerate(batches):
            for _ in range(size):
                journal.append("event", total, {"n": total})
                total += 1
            journal.commit()
            journal.append("event", total, {"lost": number})
            copy = folder / f"copy{number}"
            copy.mkdir()
            for name in ("j.sqlite", "j.sqlite-wal"):
                shutil.copy(folder / name, copy / name)
            assert [r[0] for r in read(copy / "j.sqlite")] == list(range(1, total + 1))
            torn = folder / f"torn{number}"
            shutil.copytree(copy, torn, ignore=shutil.ignore_patterns("*-shm"))
            wal = (copy / "j.sqlite-wal").read_bytes() if (copy / "j.sqlite-wal").exists() else b""
            (torn / "j.sqlite-wal").write_bytes(wal[: data.draw(st.integers(0, len(wal)))])
            with JournalFile(torn / "j.sqlite") as part:
                check = verify(part)
            assert check.is_sound and check.records <= total
            total += 1
        journal.close()
        assert len(read(folder / "j.sqlite")) == total


# -- it knows ------------------------------------------------------------------------------------------------------------------------


@settings(EFFORT, max_examples=EFFORT.max_examples * 5)
@given(place=st.integers(0, 2**20), bit=st.integers(0, 7))
@example(place=18, bit=0)  # the version of the file format
@example(place=68, bit=3)  # the type of the file
@example(place=28648, bit=0)  # the name of a column
@example(place=3238, bit=7)  # a letter that is none any more
def test_a_flipped_bit_is_found_or_does_not_matter(fixed: Path, place: int, bit: int) -> None:
    """A bit anywhere in the file: the journal is refused with a reason, or every record is still what it was."""
    damaged = bytearray(fixed.read_bytes())
    damaged[place % len(damaged)] ^= 1 << bit
    with scratch() as folder:
        path = folder / "j.sqlite"
        path.write_bytes(damaged)
        try:
            found = read(path)
            with JournalFile(path) as journal:
                sound = verify(journal).is_sound
        except StorageError:
            return
        assert found == expected(FIXED) or not sound


@EFFORT
@given(st.floats(0.0, 0.999))
def test_a_cut_file_is_refused(fixed: Path, share: float) -> None:
    """Wherever it was cut."""
    with scratch() as folder:
        path = folder / "j.sqlite"
        left = fixed.read_bytes()[: int(share * fixed.stat().st_size)]
        path.write_bytes(left)
        with pytest.raises(StorageError):
            read(path)
        with pytest.raises(StorageError):
            SqliteJournal(path)
        assert path.read_bytes() == left, "a damaged journal was changed"


columns = st.sampled_from(["ts_ns", "kind", "payload", "crc", "prev_hash"])
values = st.integers(-5, 10**6) | st.text(min_size=1, max_size=5) | st.binary(max_size=5) | st.just("{}")


@EFFORT
@given(seq=st.integers(1, 30), name=columns, value=values)
def test_a_changed_field_is_found_by_number(fixed: Path, seq: int, name: str, value: Any) -> None:
    """Any field of any record: verification says that everything before it is sound, and names it."""
    with scratch() as folder:
        path = folder / "j.sqlite"
        path.write_bytes(fixed.read_bytes())
        with edited(path) as database:
            before = database.execute(f"SELECT {name} FROM journal WHERE seq = ?", (seq,)).fetchone()[0]
            database.execute(f"UPDATE journal SET {name} = ? WHERE seq = ?", (value, seq))
            after = database.execute(f"SELECT {name} FROM journal WHERE seq = ?", (seq,)).fetchone()[0]
        with JournalFile(path) as journal:
            check = verify(journal)
        assert check.is_sound == (before == after)
        if not check.is_sound:
            assert check.records == seq - 1 and f"record {seq} is not as it was written" in check.problem


@EFFORT
@given(st.sets(st.integers(1, 30), min_size=1, max_size=30))
def test_missing_records_are_found(fixed: Path, gone: set[int]) -> None:
    """In the middle, at the start, at the end, or all of them."""
    with scratch() as folder:
        path = folder / "j.sqlite"
        path.write_bytes(fixed.read_bytes())
        with edited(path) as database:
            database.executemany("DELETE FROM journal WHERE seq = ?", [(n,) for n in gone])
        with JournalFile(path) as journal:
            check = verify(journal)
        assert not check.is_sound and check.records == min(gone) - 1 and "missing" in check.problem


@EFFORT
@given(st.integers(1, 30), st.integers(1, 30))
def test_exchanged_records_are_found(fixed: Path, one: int, other: int) -> None:
    """Two records with their sums, at each other's place."""
    with scratch() as folder:
        path = folder / "j.sqlite"
        path.write_bytes(fixed.read_bytes())
        with edited(path) as database:
            for old, new in ((one, -1), (other, one), (-1, other)) if one != other else ():
                database.execute("UPDATE journal SET seq = ? WHERE seq = ?", (new, old))
        with JournalFile(path) as journal:
            assert verify(journal).is_sound == (one == other)


@contextmanager
def edited(path: Path) -> Iterator[sqlite3.Connection]:
    """The journal's database, with the triggers out of the way."""
    database = sqlite3.connect(path, isolation_level=None)
    for name in ("journal_keeps", "journal_holds", "journal_counts"):
        database.execute(f"DROP TRIGGER {name}")
    yield database
    database.close()


def test_the_triggers_stand_in_the_way(tmp_path: Path) -> None:
    """Through SQL, nothing can be changed, removed, replaced or put out of turn."""
    write(tmp_path / "j.sqlite", FIXED)
    database = sqlite3.connect(tmp_path / "j.sqlite", isolation_level=None)
    row = "(1, 'event', '{}', 0, '')"
    for statement in (
        "UPDATE journal SET kind = 'x' WHERE seq = 3",
        "DELETE FROM journal WHERE seq = 30",
        "DELETE FROM journal",
        "INSERT OR REPLACE INTO journal VALUES (3, 1, 'event', '{}', 0, '')",
        "INSERT INTO journal VALUES (32, 1, 'event', '{}', 0, '')",
        f"INSERT INTO journal (ts_ns, kind, payload, crc, prev_hash) VALUES {row.replace('(1', '(NULL')}",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            database.execute(statement)
    database.close()
    assert read(tmp_path / "j.sqlite") == expected(FIXED)
