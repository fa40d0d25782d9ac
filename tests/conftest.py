"""What every test shares: the tools a machine may lack, a throw-away workspace, and the promise to leave the repository clean."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}

TOOLS = {
    "chromium": [
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
    ],
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


@pytest.fixture(name="require_tool", scope="session")
def _require_tool():
    """`require_tool("chromium")` as a fixture, for tests that would rather not import this file."""
    return require_tool


@pytest.fixture
def repo() -> Path:
    """The root of the repository."""
    return REPO


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace outside the repository; the working directory, `QTNB_WORKSPACE` and every child process point to it."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "settings.ini").write_text("[workspace]\nname = test\n", encoding="utf-8")
    for name in [key for key in os.environ if key.startswith("QTNB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("QTNB_WORKSPACE", str(folder))
    monkeypatch.chdir(folder)
    return folder


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the long tests first, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


# -- the repository stays as it was ---------------------------------------------------------------------------------------


def _footprint() -> set[str]:
    """New files git would offer to commit; under CI also changed files and whatever lies in the run-time folders."""
    status = run("git", "status", "--porcelain", "--untracked-files=all", cwd=REPO)
    if status.returncode:
        return set()
    lines = set(status.stdout.splitlines())
    if not CI:
        return {line for line in lines if line.startswith("??")}
    for folder in ("data", "artifacts/runs", "logs"):
        lines |= {f"!! {path.relative_to(REPO)}" for path in (REPO / folder).rglob("*") if path.is_file()}
    return lines


def pytest_sessionstart(session: pytest.Session) -> None:
    """Remember what lies in the repository; with xdist the controller does it, once, for all workers."""
    if not hasattr(session.config, "workerinput"):
        session.config.stash[_BEFORE] = _footprint()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the session when the tests have left something behind."""
    if hasattr(session.config, "workerinput") or _BEFORE not in session.config.stash:
        return
    left = sorted(_footprint() - session.config.stash[_BEFORE])
    session.config.stash[_LEFT] = left
    if left and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the files that were left behind."""
    left = config.stash.get(_LEFT, [])
    if left:
        terminalreporter.section("files left in the repository", sep="=", red=True, bold=True)
        for line in left:
            terminalreporter.line(f"  {line}")
        terminalreporter.line("Tests write to tmp_path or to the `workspace` fixture; nothing may stay in the repository.")


_BEFORE: pytest.StashKey[set[str]] = pytest.StashKey()
_LEFT: pytest.StashKey[list[str]] = pytest.StashKey()


# -- programs -------------------------------------------------------------------------------------------------------------


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


@pytest.fixture
def clean_copy(tmp_path: Path) -> Iterator[Path]:
    """A copy of the files that git would commit, to build or to damage."""
    target = tmp_path / "copy"
    for path in project_files():
        place = target / path.relative_to(REPO)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place)
    yield target
    shutil.rmtree(target, ignore_errors=True)
