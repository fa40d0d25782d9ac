"""The dashboard without a browser: what the fold knows agrees with what the session reports, and what may not pass does not."""

from __future__ import annotations

import json
import logging
import os
import re
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from paced_session import CHECKS, HOSTILE, Busy, session
from properties.scenarios import RandomTrader, random_panel

from qtnb.api.cli import main
from qtnb.api.dashboard_command import session_feed
from qtnb.config.settings import load_settings
from qtnb.core.book import Book
from qtnb.core.errors import ConfigError, StateMismatch, StorageError
from qtnb.core.events import ControlAction
from qtnb.live.adapters.paper import PaperVenue
from qtnb.live.commands import CommandFile, Mailbox
from qtnb.live.data_streams import ReplayStream
from qtnb.live.exec_engine import LiveSession
from qtnb.live.replay import replay
from qtnb.live.state_store import JournalFile, SqliteJournal
from qtnb.pipelines.tasks import LiveConfig, run_live
from qtnb.reporting.access import Access, allowed_hosts, new_token
from qtnb.reporting.dashboards import COOKIE, HEADERS, make_dashboard
from qtnb.reporting.journal_fold import SessionFold, fold_curve, fold_state
from qtnb.reporting.liveness import Feed, as_the_session_says
from qtnb.reporting.stated_limits import read_limits
from qtnb.reporting.thinning import ThinCurve
from qtnb.types import Instrument

HOST = "127.0.0.1:8400"


def folded(path: Path, *, stretches: int = 100_000, first: int | None = None) -> SessionFold:
    """A journal, read to the end or up to a record."""
    fold = SessionFold(stretches=stretches)
    with JournalFile(path) as journal:
        for entry in journal.read():
            if first is not None and entry.seq > first:
                break
            fold.take(entry)
    return fold


def agrees(fold: SessionFold, result: Any) -> None:
    """Equity at every bar, cash, positions, fees, orders and drawdown are those of the session's own result, to the cent."""
    state, account = fold_state(fold), result.account
    assert state is not None
    curve, ns = dict(fold_curve(fold)), account.index.as_unit("ns").asi8.tolist()
    assert list(curve) == ns
    np.testing.assert_allclose([curve[t] for t in ns], account["equity"].to_numpy(), rtol=0, atol=0.005)
    assert abs(state.equity - account["equity"].iloc[-1]) < 0.005 and abs(state.cash - account["cash"].iloc[-1]) < 0.005
    held = {p.symbol: p.quantity for p in state.positions if p.quantity}
    assert held == {s: q for s, q in result.positions.iloc[-1].items() if q}
    assert abs(state.fees - result.fills["fee"].sum()) < 0.005
    equity = account["equity"]
    assert abs(state.max_drawdown - (equity / equity.cummax().clip(lower=fold.core.start) - 1.0).min()) < 1e-12  # type: ignore[union-attr]
    statuses = {name: status for name, status in zip(result.orders["client_order_id"], result.orders["status"], strict=True) if status != "denied"}
    shown = {o.name: o.status for o in fold_state(fold, ended_orders=10**6).orders}  # type: ignore[union-attr]
    assert shown == statuses
    days = (account.index.as_unit("ns").asi8 - 1) // 86_400_000_000_000
    before = equity[days < days[-1]]
    base = before.iloc[-1] if len(before) else fold.core.start  # type: ignore[union-attr]
    assert abs(state.pnl_today - (equity.iloc[-1] - base)) < 0.005


# -- the fold --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [
    {"symbols": ["IBM", "AIG", "BAC"], "start": "2008-01-02", "end": "2010-12-31", "adjust": "none"},
    {"symbols": ["IBM"], "start": "2019-01-02", "end": "2019-12-31", "fee_per_share": 0.01},
], ids=["raw-prices-with-actions", "one-symbol"])
def test_the_fold_agrees_with_the_result_of_a_paper_session(request_: dict[str, Any], tmp_path: Path, workspace: Path) -> None:
    """Splits, dividends, fees and all; at every bar."""
    config = LiveConfig.model_validate({"source": "sample", "fee_bps": 1.0, "slippage_bps": 2.0, "max_bars": None, **request_})
    result = run_live(config, journal=tmp_path / "journal.sqlite")
    agrees(folded(tmp_path / "journal.sqlite"), result)


