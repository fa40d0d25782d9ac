"""Reporters against servers on this machine that behave badly; the notifier against a clock that is moved by hand; and no canary sings."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, SecretStr
from support import wait_for

from qtnb.core.clock import SimClock
from qtnb.reporting.heartbeats import DeadManPing
from qtnb.reporting.lanes import Channel
from qtnb.reporting.messages import Attachment, Grid, Message, Severity, grid_csv, message_from_json, message_json, one_line
from qtnb.reporting.notifier import Notifier
from qtnb.reporting.pacing import Backoff, QuietHours, Repeats, TokenBucket
from qtnb.reporting.posting import DeliveryError
from qtnb.reporting.reporters import Reporter, make_reporter, slack_payload, slack_text
from qtnb.reporting.session_alerts import SessionAlerts, session_ping
from qtnb.reporting.spool import DurableSpool, read_lines

CANARY = "canary-5d1f0c2b7e"
SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND
NASTY = Message(
    "Halt <!channel> & <script>alert(1)</script>\r\nBcc: thief@example.org",
    "urgent",
    "breach",
    (("strategy", "=cmd()|' /C calc'!A0"), ("symbol", "<script>alert(1)</script>")),
    "line one\r\nline two <https://evil.example.org|harmless> <@U123>",
    (Grid(("symbol", "quantity"), (("=cmd()", -3), ("@SUM(A1)", 2.5)), "Fills"),),
).stamped(NOW, 1)


# -- servers ---------------------------------------------------------------------------------------------------------------


class Http:
    """A server on a free port that does what `behave` says; it keeps what it was sent."""

    def __init__(self, behave: Callable[[BaseHTTPRequestHandler, int], None]):
        self.calls: list[tuple[dict[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.calls.append(({k.lower(): v for k, v in self.headers.items()}, body))
                behave(self, len(outer.calls))

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/services/{CANARY}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def answers(status: int, body: bytes = b"ok", **headers: str) -> Callable[[BaseHTTPRequestHandler, int], None]:
    def behave(handler: BaseHTTPRequestHandler, _: int) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return behave


def garbage(handler: BaseHTTPRequestHandler, _: int) -> None:
    handler.wfile.write(b"\x00\x01 this is no HTTP " + CANARY.encode() + b"\r\n\r\n")
    handler.close_connection = True


def hang_up(handler: BaseHTTPRequestHandler, _: int) -> None:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def half(handler: BaseHTTPRequestHandler, _: int) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\no")
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_WR)
    handler.close_connection = True


def silence(handler: BaseHTTPRequestHandler, _: int) -> None:
    time.sleep(1.5)


@pytest.fixture
def serve() -> Iterator[Callable[..., Http]]:
    servers: list[Http] = []

    def make(behave: Callable[[BaseHTTPRequestHandler, int], None]) -> Http:
        servers.append(Http(behave))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


class Smtp:
    """A mail server of forty lines: AUTH PLAIN and LOGIN, STARTTLS, and answers that can be replaced by verb."""

    def __init__(self, certificate: Path | None = None, say: dict[str, str] | None = None, implicit: bool = False, cut: str = ""):
        self.mails: list[bytes] = []
        self.verbs: list[str] = []
        self.login = ""
        self.say, self.cut, self.implicit = say or {}, cut, implicit
        self.context = None
        if certificate is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(5)
                if self.implicit and self.context:
                    connection = self.context.wrap_socket(connection, server_side=True)
                stream = connection.makefile("rb")
                connection.sendall((self.say.get("GREETING", "220 test") + "\r\n").encode())
                while line := stream.readline():
                    verb = line.split()[0].decode("latin-1").upper()
                    self.verbs.append(verb)
                    if verb == self.cut:
                        return
                    if verb == "AUTH":
                        self.login = base64.b64decode(line.split()[2]).decode()
                    if verb == "DATA" and "DATA" not in self.say:
                        connection.sendall(b"354 go on\r\n")
                        mail = b""
                        while (row := stream.readline()) != b".\r\n":
                            mail += row
                        self.mails.append(mail)
                        verb = "CONTENT"
                    plain = {"EHLO": "250-test\r\n250-AUTH PLAIN\r\n" + ("250-STARTTLS\r\n" if self.context else "") + "250 8BITMIME", "AUTH": "235 fine",
                             "QUIT": "221 bye", "STARTTLS": "220 go" if self.context else "502 no"}
                    connection.sendall((self.say.get(verb, plain.get(verb, "250 fine")) + "\r\n").encode())
                    if verb == "STARTTLS" and self.context:
                        connection = self.context.wrap_socket(connection, server_side=True)
                        stream = connection.makefile("rb")
                    if verb == "QUIT":
                        return
        except (OSError, IndexError, ValueError):
            return

    def close(self) -> None:
        self.socket.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and self-signed certificate for 127.0.0.1 in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificate")
    asked = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    files = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run(["openssl", *asked.split(), *files], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_bytes((folder / "key.pem").read_bytes() + (folder / "cert.pem").read_bytes())
    return both


def mail_to(server_port: int, **options: object) -> Reporter:
    return make_reporter("mail", **{"host": "127.0.0.1", "port": server_port, "security": "none", "sender": "qtnb@example.org", "to": ["desk@example.org"],
                                    "timeout_seconds": 1.0, **options})


# -- HTTP ------------------------------------------------------------------------------------------------------------------

FAULTS = [
    (answers(429, Retry_After="7"), True, 7.0, "429"),
    (answers(503), True, None, "503"),
    (answers(500, CANARY.encode()), True, None, "500"),
    (answers(404, b"no_service"), False, None, "404"),
    (answers(307, Location="http://127.0.0.1:9/elsewhere"), False, None, "redirect"),
    (garbage, True, None, "no HTTP"),
    (hang_up, True, None, "hung up"),
    (half, True, None, ""),
    (silence, True, None, "no answer"),
]


@pytest.mark.parametrize("kind", ["slack", "webhook"])
@pytest.mark.parametrize(("behave", "retry", "after", "words"), FAULTS, ids=[f[3] or "half" for f in FAULTS])
def test_http_faults(serve, kind: str, behave, retry: bool, after: float | None, words: str) -> None:
    """Each fault becomes a DeliveryError that says what happened, whether to try again, and nothing secret."""
    server = serve(behave)
    reporter = make_reporter(kind, url=server.url, timeout_seconds=0.5)
    with pytest.raises(DeliveryError) as failed:
        answer = reporter.deliver(NASTY)
        if behave is half and kind == "webhook":  # the status line had come: a webhook counts that as taken
            raise DeliveryError(answer)
    assert words in str(failed.value) and failed.value.after_seconds == after
    assert failed.value.retry == retry
    assert CANARY not in "".join(traceback.format_exception(failed.value)) and failed.value.__context__ is None
    assert len(server.calls) == 1


def test_refused_connection() -> None:
    """Nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(DeliveryError, match="refused"):
        make_reporter("slack", url=f"http://127.0.0.1:{port}/{CANARY}").deliver(NASTY)


