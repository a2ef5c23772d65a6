"""Celery's side: tasks take ids, call one service, and may come late, twice or never.

Run the training worker as `celery -A privatune.celery_app worker -Q train --pool threads -c 1`:
with this pool the process that gets SIGTERM supervises the training itself, and lets it yield.
"""

import logging
import time
from collections.abc import Callable
from threading import Thread
from typing import Any, TypeVar, cast
from uuid import UUID

from celery import shared_task
from celery.signals import worker_ready, worker_shutting_down
from django.db import Error as DatabaseError
from django.db import connection

from faults import Fault
from finetune.events.waits import Wait
from finetune.services import sweeping, trail
from finetune.services.files import intake, orphans
from finetune.services.kinds import KINDS
from finetune.services.runs import gpus
from finetune.services.runs.training import TRAIN
from finetune.work import fitness, isolation, leases, nudges
from finetune.work.kinds import Kind
from finetune.work.perform import perform, shutdown
from finetune.work.sweeping import due

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0  # between two looks of a worker at itself

Task = TypeVar("Task", bound=Callable[..., None])


def task(name: str) -> Callable[[Task], Task]:
    """Celery's decorator with a type. Names are fixed: they stand in messages and in the routes."""
    return cast(Callable[[Task], Task], shared_task(name=f"finetune.tasks.{name}"))


def _register(kind: Kind) -> None:
    """The task of a kind of leased work: its message holds the tenant and the row's key."""

    @task(kind.model.task)
    def work(tenant_id: str, key: str) -> None:
        perform(kind, tenant_id=UUID(tenant_id), key=UUID(key))


for each in KINDS:
    _register(each)


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


class Subscription:
    """Takes the worker off the queue of trainings while it lacks what each of them needs: it would
    only take the nudges away from a worker that is whole."""

    def __init__(self, consumer: Any) -> None:
        self.consumer = consumer
        self.lack: Wait | None = None
        self._told = -gpus.TELL_SECONDS
        self._waiting: set[UUID] = set()  # rows that were told of the lack

    def look(self) -> None:
        lack = fitness.lack()
        if lack and not self.lack:
            log.error("this worker takes no trainings: %s", lack.text)
            self.consumer.call_soon(self.consumer.cancel_task_queue, TRAIN.model.queue)
        elif self.lack and not lack:
            log.info("this worker takes trainings again")
            self.consumer.call_soon(self.consumer.add_task_queue, TRAIN.model.queue)
        if lack != self.lack:
            self._waiting.clear()
        self.lack = lack

    def watch(self) -> None:
        while True:
            self.look()
            try:
                self.tell()
            except (DatabaseError, Fault) as error:
                log.warning("what this worker has and lacks could not be noted: %s", error)
            finally:
                connection.close()
            time.sleep(LOOK_SECONDS)

    def tell(self) -> None:
        """Notes what others should know of this worker."""
        self._tell_of_gpu()
        self._tell_of_lack()

    def _tell_of_gpu(self) -> None:
        """So that a worker without one knows whether another has it."""
        if time.monotonic() - self._told >= gpus.TELL_SECONDS:
            self._told = time.monotonic()
            gpus.tell()

    def _tell_of_lack(self) -> None:
        """So that who waits reads why, where no other worker takes trainings either: without one,
        nobody takes the nudge that would find it out."""
        if self.lack is None or nudges.takers(TRAIN.model.queue):
            return
        for row in due(TRAIN):
            if not row.expired and row.row_id not in self._waiting:
                where = {"tenant_id": row.tenant_id, "key": row.key}
                leases.postpone(TRAIN, **where, reason=self.lack, seconds=0)
                self._waiting.add(row.row_id)


def _tidy_at_start(sender: Any, **_: Any) -> None:
    isolation.say()
    if TRAIN.model.queue in sender.app.amqp.queues.consume_from:
        subscription = Subscription(sender)
        Thread(target=subscription.watch, name="subscription", daemon=True).start()
    sweeping.tidy()


def _yield_the_run(**_: Any) -> None:
    # Runs inside the signal handler: set the flag and nothing else.
    shutdown.asked = True


worker_ready.connect(_tidy_at_start)
worker_shutting_down.connect(_yield_the_run)
