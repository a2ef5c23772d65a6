"""Attention masks for rows of different lengths, in the form each architecture takes them."""

from typing import Any

import torch
from torch import Tensor

Masks = Tensor | dict[str, Tensor]

_KNOWN = {"full_attention", "sliding_attention"}


class MaskMaker:
    """Builds the masks that a transformers model would build itself for one sequence.

    Models with `layer_types` (Qwen, Gemma) take one mask for each type; others (LLaMA, Mistral) a
    single one, within the sliding window when the configuration sets one.
    """

    def __init__(self, config: Any, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._window: int | None = getattr(config, "sliding_window", None)
        self._types = set(getattr(config, "layer_types", None) or ())
        self.supported = self._types <= _KNOWN

    def make(self, positions: Tensor, span: int) -> Masks:
        """positions [rows, width] of the queries -> additive [rows, 1, width, span]."""
        distance = positions[:, None, :, None] - torch.arange(span, device=positions.device)
        causal = distance >= 0
        if not self._types:
            seen = causal if self._window is None else causal & (distance < self._window)
            return self._additive(seen)
        masks = {"full_attention": self._additive(causal)}
        if "sliding_attention" in self._types:
            assert self._window is not None
            masks["sliding_attention"] = self._additive(causal & (distance < self._window))
        return masks

    def _additive(self, seen: Tensor) -> Tensor:
        lowest = torch.finfo(self._dtype).min
        return torch.zeros_like(seen, dtype=self._dtype).masked_fill_(~seen, lowest)
