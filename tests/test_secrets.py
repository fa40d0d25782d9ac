"""Secrets stay where they are. A canary is planted in the environment and in .env, everything is run, and nothing sings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import run

pytestmark = pytest.mark.slow

QT = Path(sys.executable).with_name("qt")
ENVIRONMENT_CANARY = "canary-4f1c9a7e-environment"
DOTENV_CANARY = "canary-83b2d650-dotenv"
CANARIES = (ENVIRONMENT_CANARY, DOTENV_CANARY)
SECRET_NAMES = ("api_key", "token", "password", "secret", "alpaca_secret_key")


@pytest.fixture
def aviary(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose environment and .env hold secrets, with the bundled data in its lake."""
    monkeypatch.setenv("QTNB_ALPACA_SECRET_KEY", ENVIRONMENT_CANARY)
    monkeypatch.setenv("QTNB_POSTGRES_URL", f"postgresql://qtnb:{ENVIRONMENT_CANARY}@127.0.0.1/qtnb")
    (workspace / ".env").write_text(f"QTNB_BINANCE_API_SECRET={DOTENV_CANARY}\nQTNB_SERVER_TOKEN={DOTENV_CANARY}\n", encoding="utf-8")
    return workspace


def qt(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a workspace."""
    return run(QT, *arguments, cwd=cwd, timeout=300)


def sightings(folder: Path, *answers: subprocess.CompletedProcess[str]) -> list[str]:
    """Where a canary shows: files of the workspace (their names too, .env aside), standard output, standard error."""
    found = []
    for answer in answers:
        command = " ".join(map(str, answer.args))
        found += [f"{name} of {command}" for name in ("stdout", "stderr") if heard(getattr(answer, name).encode())]
    for path in folder.rglob("*"):
        if path.is_file() and path.name != ".env" and heard(path.read_bytes() + path.name.encode()):
            found.append(str(path.relative_to(folder)))
    return found


def heard(content: bytes) -> bool:
    return any(canary.encode() in content for canary in CANARIES)


def write_job(workspace: Path, name: str, *cells: str, parameters: str = "message = 'hello'") -> None:
    """A job notebook of the workspace's own: a parameters cell, then the given cells."""
    sources = [parameters, *cells]
    notebook = {
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell{number}",
                "metadata": {"tags": ["parameters"]} if number == 0 else {},
                "execution_count": None,
                "outputs": [],
                "source": source.splitlines(keepends=True),
            }
            for number, source in enumerate(sources)
        ],
        "metadata": {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    folder = workspace / "jobs"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")


def test_config_show_masks_secrets(aviary: Path) -> None:
    """Every setting is shown with its source, secrets as asterisks."""
    answer = qt("config", "show", cwd=aviary)
    assert answer.returncode == 0, answer.stderr
    assert "alpaca_secret_key" in answer.stdout
    assert "server_token" in answer.stdout
    assert "****" in answer.stdout
    assert sightings(aviary, answer) == []


def test_a_job_leaves_no_secret(aviary: Path) -> None:
    """The executed notebook, the manifest, the results, the tearsheet and the logs of a good run hold none."""
    answers = [qt("fetch", "sample", cwd=aviary), qt("job", "run", "backtest", cwd=aviary), qt("job", "run", "tearsheet", cwd=aviary)]
    for answer in answers:
        assert answer.returncode == 0, answer.stderr
    assert list((aviary / "artifacts/runs").glob("*/manifest.json"))
    assert sightings(aviary, *answers) == []


def test_a_failing_job_leaves_no_secret(aviary: Path) -> None:
    """The error, the traceback and the variables it shows hold none, even though the settings are in the failing cell."""
    write_job(
        aviary,
        "broken",
        "from qtnb.config.settings import load_settings\nsettings = load_settings()\nprint(settings)",
        "raise RuntimeError(f'{settings!r} {settings.model_dump()}')",
    )
    answer = qt("job", "run", "broken", cwd=aviary)
    assert answer.returncode not in (0, None)
    manifests = [json.loads(path.read_text(encoding="utf-8")) for path in (aviary / "artifacts/runs").glob("*/manifest.json")]
    assert [manifest["status"] for manifest in manifests] == ["failed"]
    assert sightings(aviary, answer) == []


def test_a_job_that_prints_a_secret_leaves_asterisks(aviary: Path) -> None:
    """A careless cell is caught: known secrets are masked in outputs, errors and manifest before anything is kept."""
    secret = "os.environ['QTNB_ALPACA_SECRET_KEY']"
    write_job(aviary, "careless", f"import os\nprint({secret})", f"raise ValueError({secret})")
    answer = qt("job", "run", "careless", cwd=aviary)
    assert answer.returncode not in (0, None)
    assert sightings(aviary, answer) == []


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_secrets_are_no_parameters(aviary: Path, name: str) -> None:
    """Parameters are kept in the executed notebook, so a parameter that is called like a secret is refused before a run begins."""
    write_job(aviary, "plain", "print('done')", parameters=f"{name} = 'x'")
    answer = qt("job", "run", "plain", "-p", f"{name}={ENVIRONMENT_CANARY}", cwd=aviary)
    assert answer.returncode == 2, answer.stdout + answer.stderr
    assert name in answer.stderr
    assert not list((aviary / "artifacts").rglob("*.ipynb"))
    assert sightings(aviary, answer) == []


def test_a_canary_would_be_heard(aviary: Path) -> None:
    """The search itself finds a canary in a file, in a file's name and on standard output."""
    (aviary / "logs").mkdir()
    (aviary / "logs/qtnb.log").write_bytes(b"\x00" + ENVIRONMENT_CANARY.encode())
    (aviary / f"{DOTENV_CANARY}.txt").touch()
    answer = run("printenv", "QTNB_ALPACA_SECRET_KEY", cwd=aviary)
    assert len(sightings(aviary, answer)) == 3
