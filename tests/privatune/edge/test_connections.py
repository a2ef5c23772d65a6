"""Connections that say nothing: they must not keep others out."""

import resource
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.privatune.edge.conftest import Edge

IDLE = 2200
GRANIANS_OWN = 2 * 1024  # its limit and its backlog: so many keep everybody out until they go


@pytest.fixture
def many_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], IDLE + 1000), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_silent_connections_keep_nobody_out(many_files: None, edge: Edge) -> None:
    """Each is let go after ten seconds. Once of five at the latest all are still there when another
    is answered: this process may not have run for so long."""
    assert any(answered_beside_silence(edge) > GRANIANS_OWN for _ in range(5))


def answered_beside_silence(edge: Edge) -> int:
    """How many silent connections were still held when another was answered."""
    with ExitStack() as opened:
        lines = select.poll()
        for number in range(IDLE):
            line = opened.enter_context(socket.create_connection(edge.address))
            if number % 2:
                line.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127")
            lines.register(line, select.POLLIN)
        assert httpx.get(f"{edge.url}/healthz").status_code == 200
        return IDLE - len(lines.poll(0))
