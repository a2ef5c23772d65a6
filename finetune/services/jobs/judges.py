"""The models that judge a job by reinforcement: whether they may be asked, and by whom."""

import re
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from faults import UserFault
from finetune.grading import specs
from finetune.services.models import gateway
from finetune.services.models.graders import Judge, judges_of
from tenants.access import Principal
from tenants.actor import Actor
from tenants.roles import Role, Scope

_OF_STAGE = re.compile(r"stage:([1-9][0-9]?)")


def judges_asked(grader: dict[str, Any] | None) -> list[Judge]:
    """The models that judge."""
    return sorted(judges_of(specs.GRADER.validate_python(grader))) if grader else []


def made_by(stage: int) -> str:
    """How a grader names the model that a stage of the same pipeline makes, from 1."""
    return f"stage:{stage}"


def stage_named(model: str) -> int | None:
    """The inverse of `made_by`; None for any other name."""
    found = _OF_STAGE.fullmatch(model)
    return int(found[1]) if found else None


def stage_of(judge: Judge) -> int | None:
    """Of a model that a stage of the same pipeline makes: which, from 1."""
    return stage_named(judge.model)


def require_judges(judges: Iterable[Judge]) -> None:
    """In the open scope. Raises NotFound, Refused and UserFault, with `param` `grader`, for a model
    that the tenant may not ask, or not yet, or that cannot judge in that way. Of one that a stage
    has to make first, its pipeline says so."""
    for each in judges:
        if stage_of(each) is None:
            gateway.resolve_judge(name=each.model, scores=each.scores)


def require_asker(judges: Sequence[Judge], by: Principal | None) -> None:
    """A model is asked as whoever makes the job may ask it. Raises Refused without that scope, and
    UserFault for a stage's model: a job by itself has no stages."""
    if not judges:
        return
    if by is None:
        raise ValueError("a model judges in somebody's name")
    by.require(Scope.INFER)
    for each in judges:
        if stage_of(each) is not None:
            raise UserFault(
                "invalid_value",
                f"`{each.model}` is a stage's model, and this is no stage of a pipeline.",
                fix="Name a model of yours.",
                param="grader",
            )


def asker(tenant_id: UUID) -> Principal:
    """The worker, which asks models that judge for whoever was let to have them asked."""
    scopes = frozenset({Scope.INFER})
    return Principal(tenant_id, Actor.system("worker"), scopes, Role.VIEWER)
