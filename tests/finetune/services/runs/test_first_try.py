"""Everybody's first job, ten rows in one step, from its request to its artifact or its error."""

from pathlib import Path

import pytest

from finetune.models import Artifact
from finetune.services.jobs.validation import VALIDATE
from finetune.services.runs.training import TRAIN
from finetune.states import JobState
from finetune.work.perform import perform
from tenants.database.scope import tenant_scope
from tests.fixtures.jobs import Bench, new_bench

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("committed")]


@pytest.fixture
def bench(committed: None, tiny_base: Path) -> Bench:
    """The trainer's heartbeat has a connection of its own, which must see the rows."""
    return new_bench(tiny_base)


def test_one_step_succeeds_and_changes_the_model(bench: Bench) -> None:
    job = bench.create(rows=10, hyperparameters={"n_epochs": 1, "batch_size": 16})
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    perform(TRAIN, tenant_id=bench.tenant.id, key=job.id)
    ended = bench.job(job)
    assert (ended.state, ended.error) == (JobState.SUCCEEDED, None)
    with tenant_scope(bench.tenant.id):
        artifact = Artifact.objects.get(job=job)
    assert artifact.report["steps"] == 1
    assert artifact.passport["parity"]["adapter"]["moved"] > 0.01


def test_a_rate_that_changes_nothing_is_the_customers_to_raise(bench: Bench) -> None:
    asked = {"n_epochs": 1, "batch_size": 16, "learning_rate_multiplier": 1e-30}
    job = bench.create(rows=10, hyperparameters=asked)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    perform(TRAIN, tenant_id=bench.tenant.id, key=job.id)
    ended = bench.job(job)
    assert ended.state == JobState.FAILED
    assert ended.error["code"] == "adapter_unchanged"
    assert ended.error["param"] == "learning_rate_multiplier"
