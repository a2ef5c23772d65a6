"""A web server that is told to end ends, whatever its workers are doing."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from privatune.stack.processes import CONNECTIONS
from tests.conftest import ROOT
from tests.fixtures.ports import own_port
from tests.fixtures.waiting import stop, until

WORKERS = 2
KILL_TIMEOUT = CONNECTIONS.index("--workers-kill-timeout")


@contextmanager
def loading(folder: Path, *options: str) -> Iterator[tuple["subprocess.Popen[bytes]", list[int]]]:
    """The server and its workers, all of which are still loading."""
    command = [sys.executable, "-m", "granian", "tests.fixtures.loading:application"]
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": f"{ROOT / 'platform'}{os.pathsep}{ROOT}",
        "LOADING": str(folder),
    }
    process = subprocess.Popen(
        [*command, "--interface", "asgi", "--port", str(own_port()), *options]
        + ["--workers", str(WORKERS)],
        cwd=ROOT,
        env=environment,
        start_new_session=True,
    )
    try:
        until(lambda: len(list(folder.iterdir())) == WORKERS, "no worker loads", of=process)
        yield process, [int(each.name) for each in folder.iterdir()]
    finally:
        with suppress(ProcessLookupError):  # nobody is left
            os.killpg(process.pid, signal.SIGKILL)


def test_told_to_end_while_it_loads_it_ends(tmp_path: Path) -> None:
    """granian itself would wait without an end for workers that did not hear it."""
    patient = CONNECTIONS[:KILL_TIMEOUT] + CONNECTIONS[KILL_TIMEOUT + 2 :]
    with loading(tmp_path, *patient) as (server, _):
        assert stop(server) == 0


def test_a_worker_that_does_not_hear_is_ended(tmp_path: Path) -> None:
    with loading(tmp_path, *CONNECTIONS) as (server, workers):
        os.kill(workers[0], signal.SIGSTOP)
        assert stop(server) == 0


@pytest.mark.parametrize("written", ["docker/Dockerfile", "docs/how-to/deploy.md"])
def test_who_starts_it_by_hand_is_told_the_same_options(written: str) -> None:
    text = (ROOT / written).read_text().replace('", "', " ").replace("\\\n ", "")
    assert " ".join(CONNECTIONS) in text
