"""How a few pairs are scored, with the adapter and without. Training writes it down, packing asks
the packed files again."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from finetune.families.reranking.ranker import Ranker
from finetune.families.widening import widened
from finetune.records.ranking import Pair

PAIRS = 8
TOKENS = 256  # of a pair


@dataclass(frozen=True)
class Probe:
    input_ids: Tensor  # [tokens], the pairs end to end
    lengths: Tensor  # [pairs]
    firsts: Tensor  # [pairs], the documents' first tokens
    adapted: Tensor  # [pairs], logits
    plain: Tensor  # [pairs], of the base alone

    @classmethod
    def taken(cls, sequences: Sequence[Any], ranker: Ranker) -> "Probe":
        """Of the first pairs' beginnings."""
        cut = [Pair(list(each.input_ids[:TOKENS]), each.first) for each in sequences[:PAIRS]]
        adapted = logits(ranker, cut)
        with ranker.plain():
            plain = logits(ranker, cut)
        return cls(
            input_ids=torch.tensor([token for pair in cut for token in pair.input_ids]),
            lengths=torch.tensor(list(map(len, cut))),
            firsts=torch.tensor([pair.first for pair in cut]),
            adapted=adapted,
            plain=plain,
        )

    @property
    def pairs(self) -> list[Pair]:
        parts = self.input_ids.split(self.lengths.tolist())
        firsts = self.firsts.tolist()
        return [Pair(ids.tolist(), first) for ids, first in zip(parts, firsts, strict=True)]

    def tensors(self) -> dict[str, Tensor]:
        return {name: tensor.cpu().contiguous() for name, tensor in asdict(self).items()}


@torch.no_grad()
def logits(ranker: Ranker, pairs: Sequence[Pair]) -> Tensor:
    """Each alone, in float32 whatever the weights are stored in."""
    with widened(ranker.model):
        return torch.cat([ranker.logits(ranker.lay_out([pair])) for pair in pairs]).cpu()
