"""Tells a worker, once the transaction is committed, that a row waits. A lost nudge loses nothing.

Messages hold ids only. The sweeper nudges again whatever still waits, so a broker that is down
delays work and never fails a request.
"""

import logging
from uuid import UUID

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

RUN_JOB = "finetune.tasks.run_job"
VALIDATE_JOB = "finetune.tasks.validate_job"
CHECK_DATASET = "finetune.tasks.check_dataset"
EXPIRE_FILE = "finetune.tasks.expire_file"

log = logging.getLogger(__name__)


def nudge(task: str, tenant_id: UUID, row_id: UUID) -> None:
    """Sends the task when the open transaction commits; at once when none is open."""
    transaction.on_commit(lambda: _send(task, str(tenant_id), str(row_id)))


def _send(task: str, *ids: str) -> None:
    try:
        current_app.send_task(task, args=list(ids), ignore_result=True)
    except (OperationalError, OSError) as error:
        log.warning("the broker took no nudge for %s %s: %s", task, ids[-1], error)
