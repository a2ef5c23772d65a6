"""The models that judge in a pipeline's stages, those that earlier stages make among them: a
grader names such a one `stage:3`, as pages count stages."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from faults import UserFault
from finetune.families.contract import FamilyName
from finetune.models import CatalogModel
from finetune.services.jobs.judges import judges_asked, made_by, stage_of
from finetune.services.jobs.request import JobRequest
from finetune.services.models.graders import Judge
from finetune.trainer.objectives import METHODS
from tenants.access import Principal
from tenants.rights import Right
from tenants.roles import Scope
from tenants.services.licences import require_license

# Whose objectives make a judge: one that scores conversations, or one that writes what it thinks
MADE_BY: Mapping[bool, FamilyName] = {True: "scoring", False: "causal_lm"}


def rewarded_by(job: JobRequest) -> list[int]:
    """The stages whose models judge in this one."""
    found = (stage_of(each) for each in judges_asked(job.grader_spec()))
    return [number for number in found if number is not None]


def wrong_judges(jobs: Sequence[JobRequest]) -> Iterator[tuple[int, UserFault]]:
    """(the stage, what is wrong there)"""
    for number, job in enumerate(jobs, 1):
        for judge in judges_asked(job.grader_spec()) if job.draws and job.grader else []:
            of = stage_of(judge)
            if of is None:
                continue
            if of >= number or METHODS[jobs[of - 1].method].family != MADE_BY[judge.scores]:
                yield number, _none_made(judge, of, number)


def _none_made(judge: Judge, of: int, number: int) -> UserFault:
    kind, earlier, own = "reward model", "an earlier stage of the method `reward`", "a reward model"
    if not judge.scores:
        kind, earlier, own = "model that writes", "an earlier stage that makes one", "a model"
    return UserFault(
        "invalid_value",
        f"Stage {of} makes no {kind} before stage {number}.",
        fix=f"Name {earlier}, or {own} of yours.",
        param="grader",
    )


def require_asking(job: JobRequest, base: CatalogModel, by: Principal) -> None:
    """In the open scope. Raises Refused where who makes or retries the pipeline may not have models
    asked, or the licence does not let the model of a stage be."""
    if judges_asked(job.grader_spec()):
        by.require(Scope.INFER)
    if rewarded_by(job):
        try:
            require_license(model=base.name, right=Right.SERVE)
        except UserFault as fault:
            fault.param = "grader"
            raise


def settled(grader: dict[str, Any] | None, made: Mapping[int, str]) -> dict[str, Any] | None:
    """The grader with the names of the models that stages made. `made`: by stage."""
    names = {made_by(number): name for number, name in made.items()}

    def named(part: dict[str, Any]) -> dict[str, Any]:
        if part["type"] not in ("reward_model", "score_model"):
            return part
        return part | {"model": names.get(part["model"], part["model"])}

    if grader is None:
        return None
    if grader["type"] != "multi":
        return named(grader)
    return grader | {"graders": {name: named(part) for name, part in grader["graders"].items()}}
