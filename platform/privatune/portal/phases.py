"""How far a job is, in the person's language."""

from django.utils.translation import gettext

from finetune import phases
from finetune.models import Job
from privatune.portal import history


def told(job: Job) -> str:
    """Empty for a job of which its state says all."""
    phase = phases.of(job)
    if phase is None:
        return ""
    if phase.event is not None:
        return history.told(phase.event)
    return phase.told(gettext(phases.WORDS[phase.code]))
