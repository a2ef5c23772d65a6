"""Texts side by side, padded on the right, and one vector of each text's states."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from finetune.records.recipe import Recipe


@dataclass(frozen=True)
class Texts:
    """A micro-batch, in the order given. `mask` is 1 where a text's own tokens are."""

    input_ids: Tensor  # [texts, longest]
    mask: Tensor  # [texts, longest]
    tokens: int

    @classmethod
    def of(
        cls, texts: Sequence[Sequence[int]], padding: int, device: torch.device | str
    ) -> "Texts":
        longest = max(map(len, texts))
        padded = [[*text, *[padding] * (longest - len(text))] for text in texts]
        own = [[1] * len(text) + [0] * (longest - len(text)) for text in texts]
        return cls(
            input_ids=torch.tensor(padded, dtype=torch.long).to(device, non_blocking=True),
            mask=torch.tensor(own, dtype=torch.long).to(device, non_blocking=True),
            tokens=sum(map(len, texts)),
        )


def pooled(states: Tensor, mask: Tensor, recipe: Recipe) -> Tensor:
    """States [texts, longest, d] to vectors [texts, d], float32 or wider."""
    states = states if states.dtype == torch.float64 else states.float()
    vectors = _pooled(states, mask, recipe)
    return torch.nn.functional.normalize(vectors, dim=-1) if recipe.normalize else vectors


def _pooled(states: Tensor, mask: Tensor, recipe: Recipe) -> Tensor:
    if recipe.pooling == "cls":
        return states[:, 0]
    if recipe.pooling == "lasttoken":
        return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
    own = mask.unsqueeze(-1)
    if recipe.pooling == "max":
        return states.masked_fill(own == 0, float("-inf")).amax(1)
    return (states * own).sum(1) / own.sum(1)
