"""Servers for the tests of vendors; each is closed when its test ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from vendors.fakes import Server


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start a server that answers by a function of `fakes`."""
    servers: list[Server] = []

    def start(answer) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
