"""The built site in a real browser: no console error, no request that leaves the machine, every figure drawn, search that finds."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import Browser, Page
from built_site import site  # noqa: F401  (a fixture)
from support import no_problems

# Every figure: drawn by its script, of a visible size, with at least one canvas that is not of one colour.
FIGURES = """(() => {
    const canvases = (root) => {
        const found = [...root.querySelectorAll('canvas')];
        for (const e of root.querySelectorAll('*')) if (e.shadowRoot) found.push(...canvases(e.shadowRoot));
        return found;
    };
    const painted = (c) => {
        if (!c.width || !c.height) return false;
        const data = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        for (let i = 4; i < data.length; i += 4)
            if (data[i] !== data[0] || data[i + 1] !== data[1] || data[i + 2] !== data[2] || data[i + 3] !== data[3]) return true;
        return false;
    };
    return [...document.querySelectorAll('.qtnb-figure')].map((f) => {
        const box = f.getBoundingClientRect();
        if (f.dataset.drawn !== '1') return 'not drawn';
        if (box.width < 100 || box.height < 50) return `only ${box.width} x ${box.height} pixels`;
        return canvases(f).some(painted) ? 'good' : 'blank';
    });
})()"""


def problems(page: Page, name: str) -> list[str]:
    """Everything that is wrong with an open page."""
    if page.evaluate("document.querySelectorAll('.qtnb-figure').length"):
        page.wait_for(f"window.Bokeh && {FIGURES}.every(f => f === 'good')", timeout=20, fail=False)
    bad = [f for f in page.evaluate(FIGURES) if f != "good"]
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return ([f"{name}: {e}" for e in page.errors] + [f"{name}: asked for {u}" for u in page.outside] + [f"{name}: a figure is {f}" for f in bad]
            + ([f"{name}: {wide} pixels wider than the window"] if wide > 0 else []))


def addresses(site: Path) -> list[str]:  # noqa: F811
    return sorted(p.relative_to(site).as_posix() for p in site.rglob("*.html") if not {"_static", "_notebooks"} & set(p.parts))


def test_every_page_over_http(site: Path, browser: Browser, serve) -> None:  # noqa: F811
    """Each page of the site, served by a local server."""
    base, found = serve(site), []
    for name in addresses(site):
        with browser.open(f"{base}/{name}") as page:
            found += problems(page, name)
    no_problems(found, "Pages with problems:")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_from_the_disk(site: Path, browser: Browser, dark: bool) -> None:  # noqa: F811
    """Opened as files: the start page, the search page and every page with a figure in the dark theme; of each folder one in the light one,
    in which the server's pages are seen already."""
    chosen = [a for a in addresses(site) if 'class="qtnb-figure"' in (site / a).read_text(encoding="utf-8")]
    if not dark:
        chosen = list({name.rpartition("/")[0]: name for name in chosen}.values())
    found = []
    for name in ["index.html", "search.html", *(name for name in chosen if name != "index.html")]:
        with browser.open((site / name).as_uri(), dark=dark) as page:
            found += problems(page, name)
            if page.evaluate("document.documentElement.dataset.theme") != ("dark" if dark else "light"):
                found.append(f"{name}: the theme is not the one the reader's system asks for")
    no_problems(found, "Pages with problems:")


def test_a_narrow_window(site: Path, browser: Browser) -> None:  # noqa: F811
    """On a phone the pages still fit."""
    found = []
    for name in ("index.html", "explanations/when_orders_fill.html", "core/orders.html"):
        with browser.open((site / name).as_uri(), width=400, height=800) as page:
            found += problems(page, name)
    no_problems(found, "Pages with problems:")


@pytest.mark.parametrize("over", ["http", "file"])
def test_search_finds_the_page(site: Path, browser: Browser, serve, over: str) -> None:  # noqa: F811
    """Search runs in the page, with no server behind it."""
    base = serve(site) if over == "http" else site.as_uri()
    with browser.open(f"{base}/search.html?q=orders+fill") as page:
        page.wait_for("[...document.querySelectorAll('#search-results li a')].some(a => a.href.includes('explanations/when_orders_fill.html'))")
        assert page.errors == [] and page.outside == []


def test_code_can_be_copied(site: Path, browser: Browser) -> None:  # noqa: F811
    """Each block of code has one button that copies it."""
    with browser.open((site / "index.html").as_uri()) as page:
        page.wait_for("document.querySelector('div.cell_input button.copy')")
        page.evaluate("document.querySelector('div.cell_input button.copy').click()")
        page.wait_for("document.querySelector('div.cell_input button.copy').textContent === 'Copied'")
        assert page.errors == []
