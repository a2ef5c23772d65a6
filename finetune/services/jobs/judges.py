"""The models that judge a job by reinforcement: whether they may be asked, and by whom."""

from collections.abc import Iterable, Sequence
from typing import Any

from faults import UserFault
from finetune.grading import specs
from finetune.services.models import gateway
from finetune.services.models.graders import Judge, judges_of
from tenants.access import Principal
from tenants.roles import Scope


def judges_asked(grader: dict[str, Any] | None) -> list[Judge]:
    """The models that judge."""
    return sorted(judges_of(specs.GRADER.validate_python(grader))) if grader else []


def require_judges(judges: Iterable[Judge]) -> None:
    """In the open scope. Raises NotFound, Refused and UserFault, with `param` `grader`, for a model
    that the tenant may not ask, or not yet, or that cannot judge in that way."""
    for each in judges:
        gateway.resolve_judge(name=each.model, scores=each.scores)


def require_asker(judges: Sequence[Judge], by: Principal | None) -> None:
    """A model is asked as whoever makes the job may ask it. Raises Refused without that scope, and
    UserFault where nobody makes it: of a pipeline's stage."""
    if not judges:
        return
    if by is None:
        raise UserFault(
            "unsupported_parameter",
            "A model judges in a job of its own, and in no stage of a pipeline.",
            fix="Use another grader, or create the job by itself.",
            param="grader",
        )
    by.require(Scope.INFER)
