"""What a run is made of while it trains, and how fast it goes."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import torch

from finetune.families.contract import Adapted, Batch, Embeds, Writes
from finetune.records.kinds import Item
from finetune.trainer.checkpoint import Checkpoints
from finetune.trainer.data import Plan
from finetune.trainer.events import EventLog
from finetune.trainer.good import Good
from finetune.trainer.history import History
from finetune.trainer.lanes import Lanes
from finetune.trainer.lifeline import Stop
from finetune.trainer.objectives import Objective
from finetune.trainer.objectives.contract import Placed
from finetune.trainer.rearranged import HELD_OUT, Rearranged
from finetune.trainer.spec import RunSpec
from finetune.trainer.state import TrainerState

if TYPE_CHECKING:
    from finetune.trainer.rollouts import Rollouts

SPEED_WINDOW = 20  # steps that tokens/s and the time left are taken over


class Speedometer:
    """Tokens per second and time left over the last steps of this process."""

    def __init__(self) -> None:
        self._steps: deque[tuple[int, float]] = deque(maxlen=SPEED_WINDOW)

    def note(self, tokens: int, seconds: float) -> None:
        self._steps.append((tokens, seconds))

    @property
    def tokens_per_second(self) -> float:
        seconds = sum(s for _, s in self._steps)
        return sum(t for t, _ in self._steps) / seconds if seconds else 0.0

    def seconds(self, steps: int) -> float:
        done = len(self._steps)
        return steps * sum(s for _, s in self._steps) / done if done else 0.0


Likelihoods = tuple[float, ...]  # of an item's sequences [nats]


@dataclass(frozen=True)
class _Beside:
    """An item, with something that is known of it beside."""

    row: Item

    def __len__(self) -> int:
        return len(self.row)

    @property
    def trained(self) -> int:
        return self.row.trained

    @property
    def sequences(self) -> Sequence[Item]:
        return self.row.sequences


@dataclass(frozen=True)
class Known(_Beside):
    """What the base alone says of it, where the objective needs it, and what it has in common with
    the rows that it is taken with (see `Objective.common`)."""

    reference: Likelihoods = ()
    common: float = 0.0


@dataclass(frozen=True)
class Together(_Beside):
    """What it is among the rows that it is taken with, where only all of them tell (see
    `Objective.together`)."""

    known: Placed


@dataclass(frozen=True)
class Numbered(_Beside):
    """Which row of the data it is."""

    number: int


@dataclass
class Run:
    spec: RunSpec
    model: Adapted
    objective: Objective
    lanes: Lanes
    optimizer: torch.optim.AdamW
    rows: Sequence[Item]
    valid: Sequence[Item]
    plan: Plan
    state: TrainerState
    checkpoints: Checkpoints
    events: EventLog
    stop: Stop
    speed: Speedometer
    printed_day: str | None = None  # see `families.contract.Read`
    nondeterministic: list[str] = field(default_factory=list)  # of this process; grows as it runs
    history: History = field(default_factory=History)
    clock: Callable[[], float] = time.monotonic
    good: Good | None = None  # what a blow-up of the weights is rolled back to
    # By row, where the objective needs it: see finetune.trainer.reference
    reference: Sequence[Likelihoods] | None = None
    valid_reference: Sequence[Likelihoods] | None = None
    rearranged: Rearranged | None = None  # where rows are not trained as they stand
    rollouts: "Rollouts | None" = None  # where the objective needs generation
    saved: tuple[int, bool] | None = None  # (step, was pending) of the last checkpoint
    begun: Good | None = None  # what it began from, where a learning curve begins there again
    curve_steps: int = 0  # of the parts of a learning curve, about: they are trained afterwards
    whole: "Run | None" = None  # of a part of a learning curve: the run whose checkpoints hold it

    @property
    def watched(self) -> bool:
        """Whether blow-ups are rolled back. Not where steps learn from what the model draws: a loss
        that is relative to a group's mean has no ordinary height."""
        return self.spec.stability == "watched" and self.rollouts is None

    @property
    def writer(self) -> Writes:
        """The model, for objectives of one that predicts tokens (see `Objective.family`)."""
        return cast(Writes, self.model)

    @property
    def embedder(self) -> Embeds:
        """The model, for objectives of one that makes vectors."""
        return cast(Embeds, self.model)

    def row(self, number: int) -> Item:
        """A row to train, as the objective takes it by itself in the step that is next."""
        item = self.rows[number]
        if self.rearranged is not None:
            item = self.rearranged(item, number, self.state.step // self.plan.steps_per_epoch)
        return self._known(item, self.reference, number)

    def held_out(self, number: int) -> Item:
        item = self.valid[number]
        if self.rearranged is not None:
            item = self.rearranged(item, number, HELD_OUT)
        return self._known(item, self.valid_reference, number)

    def _known(self, item: Item, reference: Sequence[Likelihoods] | None, number: int) -> Item:
        shown = self.objective.shown
        item = shown(item) if shown else item
        if reference is None and self.objective.common is None:
            return item
        return Known(item, reference[number] if reference is not None else ())

    def lay_out(self, rows: Sequence[Item]) -> Batch:
        # What is drawn by lot must differ where rows begin alike, too
        share = self.spec.share_prefixes and not self.spec.draws
        return self.model.lay_out(sequences(rows), share_prefixes=share)


def sequences(rows: Sequence[Item]) -> list[Item]:
    return [sequence for row in rows for sequence in row.sequences]
