"""What a job's page says of what it will take, while it is held, and of what it took."""

from typing import Any

from django.utils.translation import gettext_lazy as _

from finetune import selectors
from finetune.models import Estimate, Job
from finetune.services.estimates import figures
from finetune.states import JobState
from privatune.portal.refusals import kept
from privatune.templatetags.figures import grouped, long

FIGURES: tuple[tuple[str, Any, Any], ...] = (
    ("seconds", _("Time"), long),
    ("training_seconds", _("Of it training"), long),
    ("grading_seconds", _("Of it grading"), long),
    ("peak_memory_mb", _("Peak memory"), lambda mb: f"{grouped(mb)} MB"),
    ("trained_tokens", _("Trained tokens"), grouped),
    ("steps", _("Steps"), grouped),
)


def of(job: Job) -> dict[str, Any]:
    return {"estimate": _estimate(job), "receipt": _receipt(job)}


def _estimate(job: Job) -> dict[str, Any] | None:
    if not selectors.is_held(job):
        return None
    estimate = Estimate.objects.filter(job=job).first()
    if estimate is None:
        return None
    told = figures.told(estimate)
    return told | {"error": kept(told["error"])}


def _receipt(job: Job) -> list[tuple[Any, str, str]] | None:
    """(figure, expected, taken) for each that is known."""
    if job.state != JobState.SUCCEEDED or not job.receipt:
        return None
    took, expected = job.receipt["took"], job.receipt["expected"] or {}
    return [
        (label, words(expected[name]) if expected.get(name) is not None else "–", words(took[name]))
        for name, label, words in FIGURES
        if took.get(name) is not None
    ]
