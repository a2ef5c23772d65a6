"""The embedded PostgreSQL after a kill -9 and after a power cut."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from privatune.stack.postgres import EmbeddedPostgres
from privatune.stack.secrets import ensure_secrets
from tests.fixtures.waiting import until


@pytest.fixture
def running(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    folder = tmp_path / "our data, 'all' 数据 #1 100%" / "pg"
    server = EmbeddedPostgres(folder, ensure_secrets(tmp_path))
    try:
        yield server
    finally:
        server.stop()
        left = [
            p for p in psutil.process_iter(["cmdline"]) if str(folder) in (p.info["cmdline"] or [])
        ]
        assert left == [], "it runs on"
        shutil.rmtree(folder)


def kill(server: EmbeddedPostgres) -> int:
    pid = int((server.folder / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGKILL)
    return pid


@pytest.mark.slow
def test_a_killed_server_is_started_again_with_what_was_committed(
    running: EmbeddedPostgres,
) -> None:
    assert running.tend() == []
    with running.superuser() as connection:
        connection.execute("CREATE TABLE kept AS SELECT 4711 AS number")
    kill(running)
    until(
        lambda: "PostgreSQL had died and runs again." in running.tend(),
        "it did not start again",
        pause=0.1,
    )
    with running.superuser() as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (4711,)


@pytest.mark.slow
def test_after_a_power_cut_the_pid_file_may_name_a_strangers_process(
    running: EmbeddedPostgres,
) -> None:
    path = running.folder / "postmaster.pid"
    told = path.read_text().splitlines()
    running.stop()
    running._server.cleanup()  # the library remembers it otherwise
    path.write_text("\n".join([str(os.getppid()), *told[1:]]))  # alive, and no PostgreSQL
    values = running._values
    again = EmbeddedPostgres(running.folder, values)
    try:
        with again.superuser() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        again.stop()
