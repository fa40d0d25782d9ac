"""The package is what the notebooks export, and the notebooks are clean: both are done again in a copy and compared."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support import REPO, no_problems, run_python

EXPORT = "from nbdev.doclinks import nbdev_export; nbdev_export()"
CLEAN = "from nbdev.clean import nbdev_clean; nbdev_clean()"

STALE = (
    "The package and the notebooks differ. If the notebook is right, run `nbdev-export`;"
    " if you edited the .py file, run `nbdev-update` on it first, then `nbdev-export`:"
)
UNCLEAN = "These notebooks are not clean; run `nbdev-clean` (or once `nbdev-install-hooks`, which does it on every save):"


def contents(folder: Path, pattern: str) -> dict[str, bytes]:
    """The files of a folder by their relative names."""
    found = (path for path in folder.rglob(pattern) if not {"__pycache__", ".ipynb_checkpoints"} & set(path.parts))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(found)}


def differences(here: dict[str, bytes], there: dict[str, bytes]) -> list[str]:
    """The names that differ, each with how."""
    found = [f"{name}: is not exported by any notebook" for name in here.keys() - there.keys()]
    found += [f"{name}: is missing" for name in there.keys() - here.keys()]
    for name in here.keys() & there.keys():
        if here[name] != there[name]:
            old, new = here[name].decode(errors="replace").splitlines(), there[name].decode(errors="replace").splitlines()
            line = next((n for n, (a, b) in enumerate(zip(old, new, strict=False), 1) if a != b), min(len(old), len(new)) + 1)
            found.append(f"{name}: differs from line {line} on")
    return sorted(found)


def run_nbdev(code: str, project: Path) -> None:
    """Run an nbdev command in a project; the cells' own guard against exporting (IN_TEST) is lifted."""
    state = {"JUPYTER_DATA_DIR": str(project / ".jupyter"), "IPYTHONDIR": str(project / ".ipython"), "IN_TEST": ""}
    ended = run_python("-c", code, cwd=project, env=state)
    assert ended.returncode == 0, ended.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The notebooks and the configuration without the exported modules."""
    target = tmp_path / "project"
    ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", ".last_checked")
    shutil.copytree(REPO / "nbs", target / "nbs", ignore=ignored)
    shutil.copy(REPO / "pyproject.toml", target)
    (target / "qtnb").mkdir()
    shutil.copy(REPO / "qtnb/__init__.py", target / "qtnb")
    return target


def test_the_package_is_what_the_notebooks_export(project: Path) -> None:
    """Every .py under qtnb/, the index and the package docstrings included, comes out of an export unchanged."""
    run_nbdev(EXPORT, project)
    no_problems(differences(contents(REPO / "qtnb", "*.py"), contents(project / "qtnb", "*.py")), STALE)


def test_the_notebooks_are_clean(project: Path) -> None:
    """Cleaning changes no notebook: no outputs' ids, no counts, no editor's metadata."""
    run_nbdev(CLEAN, project)
    no_problems(differences(contents(REPO / "nbs", "*.ipynb"), contents(project / "nbs", "*.ipynb")), UNCLEAN)


def test_planted_differences_are_found(project: Path) -> None:
    """An edited module, a forgotten one, a missing one and an unclean notebook are seen."""
    run_nbdev(EXPORT, project)
    exported = contents(project / "qtnb", "*.py")
    edited = dict(exported)
    edited["enums.py"] += b"\nx = 1\n"
    edited["leftover.py"] = b""
    del edited["core/errors.py"]
    found = " ".join(differences(edited, exported))
    assert "enums.py: differs" in found
    assert "leftover.py: is not exported" in found
    assert "core/errors.py: is missing" in found

    notebook = project / "nbs/00_enums.ipynb"
    dirty = notebook.read_text(encoding="utf-8").replace('"metadata": {}', '"metadata": {"collapsed": true}', 1)
    notebook.write_text(dirty, encoding="utf-8")
    before = contents(project / "nbs", "*.ipynb")
    run_nbdev(CLEAN, project)
    assert any("00_enums" in line for line in differences(before, contents(project / "nbs", "*.ipynb")))
