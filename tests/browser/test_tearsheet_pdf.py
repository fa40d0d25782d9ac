"""The PDF of a tearsheet: vectors, no sheet without its charts, and the text of every table row on it, cell by cell."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from test_tearsheet import HOSTILE, prices_of, sample_run

pypdf = pytest.importorskip("pypdf", reason="pypdf reads the text of a PDF")


class Rows(HTMLParser):
    """The rows of all tables, each a list of cells."""

    def __init__(self, html: str):
        """Parse the page."""
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        """Open a row or a cell."""
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag):
        """Close a cell."""
        if tag in ("td", "th"):
            self.inside = False

    def handle_data(self, data):
        """Collect the text of a cell."""
        if self.inside:
            self.rows[-1][-1] += data


def squeezed(text: str) -> str:
    """Text without white space and without what a font may join."""
    return re.sub(r"[\s\u00ad\u200b]+", "", text).replace("\ufb01", "fi").replace("\ufb02", "fl").replace("\ufb00", "ff")


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory, require_tool) -> tuple[Path, str]:
    """A tearsheet with everything on it, printed, and the page it was printed from."""
    require_tool("chromium")
    run = sample_run(1500, name="sample", symbols=tuple(f"S{i:02d}" for i in range(45)))
    options = {"benchmark": prices_of(run)["S00"].rename(HOSTILE), "trials": 40, "live_start": "2021-06-01", "volumes": prices_of(run) * 0 + 5000.0}
    path = tmp_path_factory.mktemp("pdf") / "sheet.pdf"
    assert run.tearsheet(path, **options) == path and [p.name for p in path.parent.iterdir()] == ["sheet.pdf"]
    return path, str(run.tearsheet(**options))


def test_every_cell_is_on_paper(printed: tuple[Path, str]) -> None:
    """Each row of each table stands in the text of the PDF, its cells in their order; none is cut at the end of a sheet."""
    path, html = printed
    text = squeezed("".join(page.extract_text() for page in pypdf.PdfReader(path).pages))
    rows = [row for row in Rows(html).rows if any(cell.strip() for cell in row)]
    cells = [cell for row in rows for cell in row if cell.strip()]
    assert len(rows) > 150 and len(cells) > 700
    assert [cell for cell in cells if squeezed(cell) not in text] == []
    numbers = [row for row in rows if len(row) > 2 and all(len(cell) < 30 for cell in row)]
    assert len(numbers) > 100 and [row for row in numbers if squeezed("".join(row)) not in text] == []
    assert "Drag to zoom" in html and "Dragtozoom" not in text  # what only a screen can do


def test_charts_are_vectors_and_complete(printed: tuple[Path, str]) -> None:
    """There are no pictures of pixels, and each chart has its axis labels and its legend."""
    path, html = printed
    reader = pypdf.PdfReader(path)
    assert sum(len(page.images) for page in reader.pages) == 0 and 8 <= len(reader.pages) <= 20
    text = squeezed("".join(page.extract_text() for page in reader.pages))
    for label in ("account value", "below the peak", "to the benchmark", "of equity", "further cost, basis points of traded value", "return of one period"):
        assert squeezed(label) in text, label
    assert text.count("strategy") >= 2 and "gross" in text and "others" in text
    assert all(page.mediabox.width < page.mediabox.height for page in reader.pages)  # A4, upright
    assert html.count('class="qtnb-figure') >= 15


def test_a_short_sheet(tmp_path: Path, require_tool) -> None:
    """Two sections of a run of one day: one page, no chart, and no waiting for one."""
    require_tool("chromium")
    path = Path(sample_run(1, trades=False).tearsheet(tmp_path / "one.pdf", sections=["headline", "manifest"]))
    assert len(pypdf.PdfReader(path).pages) == 1
