"""Every notebook is a test: its cells run from top to bottom, each notebook in a fresh process and a throw-away workspace."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import REPO, run_python

NBS = REPO / "nbs"
RUNNER = Path(__file__).with_name("notebook_runner.py")
NOTEBOOKS = sorted(
    path for path in NBS.rglob("*.ipynb") if not any(part.startswith(("_", ".")) for part in path.relative_to(NBS).parts)
)


def name_of(notebook: Path) -> str:
    """`nbs/core/00_errors.ipynb` is called `core/00_errors`."""
    return notebook.relative_to(NBS).with_suffix("").as_posix()


def run_notebook(notebook: Path, workspace: Path, scratch: Path) -> str:
    """Run a notebook as a test; return the empty string, or the cell that failed with its traceback."""
    state = {name: str(scratch / name.lower()) for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "MPLCONFIGDIR")}
    ended = run_python(RUNNER, notebook, cwd=notebook.parent, env={"IN_TEST": "1", "QTNB_WORKSPACE": str(workspace), **state})
    if ended.returncode == 0:
        return ""
    return f"{ended.stderr}\n{ended.stdout}".strip() or f"the notebook's process ended with exit code {ended.returncode}"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name_of)
def test_notebook(notebook: Path, workspace: Path, tmp_path: Path) -> None:
    """The notebook's cells run and its assertions hold."""
    problem = run_notebook(notebook, workspace, tmp_path)
    if problem:
        pytest.fail(problem, pytrace=False)


def test_a_wrong_notebook_fails_by_the_name_of_its_cell(workspace: Path, tmp_path: Path) -> None:
    """The runner sees a failing cell, and names it."""
    folder = tmp_path / "nbs"
    folder.mkdir()
    project = '[project]\nname = "toy"\nversion = "0"\nrequires-python = ">=3.11"\n[tool.nbdev]\n'
    (tmp_path / "pyproject.toml").write_text(project, encoding="utf-8")
    notebook = folder / "00_wrong.ipynb"
    notebook.write_text(
        '{"cells": [{"cell_type": "code", "id": "feedbeef", "metadata": {}, "outputs": [], "execution_count": null,'
        ' "source": ["assert 1 + 1 == 3, \\"arithmetic\\""]}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        encoding="utf-8",
    )
    problem = run_notebook(notebook, workspace, tmp_path)
    assert "cell feedbeef" in problem
    assert "assert 1 + 1 == 3" in problem
    assert "AssertionError: arithmetic" in problem


def test_there_are_notebooks() -> None:
    """A wrong path would make every notebook pass by finding none."""
    assert len(NOTEBOOKS) > 30
