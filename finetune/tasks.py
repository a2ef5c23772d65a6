"""Celery's side: tasks take ids, call one service, and may come late, twice or never.

Run the training worker as `celery -A privatune.celery_app worker -Q train --pool threads -c 1`:
with this pool the process that gets SIGTERM supervises the training itself, and lets it yield.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast
from uuid import UUID

from celery import shared_task
from celery.signals import worker_ready, worker_shutting_down

from finetune.services import (
    attempt,
    datasets,
    intake,
    isolation,
    orphans,
    sweeping,
    trail,
    validation,
)

Task = TypeVar("Task", bound=Callable[..., None])


def task(name: str) -> Callable[[Task], Task]:
    """Celery's decorator with a type. Names are fixed: they stand in messages and in the routes."""
    return cast(Callable[[Task], Task], shared_task(name=f"finetune.tasks.{name}"))


@task("run_job")
def run_job(tenant_id: str, job_id: str) -> None:
    attempt.perform(tenant_id=UUID(tenant_id), job_id=UUID(job_id))


@task("validate_job")
def validate_job(tenant_id: str, job_id: str) -> None:
    validation.validate(tenant_id=UUID(tenant_id), job_id=UUID(job_id))


@task("check_dataset")
def check_dataset(tenant_id: str, dataset_id: str) -> None:
    datasets.perform_check(tenant_id=UUID(tenant_id), dataset_id=UUID(dataset_id))


@task("expire_file")
def expire_file(tenant_id: str, file_id: str) -> None:
    intake.expire_file(tenant_id=UUID(tenant_id), file_id=UUID(file_id))


@task("tidy_tenant")
def tidy_tenant(tenant_id: str, _row_id: str) -> None:
    intake.tidy_tenant(tenant_id=UUID(tenant_id))


@task("sign_head")
def sign_head(tenant_id: str, _row_id: str) -> None:
    trail.sign_head(tenant_id=UUID(tenant_id))


@task("sign_heads")
def sign_heads() -> None:
    trail.sign_heads()


@task("remove_orphans")
def remove_orphans() -> None:
    orphans.remove_orphans()


@task("sweep")
def sweep() -> None:
    sweeping.sweep()


def _tidy_at_start(**_: Any) -> None:
    isolation.say()
    sweeping.tidy()


def _yield_the_run(**_: Any) -> None:
    # Runs inside the signal handler: set the flag and nothing else.
    attempt.shutdown.asked = True


worker_ready.connect(_tidy_at_start)
worker_shutting_down.connect(_yield_the_run)
