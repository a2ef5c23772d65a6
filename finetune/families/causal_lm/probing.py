"""What a model says at a few places: log-probabilities of its likeliest tokens, with the adapter
and without. Training writes them down, packing asks the packed files again."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

ROWS = 4
TOKENS = 128  # of a row
PLACES = 8  # of a row
KEPT = 64  # tokens a place
HEAD_ROWS = 1 << 15  # of an output head that are widened at a time

Logits = Callable[[list[int], list[int]], Tensor]
"""(tokens of a row, places in it) -> logits [places, vocab], float32 or wider."""


@dataclass(frozen=True)
class Probe:
    """Log-probabilities are in nats, over the whole vocabulary."""

    input_ids: Tensor  # [tokens], the rows end to end
    lengths: Tensor  # [rows]
    likeliest: Tensor  # [places, KEPT]: token ids, the likeliest first
    adapted: Tensor  # [places, KEPT]
    plain: Tensor  # [places, KEPT], of the base alone

    @classmethod
    def taken(cls, rows: Sequence[Sequence[int]], adapted: Logits, plain: Logits) -> "Probe":
        """Of the beginnings of the first rows."""
        cut = [list(row[:TOKENS]) for row in rows[:ROWS]]
        said = torch.cat([adapted(row, places(len(row))).log_softmax(-1) for row in cut])
        likeliest = said.topk(min(KEPT, said.shape[1])).indices
        return cls(
            input_ids=torch.tensor([token for row in cut for token in row]),
            lengths=torch.tensor([len(row) for row in cut]),
            likeliest=likeliest,
            adapted=said.gather(1, likeliest),
            plain=_asked(cut, likeliest, plain),
        )

    @property
    def tokens(self) -> int:
        return len(self.input_ids)

    def ask(self, logits: Logits) -> Tensor:
        """What another model says there: as `adapted`."""
        rows = [row.tolist() for row in self.input_ids.split(self.lengths.tolist())]
        return _asked(rows, self.likeliest, logits)

    def tensors(self) -> dict[str, Tensor]:
        return {name: tensor.cpu().contiguous() for name, tensor in asdict(self).items()}


def places(length: int) -> list[int]:
    """Evenly over a row, its last token among them."""
    count = min(PLACES, length)
    return [(number + 1) * length // count - 1 for number in range(count)]


def head_logits(hidden: Tensor, head: Tensor) -> Tensor:
    """h W^T in `hidden`'s type, of a head that may be narrower."""
    parts = head.split(HEAD_ROWS)
    return torch.cat([hidden @ part.to(hidden.dtype).t() for part in parts], dim=1)


def _asked(rows: Sequence[list[int]], likeliest: Tensor, logits: Logits) -> Tensor:
    said = torch.cat([logits(row, places(len(row))).log_softmax(-1) for row in rows])
    return said.gather(1, likeliest.to(said.device))
