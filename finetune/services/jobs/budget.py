"""Trained tokens that live jobs were promised of a licence's budget."""

from django.db.models import Q, Sum

from finetune.models import Job, Stage
from finetune.states import LIVE_LEASES, JobState
from tenants.errors import Refused
from tenants.models import License
from tenants.rights import Right
from tenants.services.licences import require_license, tokens_left

# Whose budget was found; nothing of it is charged yet
HELD_TO = (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED)


def tokens_needed(job: Job) -> int:
    """Trained tokens of this job and of the live jobs before it under the same licence.

    Nothing is charged before a result is published, so what is live counts as promised.
    """
    own = (job.resolved or {}).get("trained_tokens", 1)
    return int(own) + promised(job.license, before=job)


def promised(licence: License, *, before: Job | None = None) -> int:
    """To the live jobs under the licence, or to those that come before a job, and to stages of
    pipelines that have no such job yet. Before a job that its budget was not found for yet come all
    whose budget was, however old it is; before one of these those that are older, or running."""
    live = Job.objects.filter(license=licence, state__in=HELD_TO)
    if before is not None:
        live = live.exclude(id=before.id)
    if before is not None and before.state in HELD_TO:
        live = live.filter(Q(created_at__lt=before.created_at) | Q(state=JobState.RUNNING))
    tokens = live.values_list("resolved__trained_tokens", flat=True)
    return sum(int(each or 0) for each in tokens) + _reserved(licence, but=before)


def _reserved(licence: License, *, but: Job | None) -> int:
    """To pipelines, for their stages that are not promised as jobs yet; a job of a pipeline's own
    takes nothing of the others."""
    to_come = Q(job=None) | Q(job__state=JobState.VALIDATING_FILES)
    stages = Stage.objects.filter(
        to_come, pipeline__license=licence, pipeline__state__in=LIVE_LEASES
    ).exclude(pipeline__reserved_at=None)
    if but is not None and not but._state.adding:
        stages = stages.exclude(pipeline__stages__job=but)
    return stages.aggregate(tokens=Sum("trained_tokens"))["tokens"] or 0


def require_budget(job: Job) -> None:
    """Of a resolved job, inside a transaction. Raises Refused, which says how many epochs the
    licence has tokens for."""
    # One after the other: two jobs must not be promised the same tokens
    License.objects.select_for_update(no_key=True).get(id=job.license_id)
    try:
        require_license(model=job.base.name, right=Right.TRAIN, tokens=tokens_needed(job))
    except Refused as refused:
        if epochs := _affordable(job):
            refused.fix = (
                f"Lower `n_epochs` to {epochs}, which the licence has tokens for, or ask the "
                "operator to extend it."
            )
        raise


def _affordable(job: Job) -> int:
    """Epochs, fewer than were wanted; 0: none, or the licence is no matter of tokens."""
    resolved, left = job.resolved or {}, tokens_left(job.license)
    wanted = int(resolved["spec"]["epochs"])
    if left is None:
        return 0
    of_one = max(1, int(resolved["trained_tokens"]) // wanted)
    return min(wanted - 1, max(0, left - promised(job.license, before=job)) // of_one)
