"""Moves a job's state: the one place where that happens. A step and its event are one
transaction."""

import logging
from typing import Any

from django.db import transaction
from django.utils import timezone

from faults import OurFault
from finetune.events import Message
from finetune.models import Job, Pipeline, Stage
from finetune.states import FINAL_JOB_STATES, JOB_STEPS, JobState
from finetune.storage import delete_prefix, judgements_prefix
from finetune.work import nudges
from finetune.work.history import lock_job, note, take_over, write
from tenants.services.vaults import open_vault
from tenants.vault.errors import VaultError

log = logging.getLogger(__name__)

__all__ = ["lock_job", "note", "step", "take_over"]


def step(job: Job, to: JobState, message: Message, **changes: Any) -> Job:
    """Moves the job to `to`, with the columns in `changes`, and says so in its history.

    Returns the locked row. Raises OurFault `step_not_allowed` when JOB_STEPS has no such step.
    """
    locked = lock_job(job.id)
    if to not in JOB_STEPS[JobState(locked.state)]:
        raise OurFault("step_not_allowed", f"A {locked.state} job cannot become {to.value}.")
    now = timezone.now()
    locked.state = to
    if to == JobState.RUNNING and locked.started_at is None:
        locked.started_at = now
    if to in FINAL_JOB_STATES:
        locked.finished_at = now
        locked.estimated_finish = None
        _wake_pipeline(locked)
        if locked.requested.get("grader"):
            _forget_judgements(locked)
    return write(locked, [message.entry()], changes)


def _forget_judgements(job: Job) -> None:
    """What models said of its answers, kept while a step might be done again. Best effort: nothing
    names these objects, and what is left the daily round deletes."""
    try:
        vault = open_vault()
    except VaultError:
        return  # the customer's key is gone, and with it all that it opened

    def destroy() -> None:
        try:
            delete_prefix(vault, judgements_prefix(job.id))
        except VaultError as error:
            log.warning("judgements of %s stay for now: %s", job.public_id, error)

    transaction.on_commit(destroy)


def _wake_pipeline(job: Job) -> None:
    """Of whose stages the job is one: the next step is due."""
    found = Stage.objects.filter(job=job).values_list("pipeline_id", flat=True).first()
    if found is not None:
        nudges.wake(Pipeline, job.tenant_id, found)
