"""Servers that tests need, started by the tests themselves and gone with them, however the tests end."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import require_tool

# The server runs under this shell, which waits for its standard input to end. That happens when `stop` closes the pipe, and also when
# the tests are killed: the operating system closes the pipe of a dead process. Then the server stops and its folder goes.
KEEPER = """
folder=$1; shift
trap '' INT TERM HUP
"$@" >"$folder/log" 2>&1 &
server=$!
read -r _ || true
kill -INT "$server" 2>/dev/null || true
wait "$server" || true
rm -rf "$folder"
"""


@dataclass(frozen=True)
class PostgresServer:
    """A server on this machine, with one user and one database."""

    port: int
    password: str
    folder: Path
    keeper: subprocess.Popen

    def url(self, *, password: str | None = None, database: str = "qtnb", port: int | None = None) -> str:
        """The address; parts of it can be made wrong."""
        return f"postgresql://qtnb:{self.password if password is None else password}@127.0.0.1:{port or self.port}/{database}"

    @property
    def postmaster(self) -> int:
        """The id of the server's first process."""
        return int((self.folder / "data/postmaster.pid").read_text().split()[0])


def _owner() -> dict[str, object]:
    """Whom the server runs as: root may not run it."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    pytest.fail("the tests run as root and there is neither a user `postgres` nor `nobody`, who could run a server", pytrace=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _log(folder: Path) -> str:
    with contextlib.suppress(OSError):
        return (folder / "log").read_text(errors="replace")[-2000:]
    return "(no log)"


def _start_once(programs: Path, **more: object) -> PostgresServer | None:
    """A server on a port that was free a moment ago; None when somebody else took it meanwhile."""
    import psycopg

    folder, password, owner = Path(tempfile.mkdtemp(prefix="qtnb-pg-")), secrets.token_hex(12), _owner()
    quiet = {"env": {"PATH": os.environ["PATH"], "LC_ALL": "C"}, "cwd": folder, "start_new_session": True, **owner}
    try:
        (folder / "password").write_text(password)
        for path in (folder, folder / "password") if owner else ():
            os.chown(path, owner["user"], owner["group"])
        command = [programs / "initdb", "--pgdata", folder / "data", "--username=qtnb", "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync"]
        made = subprocess.run([*command, f"--pwfile={folder / 'password'}"], capture_output=True, text=True, timeout=300, check=False, **quiet)
        assert made.returncode == 0, made.stderr
        port = free_port()
        options = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": folder, "fsync": "off", "max_connections": 60,
                   "shared_buffers": "32MB", "autovacuum": "off", "max_wal_size": "256MB"} | more
        command = [programs / "postgres", "-D", folder / "data", *(f"-c{k}={v}" for k, v in options.items())]
        keeper = subprocess.Popen(["/bin/sh", "-c", KEEPER, "keeper", folder, *command], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, **quiet)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    server = PostgresServer(port, password, folder, keeper)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and "could not bind" not in _log(folder):
            with contextlib.suppress(psycopg.OperationalError):
                with psycopg.connect(server.url(database="postgres"), autocommit=True, connect_timeout=5) as connection:
                    connection.execute("CREATE DATABASE qtnb")
                return server
            time.sleep(0.05)
        assert "could not bind" in _log(folder), f"the server did not start: {_log(folder)}"
    except BaseException:
        stop_postgres(server)
        raise
    stop_postgres(server)
    return None


def start_postgres(**more: object) -> PostgresServer:
    """Make a database cluster in a temporary folder and start it with further options; `stop_postgres` ends it and removes the folder."""
    programs = Path(require_tool("postgres")).resolve().parent
    for _ in range(5):
        server = _start_once(programs, **more)
        if server is not None:
            return server
    raise AssertionError("no port stayed free long enough to start a server on it")


def stop_postgres(server: PostgresServer) -> None:
    """End the server; its folder goes with it."""
    server.keeper.stdin.close()
    try:
        server.keeper.wait(timeout=60)
    except subprocess.TimeoutExpired:  # it will not go quietly: at once, without a checkpoint
        os.kill(int((server.folder / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)
        server.keeper.wait(timeout=60)
    shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real Postgres server with a password, one for each worker of a session; skipped where none is installed."""
    server = start_postgres()
    try:
        yield server
    finally:
        stop_postgres(server)


@contextlib.contextmanager
def schema_of_its_own(server: PostgresServer) -> Iterator[str]:
    """A name for a schema that nobody else uses, dropped at the end."""
    import psycopg

    name = f"test_{secrets.token_hex(8)}"
    try:
        yield name
    finally:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')
