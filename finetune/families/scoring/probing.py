"""How a reward model scores a few rows, with the adapter and without. Training writes it down,
packing asks the packed files again."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

ROWS = 8  # both sides of four pairs
TOKENS = 256  # of a row

Scores = Callable[[list[int]], Tensor]
"""Tokens of a row -> its score [1], float32 or wider."""


@dataclass(frozen=True)
class Probe:
    input_ids: Tensor  # [tokens], the rows end to end
    lengths: Tensor  # [rows]
    adapted: Tensor  # [rows]
    plain: Tensor  # [rows], of the base alone under the trained head

    @classmethod
    def taken(cls, rows: Sequence[Sequence[int]], adapted: Scores, plain: Scores) -> "Probe":
        """Of the ends of the first rows: there answers differ."""
        cut = [list(row[-TOKENS:]) for row in rows[:ROWS]]
        return cls(
            input_ids=torch.tensor([token for row in cut for token in row]),
            lengths=torch.tensor([len(row) for row in cut]),
            adapted=torch.cat([adapted(row) for row in cut]),
            plain=torch.cat([plain(row) for row in cut]),
        )

    @property
    def tokens(self) -> int:
        return len(self.input_ids)

    def ask(self, scores: Scores) -> Tensor:
        """How another model scores them: as `adapted`."""
        rows = self.input_ids.split(self.lengths.tolist())
        return torch.cat([scores(row.tolist()) for row in rows])

    def tensors(self) -> dict[str, Tensor]:
        return {name: tensor.cpu().contiguous() for name, tensor in asdict(self).items()}
