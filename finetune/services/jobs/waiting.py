"""How many jobs of a tenant may wait for their files to be read: each takes workers' time, and
nothing else bounds them before they are queued."""

from django.conf import settings

from finetune.models import Job
from finetune.states import JobState
from finetune.work.turns import require_turn


def require_reading() -> None:
    """In the open scope, with the storage's room locked. Raises TooManyLive."""
    require_turn(
        Job,
        settings.JOBS_READ,
        live=(JobState.VALIDATING_FILES,),
        code="too_many_jobs_waiting",
        said=f"As many jobs of your organisation as may ({settings.JOBS_READ}) wait for their "
        "files to be read already.",
        retry_after=10,
        fix="Wait until some of them are queued, or cancel some.",
    )
