"""Moves a job's state: the one place where that happens. A step and its event are one
transaction."""

from typing import Any

from django.utils import timezone

from faults import OurFault
from finetune.events import Message
from finetune.models import Job, Pipeline, Stage
from finetune.states import FINAL_JOB_STATES, JOB_STEPS, JobState
from finetune.work import nudges
from finetune.work.history import lock_job, note, take_over, write

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
    return write(locked, [message.entry()], changes)


def _wake_pipeline(job: Job) -> None:
    """Of whose stages the job is one: the next step is due."""
    found = Stage.objects.filter(job=job).values_list("pipeline_id", flat=True).first()
    if found is not None:
        nudges.wake(Pipeline, job.tenant_id, found)
