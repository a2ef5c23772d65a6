"""The scalar head of a reward model, under peft's names: it is trained, and goes with the adapter.

Stock transformers name it `score` on every architecture that has a class for sequences.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from finetune.families.adapters.fresh import TrainableAdapter
from finetune.families.layers import SCORE

_PARAMETER = "base_model.model.score.modules_to_save.default.weight"


def fresh_head(model: Any, trained: TrainableAdapter, *, seed: int) -> nn.Parameter:
    """[1, d], drawn as transformers draws a new head; in the adapter's type."""
    config = model.config.get_text_config()
    like: Tensor = next(iter(trained.named.values()))
    drawn = torch.empty(1, config.hidden_size)
    drawn.normal_(0.0, config.initializer_range, generator=torch.Generator().manual_seed(seed))
    return nn.Parameter(drawn.to(like))


def scored(hidden: Tensor, head: Tensor) -> Tensor:
    """[rows] of hidden states [rows, d] and one head [1, d], in the head's type."""
    states = hidden.to(head.dtype)
    return (states @ head.t()).squeeze(-1)


def with_head(trained: TrainableAdapter, head: nn.Parameter) -> TrainableAdapter:
    """The adapter's parameters and files with the head among them."""
    return replace(
        trained,
        config=replace(trained.config, task_type="SEQ_CLS", modules_to_save=["score"]),
        named={**trained.named, _PARAMETER: head},
        saved=dict(sorted({**trained.saved, SCORE: head}.items())),
    )
