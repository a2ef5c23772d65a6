"""Where a pipeline stands, from its rows alone."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from finetune.models import Artifact, Pipeline, Stage
from finetune.states import LIVE_JOB_STATES, JobState


class At(StrEnum):
    PREPARING = "preparing"  # its files are read, and its tokens are not promised yet
    READY = "ready"  # to make the stage's job
    HELD = "held"  # the same, but it was paused
    RUNNING = "running"
    AWAITING = "awaiting"  # a person's yes
    SHUT = "shut"  # the stage made nothing better
    STOPPED = "stopped"  # the stage's job failed or was cancelled
    DONE = "done"


WAITING = frozenset({At.HELD, At.RUNNING, At.AWAITING})  # for others: nothing can be done


@dataclass(frozen=True)
class Position:
    """`result`: of the last stage that ended well and made what writes: a reward model is none that
    a stage could go on from."""

    at: At
    stage: Stage | None = None
    result: Artifact | None = None


def position(pipeline: Pipeline) -> Position:
    """In the open scope."""
    if pipeline.reserved_at is None:
        return Position(At.PREPARING)
    result: Artifact | None = None
    for stage in stages_of(pipeline):
        at, result = _of_stage(pipeline, stage, result)
        if at is not None:
            return Position(at, stage, result)
    return Position(At.DONE, result=result)


def stages_of(pipeline: Pipeline) -> list[Stage]:
    """In their order."""
    rows = Stage.objects.filter(pipeline=pipeline).order_by("number")
    return list(rows.select_related("job", "training_file", "validation_file"))


def _of_stage(
    pipeline: Pipeline, stage: Stage, before: Artifact | None
) -> tuple[At | None, Artifact | None]:
    """(where it stands, None: beyond the stage; the newest result)"""
    if stage.job is None:
        return (At.HELD if pipeline.paused_at else At.READY), before
    if stage.job.state in LIVE_JOB_STATES:
        return At.RUNNING, before
    if stage.job.state != JobState.SUCCEEDED:
        return At.STOPPED, before
    made = Artifact.objects.get(job=stage.job)
    result = before if made.scores else made
    if stage.gate == "approval" and stage.approved_at is None:
        return At.AWAITING, result
    if stage.gate == "better" and not is_better(made.report):
        return At.SHUT, result
    return None, result


def is_better(report: dict[str, Any]) -> bool:
    """Whether the validation rows, each held against itself before the stage, have a lower loss on
    the mean, and chance does not explain it: the 95% interval lies below zero."""
    change = report.get("validation_change")
    if not change or change["difference"] >= 0:
        return False
    return bool(change["interval"] is None or change["interval"][1] < 0)
