"""A worker whose disk is full while it works, by a limit of the kernel's on what a file may hold,
which its children meet as well: the work waits, the file and the run's attempts are untouched, and
with room again it goes on by itself."""

import gzip
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from finetune.models import Artifact, Dataset, Job, Run
from finetune.services.files import datasets
from finetune.services.files.checking import CHECK
from finetune.services.jobs.validation import VALIDATE
from finetune.services.runs import publishing
from finetune.services.runs.training import TRAIN
from finetune.states import DatasetState, JobState, RunState
from finetune.work import perform as work
from finetune.workspace import in_use
from tenants.database.scope import tenant_scope
from tests.fixtures.jobs import Bench, chat_rows, jsonl, new_bench

pytestmark = [pytest.mark.usefixtures("committed"), pytest.mark.slow]


SHORT = {"n_epochs": 1}


@contextmanager
def room_for(most: int) -> Iterator[None]:
    """No file grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def bench(tiny_base: Path) -> Bench:
    return new_bench(tiny_base)


@pytest.mark.parametrize("packed", [False, True], ids=["in the worker", "in its child"])
def test_a_check_without_room_waits_and_refuses_no_file(bench: Bench, packed: bool) -> None:
    """What is packed fits where the worker lays it, and not where the child unpacks it."""
    rows = jsonl(chat_rows(800))
    file = bench.add_file(gzip.compress(rows) if packed else rows)
    with tenant_scope(bench.tenant.id):
        reading = datasets.request_check(file=file)
    assert len(gzip.compress(rows)) < 30_000 < len(rows)

    with room_for(30_000):
        work.perform(CHECK, tenant_id=bench.tenant.id, key=reading.id)
    with tenant_scope(bench.tenant.id):
        waiting = Dataset.objects.get(id=reading.id)
        assert waiting.state == DatasetState.PENDING
        assert "disk is full" in str(waiting.error)
        Dataset.objects.update(not_before=None)
    assert in_use(settings.WORK_DIR) == []

    work.perform(CHECK, tenant_id=bench.tenant.id, key=reading.id)
    with tenant_scope(bench.tenant.id):
        assert Dataset.objects.get(id=reading.id).state == DatasetState.READY


@pytest.mark.parametrize("when", ["preparing", "training", "packaging"])
def test_a_run_without_room_waits_and_loses_no_attempt(
    bench: Bench, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = bench.create(rows=60, hyperparameters=SHORT)
    work.perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    full = {"preparing": 5_000, "training": 30_000, "packaging": 100_000}[when]
    with monkeypatch.context() as patch:
        if when == "packaging":  # the bundle is larger than its files, the optimizer's larger still
            publish = publishing.publish

            def publish_without_room(*arguments: Any) -> None:
                with room_for(full):
                    publish(*arguments)

            patch.setattr(publishing, "publish", publish_without_room)
            perform(bench, job)
        else:
            with room_for(full):
                perform(bench, job)
    with tenant_scope(bench.tenant.id):
        run = Run.objects.get(job=job)
        assert (run.state, run.attempts) == (RunState.WAITING, 0)
        assert "disk is full" in run.wait_reason
        assert not Artifact.objects.exists()
        Run.objects.update(not_before=None)
    assert bench.job(job).state == JobState.QUEUED
    assert in_use(settings.WORK_DIR) == []

    perform(bench, job)
    assert bench.job(job).state == JobState.SUCCEEDED, bench.messages(job)


def perform(bench: Bench, job: Job) -> None:
    work.perform(TRAIN, tenant_id=bench.tenant.id, key=job.id)
