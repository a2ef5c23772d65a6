"""Trained tokens that live jobs were promised of a licence's budget."""

from finetune.models import Job
from finetune.states import JobState


def tokens_needed(job: Job) -> int:
    """Trained tokens of this job and of the live jobs before it under the same licence.

    Nothing is charged before a result is published, so what is live counts as promised.
    """
    others = Job.objects.filter(
        license=job.license,
        state__in=(JobState.QUEUED, JobState.RUNNING, JobState.PAUSED),
        created_at__lt=job.created_at,
    ).values_list("resolved__trained_tokens", flat=True)
    own = (job.resolved or {}).get("trained_tokens", 1)
    return int(own) + sum(int(tokens or 0) for tokens in others)
