"""What a run must remember to go on: written as trainer_state.json beside the tensors.

There is no random state in it: the order of the data and the seed of every step's dropout are
functions of (seed, step).
"""

from typing import Any

from pydantic import BaseModel, ConfigDict


class StepMetrics(BaseModel):
    """One step's figures; floats keep every bit through JSON. `valid_*` only where evaluated."""

    step: int
    epoch: float
    train_loss: float
    train_accuracy: float
    learning_rate: float
    grad_norm: float
    trained_tokens: int  # cumulative
    valid_loss: float | None = None
    valid_mean_token_accuracy: float | None = None

    def shown(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


class TrainerState(BaseModel):
    model_config = ConfigDict(extra="forbid")

    spec_sha256: str
    step: int = 0  # optimizer steps done
    trained_tokens: int = 0
    skipped_steps: int = 0
    skipped_in_a_row: int = 0
    base_valid_loss: float | None = None
    best_loss: float | None = None
    best_step: int | None = None
    evaluations_without_gain: int = 0
    stopped_early: bool = False
    seconds: float = 0.0
    pending: StepMetrics | None = None  # done, but not yet evaluated and reported
    history: list[StepMetrics] = []
    events_seq: int = 0
    machine: dict[str, str] = {}
    sha256: dict[str, str] = {}  # of the tensor files beside this one
