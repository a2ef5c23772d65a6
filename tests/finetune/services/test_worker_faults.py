"""A worker that lacks something itself fails nobody's job: the runs wait, and it says so."""

from pathlib import Path
from typing import Any

import pytest

from finetune.models import Run
from finetune.services import attempt, validation
from finetune.states import JobState, RunState
from tenants.database.scope import tenant_scope
from tests.fixtures.jobs import Bench


@pytest.mark.parametrize("lack", ["model", "key"])
def test_a_worker_without_model_or_key_costs_no_job_an_attempt(
    bench: Bench, tmp_path: Path, settings: Any, lack: str
) -> None:
    """On the old code a few calls of a worker with an empty model store failed the job."""
    made = bench.create()
    validation.validate(tenant_id=bench.tenant.id, job_id=made.id)
    assert bench.job(made).state == JobState.QUEUED
    if lack == "model":
        settings.MODEL_STORE = tmp_path / "empty"
    else:
        settings.SIGNING_KEY_FILE = tmp_path / "absent.pem"
    for _ in range(settings.RUN_ATTEMPTS + 2):
        with tenant_scope(bench.tenant.id):
            Run.objects.filter(job=made).update(not_before=None)
        attempt.perform(tenant_id=bench.tenant.id, job_id=made.id)
    assert bench.job(made).state == JobState.QUEUED
    with tenant_scope(bench.tenant.id):
        run = Run.objects.get(job=made)
    assert (run.state, run.attempts, run.epoch) == (RunState.WAITING, 0, 0)
    assert "the worker" in run.wait_reason
    waiting = [message for message in bench.messages(made) if message.startswith("Waiting: ")]
    assert len(waiting) == 1, "said once"
