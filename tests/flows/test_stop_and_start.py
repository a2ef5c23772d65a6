"""A stack that is stopped in the middle of a run goes on with it when it is started again."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.ports import own_port
from tests.fixtures.stack import ODD, Stack, a_stack, stop_stack
from tests.flows.test_main_job import client_of, long_job, wait_for, wait_for_metrics

pytestmark = pytest.mark.slow


def test_a_stopped_stack_goes_on_where_it_was_and_never_without_its_keys(
    tmp_path: Path, tiny_base: Path
) -> None:
    """SIGTERM in the middle of a run, start again: same key, same data, the run continues. It is
    long enough to be in its middle however late this process looks, and is not waited out."""
    data = tmp_path / ODD
    with a_stack(data, tiny_base) as (stack, process):
        tenant = stack.new_tenant("stop")
        client = client_of(stack, tenant)
        job = long_job(client)
        wait_for_metrics(client, job.id)
        assert stop_stack(process) == 0
    with a_stack(data, None) as (stack, _process):
        client = client_of(stack, tenant)
        wait_for_metrics(client, job.id, after="Resumed from step ")
        client.fine_tuning.jobs.cancel(job.id)
        wait_for(client, job.id, "cancelled")
        events = list(client.fine_tuning.jobs.list_events(job.id, limit=100))
        steps = [event.data["step"] for event in events if event.type == "metrics"]
        assert len(steps) == len(set(steps)), "a step was reported twice"
    for name in ("master.json", "signing.pem"):
        refuses_to_start_without(data / "secrets" / name, stack)


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