def test_slack_shows_words_as_words(serve) -> None:
    """No mention, link or markup of Slack can be written by a message, and the limits of Slack are kept."""
    server = serve(answers(200))
    assert make_reporter("slack", url=server.url).deliver(NASTY) == "ok"
    sent = json.loads(server.calls[0][1])
    marked = [b for b in sent["attachments"][0]["blocks"] if b["type"] != "header"]
    for text in (json.dumps(marked), sent["text"]):
        assert "<" not in text and ">" not in text
    assert sent["attachments"][0]["blocks"][0]["text"]["type"] == "plain_text"
    long = slack_payload(Message("x" * 500, facts=tuple((str(n), "<" * 900) for n in range(60)), body="&" * 19_000,
                                 tables=(Grid(("a", "b"), tuple(("<" * 90, n) for n in range(400))),) * 3).stamped(NOW, 1))
    blocks = long["attachments"][0]["blocks"]
    assert len(blocks) <= 50 and len(blocks[0]["text"]["text"]) <= 150
    for block in blocks[1:]:
        assert len(block.get("text", {}).get("text", "")) <= 3_000 and len(block.get("fields", [])) <= 10
        assert all(len(f["text"]) <= 2_000 for f in block.get("fields", []))
    with pytest.raises(DeliveryError, match="not Slack's"):
        make_reporter("slack", url=serve(answers(200, b"<html>log in</html>")).url).deliver(NASTY)


