"""A packed reward model, loaded on its base as a customer will, against what training told."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from faults import OurFault
from finetune.families.adapters.packed import largest_gap, load_packed
from finetune.families.causal_lm.loading import DTYPES
from finetune.families.contract import Difference, Precision
from finetune.families.layers import SCORE
from finetune.families.scoring.probing import Probe, Scores


def compare(
    base_dir: Path, packed: Path, told: dict[str, Tensor], *, precision: Precision
) -> Difference:
    """Differences are of scores. `same_top_token`: the row scored highest is the one that was."""
    probe = Probe(**told)
    base = _load(base_dir, precision)
    head = load_file(packed / "adapter_model.safetensors").get(SCORE)
    if head is None:
        raise OurFault("parity_failed", f"There is no {SCORE} in it.", where=str(packed))
    plain = probe.ask(_plain(base, head))
    adapted = probe.ask(_scores(load_packed(base, packed)))
    return Difference(
        tokens=probe.tokens,
        max_abs_diff=largest_gap(adapted, probe.adapted),
        base_diff=largest_gap(plain, probe.plain),
        moved=largest_gap(probe.adapted, probe.plain),
        same_top_token=bool(adapted.argmax() == probe.adapted.argmax()),
    )


def _load(base_dir: Path, precision: Precision) -> Any:
    """Widened where training was narrower, since peft would round the head to the base's type.
    One row at a time needs no padding, and without its token the last one is read."""
    model = AutoModelForSequenceClassification.from_pretrained(
        base_dir,
        num_labels=1,
        ignore_mismatched_sizes=True,  # of a head that the base has: the artifact has its own
        dtype=DTYPES[precision],
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
    ).eval()
    model.config.pad_token_id = None
    return model if precision == "fp64" else model.float()


def _plain(base: Any, head: Tensor) -> Scores:
    @torch.inference_mode()
    def scores(tokens: list[int]) -> Tensor:
        body = getattr(base, base.base_model_prefix)
        hidden = body(torch.tensor([tokens]), use_cache=False).last_hidden_state[0, -1:]
        return (hidden @ head.to(hidden.dtype).t()).squeeze(-1)

    return scores


def _scores(model: Any) -> Scores:
    @torch.inference_mode()
    def scores(tokens: list[int]) -> Tensor:
        found: Tensor = model(torch.tensor([tokens]), use_cache=False).logits[0]
        return found

    return scores
