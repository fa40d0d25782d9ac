"""Pyright finds nothing in the exported code. It brings its own Node, so neither a system Node nor a network is needed."""

from __future__ import annotations

import sys
from pathlib import Path

from support import REPO, no_problems, run_python

# No system Node on PATH, and no way to fetch one.
HERMETIC = {
    "PATH": str(Path(sys.executable).parent),
    "PYRIGHT_PYTHON_GLOBAL_NODE": "false",
    "PYRIGHT_PYTHON_IGNORE_WARNINGS": "true",
}


def test_pyright() -> None:
    """Findings are repaired in the notebook they came from."""
    ended = run_python("-m", "pyright", "--pythonpath", sys.executable, cwd=REPO, env=HERMETIC)
    no_problems((ended.stdout + ended.stderr).splitlines() if ended.returncode else [], "Findings of `pyright`:")


def test_pyright_sees_a_planted_mistake(tmp_path: Path) -> None:
    """A wrong argument type is an error."""
    (tmp_path / "wrong.py").write_text("def double(x: int) -> int:\n    return 2 * x\n\n\ndouble('two')\n", encoding="utf-8")
    ended = run_python("-m", "pyright", "wrong.py", cwd=tmp_path, env=HERMETIC)
    assert ended.returncode == 1
    assert "reportArgumentType" in ended.stdout
