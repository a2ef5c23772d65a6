"""A job that no known machine can hold, or its licence pay, is refused with what would fit."""

from datetime import timedelta

import pytest
from django.utils import timezone

from finetune.models import Job, Machine
from finetune.services.jobs import fit
from finetune.services.jobs.fit import Size
from finetune.services.jobs.needs import longest_row
from finetune.services.jobs.needs import need_mb as needs_mb
from finetune.services.jobs.validation import VALIDATE
from finetune.states import JobState
from finetune.work.perform import perform
from tenants.database.scope import tenant_scope
from tenants.services.licences import change_license
from tests.fixtures.jobs import Bench

WIDE = {"r": 256, "alpha": 512}


@pytest.fixture(autouse=True)
def unknown(bench: Bench) -> None:
    """Machines that other tests committed are none of these."""
    Machine.objects.all().delete()


def validated(bench: Bench, **changes: object) -> Job:
    job = bench.create(hyperparameters={"n_epochs": 4, "batch_size": 4}, **changes)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    return bench.job(job)


def need_mb(bench: Bench, job: Job, r: int) -> float:
    """Of the least way on a CPU."""
    with tenant_scope(bench.tenant.id):
        found = Job.objects.select_related("base", "training_data").get(id=job.id)
        machine = Machine(place="p", device="cpu", memory_mb=0)
        return fit._surely(found, machine, Size(longest_row(found), r)) / (1 << 20)


@pytest.mark.parametrize("room", ["too little", "enough", "long ago"])
def test_a_job_that_no_known_machine_holds_fails_with_the_rank_that_would_fit(
    bench: Bench, room: str
) -> None:
    plain = validated(bench, adapter=WIDE)
    assert plain.state == JobState.QUEUED, "no machine is known"
    wide, half = need_mb(bench, plain, 256), need_mb(bench, plain, 128)
    assert half + 2 < wide
    Machine.objects.create(
        place="cpu", device="cpu", memory_mb=int(wide) + 1 if room == "enough" else int(half) + 1
    )
    if room == "long ago":
        Machine.objects.update(seen_at=timezone.now() - timedelta(days=31))
    job = validated(bench, adapter=WIDE)
    if room != "too little":
        assert job.state == JobState.QUEUED
        return
    assert (job.state, job.error["code"]) == (JobState.FAILED, "job_too_large")
    assert "`adapter.r` 128 would fit" in job.error["fix"]


def test_a_base_that_is_too_large_by_itself_says_to_choose_a_smaller_one(bench: Bench) -> None:
    Machine.objects.create(place="cpu", device="cpu", memory_mb=0)
    job = validated(bench)
    assert job.error["code"] == "job_too_large"
    assert job.error["fix"] == "Choose a smaller base model."


def test_a_budget_that_is_too_small_names_the_epochs_that_it_pays(bench: Bench) -> None:
    whole = validated(bench).resolved["trained_tokens"]
    with tenant_scope(bench.tenant.id):
        Job.objects.update(state=JobState.CANCELLED)
        change_license(
            tenant_id=bench.tenant.id, license_id=bench.license.id, actor="t",
            token_budget=whole - 1,
        )  # fmt: skip
    job = validated(bench)
    assert job.error["code"] == "license_required"
    assert "Lower `n_epochs` to 3" in job.error["fix"]


def test_what_an_older_version_chose_on_a_machine_needs_what_the_trainer_takes_unasked(
    bench: Bench,
) -> None:
    """It chose precision and device alone; such a run's end tells its need, too."""
    job = validated(bench)
    with tenant_scope(bench.tenant.id):
        found = Job.objects.select_related("base", "training_data").get(id=job.id)
        older = {"precision": "fp32", "device": "cpu", "threads": 1}
        unasked = {"gradient_checkpointing": False, "micro_batch_tokens": 2048}
        assert needs_mb(found, older) == needs_mb(found, older | unasked)
