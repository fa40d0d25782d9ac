"""Every notebook is a test: its cells run from top to bottom, each notebook in a fresh process and a throw-away workspace."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from built_site import SITE, shared_folder
from nbdev.config import get_config
from nbdev.test import nb_test_cells
from support import REPO

sys.path.insert(0, str(SITE))

import execute  # noqa: E402
from notebooks import SKIP, Notebook, all_notebooks, runs  # noqa: E402

NOTEBOOKS = all_notebooks()
SOURCES = execute.Sources()


def name_of(notebook: Notebook) -> str:
    """`nbs/core/00_errors.ipynb` is called `core/00_errors`."""
    return notebook.rel.with_suffix("").as_posix()


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name_of)
def test_notebook(notebook: Notebook, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> None:
    """The notebook's cells run and its assertions hold. What they showed is kept for the site, which is built from it later in this run."""
    kept = shared_folder(tmp_path_factory, request.config) / "outputs"
    kept.mkdir(exist_ok=True)
    try:
        execute.run_and_keep(notebook, kept, SOURCES)
    except execute.CellFailed as error:
        pytest.fail(str(error), pytrace=False)


def toy(folder: Path, *sources: str) -> Notebook:
    """A notebook outside the project, with these cells."""
    cells = [{"cell_type": "code", "id": f"cell{i}", "metadata": {}, "outputs": [], "execution_count": None, "source": s} for i, s in enumerate(sources)]
    path = folder / "00_toy.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}), encoding="utf-8")
    return Notebook(path)


def test_a_wrong_notebook_fails_by_the_name_of_its_cell(tmp_path: Path) -> None:
    """The message holds the notebook, the cell, its source, the error, and a traceback that begins in the notebook."""
    with pytest.raises(execute.CellFailed) as failed:
        execute.run(toy(tmp_path, "x = 1", 'def check(y):\n    assert y == 3, "arithmetic"\n\ncheck(x + 1)', "x = 2"))
    problem = str(failed.value)
    assert "00_toy.ipynb, cell #cell1: AssertionError: arithmetic" in problem and "    check(x + 1)" in problem
    assert "in check" in problem and "execnb" not in problem and "IPython" not in problem


@pytest.mark.parametrize(("source", "error"), [("x = (", "SyntaxError"), ("raise SystemExit(0)", "SystemExit"),
                                               ("import no_such_module", "ModuleNotFoundError"),
                                               ("import pandas as pd\nf = pd.DataFrame({'a': [1, 2]})\nf['a'][f['a'] > 1] = 0", "ChainedAssignmentError")])
def test_no_error_passes_unseen(tmp_path: Path, source: str, error: str) -> None:
    """What a cell can do wrong besides a false assertion: text that is no Python, an end by hand, a missing module, an assignment to a copy."""
    with pytest.raises(execute.CellFailed, match=f"cell #cell0: {error}"):
        execute.run(toy(tmp_path, source))


def test_a_process_that_dies_fails(tmp_path: Path) -> None:
    """A notebook that takes its process down, without an exception, is named with its cell and the exit code."""
    with pytest.raises(execute.Stuck, match="cell #cell1: the notebook's process ended with exit code 7"):
        execute.run(toy(tmp_path, "x = 1", "import os\nos._exit(7)"))


def test_outputs_are_what_a_reader_would_see(tmp_path: Path) -> None:
    """Printed lines, warnings on stderr, rich objects and the value of the last line, by the id of the cell."""
    rich = "from IPython.display import HTML, display\nprint('first')\ndisplay(HTML('<b>x</b>'))\n1 + 1"
    found = execute.run(toy(tmp_path, rich, "import sys\nprint('oh', file=sys.stderr)", "None"))
    kinds = [(o["output_type"], o.get("name", ""), o.get("text") or o["data"].get("text/html") or o["data"]["text/plain"]) for o in found["cell0"]]
    assert kinds == [("stream", "stdout", "first\n"), ("display_data", "", "<b>x</b>"), ("execute_result", "", "2")]
    assert found["cell1"][0]["name"] == "stderr" and found["cell1"][0]["text"] == "oh\n" and found["cell2"] == []


def test_the_cells_are_those_of_nbdev_test() -> None:
    """`nbdev-test` would run the same cells: by its flags, and with the front matter of every notebook."""
    assert set(get_config(REPO).tst_flags) == SKIP
    other = []
    for notebook in NOTEBOOKS:
        theirs = [c.id for c in nb_test_cells(notebook.path, skip_flags=SKIP) if "nbdev_export" not in c.source]
        other += [name_of(notebook)] if theirs != [c["id"] for c in notebook.cells if c["cell_type"] == "code" and runs(c["source"])] else []
    assert not other


def test_there_are_notebooks() -> None:
    """A wrong path would make every notebook pass by finding none."""
    assert len(NOTEBOOKS) > 300
