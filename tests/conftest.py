"""What every test shares: a throw-away workspace, the order of the tests, and the promise to leave the repository clean."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from services import postgres_server  # noqa: F401  (a fixture)
from support import CI, REPO, require_tool, run


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


# -- order and sharing of work --------------------------------------------------------------------------------------------

# Tests that share something expensive stay together in one worker: the built site, the built and installed wheel.
TOGETHER = {"tests/test_docs.py": "site", "tests/browser/test_site.py": "site", "tests/test_package.py": "package",
            "tests/test_plugins.py": "plugins"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The notebooks first, then the site, which is built from their outputs; then the long tests, so that no worker is left alone with one at the end."""

    def place(item: pytest.Item) -> int:
        file = item.nodeid.split("::")[0]
        groups = (file == "tests/test_notebooks.py", TOGETHER.get(file) == "site", item.get_closest_marker("slow") is not None)
        return groups.index(True) if any(groups) else len(groups)

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Hand out the tests one by one, except those that belong together."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return TOGETHER.get(nodeid.split("::")[0], nodeid)

    config.option.loadscopereorder = False
    return Scheduling(config, log)


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
