"""Supervised fine-tuning: the sum of cross-entropies of the trained tokens."""

from typing import Any, Protocol

from torch import Tensor

from finetune.trainer.objectives.contract import Objective, Sums


class Predicts(Protocol):
    """A model that predicts tokens."""

    def cross_entropy(self, batch: Any, /) -> tuple[Tensor, Tensor]:
        """(sum of losses [nats], right guesses) at the trained positions."""
        ...


class Labelled(Protocol):
    @property
    def targets(self) -> Tensor: ...  # [trained]: token ids


def sft(model: Predicts, batch: Labelled) -> Sums:
    loss, right = model.cross_entropy(batch)
    return Sums(loss=loss, weight=batch.targets.numel(), right=right)


SFT = Objective("sft", sft)