@pytest.mark.parametrize("seed", range(4))
def test_the_fold_agrees_for_random_traders(seed: int, tmp_path: Path) -> None:
    """Limits, stops, replacements, cancellations, partial information: whatever a random strategy does."""
    bars = random_panel(seed, rows=80, gaps=0.05)
    known = {symbol: Instrument(symbol) for symbol in bars.symbols}
    journal = SqliteJournal(tmp_path / "journal.sqlite", synchronous="NORMAL")
    run = LiveSession(RandomTrader(seed), ReplayStream(bars), venue=PaperVenue(known, cash=1e5), book=Book(known, cash=1e5), journal=journal, run_id="r")
    result = run.run()
    journal.close()
    agrees(folded(tmp_path / "journal.sqlite"), result)


def test_folding_in_steps_is_folding_at_once(tmp_path: Path) -> None:
    """Where the reading stops in between does not matter, not even in the middle of an instant."""
    run = session(tmp_path, None, 40)
    run.run()
    run.journal.close()
    with JournalFile(tmp_path / "journal.sqlite") as journal:
        whole, parts = folded(tmp_path / "journal.sqlite"), SessionFold(stretches=100_000)
        for first in range(1, journal.runs()[-1]["last_seq"] + 1, 3):
            for entry, _ in zip(journal.read(first), range(3), strict=False):
                parts.take(entry)
            fold_state(parts), fold_curve(parts)
    assert fold_state(whole) == fold_state(parts) and fold_curve(whole) == fold_curve(parts)


def test_limits_are_measured_and_breaches_told(tmp_path: Path) -> None:
    """The rows are the limits of the session; cuts and denials are notices; names that are HTML stay text."""
    run = session(tmp_path, None, 60)
    run.run()
    run.journal.close()
    state = fold_state(folded(tmp_path / "journal.sqlite"))
    assert state is not None
    assert {r.label for r in state.limits} == {"gross exposure", "net exposure", "net short exposure", "weight of AAA", "weight of BBB", f"weight of {HOSTILE}"}
    assert [r.used for r in state.limits] == sorted((r.used for r in state.limits), reverse=True)
    assert any("was cut from 60" in n.text for n in state.notices) and state.rules == ("loss of the session above 0.5: halt, until the next one",)
    gross = next(r for r in state.limits if r.label == "gross exposure")
    assert abs(gross.value - state.gross) < 1e-12 and gross.bound == 1.5
    assert next(r for r in state.streams if r.symbol == HOSTILE).missing > 0
    limits, _ = read_limits([repr(c) for c in CHECKS])
    assert limits == CHECKS[:3]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), st.integers(1, 12))
def test_a_thin_curve_keeps_the_extremes(values: list[float], half: int) -> None:
    """First, last, lowest and highest point are among those that are kept, in order, and there are never too many."""
    curve = ThinCurve(2 * half)
    for ts, value in enumerate(values):
        curve.add(ts, value)
    kept = curve.points()
    assert set(kept) <= set(enumerate(values)) and len(kept) <= 4 * half + 2
    assert kept[0] == (0, values[0]) and kept[-1] == (len(values) - 1, values[-1])
    assert min(v for _, v in kept) == min(values) and max(v for _, v in kept) == max(values)


def test_a_halt_that_a_guard_lifts_is_known_from_the_pulse(tmp_path: Path) -> None:
    """The journal has no word for it; the session's own word counts while it runs, unless it is older than what was read."""
    run = session(tmp_path, None, 30)
    run.run()
    run.journal.close()
    state = fold_state(folded(tmp_path / "journal.sqlite"))
    assert state is not None and not state.halted
    pulse = SimpleNamespace(halted=True, reducing=False, reason="session loss 0.06 is above 0.05", records=state.records)
    told = as_the_session_says(state, pulse)
    assert told.halted and told.halt_reason == pulse.reason
    assert as_the_session_says(state, SimpleNamespace(**{**vars(pulse), "records": state.records - 1})) is state


# -- commands --------------------------------------------------------------------------------------------------------------------


def test_a_command_is_taken_once_whoever_reads(tmp_path: Path) -> None:
    """Four mailboxes on one file, forty commands, threads: each command is handed out once."""
    path = tmp_path / "commands.sqlite"
    boxes = [Mailbox(path) for _ in range(4)]
    boxes[0].beat(event_ns=None, records=1)
    sender, found = CommandFile(path), list[int]()
    for number in range(40):
        sender.send("halt", who="ada", reason=f"number {number}")
    start = threading.Barrier(4)

    def read(box: Mailbox) -> None:
        start.wait()
        for _ in range(5):
            try:
                found.extend(c.id for c in box.take(1))
            except StorageError:
                time.sleep(0.05)

    threads = [threading.Thread(target=read, args=(box,)) for box in boxes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(1, 41)) and all(c.outcome == "taken" for c in sender.history())


