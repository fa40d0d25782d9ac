"""Build the documentation site: nbs/ -> _proc/ -> _docs/.

    python nbs/site/build.py                 build what changed
    python nbs/site/build.py --out DIR       put the site elsewhere
    python nbs/site/build.py --fresh         forget everything that was kept from earlier builds

1. nbdev's processors fill `_proc/`.
2. The notebooks are executed, each in a fresh process; a cell that fails ends the build and is named.
3. Sphinx turns them into pages; a warning ends the build too.
4. Every link, anchor and picture of the pages is followed; a dead one ends the build.

Nothing is fetched, neither while building nor while reading.
"""
import argparse
import contextlib
import fcntl
import io
import os
import re
import shutil
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from execute import CellFailed, outputs  # noqa: E402
from links import dead_links  # noqa: E402
from notebooks import ROOT, all_notebooks  # noqa: E402
from pages import PageError, copy_notebooks, write  # noqa: E402

WORK = ROOT / "artifacts" / "docs"  # what is kept between builds: outputs, Sphinx's source and its parsed pages


class BuildFailed(Exception):
    "The site could not be built; the message says why."


def process(workers: int) -> Path:
    "Fill `_proc/` by nbdev's own processors (no Quarto is involved)."
    from nbdev.serve import proc_nbs

    proc = ROOT / "_proc"
    marker = (proc / ".gitkeep").read_bytes() if (proc / ".gitkeep").exists() else b""
    with contextlib.chdir(ROOT):
        proc_nbs(n_workers=workers)
    proc.mkdir(exist_ok=True)
    (proc / ".gitkeep").write_bytes(marker)
    return proc


def sphinx(source: Path, out: Path, doctrees: Path, workers: int) -> None:
    "Run Sphinx; its warnings are errors."
    from sphinx.application import Sphinx
    from sphinx.errors import SphinxError
    from sphinx.util.docutils import docutils_namespace

    warnings = io.StringIO()
    with docutils_namespace():
        app = Sphinx(str(source), str(HERE), str(out), str(doctrees), "html", status=None, warning=warnings, parallel=workers, keep_going=True)
        try:
            app.build()
        except SphinxError as error:
            raise BuildFailed(f"Sphinx stopped: {error}") from None
    found = re.sub(r"\x1b\[[0-9;]*m", "", warnings.getvalue()).replace(str(source) + os.sep, "").strip()
    if found or app.statuscode:
        raise BuildFailed(f"Sphinx complained:\n{found}")


def forget_if_pages_changed(work: Path) -> None:
    "Parsed pages remember which other pages there were; when that changes, they are parsed anew."
    now = "\n".join(sorted(p.relative_to(work / "source").as_posix() for p in (work / "source").rglob("*") if p.is_file()))
    kept = work / "pages.txt"
    if not kept.exists() or kept.read_text(encoding="utf-8") != now:
        for name in ("doctrees", "html"):
            shutil.rmtree(work / name, ignore_errors=True)
        kept.write_text(now, encoding="utf-8")


def publish(html: Path, out: Path) -> None:
    "Put the finished site in its place; a folder that is not an earlier site is left alone."
    if out.exists() and any(out.iterdir()) and not (out / ".buildinfo").exists():
        raise BuildFailed(f"{out} holds something that is not a documentation site; name an empty folder with --out, or remove it.")
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(html, out)


def build(out: Path, work: Path = WORK, *, kept: Path | None = None, workers: int = 2, say=print, keep_going: bool = False) -> Path:
    "Build the whole site into `out`; outputs of notebooks are taken from and kept in `kept`."
    start = time.perf_counter()
    work.mkdir(parents=True, exist_ok=True)
    with open(work / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        notebooks = all_notebooks()
        say(f"1/4 nbdev's processors: {len(notebooks)} notebooks -> _proc/")
        proc = process(workers)
        say("2/4 executing what changed")
        executed = outputs(notebooks, kept or work / "outputs", workers, say, keep_going)
        say("3/4 Sphinx")
        write(notebooks, proc, executed, work / "source")
        forget_if_pages_changed(work)
        html = work / "html"
        sphinx(work / "source", html, work / "doctrees", workers)
        copy_notebooks(notebooks, html)
        say("4/4 following every link")
        if dead := dead_links(html):
            raise BuildFailed("dead links:\n" + "\n".join(f"  {d}" for d in dead))
        publish(html, out)
    say(f"{out}{os.sep}index.html, {time.perf_counter() - start:.0f} s")
    return out


def main() -> int:
    "Command line."
    parser = argparse.ArgumentParser(description="Build the documentation site.")
    parser.add_argument("--out", type=Path, default=ROOT / "_docs", help="folder of the site (default: _docs)")
    parser.add_argument("--outputs", type=Path, help="folder in which outputs of notebooks are kept (default: artifacts/docs/outputs)")
    parser.add_argument("--workers", type=int, default=2, help="processes to use")
    parser.add_argument("--fresh", action="store_true", help="forget earlier builds")
    parser.add_argument("--keep-going", action="store_true", help="show a notebook that fails without its outputs, for a look at the rest")
    options = parser.parse_args()
    if options.fresh:
        shutil.rmtree(WORK, ignore_errors=True)
    try:
        build(options.out.resolve(), kept=options.outputs and options.outputs.resolve(), workers=options.workers, keep_going=options.keep_going)
    except (BuildFailed, CellFailed, PageError) as error:
        print(f"make docs failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
