"""Run the cells of one notebook as a test, in this process: `python tests/notebook_runner.py nbs/core/05_book.ipynb`.

The cells are chosen and executed by nbdev's own `test_nb`; this file adds the name and the source of the cell that failed, and
a traceback that begins in the notebook. `tests/test_notebooks.py` starts one fresh process per notebook.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from pathlib import Path

os.environ["IN_TEST"] = "1"

import nbdev.test
from execnb.shell import CaptureShell
from nbdev.config import get_config
from pandas.errors import ChainedAssignmentError


class Shell(CaptureShell):
    """nbdev's shell, which also remembers the cell it is in."""

    last: Shell | None = None
    current = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        Shell.last = self

    def cell(self, cell, *args, **kwargs):
        self.current = cell
        return super().cell(cell, *args, **kwargs)


def notebook_frames(error: BaseException) -> str:
    """The traceback without the frames of the machinery that runs the cells."""
    machinery = ("IPython", "execnb", "nbdev", "asyncio", "concurrent")
    report = traceback.TracebackException.from_exception(error)
    kept = [frame for frame in report.stack if not any(f"{os.sep}{name}{os.sep}" in frame.filename for name in machinery)]
    if kept:
        report.stack = traceback.StackSummary.from_list(kept)
    return "".join(report.format())


def main(path: Path) -> int:
    config = get_config(path)
    flags = config.tst_flags.split() if isinstance(config.tst_flags, str) else list(config.tst_flags)
    warnings.filterwarnings("error", category=ChainedAssignmentError)
    nbdev.test.CaptureShell = Shell
    passed, _ = nbdev.test.test_nb(
        path, skip_flags=flags, showerr=False, basepath=config.config_path, profile=False, cell_timeout=config.cell_timeout
    )
    if passed:
        return 0
    shell = Shell.last
    if shell is None or shell.current is None or shell.exc is None:
        print(f"{path}: the notebook could not be started", file=sys.stderr)
        return 1
    source = "\n".join(f"    {line}" for line in shell.current.source.splitlines())
    print(f"{path}, cell {shell.current.id}:\n\n{source}\n\n{notebook_frames(shell.exc)}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