@given(st.text(max_size=60), st.integers(3, 80))
def test_a_cut_never_splits_an_escape(text: str, limit: int) -> None:
    """What Slack shows is a prefix of what was written."""
    shown = slack_text(text, limit)
    assert len(shown) <= limit and "<" not in shown and ">" not in shown
    plain = shown.removesuffix("...") if len(slack_text(text, 10_000)) > limit else shown
    assert text.startswith(plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


def test_webhook_is_signed(serve) -> None:
    """The receiver can verify the post, and the same message has the same name twice."""
    import hashlib
    import hmac

    key = b"0123456789abcdef"
    server = serve(answers(204, b""))
    reporter = make_reporter("webhook", url=server.url, secret="whsec_" + base64.b64encode(key).decode(), token=CANARY)
    for _ in range(2):
        assert reporter.deliver(NASTY) == "taken"
    (headers, body), (again, _) = server.calls
    assert headers["webhook-id"] == again["webhook-id"] == NASTY.uid and headers["authorization"] == f"Bearer {CANARY}"
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    assert headers["webhook-signature"] == "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert json.loads(body)["facts"] == [list(f) for f in NASTY.facts]


# -- mail ------------------------------------------------------------------------------------------------------------------


def test_mail_arrives_whole() -> None:
    """Text, HTML and file arrive; nothing in the message became a header."""
    server = Smtp()
    files = (grid_csv(NASTY.tables[0], "fills.csv"), Attachment("a.bin", b"\x00\xff"))
    message = Message(NASTY.title, "urgent", "breach", NASTY.facts, NASTY.body, NASTY.tables, files, html="<p>.\r\n.\r\n</p>").stamped(NOW, 1)
    assert mail_to(server.port).deliver(message) == "taken"
    server.close()
    mail = message_from_bytes(server.mails[0], policy=policy.default)
    assert mail["Bcc"] is None and mail["To"] == "desk@example.org" and "\n" not in mail["Subject"]
    files = {p.get_filename(): p.get_content() for p in mail.iter_attachments()}
    assert files["a.bin"] == b"\x00\xff" and "'=cmd()" in files["fills.csv"] and "'@SUM" in files["fills.csv"] and ",-3" in files["fills.csv"]
    assert mail.get_body(("plain",)).get_content().startswith("[URGENT] Halt") and mail.get_body(("html",)) is not None


@given(st.text(min_size=1, max_size=80))
@settings(max_examples=60, deadline=None)
def test_no_title_adds_a_header(title: str) -> None:
    """Whatever the title, the mail has the same headers."""
    from qtnb.reporting.reporters import MailOptions, mail_of

    if not one_line(title):
        return
    options = MailOptions(host="localhost", security="none", sender="a@b.c", to=("x@y.z",))
    raw = bytes(mail_of(Message(title).stamped(NOW, 1), options))
    names = [line.split(b":")[0] for line in raw.split(b"\n\n")[0].split(b"\n") if not line.startswith((b" ", b"\t"))]
    expected = "Subject From To Date Message-ID Auto-Submitted X-Qtnb-Kind MIME-Version Content-Type"
    assert b" ".join(names).decode() == expected


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mail_over_tls_with_login(certificate: Path, security: str) -> None:
    """The login goes over an encrypted connection whose certificate was checked."""
    server = Smtp(certificate, implicit=security == "tls")
    login = {"security": security, "user": "me", "password": CANARY}
    with pytest.raises(DeliveryError, match="not trusted") as failed:
        mail_to(server.port, **login).deliver(NASTY)
    assert not failed.value.retry and server.login == ""
    assert mail_to(server.port, ca_file=certificate, **login).deliver(NASTY) == "taken"
    assert server.login == f"\0me\0{CANARY}" and len(server.mails) == 1
    server.close()


def test_starttls_cannot_be_stripped() -> None:
    """A server that does not offer the upgrade gets neither password nor mail."""
    server = Smtp()
    with pytest.raises(DeliveryError, match="does not offer") as failed:
        mail_to(server.port, security="starttls", user="me", password=CANARY).deliver(NASTY)
    assert not failed.value.retry and "AUTH" not in server.verbs and "MAIL" not in server.verbs
    server.close()


@pytest.mark.parametrize(("say", "cut", "retry"), [
    ({"GREETING": "554 go away"}, "", False), ({"GREETING": "421 busy"}, "", True), ({"GREETING": "garbage"}, "", True),
    ({"RCPT": "550 unknown"}, "", False), ({"RCPT": "450 later"}, "", True), ({"MAIL": "552 no"}, "", False), ({"DATA": "451 later"}, "", True),
    ({"CONTENT": f"554 {CANARY}"}, "", False), ({}, "DATA", True), ({}, "EHLO", True)])
def test_mail_faults(say: dict[str, str], cut: str, retry: bool) -> None:
    """The server's code decides whether to try again."""
    server = Smtp(say=say, cut=cut)
    with pytest.raises(DeliveryError) as failed:
        mail_to(server.port).deliver(NASTY)
    server.close()
    assert failed.value.retry == retry and CANARY not in "".join(traceback.format_exception(failed.value)) and failed.value.__context__ is None


def test_refused_login_says_no_password(certificate: Path) -> None:
    """A server that quotes the password in its refusal is not quoted."""
    server = Smtp(certificate, say={"AUTH": f"535 {CANARY} is wrong"})
    with pytest.raises(DeliveryError, match="login was refused with code 535") as failed:
        mail_to(server.port, security="starttls", ca_file=certificate, user="me", password=CANARY).deliver(NASTY)
    server.close()
    assert CANARY not in "".join(traceback.format_exception(failed.value)) and not failed.value.retry


# -- pacing ----------------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 30), max_size=80), st.floats(1, 600), st.integers(1, 20))
def test_rate_limit_bound(gaps: list[float], rate: float, burst: int) -> None:
    """In every span of t seconds at most burst + rate t / 60 messages pass."""
    bucket, now, passed = TokenBucket(rate, burst), 0.0, []
    for gap in gaps:
        now += gap
        if bucket.take(now):
            passed.append(now)
        else:
            assert bucket.wait(now) > 0
    for i, first in enumerate(passed):
        for n, last in enumerate(passed[i:], 1):
            assert n <= burst + rate * (last - first) / 60 + 1e-6


@given(st.lists(st.tuples(st.floats(0, 50), st.sampled_from("abc"), st.sampled_from(list(Severity))), max_size=80))
def test_repetitions_are_counted_not_lost(events: list[tuple[float, str, Severity]]) -> None:
    """Told ones and counted ones together are all there were; a more severe one always passes."""
    repeats, now, passed, counted, worst = Repeats(60.0), 0.0, 0, 0, {}
    for gap, key, severity in events:
        now += gap
        for told in repeats.over(now):
            counted += int(told.title.rsplit("repeated ", 1)[1].split()[0])
        news = not repeats.is_repeat(Message("x", severity, key=key), now)
        passed += news
        since, rank = worst.get(key, (-1e9, -1))
        assert news == (now - since >= 60.0 or severity.rank > rank)
        if news:
            worst[key] = (now, severity.rank)
    counted += sum(int(told.title.rsplit("repeated ", 1)[1].split()[0]) for told in repeats.over(float("inf")))
    assert passed + counted == len(events)


def test_a_window_ends_by_itself() -> None:
    """A key is news again after its window, also when nobody asked for the counts meanwhile."""
    repeats = Repeats(60.0)
    assert [repeats.is_repeat(Message("x"), second) for second in (0, 59, 60, 61)] == [False, True, False, True]


@given(st.integers(0, 365 * 24 * 60), st.integers(0, 1439), st.integers(0, 1439), st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]))
@settings(max_examples=200)
def test_quiet_hours_end_where_they_end(minute: int, start: int, end: int, zone: str) -> None:
    """Just before the end it is quiet; at the end it is not, except in the hour that comes twice."""
    import datetime as dt
    from zoneinfo import ZoneInfo

    quiet = QuietHours(f"{start // 60:02}:{start % 60:02}", f"{end // 60:02}:{end % 60:02}", zone)
    ts = NOW + minute * 60 * SECOND
    over = quiet.ends(ts)
    wall = dt.datetime.fromtimestamp(ts // SECOND, ZoneInfo(zone))
    inside = start <= wall.hour * 60 + wall.minute < end if start < end else (wall.hour * 60 + wall.minute >= start or wall.hour * 60 + wall.minute < end)
    assert (over is not None) == inside
    if over is not None:
        assert ts < over <= ts + 25 * 3600 * SECOND


@given(st.integers(0, 5), st.integers(1, 40))
def test_backoff_is_bounded_and_repeatable(seed: int, failures: int) -> None:
    """Between half of the whole wait and the whole."""
    whole = min(300.0, 2.0 * 2.0 ** (failures - 1))
    drawn = Backoff(seed=seed).seconds(failures)
    assert whole / 2 <= drawn <= whole and drawn == Backoff(seed=seed).seconds(failures)


CELLS = st.tuples(st.text(max_size=9), st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)))


