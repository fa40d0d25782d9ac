"""Run the cells of one notebook in this process, and write down what they showed.

    python nbs/site/cells.py nbs/core/05_book.ipynb outputs.json

`execute.py` starts it, in a fresh process for each notebook; both the tests and the site take the outputs from there, so that a notebook runs
once for both. The cells run in execnb's shell, the one of nbdev's own tests: a server and a kernel of Jupyter would take a second more for each.
"""
import faulthandler
import json
import os
import sys
import traceback
import warnings
from pathlib import Path

from execnb.shell import CaptureShell
from fastcore.basics import AttrDict
from notebooks import Notebook, runs


def joined(value):
    "Lists of lines as one text, as nbformat has them in memory."
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(value)
    return {k: joined(v) for k, v in value.items()} if isinstance(value, dict) else value


def frames(error: BaseException) -> str:
    "The traceback without the frames of the machinery that runs the cells."
    machinery = ("IPython", "execnb", "fastcore", "asyncio", "concurrent")
    report = traceback.TracebackException.from_exception(error)
    kept = [frame for frame in report.stack if not any(f"{os.sep}{name}{os.sep}" in frame.filename for name in machinery)]
    if kept:
        report.stack = traceback.StackSummary.from_list(kept)
    return "".join(report.format())


def run(path: Path, out: Path, limit: float) -> None:
    "Run the cells from top to bottom up to the first that raises; `out` says at every moment how far it came."
    from pandas.errors import ChainedAssignmentError

    warnings.filterwarnings("error", category=ChainedAssignmentError)
    shell, outputs = CaptureShell(path, mpl_format=None), {}
    for index, cell in enumerate(c for c in Notebook(path).cells if c["cell_type"] == "code" and runs(c["source"])):
        out.write_text(json.dumps({"cell": cell["id"], "source": cell["source"], "error": "", "traceback": ""}), encoding="utf-8")
        faulthandler.dump_traceback_later(limit, exit=True)
        run_cell = AttrDict(cell, idx_=index, metadata={})
        shell.cell(run_cell)
        faulthandler.cancel_dump_traceback_later()
        if shell.exc is not None:
            error = f"{type(shell.exc).__name__}: {shell.exc}"
            told = {"cell": cell["id"], "source": cell["source"], "error": error, "traceback": frames(shell.exc)}
            out.write_text(json.dumps(told), encoding="utf-8")
            return
        outputs[cell["id"]] = [joined(dict(output)) for output in run_cell.outputs]
    out.write_text(json.dumps({"outputs": outputs}), encoding="utf-8")


if __name__ == "__main__":
    faulthandler.enable()
    notebook, result, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    sys.argv = [str(notebook)]
    run(notebook, result, seconds)
    sys.stdout.flush()
    os._exit(0)  # threads that a cell left behind do not hold the process up
