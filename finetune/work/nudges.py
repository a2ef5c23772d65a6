"""Tells a worker, once the transaction is committed, that a row waits. A lost nudge loses nothing.

Messages hold ids only. The sweeper nudges again whatever still waits, so a broker that is down
delays work and never fails a request.
"""

import logging
from uuid import UUID

from celery import current_app
from django.db import transaction
from kombu.exceptions import ChannelError, OperationalError

from finetune.models.leased import Leased

EXPIRE_FILE = "finetune.tasks.expire_file"
TIDY_TENANT = "finetune.tasks.tidy_tenant"
SIGN_HEAD = "finetune.tasks.sign_head"

log = logging.getLogger(__name__)


def wake(model: type[Leased], tenant_id: UUID, key: UUID) -> None:
    """Nudges a worker to the leased row that waits under `key`."""
    nudge(task_of(model), tenant_id, key)


def task_of(model: type[Leased]) -> str:
    return f"finetune.tasks.{model.task}"


def nudge(task: str, tenant_id: UUID, row_id: UUID) -> None:
    """Sends the task when the open transaction commits; at once when none is open."""
    transaction.on_commit(lambda: _send(task, str(tenant_id), str(row_id)))


def depth(queue: str) -> int:
    """Messages that wait in the queue; 0 when it does not exist or the broker cannot say."""
    return _declared(queue)[0]


def takers(queue: str) -> int:
    """Workers that take from the queue; 0 when it does not exist or the broker cannot say, as one
    in files never can."""
    return _declared(queue)[1]


def _declared(queue: str) -> tuple[int, int]:
    try:
        with current_app.connection_or_acquire() as broker:
            found = broker.default_channel.queue_declare(queue, passive=True)
            return int(found.message_count), int(found.consumer_count)
    except (OperationalError, ChannelError, OSError) as error:
        log.info("the broker does not say what is in the queue %s: %s", queue, error)
        return 0, 0


def _send(task: str, *ids: str) -> None:
    try:
        current_app.send_task(task, args=list(ids), ignore_result=True)
    except (OperationalError, OSError) as error:
        log.warning("the broker took no nudge for %s %s: %s", task, ids[-1], error)