@given(st.text(max_size=50), st.text(max_size=200), st.lists(CELLS), st.binary())
def test_messages_survive_json(title: str, body: str, rows: list, data: bytes) -> None:
    """What is read back equals what was written."""
    message = Message(f"t{title}", body=body, tables=(Grid(("a", "b"), tuple(rows)),), attachments=(Attachment("x.bin", data),)).stamped(NOW, 3)
    assert message_from_json(json.loads(json.dumps(message_json(message)))) == message


# -- the notifier ----------------------------------------------------------------------------------------------------------


class Box(Reporter):
    """Fails as it is told, then keeps."""

    fails: list = Field(default_factory=list)
    box: list = Field(default_factory=list)
    times: list = Field(default_factory=list)
    clock: object = None

    def deliver(self, message: Message) -> str:
        if self.fails:
            raise self.fails.pop(0)
        self.box.append(message)
        self.times.append(self.clock.monotonic() if self.clock else 0.0)
        return "kept"


def play(notifier: Notifier, clock: SimClock, seconds: float) -> None:
    """Move the clock from one due time to the next."""
    end = clock.now() + int(seconds * SECOND)
    while (wait := notifier.run_due()) is not None and clock.now() + int(wait * SECOND) < end:
        clock.move_to(clock.now() + int(wait * SECOND) + 1)
    clock.move_to(end)
    notifier.run_due()


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from(list(Severity)), st.booleans()), min_size=1, max_size=40), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_every_message_is_delivered_once(events: list[tuple[float, Severity, bool]], burst: int) -> None:
    """Whatever the times, failures and quiet hours: each message is delivered once, urgent ones not later than the rate limit makes them."""
    clock = SimClock(NOW)
    box = Box(clock=clock)
    notifier = Notifier([Channel("box", box, per_minute=30, burst=burst, quiet=QuietHours("22:14", "22:20"), attempts=10**6)], clock=clock, repeat_seconds=0)
    for number, (gap, severity, fails) in enumerate(events):
        play(notifier, clock, gap)
        if fails:
            box.fails.append(DeliveryError("down"))
        notifier.post(Message(f"<{number}>", severity))
        notifier.run_due()
    play(notifier, clock, 7_200)
    assert notifier.undelivered() == 0
    told = "\n".join(m.title if m.kind != "digest" else m.body for m in box.box)
    assert [told.count(f"<{number}>") for number in range(len(events))] == [1] * len(events)
    assert notifier.record.counts["delivered"] == len(events)


