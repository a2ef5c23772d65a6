"""Two adapters on one base by their logits, each loaded as a customer will."""

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor

from faults import UserFault
from finetune.families.causal_lm.loading import load_base
from finetune.families.contract import Difference
from finetune.records.encode import load_tokenizer

_PROBE = [
    {"role": "user", "content": "Turn on the lamp in the kitchen, then say what you did."},
    {"role": "assistant", "content": '{"intent": "HassTurnOn", "slots": {"area": "kitchen"}}'},
]


def compare(base_dir: Path, reference: Path, packed: Path) -> Difference:
    tokens = _probe(base_dir)
    plain, trained = _before_and_after(base_dir, reference, tokens)
    # a fresh base: nothing that the first adapter may have left behind can help the second
    _, loaded = _before_and_after(base_dir, packed, tokens)
    return Difference(
        tokens=tokens.shape[1],
        max_abs_diff=float((trained - loaded).abs().max()),
        moved=float((trained - plain).abs().max()),
        same_top_token=bool((trained.argmax(-1) == loaded.argmax(-1)).all()),
    )


def _probe(base_dir: Path) -> Tensor:
    """A fixed exchange in the base's own template; [1, tokens]."""
    tokenizer = load_tokenizer(base_dir)
    encoded = tokenizer.apply_chat_template(_PROBE, return_tensors="pt", return_dict=True)
    ids: Tensor = encoded["input_ids"]
    return ids


def _logits(model: Any, tokens: Tensor) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = model(tokens).logits.float()
    return logits  # [1, tokens, vocab]


def _before_and_after(base_dir: Path, adapter: Path, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Logits without and with the adapter; one base in memory at a time.

    Raises UserFault `adapter_unchanged` for one that is applied and makes no difference.
    """
    base = load_base(base_dir).eval()
    plain = _logits(base, tokens)
    adapted = PeftModel.from_pretrained(base, adapter).eval()
    moved = _logits(adapted, tokens)
    if torch.equal(plain, moved) and _is_applied(adapted, adapter):
        raise UserFault(
            "adapter_unchanged",
            "The training left the model as it was: the adapter changes none of its answers.",
            param="learning_rate_multiplier",
            fix="Train for more steps (epochs, or a smaller batch size), or with a higher learning "
            "rate multiplier.",
        )
    return plain, moved


def _is_applied(adapted: Any, adapter: Path) -> bool:
    """Whether every tensor of the files stands in the model: peft passes over names it does not
    know."""
    loaded = get_peft_model_state_dict(adapted)
    files = load_file(adapter / "adapter_model.safetensors")
    return loaded.keys() == files.keys() and all(
        torch.equal(loaded[name].float(), tensor.float()) for name, tensor in files.items()
    )
