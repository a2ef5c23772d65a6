"""Models that nobody may ask or take away yet: an evaluation with a gate has not shown them to be
good enough. The only place that says so, and the only one that lets a person decide otherwise."""

from finetune.models import Artifact, Evaluation
from tenants.access import Principal
from tenants.errors import Refused
from tenants.roles import Scope
from tenants.services import audit


def is_withheld(artifact: Artifact) -> bool:
    """In the open scope."""
    return Evaluation.objects.filter(job=artifact.job_id, withholds=True).exists()


def require_given_out(artifact: Artifact) -> None:
    """In the open scope. Raises Refused."""
    if is_withheld(artifact):
        raise Refused(
            "model_withheld",
            f"The model `{artifact.model_name}` is withheld: the evaluation that it has to pass "
            "has not shown it to be good enough.",
            fix="See its evaluations. Who may delete models may release it as it is.",
            param="model",
        )


def release(*, artifact: Artifact, by: Principal) -> None:
    """Gives it out whatever its evaluations say; doing it twice is no error. Raises Refused without
    the scope to change models."""
    by.require_of(Scope.MODELS_WRITE, artifact)
    if Evaluation.objects.filter(job=artifact.job_id, withholds=True).update(withholds=False):
        audit.record(
            actor=by.actor,
            action="model.release",
            target=artifact.model_name,
            data={"artifact": artifact.public_id},
        )
