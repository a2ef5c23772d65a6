"""A packed adapter on its base, loaded as a customer will, against what training wrote down."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from finetune.families.adapters.packed import largest_gap, load_packed
from finetune.families.causal_lm.loading import DTYPES, load_base
from finetune.families.causal_lm.probing import Logits, Probe
from finetune.families.contract import Difference, Precision
from finetune.families.widening import widened


def compare(
    base_dir: Path, packed: Path, told: dict[str, Tensor], *, precision: Precision
) -> Difference:
    probe = Probe(**told)
    base = load_base(base_dir, dtype=DTYPES[precision]).eval()
    plain = probe.ask(_logits(base))
    adapted = probe.ask(_logits(load_packed(base, packed)))
    return Difference(
        tokens=probe.tokens,
        max_abs_diff=largest_gap(adapted, probe.adapted),
        base_diff=largest_gap(plain, probe.plain),
        moved=largest_gap(probe.adapted, probe.plain),
        same_top_token=bool((adapted.argmax(-1) == 0).all()),
    )


def _logits(model: Any) -> Logits:
    @torch.inference_mode()
    def logits(tokens: list[int], places: list[int]) -> Tensor:
        with widened(model):
            found: Tensor = model(torch.tensor([tokens]), use_cache=False).logits[0]
        return found[places]

    return logits
