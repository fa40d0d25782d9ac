"""The documentation site, built once for all the tests that look at it."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest
from support import REPO

SITE = REPO / "nbs" / "site"
sys.path.insert(0, str(SITE))  # the scripts that make the site are not part of the package


def shared_folder(factory: pytest.TempPathFactory, config: pytest.Config) -> Path:
    """A folder that all workers of this run share."""
    return factory.getbasetemp().parent if hasattr(config, "workerinput") else factory.getbasetemp()


def build_site(base: Path) -> Path:
    """Build the site in the folder of this run; the first worker builds, the others wait. Notebooks that were tested before are not run again."""
    out, log = base / "site", base / "site.log"
    with open(base / "site.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not log.exists():
            done = subprocess.run([sys.executable, str(SITE / "build.py"), "--out", str(out), "--outputs", str(base / "outputs")],
                                  cwd=REPO, capture_output=True, text=True, check=False)
            log.write_text(f"{done.returncode}\n{done.stdout}\n{done.stderr}", encoding="utf-8")
        code, _, text = log.read_text(encoding="utf-8").partition("\n")
    if code != "0":
        pytest.fail(f"`make docs` failed:\n{text}", pytrace=False)
    return out


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Folder of the built site."""
    return build_site(shared_folder(tmp_path_factory, request.config))
