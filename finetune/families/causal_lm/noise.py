"""NEFTune (Jain et al. 2023): noise on the embeddings of training rows, as transformers adds it.

Each row gets uniform noise of at most alpha / sqrt(L d), L its own tokens and d its width, drawn
from torch's generator in the rows' order: a step's seed decides it, as it does dropout's masks.
"""

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from finetune.families.causal_lm.layout import Layout


class EmbeddingNoise:
    """On what an embedding gives while it is in training mode, for layouts that share nothing."""

    def __init__(self, embedding: nn.Module, alpha: float) -> None:
        self.alpha = alpha
        self._now = threading.local()
        embedding.register_forward_hook(self._add)

    @contextmanager
    def over(self, layout: Layout) -> Iterator[None]:
        """For the forward call of this thread inside."""
        self._now.lengths = [len(path) for path in layout.paths]
        try:
            yield
        finally:
            self._now.lengths = None

    def _add(self, module: nn.Module, _inputs: Any, output: Tensor) -> Tensor | None:
        lengths = getattr(self._now, "lengths", None)
        return output + self._drawn(output, lengths) if module.training and lengths else None

    def _drawn(self, output: Tensor, lengths: Sequence[int]) -> Tensor:
        """output [1, nodes, d], the rows end to end."""
        assert sum(lengths) == output.shape[1]  # shared nodes would be two rows' at once
        noise = torch.zeros_like(output)
        for part in noise.split(list(lengths), dim=1):
            most = self.alpha / math.sqrt(part.shape[1] * part.shape[2])
            part.uniform_(-most, most)
        return noise