def test_retry_after_is_kept() -> None:
    """A receiver that asks for ten minutes is left alone for ten minutes, by urgent messages too."""
    clock = SimClock(NOW)
    box = Box(fails=[DeliveryError("busy", after_seconds=600)], clock=clock)
    notifier = Notifier([Channel("box", box)], clock=clock)
    notifier.post(Message("one"))
    notifier.run_due()
    notifier.post(Message("two", "urgent"))
    play(notifier, clock, 599)
    assert box.box == []
    play(notifier, clock, 2)
    assert [m.title for m in box.box] == ["two", "one"]


def test_a_full_queue_drops_the_least_and_says_so() -> None:
    """The bound holds, the urgent one stays, and the number that was dropped is told."""
    clock = SimClock(NOW)
    box = Box(fails=[DeliveryError("down")] * 2, clock=clock)
    notifier = Notifier([Channel("box", box, capacity=10, digest_from=50)], clock=clock)
    notifier.post(Message("first", "urgent"))
    notifier.run_due()
    for number in range(30):
        notifier.post(Message(f"{number}"))
    assert len(notifier.lanes["box"].waiting) == 10 and notifier.record.counts["dropped"] == 21
    play(notifier, clock, 3_600)
    titles = [m.title for m in box.box]
    assert titles[0] == "first" and "21 messages were dropped on channel box" in titles and notifier.undelivered() == 0


