"""Connections that say nothing: they must not keep others out."""

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.privatune.edge.conftest import Edge

IDLE = 2200  # granian's own limit, and its backlog, are 1024 each


@pytest.fixture
def many_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], IDLE + 1000), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_silent_connections_keep_nobody_out(many_files: None, edge: Edge) -> None:
    with ExitStack() as lines:
        for number in range(IDLE):
            line = lines.enter_context(socket.create_connection(edge.address, timeout=5))
            if number % 2:
                line.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127")
        assert httpx.get(f"{edge.url}/healthz", timeout=8).status_code == 200
