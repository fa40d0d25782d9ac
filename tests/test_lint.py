"""Ruff finds nothing in the exported code and the tests."""

from __future__ import annotations

from pathlib import Path

from support import REPO, no_problems, run_python


def test_ruff() -> None:
    """Findings in qtnb/ are repaired in the notebook they came from."""
    ended = run_python("-m", "ruff", "check", "--no-cache", "--output-format=concise", "qtnb", "tests", cwd=REPO)
    no_problems((ended.stdout + ended.stderr).splitlines() if ended.returncode else [], "Findings of `ruff check qtnb tests`:")


def test_ruff_sees_a_planted_mistake(tmp_path: Path) -> None:
    """The project's rules are read, and an unused import breaks them."""
    (tmp_path / "qtnb").mkdir()
    (tmp_path / "qtnb/wrong.py").write_text("import os\n", encoding="utf-8")
    ended = run_python("-m", "ruff", "check", "--no-cache", "--config", REPO / "pyproject.toml", tmp_path, cwd=tmp_path)
    assert ended.returncode == 1
    assert "F401" in ended.stdout
