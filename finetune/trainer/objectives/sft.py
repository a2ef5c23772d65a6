"""Supervised fine-tuning: the sum of cross-entropies of the trained tokens."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from finetune.records.kinds import ROW, Item
from finetune.trainer.objectives.contract import Metric, Objective, Sums

if TYPE_CHECKING:
    from torch import Tensor


class Predicts(Protocol):
    """A model that predicts tokens."""

    def cross_entropy(self, batch: Any, /) -> "tuple[Tensor, Tensor]":
        """(sum of losses [nats], right guesses) at the trained positions."""
        ...

    def token_losses(self, batch: Any, /) -> "Tensor":
        """[trained]: the loss [nats] at each trained position."""
        ...


class Labelled(Protocol):
    @property
    def targets(self) -> "Tensor": ...  # [trained]: token ids


def sft(model: Predicts, batch: Labelled, items: Sequence[Item]) -> Sums:
    loss, right = model.cross_entropy(batch)
    tokens = batch.targets.numel()
    return Sums(loss=loss, weight=tokens, metrics={"accuracy": (right, tokens)})


def each(model: Predicts, batch: Any, items: Sequence[Item]) -> list[tuple[float, float]]:
    parts = model.token_losses(batch).split([item.trained for item in items])
    return [(float(part.double().sum()), len(part)) for part in parts]


SFT = Objective(
    name="sft",
    records=ROW,
    sums=sft,
    metrics=(Metric("accuracy", valid_name="mean_token_accuracy"),),
    guessing=lambda model: math.log(model.vocabulary_size),
    each=each,
)
