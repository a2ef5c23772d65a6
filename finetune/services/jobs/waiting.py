"""How many jobs of a tenant may wait for their files to be read: each takes workers' time, and
nothing else bounds them before they are queued."""

from django.conf import settings

from faults import UserFault
from finetune.models import Job
from finetune.states import JobState


class TooManyJobsWaiting(UserFault):
    status = 429
    retry_after = 10  # seconds


def require_turn() -> None:
    """In the open scope. Raises TooManyJobsWaiting."""
    if Job.objects.filter(state=JobState.VALIDATING_FILES).count() >= settings.JOBS_READ:
        raise TooManyJobsWaiting(
            "too_many_jobs_waiting",
            f"As many jobs of your organisation as may ({settings.JOBS_READ}) wait for their files "
            "to be read already.",
            fix="Wait until some of them are queued, or cancel some.",
        )
