"""What a pipeline is asked with, and whether it can be one at all."""

from collections.abc import Iterator
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from faults import Fault, UserFault
from finetune.services.jobs.request import JobRequest, check_metadata
from finetune.services.pipelines.judges import wrong_judges

Gate = Literal["none", "better", "approval"]
Placed = TypeVar("Placed", bound=Fault)
FEWEST, MOST = 2, 8  # stages
# Fields of a job that are asked once, for all stages
OF_ALL = frozenset({"model", "adapter", "suffix", "seed", "keep_optimizer"})


class StageRequest(BaseModel):
    """`gate`: what must hold after the stage before the next begins. `better`: its validation rows
    are told better than before it; `approval`: a person says so."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: JobRequest
    gate: Gate = "none"


class PipelineRequest(BaseModel):
    """The first stage's job names the model; what another says of its model is not asked. Without
    `auto_start` it is held, once all files are read, until it is resumed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stages: tuple[StageRequest, ...]
    name: str = ""
    metadata: dict[str, str] = Field(default_factory=dict)
    auto_start: bool = True

    @property
    def model(self) -> str:
        return self.stages[0].job.model


def check_pipeline(request: PipelineRequest) -> None:
    """Raises UserFault, with the field as the request calls it."""
    count = len(request.stages)
    if not FEWEST <= count <= MOST:
        raise _invalid("stages", f"A pipeline has {FEWEST} to {MOST} stages, not {count}.")
    check_metadata(request.metadata)
    for fault in wrong_stages(request):
        raise fault


def wrong_stages(request: PipelineRequest) -> Iterator[UserFault]:
    """What is wrong with stages as parts of a pipeline."""
    for number, stage in enumerate(request.stages, 1):
        if stage.gate != "none" and number == len(request.stages):
            yield _invalid(
                field(number, "gate"), "No stage comes after the last one, so nothing is gated."
            )
        if stage.job.further_files:
            yield UserFault(
                "settings_clash",
                "A stage of a pipeline trains on one file.",
                fix="Put the rows into one file, or make the job by itself.",
                param=field(number, "training_files"),
            )
        rows = stage.job.validation_file or stage.job.validation_split
        if stage.gate == "better" and rows is None:
            yield UserFault(
                "validation_file_missing",
                "Whether a stage made the model better is seen over validation rows.",
                fix="Give the stage a validation_file or a validation_split, or another gate.",
                param=field(number, "validation_file"),
            )
    for number, fault in wrong_judges([stage.job for stage in request.stages]):
        yield placed(fault, number)


def field(number: int, name: str | None) -> str:
    """As the request calls a field of the stage: stages count from 0 there, as lists do."""
    if name is not None and name.partition(".")[0] in OF_ALL:
        return name
    return ".".join(filter(None, ("stages", str(number - 1), name)))


def placed(fault: Placed, number: int) -> Placed:
    """A fault of a stage's job, which names the stage."""
    fault.param = field(number, fault.param)
    return fault


def _invalid(param: str, message: str) -> UserFault:
    return UserFault("invalid_value", message, param=param, fix="Correct the pipeline's stages.")