def test_a_broken_channel_is_reported_on_the_others_only() -> None:
    """Both channels fail: each is told about the other, once, and nothing goes round in circles."""
    clock = SimClock(NOW)
    boxes = [Box(fails=[DeliveryError("down")] * 6, clock=clock) for _ in range(2)]
    notifier = Notifier([Channel("a", boxes[0]), Channel("b", boxes[1])], clock=clock)
    notifier.post(Message("hello"))
    play(notifier, clock, 7_200)
    for box, other in zip(boxes, "ba", strict=True):
        text = "\n".join(m.title + m.body for m in box.box)
        assert f"Channel {other} does not deliver" in text and f"Channel {other} works again" in text and len(box.box) <= 4


def test_post_neither_waits_nor_raises(serve, tmp_path: Path) -> None:
    """A channel that is silent for a second does not delay a thousand posts; nonsense is not the caller's trouble."""
    server = serve(silence)
    slow = Channel("slow", make_reporter("slack", url=server.url, timeout_seconds=1.0))
    with Notifier([slow], spool=tmp_path / "spool", repeat_seconds=0) as notifier:
        notifier.post(Message("warm"))
        times = []
        for number in range(300):
            begun = time.perf_counter()
            notifier.post(Message(f"Fill {number}", kind="fill", facts=(("price", "1.5"),)))
            times.append(time.perf_counter() - begun)
        assert notifier.post(None) is False  # type: ignore[arg-type]
        assert sorted(times)[150] < 0.02
        begun = time.perf_counter()
        left = notifier.close(timeout_seconds=0.3)
        assert time.perf_counter() - begun < 1.0 and left >= 299
    assert notifier.post(Message("late")) is False


DYING = """
import os, signal, sys
from qtnb.reporting.messages import Message
from qtnb.reporting.lanes import Channel
from qtnb.reporting.notifier import Notifier
from qtnb.reporting.reporters import make_reporter
notifier = Notifier([Channel("slack", make_reporter("slack", url=sys.argv[2], timeout_seconds=1))], spool=sys.argv[1], repeat_seconds=0).start()
for number in range(50):
    notifier.post(Message(f"message {number}"))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    """SIGKILL after fifty posts: the next notifier delivers them all."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    dead = subprocess.run([sys.executable, "-c", DYING, str(tmp_path), f"http://127.0.0.1:{port}/{CANARY}"], capture_output=True, timeout=60)
    assert dead.returncode == -signal.SIGKILL, dead.stderr.decode()
    assert CANARY.encode() not in dead.stdout + dead.stderr
    box = Box()
    with Notifier([Channel("slack", box, burst=1000, digest_from=1000)], spool=tmp_path) as heir:
        heir.flush(10)
    assert [m.title for m in box.box] == [f"message {number}" for number in range(50)] and list(tmp_path.iterdir()) == []


