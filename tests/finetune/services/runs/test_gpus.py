"""A run that began on a GPU is not claimed by a worker without one, and says what it waits for."""

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from finetune import phases
from finetune.families.placement import device
from finetune.models import Event, Job, Machine, Run
from finetune.services.jobs.validation import VALIDATE
from finetune.services.runs import gpus
from finetune.services.runs.training import TRAIN
from finetune.states import JobState, RunState
from finetune.work import devices
from finetune.work.devices import Gpu
from finetune.work.perform import perform
from tenants.database.scope import tenant_scope
from tests.fixtures.jobs import Bench

AMPERE, TURING = Gpu(device="cuda", bf16=True, free=8 << 30), Gpu(device="cuda", free=4 << 30)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_told", None)
    monkeypatch.setattr(devices, "NODES", ())


def begun(bench: Bench, precision: str) -> Job:
    """A job whose run has begun on a GPU."""
    made = bench.create()
    perform(VALIDATE, tenant_id=bench.tenant.id, key=made.id)
    with tenant_scope(bench.tenant.id):
        job = Job.objects.get(id=made.id)
        machine: dict[str, Any] = {"device": "cuda", "precision": precision, "threads": 1}
        job.resolved = {**(job.resolved or {}), "machine": machine}
        job.save()
    return job


def waited(bench: Bench, job: Job) -> list[str]:
    for _ in range(settings.RUN_ATTEMPTS + 1):
        perform(TRAIN, tenant_id=bench.tenant.id, key=job.id)
    with tenant_scope(bench.tenant.id):
        run = Run.objects.get(job=job)
        said = Event.objects.filter(job=job, code="job_waits").order_by("seq")
        told = [event.data["waits_for"] for event in said]
        phase = phases.of(Job.objects.get(id=job.id))
    assert (run.state, run.attempts, run.epoch) == (RunState.WAITING, 0, 0), "never claimed"
    assert bench.job(job).state == JobState.QUEUED
    assert phase is not None
    assert "the training began" in phase.text
    return told


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_without_any_gpu_it_waits_and_is_never_claimed(bench: Bench, precision: str) -> None:
    assert waited(bench, begun(bench, precision)) == ["no_gpu"]


def test_while_another_worker_has_the_gpu_it_says_that_it_goes_on_there(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = begun(bench, "bf16")
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(devices, "gpu", lambda: AMPERE)
        gpus.tell()
    assert waited(bench, job) == ["gpu_elsewhere"]


def test_a_gpu_that_nobody_told_of_for_long_is_gone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = begun(bench, "fp32")
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(devices, "gpu", lambda: AMPERE)
        gpus.tell()
    Machine.objects.update(seen_at=timezone.now() - gpus.LIVES - timedelta(seconds=1))
    assert waited(bench, job) == ["no_gpu"]


def test_an_older_gpu_does_for_fp32_alone_and_all_workers_say_so_alike(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = begun(bench, "bf16")
    with monkeypatch.context() as older:
        older.setattr(devices, "gpu", lambda: TURING)
        gpus.tell()
        assert waited(bench, job) == ["no_bf16"]
        assert gpus.lack_of(bench.tenant.id, begun(bench, "fp32").id) is None
    assert waited(bench, job) == ["no_bf16"], "said once, whichever worker looks"


def test_a_job_that_has_not_begun_takes_what_there_is(bench: Bench) -> None:
    made = bench.create()
    perform(VALIDATE, tenant_id=bench.tenant.id, key=made.id)
    assert gpus.lack_of(bench.tenant.id, made.id) is None


def test_a_child_of_its_own_says_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices.ask().device == device()
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert devices.ask() == devices.NONE


def test_without_a_driver_no_child_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "ask", None)  # calling it would be a fault of ours
    assert devices.gpu() == devices.NONE
