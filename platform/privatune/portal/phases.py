"""How far a job is, in the person's language: what it waits for, or does now."""

from collections.abc import Callable
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext

from finetune import events
from finetune.models import Event, Job, Run, Validation
from finetune.states import JobState, LeaseState
from privatune.portal import history
from privatune.templatetags.figures import grouped
from tenants.states import FileStatus

SHOWN_OF_RUN = (
    events.JobStarted.code,
    events.JobContinued.code,
    events.ReadingGoesOn.code,
    events.TrainingPlanned.code,
    events.BaseEvaluated.code,
    events.ValidationGoesOn.code,
    events.StepDone.code,
    events.StepResumed.code,
    events.TrainingDone.code,
)
WAITS = (events.JobWaits.code, events.JobRetried.code)


def told(job: Job) -> str:
    """Empty for a job of which its state says all."""
    if job.state == JobState.RUNNING and job.cancel_requested_at:
        return gettext("The training is being stopped.")
    if job.state == JobState.RUNNING and job.pause_requested_at:
        return gettext("The training stops as soon as a checkpoint is written.")
    of_state: dict[str, Callable[[Job], str]] = {
        JobState.VALIDATING_FILES: _validating,
        JobState.QUEUED: _queued,
        JobState.RUNNING: _running,
        JobState.PAUSED: _paused,
    }
    tell = of_state.get(job.state)
    return tell(job) if tell else ""


def _validating(job: Job) -> str:
    for file in (job.training_file, job.validation_file):
        if file is not None and file.status == FileStatus.UPLOADED:
            return gettext("Waiting for the check of %(file)s.") % {"file": file.filename}
    held = Validation.objects.filter(job=job, state=LeaseState.LEASED)
    if held.exists():
        return gettext("The data is being read for the model.")
    return gettext("Waiting for a worker to read the data.")


def _queued(job: Job) -> str:
    run = Run.objects.filter(job=job, state=LeaseState.WAITING).first()
    if run is not None and run.not_before is not None and run.not_before > timezone.now():
        last = Event.objects.filter(job=job, code__in=WAITS).order_by("-seq").first()
        if last is not None:
            return history.told(last)
    return gettext("Waiting for a worker; place in your organisation's queue: %(place)s.") % {
        "place": _place(run) if run is not None else 1
    }


def _paused(job: Job) -> str:
    held = not Run.objects.filter(job=job).exists()
    return gettext("Ready, and held: it starts when you say so.") if held else ""


def _place(run: Run) -> int:
    """Among the tenant's own runs; how many of others wait is theirs to know."""
    before = Run.objects.filter(state=LeaseState.WAITING, created_at__lt=run.created_at)
    return before.count() + 1


def _running(job: Job) -> str:
    found = Event.objects.filter(job=job, code__in=SHOWN_OF_RUN)
    last = found.order_by("-seq").first()
    message = events.read(last.code, last.data) if last is not None else None
    steps = found.filter(code=events.StepDone.code).order_by("-seq").first()
    figures: dict[str, Any] = steps.data if steps is not None else {}
    match message:
        case events.ReadingGoesOn(rows=rows, of=of):
            values = {"rows": grouped(rows), "of": grouped(of)}
            return gettext("Reading the data: row %(rows)s of %(of)s.") % values
        case events.TrainingPlanned() if job.validation_file_id and not figures:
            return gettext("Evaluating the base model.")
        case events.ValidationGoesOn(rows=rows, of=of):
            values = {"rows": grouped(rows), "of": grouped(of)}
            if figures:
                return gettext("Evaluating: row %(rows)s of %(of)s.") % values
            return gettext("Evaluating the base model: row %(rows)s of %(of)s.") % values
        case events.TrainingDone():
            return gettext("Packaging: the model is written, compared and signed.")
        case events.TrainingPlanned() | events.BaseEvaluated() | events.StepDone():
            return _step(job, figures)
        case events.StepResumed():
            return _step(job, figures)
    return gettext("Preparing: the data and the base model are being loaded.")


def _step(job: Job, figures: dict[str, Any]) -> str:
    step, total = figures.get("step", 0), figures.get("total_steps") or job.total_steps
    if not total:
        return gettext("Training begins.")
    if step >= total:
        return gettext("Writing the result.")
    return gettext("Step %(step)s of %(total)s.") % {"step": step, "total": total}
