"""The dashboard in a real browser, beside a paper session in another process: numbers move, buttons act, a dead session is called dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, BrowserError, Page
from paced_session import CHECKS, HOSTILE, Busy

from qtnb.core.events import ControlAction
from qtnb.live.replay import replay
from qtnb.live.state_store import JournalFile
from qtnb.types import Fill

TESTS = Path(__file__).parents[1]
TOKEN = "token-for-tests-of-the-dashboard"


class Beside:
    """A session and a dashboard, each a process of its own."""

    def __init__(self, folder: Path, *options: str, pace: float = 0.05):
        """Start both and wait until the server answers."""
        self.folder = folder
        environment = {**os.environ, "QTNB_SERVER_TOKEN": f"ada:{TOKEN}", "QTNB_WORKSPACE": str(folder)}
        self.session = subprocess.Popen([sys.executable, str(TESTS / "paced_session.py"), str(folder), str(pace), "100000"], env=environment)
        code = "from qtnb.api.cli import main; raise SystemExit(main())"
        command = [sys.executable, "-c", code, "dashboard", "--journal", str(folder / "journal.sqlite"), "--port", "0", *options]
        self.server = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        assert self.server.stderr is not None
        self.address = self.server.stderr.readline().split()[1].rstrip("/")
        end = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"{self.address}/health", timeout=5).close()
                return
            except urllib.error.URLError:
                assert time.monotonic() < end and self.server.poll() is None
                time.sleep(0.05)

    def records(self) -> list[Any]:
        """What the journal holds now."""
        with JournalFile(self.folder / "journal.sqlite") as journal:
            return list(journal.read())

    def close(self) -> str:
        """End both; what the server has said on standard error."""
        self.session.send_signal(signal.SIGCONT)
        for process in (self.session, self.server):
            process.terminate()
        self.session.wait(20)
        return self.server.communicate(timeout=20)[1]


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Beside]:
    """With control."""
    both = Beside(tmp_path, "--control")
    yield both
    both.close()


def logged_in(browser: Browser, both: Beside, **options: Any) -> Page:
    """The page, with numbers on it."""
    page = browser.open(f"{both.address}/login#{TOKEN}", **options)
    end = time.monotonic() + 40
    while time.monotonic() < end:
        try:
            page.wait_for("location.pathname === '/' && document.querySelector(\"[data-v='equity']\").textContent !== '…'")
            break
        except BrowserError as error:  # the login page has just given way to the page
            assert "navigated" in str(error), error
    return page


def value(page: Page, name: str) -> str:
    """What stands in a place."""
    return page.evaluate(f"document.querySelector(\"[data-v='{name}']\").textContent")


def press(page: Page, action: str, reason: str) -> None:
    """Write a reason, press, confirm, and wait for the session's own answer."""
    page.wait_for(f"!document.querySelector('[data-action={action}]').disabled")
    page.evaluate(f"document.getElementById('reason').value = '{reason}'; document.querySelector('[data-action={action}]').click()")
    page.wait_for("!document.getElementById('confirm').hidden")
    page.evaluate("document.getElementById('yes').click()")
    page.wait_for(f"document.getElementById('answer').textContent.includes('{action}: taken')", timeout=30)


def after(records: list[Any], action: ControlAction) -> list[Any]:
    """The records behind the last control of a kind."""
    at = max(n for n, entry in enumerate(records) if getattr(entry.record, "action", None) is action)
    return records[at + 1 :]