def test_session_and_dashboard_may_open_the_file_at_the_same_moment(tmp_path: Path) -> None:
    """Eight threads find no file and make it: one file, whole, for all of them, and nothing beside it."""
    for number in range(20):
        path, start, opened = tmp_path / str(number) / "commands.sqlite", threading.Barrier(8), list[CommandFile]()
        path.parent.mkdir()

        def work(path: Path = path, start: threading.Barrier = start, opened: list[CommandFile] = opened) -> None:
            start.wait()
            opened.append(CommandFile(path))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(opened) == 8 and all(file.history() == [] for file in opened)
        assert {p.name.removesuffix("-wal").removesuffix("-shm") for p in path.parent.iterdir()} == {"commands.sqlite"}


def test_the_trail_cannot_be_changed_and_is_private(tmp_path: Path) -> None:
    """Triggers hold the rows, the system holds the file."""
    box = Mailbox(tmp_path / "commands.sqlite")
    box.beat(event_ns=None, records=1)
    CommandFile(box.path).send("halt", who="ada", reason="x")
    box.take(1)
    with sqlite3.connect(box.path) as database:
        for statement in ("DELETE FROM command", "UPDATE command SET who = 'bob'", "DELETE FROM answer", "UPDATE answer SET outcome = 'refused'"):
            with pytest.raises(sqlite3.Error, match="append-only"):
                database.execute(statement)
    assert stat.S_IMODE(os.stat(box.path).st_mode) == 0o600


def test_commands_of_another_process_steer_a_session_and_replay(tmp_path: Path) -> None:
    """Halt, resume and flatten come through the file, stand in the journal with their names, and the journal replays to the same commands."""
    process = subprocess.Popen([sys.executable, str(Path(__file__).with_name("paced_session.py")), str(tmp_path), "0.02", "100000"])
    try:
        file = tmp_path / "commands.sqlite"
        wait(lambda: file.exists() and CommandFile(file).pulse() is not None and CommandFile(file).pulse().records > 60)  # type: ignore[union-attr]
        sender = CommandFile(file)
        records = []
        for action in ("halt", "resume", "flatten"):
            number = sender.send(action, who="ada", reason=f"to {action}")
            wait(lambda number=number: sender.history()[0].id == number and sender.history()[0].outcome)
            records.append(sender.history()[0])
            before = sender.pulse().records  # type: ignore[union-attr]
            wait(lambda before=before: sender.pulse().records > before + 20)  # type: ignore[union-attr]
        assert sender.pulse().halted  # type: ignore[union-attr]
    finally:
        process.terminate()
        process.wait(20)
    assert [r.outcome for r in records] == ["taken"] * 3
    with JournalFile(tmp_path / "journal.sqlite") as journal:
        by_number = {entry.seq: entry.record for entry in journal.read()}
    for row in records:
        assert by_number[row.record].action == ControlAction(row.action) and by_number[row.record].reason == f"to {row.action} (ada)"
    state = fold_state(folded(tmp_path / "journal.sqlite"))
    assert state is not None and state.halted and state.gross == 0.0 and not any(o.is_working for o in state.orders)
    assert sum(n.kind == "halt" for n in state.notices) == 2 and state.stopped == "SIGTERM"
    report = replay(tmp_path / "journal.sqlite", strategy=Busy(), checks=CHECKS)
    assert report.identical and report.finished, report.first_difference
    with pytest.raises(StateMismatch, match="the session is over .SIGTERM."):
        sender.send("halt", who="ada", reason="too late")


