"""The tearsheet in a real browser, opened as a file: every chart drawn, nothing asked of the network, no script of a name run, both themes, paper."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from browser import Browser, Page
from test_site import FIGURES
from test_tearsheet import HOSTILE, prices_of, sample_run

CHARTS = ["equity", "equity-log", "drawdown", "monthly", "yearly", "rolling-sharpe", "rolling-volatility", "rolling-beta", "histogram", "horizons", "exposure",
          "turnover", "weights", "price-0", "price-1", "cost", "waterfall", "crises"]


@pytest.fixture(scope="module")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tearsheet with everything on it, and hostile names."""
    run = sample_run(1000, name=HOSTILE, symbols=(HOSTILE, "BBB"))
    path = tmp_path_factory.mktemp("sheet") / "tearsheet.html"
    return Path(run.tearsheet(path, benchmark=prices_of(run)["BBB"], prices=prices_of(run)))


def drawn(page: Page) -> list[str]:
    """Wait for the charts and say how each one is."""
    page.wait_for(f"window.Bokeh && {FIGURES}.every(f => f === 'good')", timeout=30, fail=False)
    return page.evaluate(FIGURES)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1300, 400])
def test_every_chart_is_drawn(sheet: Path, browser: Browser, dark: bool, width: int) -> None:
    """In both themes, on a wide and on a narrow screen."""
    with browser.open(sheet.as_uri(), width=width, dark=dark) as page:
        assert drawn(page) == ["good"] * len(CHARTS)
        assert page.evaluate("[...document.querySelectorAll('.qtnb-figure')].map(f => f.id.replace('figure-', ''))") == CHARTS
        complaints = [w for w in page.warnings if "willReadFrequently" not in w]  # that one is about how this test reads the pixels
        assert page.errors == [] and complaints == [] and page.outside == []
        assert [u for u in page.requests if not u.startswith("data:")] == [sheet.as_uri()]
        assert page.evaluate("window.hacked") is None
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(18, 22, 28)" if dark else "rgb(255, 255, 255)")


def test_the_two_buttons(sheet: Path, browser: Browser) -> None:
    """One turns the page dark and redraws the charts, the other shows the logarithmic axis."""
    with browser.open(sheet.as_uri(), width=1300) as page:
        drawn(page)
        picture = "document.querySelector('#figure-equity').getBoundingClientRect().width"
        before = page.evaluate("getComputedStyle(document.querySelector('#figure-equity')).getPropertyValue('--bk-major-label-text-color').trim()")
        page.evaluate("document.getElementById('theme').click()")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 28)"
        assert page.evaluate("document.getElementById('theme').textContent") == "Light theme"
        after = page.evaluate("getComputedStyle(document.querySelector('#figure-equity')).getPropertyValue('--bk-major-label-text-color').trim()")
        assert before != after and page.evaluate(picture) > 900
        visible = "['equity', 'equity-log'].map(n => getComputedStyle(document.getElementById('figure-' + n)).visibility)"
        assert page.evaluate(visible) == ["visible", "hidden"]
        page.evaluate("document.getElementById('axis').click()")
        assert page.evaluate(visible) == ["hidden", "visible"]
        assert drawn(page) == ["good"] * len(CHARTS) and page.errors == []


def test_paper_cuts_no_chart(sheet: Path, browser: Browser) -> None:
    """On paper the page has A4 sheets, every chart keeps its right edge, and breaks inside charts are forbidden."""
    with browser.open(sheet.as_uri(), width=1300) as page:
        drawn(page)
        document = base64.b64decode(page.call("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"])
        assert 5 <= len(re.findall(rb"/Type\s*/Page\b", document)) <= 24
        page.call("Emulation.setEmulatedMedia", media="print")
        page.call("Emulation.setDeviceMetricsOverride", width=703, height=1000, deviceScaleFactor=1, mobile=False)
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        cut = """[...document.querySelectorAll('figure')].filter(f => {
            const place = f.querySelector('.qtnb-figure').getBoundingClientRect();
            return getComputedStyle(f).breakInside !== 'avoid' || place.right > 704 || place.height > 1000;
        }).map(f => f.innerText)"""
        assert page.evaluate(cut) == []


def test_a_day_and_an_idle_run(tmp_path: Path, browser: Browser) -> None:
    """Pages with few or no charts have no errors either."""
    for days, charts in ((1, 0), (60, 8)):
        path = Path(sample_run(days, trades=False).tearsheet(tmp_path / f"{days}.html"))
        with browser.open(path.as_uri()) as page:
            assert drawn(page) == ["good"] * charts if charts else page.evaluate(FIGURES) == []
            assert page.errors == [] and page.outside == []


def test_a_table_as_csv(sheet: Path, browser: Browser) -> None:
    """What a spreadsheet might take for a formula becomes text; numbers stay numbers."""
    with browser.open(sheet.as_uri(), width=1300) as page:
        made = page.evaluate("""(() => {
            const table = document.createElement("table");
            for (const text of ["=cmd()", "+1-1", "@SUM(A1)", "-2+3", "\u22121.50%", "-3", "a \\"b\\", c"]) table.insertRow().insertCell().textContent = text;
            return window.qtnbCsv(table).split("\\r\\n");
        })()""")
        assert made == ['"\'=cmd()"', '"\'+1-1"', '"\'@SUM(A1)"', '"\'-2+3"', '"-1.50%"', '"-3"', '"a ""b"", c"', ""]
        buttons = page.evaluate("document.querySelectorAll('button.csv').length")
        assert buttons > 15 and page.errors == []
