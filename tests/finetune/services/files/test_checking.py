"""A check under its lease: a lost worker's is done again, ours is tried a bounded number of times,
and a late result changes nothing."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.utils import timezone

from faults import OurFault, UserFault
from finetune.models import Dataset
from finetune.services.files import checking, datasets
from finetune.services.files.checking import CHECK
from finetune.services.jobs import validation
from finetune.services.jobs.validation import VALIDATE
from finetune.states import DatasetState, JobState
from finetune.work import leases, nudges
from finetune.work.kinds import Lease
from finetune.work.perform import perform, shutdown
from finetune.workspace import in_use
from tenants.database.scope import tenant_scope
from tenants.services.vaults import open_vault
from tests.fixtures.jobs import Bench, chat_rows, jsonl


def asked(bench: Bench) -> Dataset:
    file = bench.add_file(jsonl(chat_rows(3)), status="uploaded")
    with tenant_scope(bench.tenant.id):
        return datasets.request_check(file=file)


def now(dataset: Dataset) -> Dataset:
    with tenant_scope(dataset.tenant_id):
        return Dataset.objects.select_related("file").get(id=dataset.id)


def change(dataset: Dataset, **columns: Any) -> None:
    with tenant_scope(dataset.tenant_id):
        Dataset.objects.filter(id=dataset.id).update(**columns)


def check(dataset: Dataset) -> Dataset:
    perform(CHECK, tenant_id=dataset.tenant_id, key=dataset.id)
    return now(dataset)


def broken(*_: Any, **__: Any) -> None:
    raise OurFault("check_crashed", "The check ended with exit code 1.")


def in_the_child(monkeypatch: pytest.MonkeyPatch, happens: Callable[..., Any]) -> None:
    """Before the real check begins."""
    real = checking.check_in_child

    def instead(*args: Any, **options: Any) -> Any:
        happens()
        return real(*args, **options)

    monkeypatch.setattr(checking, "check_in_child", instead)


def test_a_killed_workers_check_is_done_again_and_its_late_result_goes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the old code, without an epoch, the worker presumed dead could still write."""
    dataset = asked(bench)
    kept: list[Dataset] = []

    def presumed_dead() -> None:
        if kept:
            return
        kept.append(dataset)
        change(dataset, lease_until=timezone.now() - timedelta(seconds=1))
        leases.reap(CHECK, tenant_id=dataset.tenant_id, row_id=dataset.id)
        kept[0] = check(dataset)  # another worker, meanwhile

    in_the_child(monkeypatch, presumed_dead)
    late = check(dataset)
    assert (kept[0].state, kept[0].epoch) == (DatasetState.READY, 2)
    assert late.rows_object == kept[0].rows_object
    with tenant_scope(bench.tenant.id):
        stored = [name for name in open_vault().list() if name.startswith("datasets/")]
    assert sorted(stored) == sorted([late.rows_object, late.errors_object])
    assert in_use(settings.WORK_DIR) == []


def test_a_check_that_breaks_is_tried_again_before_it_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the old code the first fault of ours refused the file."""
    dataset = asked(bench)
    with monkeypatch.context() as patch:
        patch.setattr(checking, "check_in_child", broken)
        for attempt in range(1, settings.RUN_ATTEMPTS):
            waiting = check(dataset)
            assert (waiting.state, waiting.attempts) == (DatasetState.PENDING, attempt)
            assert waiting.file.status == "uploaded"
            change(dataset, not_before=None)
        refused = check(dataset)
    assert refused.state == DatasetState.REFUSED
    assert (refused.error["family"], refused.error["code"]) == ("ours", "check_crashed")
    assert refused.file.status == "error"

    with tenant_scope(bench.tenant.id):  # whoever asks again gets all its attempts again
        again = datasets.request_check(file=refused.file)
    assert (again.state, again.attempts, again.error) == (DatasetState.PENDING, 0, None)
    assert check(again).state == DatasetState.READY


def test_a_worker_that_shuts_down_gives_its_check_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = asked(bench)
    with monkeypatch.context() as patch:
        in_the_child(patch, lambda: patch.setattr(shutdown, "asked", True))
        given_back = check(dataset)
    assert (given_back.state, given_back.attempts) == (DatasetState.PENDING, 0)
    assert given_back.not_before is None
    assert check(dataset).state == DatasetState.READY


def test_a_validation_that_breaks_is_tried_again_and_then_the_job_fails_with_the_cause(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the old code it was begun anew at every sweep, for ever, and the job said nothing."""
    job = bench.create()

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(validation.resolution, "resolve", fail)
    for _ in range(settings.RUN_ATTEMPTS):
        assert bench.job(job).state == JobState.VALIDATING_FILES
        perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
        with tenant_scope(bench.tenant.id):
            job.validations.update(not_before=None)
    assert bench.job(job).state == JobState.FAILED
    assert bench.job(job).error["code"] == "internal_error"
    tried = [each for each in bench.messages(job) if "will be tried again" in each]
    assert len(tried) == settings.RUN_ATTEMPTS - 1


def test_a_tenants_slow_checks_leave_workers_to_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four rows that took minutes each once held all four threads, and everybody's files waited."""
    woken: list[UUID] = []
    monkeypatch.setattr(nudges, "wake", lambda _model, _tenant, key: woken.append(key))
    *slow, waiting = [asked(bench) for _ in range(settings.CHECKS_AT_ONCE + 1)]

    def claim(dataset: Dataset) -> Lease | None:
        return leases.claim(CHECK, tenant_id=dataset.tenant_id, key=dataset.id, worker="w")

    held = [claim(dataset) for dataset in slow]
    assert all(held)
    assert claim(waiting) is None
    assert now(waiting).state == DatasetState.PENDING  # and it lost no attempt
    assert now(waiting).attempts == 0
    change(slow[0], lease_until=timezone.now() - timedelta(seconds=1))  # a dead worker holds none
    assert claim(waiting) is not None
    later = asked(bench)
    woken.clear()
    leases.fail(held[1], fault=UserFault("limit_time", "The check took too long."))  # type: ignore[arg-type]
    assert woken == [later.id]
