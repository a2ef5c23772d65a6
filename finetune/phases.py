"""How far a job is: what it waits for, or does now. By a code and in words with what fills them, so
that the API, the command line and the portal tell the same."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext_noop as _

from finetune import events, selectors
from finetune.models import Event, Job, Run, Validation
from finetune.states import JobState, LeaseState
from tenants.states import FileStatus

SHOWN_OF_RUN = (
    events.JobStarted.code,
    events.JobContinued.code,
    events.ReadingGoesOn.code,
    events.ReferenceGoesOn.code,
    events.TrainingPlanned.code,
    events.BaseEvaluated.code,
    events.ValidationGoesOn.code,
    events.StepDone.code,
    events.StepResumed.code,
    events.CurvePartBegun.code,
    events.TrainingDone.code,
)
WAITS = (events.JobWaits.code, events.JobRetried.code)
WORDS = {
    "cancelling": _("The training is being stopped."),
    "pausing": _("The training stops as soon as a checkpoint is written."),
    "file_awaits_check": _("Waiting for the check of %(file)s."),
    "data_awaits_worker": _("Waiting for a worker to read the data."),
    "data_read_for_model": _("The data is being read for the model."),
    "queued": _("Waiting for a worker; place in your organisation's queue: %(place)s."),
    "held": _("Ready, and held: it starts when you say so."),
    "preparing": _("Preparing: the data and the base model are being loaded."),
    "reading": _("Reading the data: row %(rows)s of %(of)s."),
    "reference": _("Asking the base model about the answers: row %(rows)s of %(of)s."),
    "base_evaluation_begins": _("Evaluating the base model."),
    "base_evaluation": _("Evaluating the base model: row %(rows)s of %(of)s."),
    "training_begins": _("Training begins."),
    "training": _("Step %(step)s of %(total)s."),
    "evaluation": _("Evaluating: row %(rows)s of %(of)s."),
    "learning_curve": _("Learning curve: training %(number)s of %(count)s, on %(rows)s rows."),
    "writing": _("Writing the result."),
    "packaging": _("Packaging: the model is written, compared and signed."),
}


@dataclass(frozen=True)
class Phase:
    """`code` is one of WORDS, or that of `event`, which then says it: what the job waits for."""

    code: str
    about: Mapping[str, Any] = field(default_factory=dict)
    event: Event | None = None

    def told(self, words: str) -> str:
        """In `words`, a translation of its own."""
        grouped = {key: f"{self.about[key]:,}" for key in ("rows", "of") if key in self.about}
        return words % {**self.about, **grouped}

    @property
    def text(self) -> str:
        """In English, as the API gives it."""
        return str(self.event.message) if self.event is not None else self.told(WORDS[self.code])

    @property
    def place(self) -> int | None:
        """In the queue of the tenant's own runs."""
        return self.about.get("place")


def of(job: Job) -> Phase | None:
    """None for a job of which its state says all."""
    if job.state == JobState.RUNNING and job.cancel_requested_at:
        return Phase("cancelling")
    if job.state == JobState.RUNNING and job.pause_requested_at:
        return Phase("pausing")
    of_state: dict[str, Callable[[Job], Phase | None]] = {
        JobState.VALIDATING_FILES: _validating,
        JobState.QUEUED: _queued,
        JobState.RUNNING: _running,
        JobState.PAUSED: _paused,
    }
    tell = of_state.get(job.state)
    return tell(job) if tell else None


def _validating(job: Job) -> Phase:
    for file in (job.training_file, *(each.file for each in job.further), job.validation_file):
        if file is not None and file.status == FileStatus.UPLOADED:
            return Phase("file_awaits_check", {"file": file.filename})
    held = Validation.objects.filter(job=job, state=LeaseState.LEASED)
    return Phase("data_read_for_model" if held.exists() else "data_awaits_worker")


def _queued(job: Job) -> Phase:
    run = Run.objects.filter(job=job, state=LeaseState.WAITING).first()
    if run is not None and run.not_before is not None and run.not_before > timezone.now():
        last = Event.objects.filter(job=job, code__in=WAITS).order_by("-seq").first()
        if last is not None:
            return Phase(last.code, event=last)
    # One that no worker has what it needs for waits without a time, and nothing came since
    newest = Event.objects.filter(job=job).order_by("-seq").first()
    if run is not None and run.wait_reason and newest and newest.code == events.JobWaits.code:
        return Phase(newest.code, event=newest)
    return Phase("queued", {"place": _place(run) if run is not None else 1})


def _is_validated(job: Job) -> bool:
    return bool(job.validation_file_id or job.requested.get("validation_split"))


def _paused(job: Job) -> Phase | None:
    return Phase("held") if selectors.is_held(job) else None


def _place(run: Run) -> int:
    """Among the tenant's own runs; how many of others wait is theirs to know."""
    before = Run.objects.filter(state=LeaseState.WAITING, created_at__lt=run.created_at)
    return before.count() + 1


def _running(job: Job) -> Phase:
    found = Event.objects.filter(job=job, code__in=SHOWN_OF_RUN)
    last = found.order_by("-seq").first()
    message = events.read(last.code, last.data) if last is not None else None
    steps = found.filter(code=events.StepDone.code).order_by("-seq").first()
    figures: dict[str, Any] = steps.data if steps is not None else {}
    match message:
        case events.ReadingGoesOn(rows=rows, of=total):
            return Phase("reading", {"rows": rows, "of": total})
        case events.ReferenceGoesOn(rows=rows, of=total):
            return Phase("reference", {"rows": rows, "of": total})
        case events.TrainingPlanned() if _is_validated(job) and not figures:
            return Phase("base_evaluation_begins")
        case events.ValidationGoesOn(rows=rows, of=total):
            values = {"rows": rows, "of": total}
            return Phase("evaluation" if figures else "base_evaluation", values)
        case events.CurvePartBegun(number=number, of=count, rows=rows):
            return Phase("learning_curve", {"number": number, "count": count, "rows": rows})
        case events.TrainingDone():
            return Phase("packaging")
        case events.TrainingPlanned() | events.BaseEvaluated() | events.StepDone():
            return _step(job, figures)
        case events.StepResumed():
            return _step(job, figures)
    return Phase("preparing")


def _step(job: Job, figures: dict[str, Any]) -> Phase:
    step, total = figures.get("step", 0), figures.get("total_steps") or job.total_steps
    if not total:
        return Phase("training_begins")
    if step >= total:
        return Phase("writing")
    return Phase("training", {"step": step, "total": total})
