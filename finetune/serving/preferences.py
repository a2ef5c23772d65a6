"""What a request would rather have or not have in its answer: a bias on tokens, and penalties on
those that the answer has already. They move logits before a token is drawn."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from finetune.serving.protocol import GenerateRequest


@dataclass
class Preferences:
    """OpenAI's formula: logit + bias - frequency * count - presence * (count > 0), where `count`
    is how often the answer, not the prompt, has the token."""

    bias: dict[int, float] = field(default_factory=dict)
    frequency: float = 0.0
    presence: float = 0.0
    _counts: Counter[int] = field(default_factory=Counter, init=False)

    @classmethod
    def of(cls, request: GenerateRequest) -> Self | None:
        """Of one choice; None where the logits stay as they are."""
        if not (request.logit_bias or request.frequency_penalty or request.presence_penalty):
            return None
        return cls(request.logit_bias, request.frequency_penalty, request.presence_penalty)

    def note(self, token: int) -> None:
        if self.frequency or self.presence:
            self._counts[token] += 1

    def move(self, logits: Tensor) -> None:
        """logits [vocab] fp32, changed in place."""
        moves = dict(self.bias)
        for token, count in self._counts.items():
            moves[token] = moves.get(token, 0.0) - self.frequency * count - self.presence
        if moves:
            ids = torch.tensor(list(moves), device=logits.device)
            values = torch.tensor(list(moves.values()), device=logits.device, dtype=logits.dtype)
            logits.index_add_(0, ids, values)
