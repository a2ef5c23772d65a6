"""What an evaluation is of: a base, a tuned model, or what a job has yet to make."""

from dataclasses import dataclass

from django.db.models import Q, QuerySet

from faults import UserFault
from finetune import selectors
from finetune.models import Artifact, CatalogModel, Evaluation, Job
from finetune.services.models import gateway
from finetune.services.runs.publishing import model_name
from finetune.serving.refusals import model_scores
from finetune.states import FINAL_JOB_STATES
from finetune.trainer.objectives import METHODS
from tenants.models import Tenant


@dataclass(frozen=True)
class Subject:
    """A base as it is (no `job`), a tuned model, or what a job has yet to make (no `artifact`)."""

    name: str
    base: CatalogModel
    job: Job | None = None
    artifact: Artifact | None = None


def find(name: str) -> Subject:
    """Raises NotFound, Refused without the licence to serve, UserFault `job_without_result`, and
    `model_embeds` and `model_scores` for what writes no answer."""
    if Job.public.read(name) is not None:
        job = selectors.find(selectors.jobs(), name, param="model")
        artifact = selectors.artifacts().filter(job=job).first()
        if artifact is None:
            return _to_come(job)
        name = artifact.model_name
    gateway.resolve(name=name, withheld_too=True)
    found = gateway.find_model(name=name)
    if isinstance(found, Artifact):
        return Subject(name, _writing(found.base), found.job, found)
    return Subject(name, _writing(found))


def _to_come(job: Job) -> Subject:
    if job.state in FINAL_JOB_STATES:
        raise without_result(job)
    if METHODS[job.method].family == "scoring":
        raise model_scores()
    gateway.resolve(name=job.base.name)
    name = model_name(job, Tenant.objects.get(id=job.tenant_id))
    return Subject(name, _writing(job.base), job)


def _writing(base: CatalogModel) -> CatalogModel:
    """What is evaluated answers in text."""
    gateway.require_writing(base.family)
    return base


def with_model(evaluations: QuerySet[Evaluation]) -> QuerySet[Evaluation]:
    """Those whose model is there, or will never be: the others wait for the end of a job."""
    made = Q(artifact__isnull=False) | Q(job__state__in=FINAL_JOB_STATES)
    return evaluations.filter(Q(job=None) | made)


def is_too_early(evaluation: Evaluation) -> bool:
    """In the open scope."""
    return not with_model(Evaluation.objects.filter(id=evaluation.id)).exists()


def without_result(job: Job) -> UserFault:
    return UserFault(
        "job_without_result",
        f"The job {job.public_id} ended without a model to evaluate.",
        fix="See why in its events; evaluate the result of another job.",
        param="model",
    )
