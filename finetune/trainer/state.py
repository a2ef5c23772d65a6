"""What a run must remember to go on: written as trainer_state.json beside the tensors.

There is no random state in it: the order of the data and the seed of every step's dropout are
functions of (seed, step).
"""

from hashlib import sha256
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator

from finetune.trainer.spec import RunSpec
from finetune.trainer.stability import Watched


class StepMetrics(BaseModel):
    """One step's figures by the columns that its objective declares; floats keep every bit through
    JSON. Written flat: `train_loss` and `valid_loss` stand beside `step`. A step that was skipped
    is among them where it was evaluated, without figures of its training."""

    step: int
    epoch: float
    train: dict[str, float]
    weight: float | None = None  # that `train` was divided by; None: tokens, in states of before
    learning_rate: float
    grad_norm: float | None = None
    trained_tokens: int  # cumulative
    valid: dict[str, float] = {}  # empty: not evaluated

    @property
    def train_loss(self) -> float:
        return self.train["train_loss"]

    @property
    def valid_loss(self) -> float | None:
        return self.valid.get("valid_loss")

    def shown(self) -> dict[str, Any]:
        """As events, checkpoints and metrics.csv tell it."""
        shown = self._flat()
        del shown["weight"]
        if self.grad_norm is None:
            del shown["grad_norm"]
        return shown

    def kept(self) -> "StepMetrics":
        """As it is when it has been through the log and a database: its numbers are floats, and no
        zero has a sign."""
        return StepMetrics.model_validate(
            {
                name: value + 0.0 if isinstance(value, float) else value
                for name, value in self._flat().items()
            }
        )

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "epoch": self.epoch,
            **self.train,
            "weight": self.weight,
            "learning_rate": self.learning_rate,
            "grad_norm": self.grad_norm,
            "trained_tokens": self.trained_tokens,
            **self.valid,
        }

    @model_validator(mode="before")
    @classmethod
    def _from_flat(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "train" in values:
            return values
        nested: dict[str, Any] = {"train": {}, "valid": {}}
        for name, value in values.items():
            part, _, _ = name.partition("_")
            if part not in nested:
                nested[name] = value
            elif value is not None:  # states once had nulls where nothing was evaluated
                nested[part][name] = value
        return nested


class Told(BaseModel):
    """How many steps' figures stand in the log, and their SHA-256; see finetune.trainer.history."""

    steps: int = 0
    sha256: str = sha256().hexdigest()


class Steadied(BaseModel):
    """What stability has done to a run. Rows are numbers of the data's, from 0."""

    watched: Watched = Watched()
    rollbacks: int = 0  # blow-ups that were caught; the step's own, or of the weights
    skipped_rows: list[int] = []  # in the order that they were found
    rate_factor: float = 1.0
    good_step: int | None = None  # steps done when the good state was taken


class Learnt(BaseModel):
    """A training on a part of the rows. `loss`: on the rows held out [nats]; None: it diverged."""

    rows: int
    loss: float | None
    steps: int
    trained_tokens: int
    seconds: float


class CurveState(BaseModel):
    """How far a learning curve is. `part`: the training that it is in the middle of, whose weights
    and optimizer stand beside the run's own."""

    learnt: list[Learnt] = []
    part: "TrainerState | None" = None


class TrainerState(BaseModel):
    """Of a size that does not depend on how many steps were done."""

    model_config = ConfigDict(extra="forbid")

    spec_sha256: str
    step: int = 0  # optimizer steps done
    trained_tokens: int = 0
    skipped_steps: int = 0
    skipped_in_a_row: int = 0
    base_valid_loss: float | None = None  # of what training began from: the base, or an adapter
    # Of one that draws answers: each validation row's rewards, summed, before the first step
    begun_rewards: list[float] | None = Field(
        default=None, exclude_if=lambda rewards: rewards is None
    )
    best_loss: float | None = None
    best_step: int | None = None
    evaluations_without_gain: int = 0
    stopped_early: bool = False
    seconds: float = 0.0
    pending: StepMetrics | None = None  # done, but not yet evaluated and reported
    told: Told = Told()
    history: list[StepMetrics] = []  # older versions kept it here: what they told stays here
    events_seq: int = 0
    machine: dict[str, str] = {}
    nondeterministic: list[str] = []  # operations; see finetune.trainer.determinism
    # The step after which the run went on with its spec's relief; written where there is one
    relieved_at: int | None = Field(default=None, exclude_if=lambda step: step is None)
    steadied: Steadied = Field(
        default_factory=Steadied, exclude_if=lambda steadied: steadied == Steadied()
    )
    curve: CurveState | None = Field(default=None, exclude_if=lambda curve: curve is None)
    sha256: dict[str, str] = {}  # of the tensor files beside this one


def result_step(spec: RunSpec, state: TrainerState) -> int:
    """The step whose weights the result gets."""
    return state.best_step if spec.keep == "best" and state.best_step else state.step
