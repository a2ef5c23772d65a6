"""Do the packed weights compute what training left? Logits compared before anything is signed."""

from pathlib import Path
from typing import Any

from finetune.errors import OurFault
from finetune.packaging.passport import Parity

# the same numbers through the same code on the same machine: expected is exactly 0
TOLERANCE = 1e-4
_PROBE = [
    {"role": "user", "content": "Turn on the lamp in the kitchen, then say what you did."},
    {"role": "assistant", "content": '{"intent": "HassTurnOn", "slots": {"area": "kitchen"}}'},
]


def compare_adapters(base_dir: Path, reference: Path, packed: Path) -> Parity:
    """Logits of base + `reference` against base + `packed`, loaded as a customer will.

    OurFault `parity_failed` when they differ by more than `TOLERANCE` or the adapter changes
    nothing, as when its tensor names no longer fit and peft ignores them.
    """
    tokens = _probe(base_dir)
    plain, trained = _before_and_after(base_dir, reference, tokens)
    # a fresh base: nothing that the first adapter may have left behind can help the second
    _, loaded = _before_and_after(base_dir, packed, tokens)
    parity = Parity(
        tokens=tokens.shape[1],
        max_abs_diff=float((trained - loaded).abs().max()),
        moved=float((trained - plain).abs().max()),
        same_top_token=bool((trained.argmax(-1) == loaded.argmax(-1)).all()),
    )
    if not parity.max_abs_diff <= TOLERANCE:  # NaN fails too
        raise OurFault(
            "parity_failed",
            f"The packed adapter's logits differ by {parity.max_abs_diff:.3g} from training's.",
            where=str(packed),
        )
    if parity.moved == 0:
        raise OurFault(
            "parity_failed",
            "The adapter changes nothing: its tensors do not reach the base.",
            where=str(packed),
        )
    return parity


def _load(base_dir: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        base_dir,
        dtype="auto",
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
    ).eval()


def _probe(base_dir: Path) -> Any:
    """A fixed exchange in the base's own template; [1, tokens]."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(
        base_dir, local_files_only=True, trust_remote_code=False
    )
    return tokenizer.apply_chat_template(_PROBE, return_tensors="pt", return_dict=True)["input_ids"]


def _logits(model: Any, tokens: Any) -> Any:
    import torch

    with torch.inference_mode():
        return model(tokens).logits.float()  # [1, tokens, vocab]


def _before_and_after(base_dir: Path, adapter: Path, tokens: Any) -> tuple[Any, Any]:
    """Logits without and with the adapter; one base in memory at a time."""
    from peft import PeftModel

    base = _load(base_dir)
    plain = _logits(base, tokens)
    return plain, _logits(PeftModel.from_pretrained(base, adapter).eval(), tokens)
