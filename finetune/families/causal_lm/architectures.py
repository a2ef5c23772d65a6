"""The architectures that may be imported: dense decoder-only text models of transformers itself.

A name outside this list is refused: loading it would need code from the model's own folder, or the
trainer has never been tested with it.
"""

from typing import Any

from faults import UserFault

# config.architectures[0] -> config.model_type
ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "MinistralForCausalLM": "ministral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "GemmaForCausalLM": "gemma",
    "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3_text",
}

# general.architecture of a GGUF file; llama.cpp writes Mistral as "llama"
GGUF_ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3")


def native_architecture(config: dict[str, Any], where: str) -> str:
    """The transformers class for `config`; UserFault when there is none on the list."""
    named = config.get("architectures")
    name = named[0] if isinstance(named, list) and len(named) == 1 else None
    model_type = config.get("model_type")
    if isinstance(name, str) and ARCHITECTURES.get(name) == model_type:
        return name
    if "auto_map" in config:
        raise UserFault(
            "remote_code_required",
            f"The architecture {named!r} runs only with Python code from the model's own folder "
            "(auto_map), and such code is never executed here.",
            where=where,
            fix=f"Use a model of one of these: {', '.join(ARCHITECTURES)}.",
        )
    raise UserFault(
        "unknown_architecture",
        f"config.json says architectures {named!r}, model_type {model_type!r}.",
        where=where,
        fix=f"Use a causal language model of one of these: {', '.join(ARCHITECTURES)}.",
    )