def wait(condition: Any, seconds: float = 20.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


# -- the server ------------------------------------------------------------------------------------------------------------------


class Site(SimpleNamespace):
    """A dashboard, a client, and what was sent."""


def site(feed: Feed | None = None, *, control: bool = True, refuse: str = "") -> Site:
    """A dashboard over a port that remembers."""
    token, sent = new_token(), []

    def send(action: str, *, who: str, reason: str) -> int:
        if refuse:
            raise StateMismatch(refuse)
        sent.append((action, who, reason))
        return len(sent)

    port: Any = SimpleNamespace(pulse=lambda: None, refusal=lambda: refuse, history=lambda rows: [], send=send)

    def nothing() -> Any:
        raise StorageError("there is no journal")

    access = Access({"ada": token}, hosts=allowed_hosts("127.0.0.1", 8400), control=control)
    app = make_dashboard(feed or Feed(nothing, port=lambda: port), access)
    return Site(token=token, sent=sent, access=access, client=TestClient(app, base_url=f"http://{HOST}", follow_redirects=False))


@pytest.fixture
def inside() -> Iterator[Site]:
    """A dashboard with control, and somebody who is logged in."""
    made = site()
    assert made.client.post("/api/login", json={"token": made.token}).status_code == 200
    made.csrf = made.client.get("/api/me").json()["csrf"]
    yield made


HALT = {"action": "halt", "reason": "the news", "confirmed": True}


def test_without_a_session_there_is_nothing(inside: Site) -> None:
    """Every question but the login, the assets and the sign of life."""
    client = TestClient(inside.client.app, base_url=f"http://{HOST}", follow_redirects=False)
    for path in ("/api/view", "/api/curve", "/api/chart", "/api/me"):
        assert client.get(path).status_code == 401
    assert client.post("/api/command", json=HALT).status_code == 401 and client.post("/api/logout").status_code == 401
    assert client.get("/").status_code == 303 and client.get("/login").status_code == 200 and client.get("/health").json() == {"ok": True}
    for path in ("/docs", "/redoc", "/openapi.json", "/assets/x", "/assets/..%2f..%2fetc%2fpasswd"):
        assert client.get(path).status_code == 404
    assert not inside.sent


def test_the_cookie_is_for_the_browser_alone(inside: Site) -> None:
    """HttpOnly, strict, and of no use after logging out or when it is changed."""
    answer = inside.client.post("/api/login", json={"token": inside.token})
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/" in cookie and inside.token not in cookie
    kept = inside.client.cookies[COOKIE]
    assert inside.client.post("/api/logout", headers={"X-CSRF-Token": inside.client.get("/api/me").json()["csrf"]}).status_code == 200
    inside.client.cookies.set(COOKIE, kept)
    assert inside.client.get("/api/view").status_code == 401


@pytest.mark.parametrize(("headers", "body", "status"), [
    ({}, HALT, 403),
    ({"X-CSRF-Token": "x"}, HALT, 403),
    ({"X-CSRF-Token": "\u00e9".encode("latin-1")}, HALT, 403),
    ({"Origin": "http://evil.example"}, HALT, 403),
    ({"Origin": "null"}, HALT, 403),
    ({"Host": "evil.example:8400"}, HALT, 421),
    ({}, HALT | {"confirmed": False}, 409),
    ({}, HALT | {"confirmed": 1}, 409),
    ({}, HALT | {"action": "reduce"}, 409),
    ({}, HALT | {"reason": None}, 409),
    ({}, ["halt"], 409),
    ({"Content-Type": "text/plain"}, HALT, 415),
    ({}, HALT | {"reason": "x" * 5000}, 413),
], ids=["no-token", "wrong-token", "odd-token", "other-origin", "null-origin", "other-host", "unconfirmed", "not-true", "other-action", "no-reason",
        "no-mapping", "no-json-type", "too-long"])
def test_commands_that_are_refused(inside: Site, headers: dict[str, Any], body: Any, status: int) -> None:
    """None of them reaches the session."""
    given_ = headers if status == 403 and "Origin" not in headers else {"X-CSRF-Token": inside.csrf, **headers}
    answer = inside.client.post("/api/command", content=json.dumps(body), headers={"Content-Type": "application/json", **given_})
    assert answer.status_code == status and inside.sent == []


def test_a_command_that_passes_has_a_name(inside: Site) -> None:
    """The token's own, whatever the request says."""
    answer = inside.client.post("/api/command", json=HALT | {"who": "mallory"}, headers={"X-CSRF-Token": inside.csrf, "Origin": f"http://{HOST}"})
    assert answer.json() == {"id": 1} and inside.sent == [("halt", "ada", "the news")]


def test_read_only_is_read_only() -> None:
    """Without `control` the page has no buttons and the server takes no commands; what the session refuses comes back in words."""
    looking = site(control=False)
    looking.client.post("/api/login", json={"token": looking.token})
    csrf = looking.client.get("/api/me").json()["csrf"]
    answer = looking.client.post("/api/command", json=HALT, headers={"X-CSRF-Token": csrf})
    assert answer.status_code == 403 and "read-only" in answer.json()["detail"] and looking.sent == []
    assert "data-action" not in looking.client.get("/").text
    assert looking.client.post("/api/logout", headers={"X-CSRF-Token": csrf}).status_code == 200
    gone = site(refuse="the session is over")
    gone.client.post("/api/login", json={"token": gone.token})
    answer = gone.client.post("/api/command", json=HALT, headers={"X-CSRF-Token": gone.client.get("/api/me").json()["csrf"]})
    assert answer.status_code == 409 and answer.json()["detail"] == "the session is over"


def test_guessing_is_slow() -> None:
    """After five wrong tokens the right one waits as well."""
    made = site()
    codes = [made.client.post("/api/login", json={"token": guess}).status_code for guess in ["a", "b", "", None, ["x"], made.token + "x", "c", made.token]]
    assert codes == [401] * 6 + [429, 429]


def test_what_every_answer_carries(inside: Site) -> None:
    """The headers stand on pages, numbers, errors and refusals; no answer holds the token or the cookie."""
    for path in ("/", "/login", "/api/view", "/api/nothing", "/assets/dashboard.js", "/assets/dashboard.css", "/assets/login.js", "/assets/bokeh.js"):
        answer = inside.client.get(path)
        assert {n: answer.headers.get(n) for n in HEADERS if n != "Cache-Control"} == {n: v for n, v in HEADERS.items() if n != "Cache-Control"}
        assert inside.token not in answer.text and inside.client.cookies[COOKIE] not in answer.text and inside.token not in str(answer.headers)
    assert re.search(r"script-src 'self';", HEADERS["Content-Security-Policy"]) and "unsafe-eval" not in HEADERS["Content-Security-Policy"]


def test_the_server_follows_a_session_and_tells_hostile_names_as_text(tmp_path: Path) -> None:
    """The view over HTTP is the fold's; a name that is HTML is JSON, and no page repeats it."""
    run = session(tmp_path, None, 40)
    result = run.run()
    run.journal.close()
    made = site(session_feed(tmp_path / "journal.sqlite", load_settings(workspace=tmp_path)))
    with made.client as client:
        client.post("/api/login", json={"token": made.token})
        wait(lambda: (client.get("/api/view").json()["state"] or {}).get("stopped"))
        view, curve = client.get("/api/view").json(), client.get("/api/curve").json()
        chart = client.get("/api/chart").json()
        assert "<img" not in client.get("/").text
    assert view["health"]["word"] == "over" and abs(view["state"]["equity"] - result.account["equity"].iloc[-1]) < 0.005
    assert any(p["symbol"] == HOSTILE for p in view["state"]["positions"]) and len(curve["ts"]) == 40
    assert sorted(chart["places"].values()) == ["#figure-drawdown", "#figure-equity"]
    assert "the session is over" in view["refusal"]


# -- the command line --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "environment", "message"), [
    ([], {}, "no token was set"),
    ([], {"QTNB_SERVER_TOKEN": "short-and-secret"}, "had 16 letters"),
    (["--host", "0.0.0.0"], {"QTNB_SERVER_TOKEN": "t" * 40}, "--expose"),
    (["--host", "example.org"], {"QTNB_SERVER_TOKEN": "t" * 40}, "must be an address"),
    (["--port", "70000"], {"QTNB_SERVER_TOKEN": "t" * 40}, "65535"),
    (["--run", "nope"], {"QTNB_SERVER_TOKEN": "t" * 40}, "nope"),
], ids=["no-token", "short-token", "network", "name", "port", "run"])
def test_what_the_command_refuses(arguments: list[str], environment: dict[str, str], message: str, workspace: Path, tmp_path: Path,
                                  monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything listens, in words, and without the secret."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    given_ = arguments if "--run" in arguments else ["--journal", str(tmp_path / "j.sqlite"), *arguments]
    code, told = main(["dashboard", *given_]), capsys.readouterr().err
    assert code == 2 and message in told and "short-and-secret" not in told


def test_nothing_secret_is_logged(inside: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Not the token, not the cookie, at any level."""
    caplog.set_level(logging.DEBUG)
    made = site()
    made.client.post("/api/login", json={"token": made.token})
    made.client.get("/api/view")
    with pytest.raises(ConfigError):
        Access({}, hosts=frozenset())
    assert made.token not in caplog.text and made.client.cookies[COOKIE] not in caplog.text and made.token not in repr(made.access)
