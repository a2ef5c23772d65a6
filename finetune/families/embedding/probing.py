"""The vectors of a few texts, with the adapter and without. Training writes them down, packing asks
the packed files again."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from finetune.families.embedding.embedder import Embedder
from finetune.families.widening import widened

TEXTS = 8
TOKENS = 128  # of a text


@dataclass(frozen=True)
class Probe:
    input_ids: Tensor  # [tokens], the texts end to end
    lengths: Tensor  # [texts]
    adapted: Tensor  # [texts, d]
    plain: Tensor  # [texts, d], of the base alone

    @classmethod
    def taken(cls, texts: Sequence[list[int]], embedder: Embedder) -> "Probe":
        """Of the beginnings of the first texts."""
        cut = [text[:TOKENS] for text in texts[:TEXTS]]
        adapted = vectors(embedder, cut)
        with embedder.plain():
            plain = vectors(embedder, cut)
        return cls(
            input_ids=torch.tensor([token for text in cut for token in text]),
            lengths=torch.tensor(list(map(len, cut))),
            adapted=adapted,
            plain=plain,
        )

    @property
    def texts(self) -> list[list[int]]:
        return [text.tolist() for text in self.input_ids.split(self.lengths.tolist())]

    def tensors(self) -> dict[str, Tensor]:
        return {name: tensor.cpu().contiguous() for name, tensor in asdict(self).items()}


@torch.no_grad()
def vectors(embedder: Embedder, texts: Sequence[list[int]]) -> Tensor:
    """Each alone, in float32 whatever the weights are stored in."""
    with widened(embedder.model):
        found = [embedder.vectors(embedder.lay_out([text])) for text in texts]
    return torch.cat(found).cpu()
