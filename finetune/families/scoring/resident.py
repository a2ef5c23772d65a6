"""Scores of whole conversations by a base in memory, with the adapters and heads of several reward
models at once: what `adapted.ScoringLM.scores` is in training."""

from collections.abc import Sequence

import torch
from torch import Tensor

from finetune.families.adapters.assignment import Adapter
from finetune.families.causal_lm.resident import ResidentLM
from finetune.families.scoring.head import scored


@torch.inference_mode()
def scores(base: ResidentLM, rows: Sequence[Sequence[int]], adapters: Sequence[Adapter]) -> Tensor:
    states = base.last_states(rows, adapters)
    heads = [adapter.head for adapter in adapters]
    return torch.cat(
        [scored(states[n : n + 1], head) for n, head in enumerate(heads) if head is not None]
    )
