"""Supervised fine-tuning: the sum of cross-entropies of the trained tokens."""

from dataclasses import dataclass

from torch import Tensor

from finetune.trainer.families.causal_lm import CausalLM
from finetune.trainer.layout import Layout


@dataclass(frozen=True)
class Sums:
    """Of one micro-batch. `loss` [nats, summed] carries the graph; `weight` is in tokens."""

    loss: Tensor
    weight: int
    right: Tensor  # tokens guessed right


def sft(model: CausalLM, layout: Layout) -> Sums:
    """Loss and right guesses at the trained positions only; the head sees nothing else."""
    hidden = model.hidden(layout)  # [nodes, d]
    loss, right = model.cross_entropy(hidden.index_select(0, layout.predict), layout.targets)
    return Sums(loss=loss, weight=layout.targets.numel(), right=right)
