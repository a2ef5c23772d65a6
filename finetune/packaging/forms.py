"""The forms that a model can be had in beside its bundle."""

from typing import Literal

FormName = Literal["merged", "gguf-f16", "gguf-q8_0", "gguf-q4_k_m"]
MERGED: FormName = "merged"
GGUF: tuple[FormName, ...] = ("gguf-f16", "gguf-q8_0", "gguf-q4_k_m")
FORMS: tuple[FormName, ...] = (MERGED, *GGUF)
# transformers' class -> general.architecture; each is one that the tests have converted
GGUF_ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}


def forms_of(architecture: str) -> tuple[FormName, ...]:
    """Of a model that writes."""
    return FORMS if architecture in GGUF_ARCHITECTURES else (MERGED,)


def room(form: str, base_bytes: int) -> int:
    """Bytes on the worker's disk: its folder and its .tar, and of a GGUF what is merged first."""
    return base_bytes * (2 if form == MERGED else 3)
