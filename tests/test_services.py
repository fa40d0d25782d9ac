"""The servers of the tests end with the tests, and are needed where all tools must be present."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import support
from services import start_postgres, stop_postgres
from support import REPO, run, wait_for

CODE = "import services, time; s = services.start_postgres(); print(s.folder, s.postmaster, flush=True); time.sleep(600)"


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_server_ends_with_the_tests_that_started_it(end: signal.Signals, require_tool) -> None:
    """Killed or interrupted, nothing is left running and no folder stays."""
    require_tool("postgres")
    tests = subprocess.Popen([sys.executable, "-c", CODE], cwd=REPO / "tests", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    folder, postmaster = tests.stdout.readline().split()
    assert Path(folder).is_dir() and alive(int(postmaster))
    tests.send_signal(end)
    tests.communicate(timeout=60)
    wait_for(lambda: not Path(folder).exists() and not alive(int(postmaster)), "the end of the server")


def test_a_stopped_server_leaves_nothing(require_tool) -> None:
    """The folder goes with the server, the password lies in no argument of a process."""
    require_tool("postgres")
    server = start_postgres()
    try:
        assert server.password not in " ".join(map(str, server.keeper.args))
    finally:
        stop_postgres(server)
    assert not server.folder.exists()


def test_a_missing_server_is_skipped_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where CI=true is set, a tool that is not there is a failure."""
    monkeypatch.setattr(support, "find_tool", lambda name: None)
    for needed, outcome in ((False, pytest.skip.Exception), (True, pytest.fail.Exception)):
        monkeypatch.setattr(support, "CI", needed)
        with pytest.raises(outcome, match="postgres is not installed"):
            support.require_tool("postgres")


def test_the_script_that_installs_is_content_where_there_is_one(require_tool) -> None:
    """It does nothing, and says nothing, when PostgreSQL is there."""
    require_tool("postgres")
    done = run(REPO / ".ci/services")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
