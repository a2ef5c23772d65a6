"""kill -9 of the supervisor of a running stack leaves none of its processes; it starts again."""

import os
from pathlib import Path

import psutil
import pytest

from tests.fixtures.cluster import seed
from tests.fixtures.ports import own_port
from tests.fixtures.stack import Stack, import_tiny, start_stack, stop_stack
from tests.fixtures.waiting import until
from tests.flows.test_main_job import client_of, long_job, wait_for, wait_for_metrics

pytestmark = pytest.mark.slow

PARTS = ("granian", "celery", "finetune.serving", "finetune.trainer", "keeper.py")


def test_after_kill_9_of_the_supervisor_nothing_runs_on_and_up_starts_again(
    tmp_path: Path, tiny_base: Path
) -> None:
    data = tmp_path / "data"
    seed(data)
    process, first = start_stack(data, own_port())
    members: set[psutil.Process] = set()
    try:
        stack = Stack.of(data, first)
        import_tiny(stack, tiny_base)
        tenant = stack.new_tenant("killed")
        client = client_of(stack, tenant)
        job = long_job(client)
        wait_for_metrics(client, job.id)
        members = until_training(process.pid)
        parts = {part: [m for m in members if part in words(m)] for part in PARTS}
        assert all(parts.values()), parts
        assert len(parts["granian"]) >= 2, "the server and its worker"
        assert len(parts["celery"]) >= 3, "worker, its beat, trainer"
        process.kill()
        process.wait()
        until_gone(members)
    finally:
        if process.poll() is None:
            stop_stack(process)
        for member in alive(members):
            member.kill()
    assert not alive_of_folder(data), "a process that was started meanwhile"

    again, second = start_stack(data, own_port())
    try:
        client = client_of(Stack.of(data, second), tenant)
        wait_for(client, job.id, "running")
        client.fine_tuning.jobs.cancel(job.id)
        wait_for(client, job.id, "cancelled")
    finally:
        assert stop_stack(again) == 0
    assert not alive_of_folder(data)


def words(process: psutil.Process) -> str:
    try:
        return " ".join([process.name(), *process.cmdline()])
    except psutil.Error:
        return ""


def is_postgres(process: psutil.Process) -> bool:
    """It is a daemon and may stay: `up` on its folder takes it up (architecture.md)."""
    return "postgres" in words(process).split(" ", 1)[0]


def until_training(supervisor: int) -> set[psutil.Process]:
    """All of the stack's processes, as soon as its trainer's child is among them."""
    found: list[psutil.Process] = []

    def trains() -> bool:
        found[:] = psutil.Process(supervisor).children(recursive=True)
        return any("finetune.trainer" in words(process).split() for process in found)

    until(trains, "no training process was seen", pause=0.1)
    return {process for process in found if not is_postgres(process)}


def alive(processes: set[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and _status(p) != psutil.STATUS_ZOMBIE]


def _status(process: psutil.Process) -> str:
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return psutil.STATUS_ZOMBIE


def until_gone(processes: set[psutil.Process]) -> None:
    """The trainer writes its checkpoint first: as long as one after the other ends, we wait."""
    until(
        lambda: not alive(processes),
        "what was started lives on",
        moving=lambda: len(alive(processes)),
        said=lambda: f"{[words(process) for process in alive(processes)]}",
        pause=0.1,
    )


def alive_of_folder(data: Path) -> list[str]:
    """By their words or environment, whoever started them."""
    found = set()
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(data) in word for word in told):
            found.add(process)
    return [words(process) for process in alive(found) if not is_postgres(process)]
