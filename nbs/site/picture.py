"""Make nbs/images/tearsheet.png, the picture of the README: the first screen of the tearsheet of the index page's back-test.

    python nbs/site/picture.py       needs Chromium; run it when the tearsheet has changed its looks
"""
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2] / "tests" / "browser")]

from browser import Browser  # noqa: E402
from notebooks import NBS, Notebook, without_directives  # noqa: E402


def main() -> None:
    "Run the code of the index page, render its tearsheet, and photograph it."
    scope: dict = {}
    for cell in Notebook(NBS / "index.ipynb").cells:
        if cell["cell_type"] == "code":
            exec(without_directives(cell["source"]), scope)
    target = NBS / "images" / "tearsheet.png"
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        page_file = Path(folder) / "tearsheet.html"
        scope["result"].tearsheet(page_file, title="Nasdaq-100 above its 200-day mean")
        with browser.open(page_file.as_uri(), width=1200, height=860) as page:
            page.wait_for("!document.querySelector('[data-drawn=\"0\"]')")
            page.screenshot(target, full=False)
    print(f"{target.relative_to(NBS.parent)}: {target.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