@pytest.mark.slow
def test_the_buttons_steer_the_session(beside: Beside, browser: Browser) -> None:
    """Values change; halt halts, resume resumes, flatten flattens; and the journal replays."""
    with logged_in(browser, beside) as page:
        before = value(page, "equity"), value(page, "records")
        page.wait_for(f"document.querySelector(\"[data-v='records']\").textContent !== '{before[1]}'")
        page.wait_for(f"document.querySelector(\"[data-v='equity']\").textContent !== '{before[0]}'")
        page.wait_for("document.querySelectorAll(\"[data-drawn='1']\").length === 2", timeout=30)
        points = "Bokeh.documents.map(d => d.get_model_by_name('equity')).find(Boolean).data.ts.length"
        drawn = page.evaluate(points)
        page.wait_for(f"{points} > {drawn}", timeout=30)

        page.evaluate("document.querySelector('[data-action=halt]').click()")
        assert "reason first" in page.evaluate("document.getElementById('answer').textContent")
        assert page.evaluate("document.getElementById('confirm').hidden")

        press(page, "halt", "the news")
        page.wait_for("!document.getElementById('halted').hidden && document.title.startsWith('HALTED')")
        assert "the news (ada)" in page.evaluate("document.getElementById('halted').textContent")
        time.sleep(1.5)
        halted = after(beside.records(), ControlAction.HALT)
        assert sum(type(entry.record).__name__ == "BarsEvent" for entry in halted) > 10
        assert not any(isinstance(entry.record, Fill) and entry.record.side == "buy" for entry in halted)

        press(page, "resume", "looked at it")
        page.wait_for("document.getElementById('halted').hidden")
        time.sleep(2.5)
        assert any(isinstance(entry.record, Fill) for entry in after(beside.records(), ControlAction.RESUME))

        press(page, "flatten", "home time")
        page.wait_for("document.querySelector(\"[data-v='exposure']\").textContent === '0.0 %'")
        time.sleep(1.0)
        rows = "[...document.querySelectorAll('#positions tbody tr')].map(r => r.cells[1].textContent)"
        assert set(page.evaluate(rows)) == {"0"}
        assert page.evaluate("document.querySelectorAll('#orders td.strong').length") == 0
        trail = page.evaluate("[...document.querySelectorAll('#commands tbody tr')].map(r => [2, 3, 4].map(n => r.cells[n].textContent))")
        assert trail == [["ada", "flatten", "home time"], ["ada", "resume", "looked at it"], ["ada", "halt", "the news"]]
        assert page.errors == [] and page.warnings == [] and page.outside == []
    beside.session.terminate()
    beside.session.wait(20)
    report = replay(beside.folder, strategy=Busy(), checks=CHECKS)
    assert report.identical and report.finished, report.first_difference
    assert TOKEN not in beside.close()


@pytest.mark.slow
def test_the_page_says_how_the_session_is(beside: Beside, browser: Browser) -> None:
    """Running; silent while it is stopped; dead once it is killed; and when the server goes away as well, that."""
    with logged_in(browser, beside) as page:
        word = "document.querySelector('#health b').textContent"
        page.wait_for(f"{word} === 'running'")
        beside.session.send_signal(signal.SIGSTOP)
        page.wait_for(f"{word} === 'silent'", timeout=30)
        assert "no sign of life since" in page.evaluate("document.getElementById('health').textContent")
        beside.session.kill()
        beside.session.wait(20)
        page.wait_for(f"{word} === 'dead'", timeout=30)
        assert "at the venue" in page.evaluate("document.getElementById('health').textContent") and page.evaluate("document.title").startswith("DEAD")
        page.wait_for("[...document.querySelectorAll('[data-action]')].every(b => b.disabled)")
        age = value(page, "age")
        page.wait_for(f"document.querySelector(\"[data-v='age']\").textContent !== '{age}'")
        beside.server.kill()
        page.wait_for("document.getElementById('problem').textContent.includes('has not answered')", timeout=30)


@pytest.mark.slow
def test_a_read_only_page_in_every_size_and_theme(tmp_path: Path, browser: Browser) -> None:
    """No buttons; names are text; nothing wider than the screen; nothing from elsewhere; colours of the theme; contrast of the text."""
    both = Beside(tmp_path)
    try:
        for width, dark in ((1280, False), (1280, True), (390, False), (390, True)):
            with logged_in(browser, both, width=width, dark=dark) as page:
                page.wait_for("document.querySelectorAll(\"[data-drawn='1']\").length === 2", timeout=30)
                page.wait_for("document.querySelectorAll('#orders tbody tr').length > 3")
                assert page.evaluate("document.querySelectorAll('[data-action]').length") == 0 and "read-only" in page.text()
                assert page.evaluate("window.hacked") is None and page.evaluate("document.querySelectorAll('img').length") == 0
                assert HOSTILE in page.evaluate("[...document.querySelectorAll('#streams tbody th')].map(e => e.textContent)")
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
                assert ground == ("rgb(18, 22, 28)" if dark else "rgb(255, 255, 255)")
                low = page.evaluate(CONTRAST)
                assert low == [], low
                assert page.errors == [] and page.warnings == [] and page.outside == []
    finally:
        both.close()


CONTRAST = """(() => {
    const rgb = t => t.match(/[\\d.]+/g).map(Number), part = c => (c /= 255, c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const light = c => 0.2126 * part(c[0]) + 0.7152 * part(c[1]) + 0.0722 * part(c[2]);
    const ground = e => {
        for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; }
        return [255, 255, 255];
    };
    const found = new Set();
    document.querySelectorAll('h1, h2, .label, .value, .note, .banner b, .banner span, .facts span, th, td, button, .none, footer, li > *').forEach(e => {
        if (!e.textContent.trim() || !e.getClientRects().length) return;
        const a = light(rgb(getComputedStyle(e).color)), b = light(ground(e)), ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) found.add(e.tagName + '.' + e.className + ' ' + ratio.toFixed(2));
    });
    return [...found];
})()"""
