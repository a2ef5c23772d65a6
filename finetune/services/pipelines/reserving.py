"""All stages' trained tokens, promised to a pipeline of its licence's budget before the first."""

from django.utils import timezone

from faults import UserFault
from finetune.models import Job, Pipeline, Stage
from finetune.services.estimates.figures import resolved
from finetune.services.jobs.budget import promised
from finetune.services.jobs.fit import require_fit
from finetune.services.pipelines.request import placed
from tenants.models import License
from tenants.rights import Right
from tenants.services.licences import require_license


def reserve(pipeline: Pipeline, stages: list[tuple[Stage, Job]]) -> None:
    """`stages` have no job yet, and their files are read; inside a transaction that holds the
    pipeline. Raises Refused where the licence has not so many left, UserFault `job_too_large`."""
    # One after the other: two pipelines must not be promised the same tokens
    licence = License.objects.select_for_update(no_key=True).get(id=pipeline.license_id)
    wanted = 0
    for stage, job in stages:
        stage.trained_tokens = int((resolved(job).resolved or {})["trained_tokens"])
        wanted += stage.trained_tokens
        try:
            require_fit(job)
        except UserFault as fault:
            raise placed(fault, stage.number) from fault
    require_license(model=pipeline.base.name, right=Right.TRAIN, tokens=wanted + promised(licence))
    for stage, _ in stages:
        stage.save(update_fields=["trained_tokens"])
    pipeline.reserved_at = timezone.now()
    pipeline.save(update_fields=["reserved_at"])
