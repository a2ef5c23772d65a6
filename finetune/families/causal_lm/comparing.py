"""A packed adapter on its base, loaded as a customer will, against what training wrote down."""

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from faults import OurFault
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
    adapted = probe.ask(_logits(_loaded(base, packed)))
    return Difference(
        tokens=probe.tokens,
        max_abs_diff=_gap(adapted, probe.adapted),
        base_diff=_gap(plain, probe.plain),
        moved=_gap(probe.adapted, probe.plain),
        same_top_token=bool((adapted.argmax(-1) == 0).all()),
    )


def _loaded(base: Any, packed: Path) -> Any:
    """peft leaves tensors that it misses as they were made, and only warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Found missing adapter keys")
        try:
            return PeftModel.from_pretrained(base, packed).eval()
        except (UserWarning, RuntimeError) as error:  # RuntimeError: another shape
            text = f"peft does not find its tensors in the packed adapter: {error}"
            raise OurFault("parity_failed", text, where=str(packed)) from error


def _logits(model: Any) -> Logits:
    @torch.inference_mode()
    def logits(tokens: list[int], places: list[int]) -> Tensor:
        with widened(model):
            found: Tensor = model(torch.tensor([tokens]), use_cache=False).logits[0]
        return found[places]

    return logits


def _gap(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())
