"""The models that judge in a pipeline's stages, a reward model that an earlier stage makes among
them: a grader names it `stage:3`, as pages count stages."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from faults import UserFault
from finetune.models import CatalogModel
from finetune.services.jobs.judges import judges_asked, made_by, stage_of
from finetune.services.jobs.request import JobRequest
from finetune.trainer.objectives import METHODS
from tenants.access import Principal
from tenants.rights import Right
from tenants.roles import Scope
from tenants.services.licences import require_license


def rewarded_by(job: JobRequest) -> list[int]:
    """The stages whose reward models judge in this one."""
    found = (stage_of(each) for each in judges_asked(job.grader_spec()))
    return [number for number in found if number is not None]


def wrong_judges(jobs: Sequence[JobRequest]) -> Iterator[tuple[int, UserFault]]:
    """(the stage, what is wrong there)"""
    for number, job in enumerate(jobs, 1):
        for of in rewarded_by(job) if job.draws and job.grader else []:
            if of >= number or METHODS[jobs[of - 1].method].family != "scoring":
                yield (
                    number,
                    UserFault(
                        "invalid_value",
                        f"Stage {of} makes no reward model before stage {number}.",
                        fix="Name an earlier stage of the method `reward`, or a reward model of "
                        "yours.",
                        param="grader",
                    ),
                )


def require_asking(job: JobRequest, base: CatalogModel, by: Principal) -> None:
    """In the open scope. Raises Refused where who makes or retries the pipeline may not have models
    asked, or the licence does not let the reward model of a stage be."""
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
        if part["type"] != "reward_model":
            return part
        return part | {"model": names.get(part["model"], part["model"])}

    if grader is None:
        return None
    if grader["type"] != "multi":
        return named(grader)
    return grader | {"graders": {name: named(part) for name, part in grader["graders"].items()}}