@given(st.integers(0, 2_000))
@settings(max_examples=40, deadline=None)
def test_a_torn_spool_loses_at_most_the_torn_line(cut: int) -> None:
    """Wherever the file ends, the whole lines before it count."""
    messages = [Message(f"m{n}").stamped(NOW, n) for n in range(5)]
    data = b"".join(json.dumps({"put": message_json(m), "lanes": ["a"]}).encode() + b"\n" for m in messages)
    whole = data[:cut].count(b"\n")
    assert list(read_lines(data[:cut])) == [m.uid for m in messages[:whole]]


def test_a_large_spool_is_written_anew(tmp_path: Path) -> None:
    """The file stays bounded while something is always owed."""
    spool = DurableSpool(tmp_path, most_bytes=20_000)
    spool.put(Message("stays").stamped(NOW, 0), ["a"])
    for number in range(1, 500):
        message = Message(f"m{number}").stamped(NOW, number)
        spool.put(message, ["a"])
        spool.done(message.uid, "a")
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) < 25_000 and len(list(tmp_path.iterdir())) == 1
    spool.close()
    assert [m.title for m, _ in DurableSpool(tmp_path).adopt()] == ["stays"]


# -- the canary ------------------------------------------------------------------------------------------------------------


def test_no_canary_sings(serve, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """Every failure is driven with secrets in addresses, passwords and texts; no file, log, output or message to others shows one."""
    caplog.set_level(logging.DEBUG)
    clock = SimClock(NOW)
    box = Box(clock=clock)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()[1]
    smtp = Smtp(say={"CONTENT": f"554 {CANARY}"})
    urls = [serve(b).url for b, *_ in FAULTS if b is not silence] + [f"http://127.0.0.1:{closed}/services/{CANARY}"]
    kinds = [(kind, url) for url in urls for kind in ("slack", "webhook")]
    channels = [Channel(f"c{n}", make_reporter(kind, url=url, timeout_seconds=0.5)) for n, (kind, url) in enumerate(kinds)]
    login = mail_to(closed, security="starttls", user="me", password=CANARY)
    channels += [Channel("mail", mail_to(smtp.port)), Channel("login", login), Channel("box", box)]
    notifier = Notifier(channels, spool=tmp_path / "spool", record=tmp_path / "log" / "told.jsonl", secrets=[CANARY], clock=clock)
    try:
        raise ValueError(f"cannot log in with {CANARY}")
    except ValueError:
        trace = traceback.format_exc()
    facts, grid, file = (("url", f"https://x/{CANARY}"), (CANARY, "x")), Grid((CANARY,), ((CANARY,),), CANARY), Attachment("log.txt", CANARY.encode())
    notifier.post(Message(f"Job failed: {CANARY}", "error", "job", facts, trace, (grid,), (file,), key=CANARY, html=f"<p>{CANARY}</p>"))
    for _ in range(6):
        notifier.run_due()
        clock.move_to(clock.now() + 400 * SECOND)
    ping = DeadManPing(SecretStr(urls[-1]), told=notifier.post, timeout_seconds=0.5)
    for _ in range(3):
        ping.tick()
    notifier.run_due()
    seen = [repr(channels), repr(list(notifier.record.rows)), repr([message_json(m) for m in box.box]), caplog.text, *capfd.readouterr()]
    seen += [p.read_text() for p in tmp_path.rglob("*") if p.is_file()]
    assert len(box.box) >= 3 and any("does not deliver" in m.title + m.body for m in box.box)
    encoded = base64.b64encode(CANARY.encode()).decode()
    assert not [text[:200] for text in seen if CANARY in text or encoded in text]
    notifier.close()
    smtp.close()


def test_the_spool_is_for_its_owner_only(tmp_path: Path) -> None:
    """Messages on disk are not for every account of the machine."""
    spool = DurableSpool(tmp_path / "spool")
    assert spool.path.stat().st_mode & 0o077 == 0 and (tmp_path / "spool").stat().st_mode & 0o077 == 0
    assert os.listdir(tmp_path / "spool") == [spool.path.name]
    spool.close()


def test_the_ping_follows_the_session(serve) -> None:
    """Calls go out while the session is seen running, also with a silent market, and stop when it is dead."""
    server = serve(answers(204))
    watch = SessionAlerts(SimpleNamespace(), lambda message: None, name="paper")
    ping = session_ping(watch, SecretStr(server.url))
    for word, calls in (("", 0), ("running", 1), ("stale", 2), ("dead", 2), ("over", 2)):
        watch.word = word
        ping.tick()
        assert ping.sent == calls, word


@pytest.mark.slow
def test_a_running_session_is_told_as_it_happens(tmp_path: Path, workspace: Path) -> None:
    """A limit that the market breaks, fills, and the sudden end: each is told once, from the journal of a session in another process."""
    from qtnb.api.dashboard_command import session_feed
    from qtnb.config.settings import load_settings

    command = [sys.executable, str(Path(__file__).with_name("paced_session.py")), str(tmp_path), "0.02", "100000"]
    process, told = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), list[Message]()
    try:
        wait_for((tmp_path / "journal.sqlite").is_file, "a journal")
        watch = SessionAlerts(session_feed(tmp_path / "journal.sqlite", load_settings(workspace=workspace)), told.append, name="paper")

        def kinds() -> set[str]:
            watch.tick()
            return {m.kind for m in told}

        wait_for(lambda: kinds() >= {"breach", "fill"}, "a breach and a fill")
        process.kill()
        process.wait()
        wait_for(lambda: kinds() and watch.word == "dead", "the end of the session")
    finally:
        process.kill()
        process.wait()
    breach = next(m for m in told if m.kind == "breach")
    assert breach.severity == "urgent" and re.search(r" is above (1\.5|0\.45|0\.2|1\.2)$", breach.title) and dict(breach.facts)["trading"] == "on"
    assert told[-1].title == "Session paper: dead" and told[-1].severity == "urgent"
    assert len({(m.key, m.title, m.facts) for m in told}) == len(told)
    watch.feed.close()  # type: ignore[attr-defined]


