"""Models that nobody may ask or take away yet: an evaluation with a gate has not shown them to be
good enough. The only place that says so, and the only one that lets a person decide otherwise."""

from uuid import UUID

from django.db.models import QuerySet

from finetune.models import Artifact, Evaluation
from tenants.access import Principal
from tenants.errors import Refused
from tenants.roles import Scope
from tenants.services import audit

NAMED = 3  # evaluations, in a refusal


def withholding(artifact: Artifact) -> QuerySet[Evaluation]:
    """The evaluations that do, the oldest first. In the open scope."""
    return withholding_result(artifact.job_id)


def withholding_result(job_id: UUID) -> QuerySet[Evaluation]:
    """The same of what a job has made, or has yet to make."""
    found = Evaluation.objects.filter(job=job_id, withholds=True)
    return found.order_by("created_at", "id")


def is_withheld(artifact: Artifact) -> bool:
    """In the open scope."""
    return withholding(artifact).exists()


def require_given_out(artifact: Artifact) -> None:
    """In the open scope. Raises Refused with the evaluations' ids."""
    if by := [each.public_id for each in withholding(artifact)[:NAMED]]:
        raise Refused(
            "model_withheld",
            f"The model `{artifact.model_name}` is withheld: it has not been shown to reach the "
            f"gate of {', '.join(by)}.",
            fix="Ask the same rows, criteria and gate again once it is good enough; any other "
            "evaluation leaves the gate closed. Who may delete models may release it as it is.",
            param="model",
        )


def release(*, artifact: Artifact, by: Principal) -> None:
    """Gives it out whatever its evaluations say; doing it twice is no error. Raises Refused without
    the scope to change models."""
    by.require_of(Scope.MODELS_WRITE, artifact)
    if withholding(artifact).order_by().update(withholds=False):
        audit.record(
            actor=by.actor,
            action="model.release",
            target=artifact.model_name,
            data={"artifact": artifact.public_id},
        )
