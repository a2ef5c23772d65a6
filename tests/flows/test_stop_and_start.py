"""A stack that is stopped in the middle of a run, in good order or by kill -9 of its supervisor,
leaves none of its processes, and goes on with the run when it is started again."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from openai import OpenAI

from tests.fixtures.ports import own_port
from tests.fixtures.stack import ODD, Stack, a_stack, stop_stack
from tests.fixtures.waiting import until
from tests.flows.test_main_job import client_of, long_job, wait_for, wait_for_metrics

pytestmark = pytest.mark.slow

PARTS = ("granian", "celery", "finetune.serving", "finetune.trainer", "keeper.py")
RESUMED = "Resumed from step "


def test_a_stopped_or_killed_stack_goes_on_where_it_was_and_never_without_its_keys(
    tmp_path: Path, tiny_base: Path
) -> None:
    """Same key, same data, and the run continues. It is long enough to be in its middle however
    late this process looks, and is not waited out."""
    data = tmp_path / ODD
    with a_stack(data, tiny_base) as (stack, process):
        tenant = stack.new_tenant("stop")
        client = client_of(stack, tenant)
        job = long_job(client)
        wait_for_metrics(client, job.id)
        assert stop_stack(process) == 0
    assert not alive_of_folder(data)

    with a_stack(data, None) as (stack, process):
        client = client_of(stack, tenant)
        resumed = until_resumed(client, job.id)
        kill_9(process)
    assert not alive_of_folder(data), "a process that was started meanwhile"

    with a_stack(data, None) as (stack, process):
        client = client_of(stack, tenant)
        until_resumed(client, job.id, before=resumed)
        client.fine_tuning.jobs.cancel(job.id)
        wait_for(client, job.id, "cancelled")
        events = list(client.fine_tuning.jobs.list_events(job.id, limit=100))
        steps = [event.data["step"] for event in events if event.type == "metrics"]
        assert len(steps) == len(set(steps)), "a step was reported twice"
        assert stop_stack(process) == 0
    assert not alive_of_folder(data)
    for name in ("master.json", "signing.pem"):
        refuses_to_start_without(data / "secrets" / name, stack)


def until_resumed(client: OpenAI, job_id: str, *, before: int = 0) -> int:
    """Once more than so often, and it has told of a step since; how often in all."""

    def resumed() -> int:
        events = client.fine_tuning.jobs.list_events(job_id, limit=100)
        return sum(event.message.startswith(RESUMED) for event in events)

    until(lambda: resumed() > before, "the run did not go on", moving=resumed, pause=1)
    wait_for_metrics(client, job_id, after=RESUMED)
    return resumed()


def kill_9(supervisor: "subprocess.Popen[str]") -> None:
    """All parts of the stack are there before, and none of them is after."""
    members = until_training(supervisor.pid)
    try:
        parts = {part: [m for m in members if part in words(m)] for part in PARTS}
        assert all(parts.values()), parts
        assert len(parts["granian"]) >= 2, "the server and its worker"
        assert len(parts["celery"]) >= 3, "worker, its beat, trainer"
        supervisor.kill()
        supervisor.wait()
        until_gone(members)
    finally:
        if supervisor.poll() is None:
            stop_stack(supervisor)
        for member in alive(members):
            member.kill()


def refuses_to_start_without(key: Path, stack: Stack) -> None:
    """And makes no other, which would open nothing."""
    kept = key.rename(key.with_suffix(".elsewhere"))
    command = [sys.executable, "-m", "privatune.cli", "up", "--data", str(stack.data)]
    done = subprocess.run(
        [*command, "--port", str(own_port())],
        env=stack.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert str(key) in done.stderr
    assert "Traceback" not in done.stderr
    assert not key.exists()
    kept.rename(key)


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