# -- a workspace that tells people -----------------------------------------------------------------------------------------


JOB = {
    "cells": [
        {"cell_type": "code", "id": "one", "metadata": {"tags": ["parameters"]}, "execution_count": None, "outputs": [], "source": ["n = 1"]},
        {"cell_type": "code", "id": "two", "metadata": {}, "execution_count": None, "outputs": [], "source": ["raise ValueError('<!channel> no rows')"]},
    ],
    "metadata": {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


@pytest.mark.slow
def test_a_failing_job_is_told_and_stays_what_it_is(serve, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The channel hears of the job and its cell; a channel that fails, or a file that is wrong, changes nothing of the job's end."""
    from qtnb.config.settings import load_settings
    from qtnb.core.errors import JobError
    from qtnb.pipelines.jobs import run_job
    from qtnb.pipelines.runs import list_runs

    server = serve(answers(404, b"no_service"))
    monkeypatch.setenv("QTNB_SLACK_WEBHOOK_URL", server.url)
    loaded = load_settings(workspace=workspace)
    for folder in (loaded.jobs, loaded.configs):
        folder.mkdir(parents=True, exist_ok=True)
    (loaded.jobs / "broken.ipynb").write_text(json.dumps(JOB))
    told = workspace / "told.jsonl"
    texts = [f"channels:\n  desk: {{reporter: slack, url: '${{slack_webhook_url}}'}}\n  file: {{reporter: file, path: {told}}}\n", "channels: nonsense\n"]
    for text in texts:
        (loaded.configs / "notify.yaml").write_text(text)
        with pytest.raises(JobError, match="ValueError: <!channel> no rows"):
            run_job("broken", settings=loaded, progress=False)
    assert [r.status for r in list_runs(settings=loaded)] == ["failed", "failed"]
    lines = [json.loads(line) for line in told.read_text().splitlines()]
    assert [line["title"] for line in lines] == ["Job broken failed: ValueError", "Channel desk does not deliver"]
    assert dict(lines[0]["facts"])["cell"] == "2" and lines[0]["body"] == "<!channel> no rows"
    assert "&lt;!channel&gt; no rows" in server.calls[0][1].decode()
    assert not [p for p in workspace.rglob("*") if p.is_file() and CANARY.encode() in p.read_bytes()]
