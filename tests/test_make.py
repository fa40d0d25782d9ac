"""The Makefile and its helpers: targets, clear errors on a machine that lacks something, and `clean` that spares results."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from support import REPO, require_tool, run

TARGETS = "help backtest live fetch lab test parity lint docs bench clean distclean".split()
VENV = REPO / ".ci/venv"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The Makefile with its helpers in an otherwise empty folder."""
    require_tool("make")
    shutil.copy(REPO / "Makefile", tmp_path)
    shutil.copytree(REPO / ".ci", tmp_path / ".ci")
    for folder in ("nbs", "qtnb", "tests", "_proc"):
        (tmp_path / folder).mkdir()
    return tmp_path


def make(*arguments: str, cwd: Path):
    """Run make as if this were not already inside `make test`, whose flags would be inherited."""
    return run("make", *arguments, cwd=cwd, env={"MAKEFLAGS": "", "MAKELEVEL": "", "MFLAGS": ""})


def test_help_lists_every_target(project: Path) -> None:
    """`make` alone explains itself, and each target has its line."""
    lines = make(cwd=project).stdout.splitlines()
    assert [line.split()[1] for line in lines] == TARGETS


def test_ci_runs_the_command_of_the_readme() -> None:
    """`.ci/run` can be executed and does what the README says, no more."""
    script = REPO / ".ci/run"
    assert os.access(script, os.X_OK)
    commands = [line for line in script.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert commands[0] == "set -euo pipefail"
    assert commands[-1] == "exec make test"
    first_screen = "\n".join((REPO / "README.md").read_text(encoding="utf-8").splitlines()[:45])
    assert "make backtest" in first_screen
    assert "make test" in first_screen


def test_a_machine_without_python_is_told_so(tmp_path: Path) -> None:
    """The message names what was tried and what to do; nothing is left behind."""
    ended = run("/bin/sh", VENV, tmp_path / "env", env={"PATH": str(tmp_path)})
    assert ended.returncode == 1
    assert "no Python 3.11 or newer was found; tried python3.13" in ended.stderr
    assert "make PYTHON=" in ended.stderr
    assert not (tmp_path / "env").exists()


def test_a_python_that_is_too_old_or_absent_is_named(tmp_path: Path) -> None:
    """PYTHON given by the user is used or refused, never replaced."""
    ended = run("/bin/sh", VENV, tmp_path / "env", "python2.7-of-old")
    assert ended.returncode == 1
    assert "PYTHON was `python2.7-of-old`" in ended.stderr


def test_a_python_without_venv_names_the_package(tmp_path: Path) -> None:
    """Debian ships venv apart from Python; without root the remedy is spelled out."""
    programs = tmp_path / "bin"
    programs.mkdir()
    version = "{}.{}".format(*sys.version_info)
    fakes = {
        "python3": f'case "$*" in *ensurepip*) exit 1;; esac\nexec "{sys.executable}" "$@"',
        "id": "echo 1000",
        "ls": "exit 0",
    }
    for name, body in fakes.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    ended = run("/bin/sh", VENV, tmp_path / "env", env={"PATH": str(programs)})
    assert ended.returncode == 1
    assert f"apt-get install python{version}-venv" in ended.stderr


def test_a_folder_that_is_no_environment_is_left_alone(tmp_path: Path) -> None:
    """`make VENV=.` must not empty the repository."""
    (tmp_path / "precious.txt").touch()
    ended = run("/bin/sh", VENV, tmp_path)
    assert ended.returncode == 1
    assert "left alone" in ended.stderr
    assert (tmp_path / "precious.txt").exists()


def test_clean_spares_results_and_secrets(project: Path) -> None:
    """`make clean` removes what can be made again; only `make distclean` removes the lake, the runs and the logs."""
    results = "data/lake/bars.parquet artifacts/runs/r/manifest.json logs/qtnb.log .env _proc/.gitkeep"
    products = ".venv/pyvenv.cfg _docs/index.html _proc/core/book.ipynb qtnb/__pycache__/x.pyc build/x"
    kept, made = ([project / name for name in names.split()] for names in (results, products))
    for path in kept + made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert make("clean", cwd=project).returncode == 0
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in made)
    assert make("distclean", cwd=project).returncode == 0
    assert [path.name for path in kept if path.exists()] == [".env", ".gitkeep"]


def test_an_environment_that_is_there_is_not_installed_again(project: Path) -> None:
    """The second `make backtest` starts at once; a changed pyproject.toml installs anew."""
    (project / "pyproject.toml").touch()
    environment = project / ".venv/bin"
    environment.mkdir(parents=True)
    os.symlink(sys.executable, environment / "python")
    plan = make("--dry-run", "backtest", cwd=project).stdout
    assert "--editable ." in plan
    stamp = re.search(r"touch (\.venv/\.qtnb-\d+)", plan)
    assert stamp
    (project / stamp[1]).touch()
    assert "--editable" not in make("--dry-run", "backtest", cwd=project).stdout
    os.utime(project / stamp[1], (1, 1))
    assert "--editable ." in make("--dry-run", "backtest", cwd=project).stdout
