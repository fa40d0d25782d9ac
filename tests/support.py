"""Helpers that tests import by name: the repository, its files, programs, and a readable way to fail."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}



def _versioned(folder: str, pattern: str) -> list[str]:
    """Programs that lie in folders named by version, the newest first."""
    return sorted(map(str, Path(folder).glob(pattern)), key=lambda path: [int(n) for n in re.findall(r"\d+", path)], reverse=True)


TOOLS = {
    "chromium": [
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
    ],
    "postgres": ["postgres", *_versioned("/usr/lib/postgresql", "*/bin/postgres"), *_versioned("/usr", "pgsql-*/bin/postgres"),
                 *_versioned("/opt/homebrew/opt", "postgresql*/bin/postgres"), *_versioned("/usr/local/opt", "postgresql*/bin/postgres")],
}


@functools.cache
def find_tool(name: str) -> str | None:
    """Return the path of the first program that answers to `name`, or None when the machine has none that starts."""
    for candidate in TOOLS.get(name, [name]):
        path = shutil.which(candidate)
        if path is None:
            continue
        try:
            started = subprocess.run([path, "--version"], capture_output=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if started.returncode == 0:
            return path
    return None


def require_tool(name: str) -> str:
    """Return the path of a program, or skip the test by name; under CI=true a missing program is a failure."""
    path = find_tool(name)
    if path is None:
        message = f"{name} is not installed"
        if CI:
            pytest.fail(f"{message}; under CI=true every tool must be present", pytrace=False)
        pytest.skip(message)
    return path


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Wait until something holds; fail when it does not within a minute."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not happen within {seconds:g} s", pytrace=False)
        time.sleep(0.01)


def project_files() -> list[Path]:
    """Every file that is, or could be, committed: tracked files and new ones that are not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=REPO, capture_output=True, check=False
    )
    if listed.returncode:
        skipped = {".venv", ".git", "_docs", "_proc", "data", "artifacts", "logs", "build", "dist", "__pycache__"}
        found = (path for path in REPO.rglob("*") if path.is_file())
        return sorted(path for path in found if not skipped & set(path.relative_to(REPO).parts))
    names = listed.stdout.decode().split("\0")
    return sorted({REPO / name for name in names if name and (REPO / name).is_file()})


def no_problems(found: Iterable[str], rule: str) -> None:
    """Fail with the rule and every place that breaks it, one a line; pass when there is none."""
    lines = list(found)
    if lines:
        pytest.fail("\n  ".join([rule, *lines]), pytrace=False)



def run(
    *command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None, timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return its exit code and text; extra variables join the present environment."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def run_python(*arguments: str | Path, **options) -> subprocess.CompletedProcess[str]:
    """Run this Python in a fresh process."""
    return run(sys.executable, *arguments, **options)
