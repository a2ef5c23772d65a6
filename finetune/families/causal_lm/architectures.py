"""The architectures that may be imported, and why others are not: a base is refused at its import
and not in the middle of a run. docs/reference/architectures.md is made of these tables.

A name outside them is refused, too: loading it would need code from the model's own folder, or
nobody has tried it. A new one goes into `tests/finetune/families/bases.py` with it.
"""

from typing import Any

from faults import UserFault

# config.architectures[0] -> config.model_type
ARCHITECTURES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "MinistralForCausalLM": "ministral",
    "Ministral3ForCausalLM": "ministral3",
    "Mistral3ForConditionalGeneration": "mistral3",
    "MixtralForCausalLM": "mixtral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "Qwen3MoeForCausalLM": "qwen3_moe",
    "GemmaForCausalLM": "gemma",
    "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3_text",
    "Gemma3ForConditionalGeneration": "gemma3",
    "Phi3ForCausalLM": "phi3",
    "SmolLM3ForCausalLM": "smollm3",
    "GraniteForCausalLM": "granite",
    "OlmoForCausalLM": "olmo",
    "Olmo2ForCausalLM": "olmo2",
    "Olmo3ForCausalLM": "olmo3",
    "GlmForCausalLM": "glm",
    "Glm4ForCausalLM": "glm4",
    "GptOssForCausalLM": "gpt_oss",
}

# Of models that read images, too: the text model within, by its own model_type
TEXT_PARTS = {"gemma3": ("gemma3_text",), "mistral3": ("mistral", "ministral3")}

# general.architecture of a GGUF file; llama.cpp writes Mistral as "llama"
GGUF_ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3")

_STATEFUL = (
    "some of its layers carry a state along the row (a convolution, a gated delta net or a state "
    "space) where packed rows would run into each other, and the server's batch keeps no such state"
)
_EXPERTS = "its mixture of experts has not been tried here"
_LATENT = "its latent attention (compressed keys and values) has not been tried here"
_SHARED_STATES = "its layers share keys, values and embeddings in ways that have not been tried"
_OWN_ADAPTERS = "it switches adapters of its own for images and speech"
_IMAGE_POSITIONS = "its positions have three axes, for images, which packed rows do not lay out"

# config.model_type -> why not
REFUSED = {
    **dict.fromkeys(("qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"), _STATEFUL),
    **dict.fromkeys(("qwen3_next", "lfm2", "lfm2_moe", "granitemoehybrid"), _STATEFUL),
    **dict.fromkeys(("mamba", "mamba2", "falcon_mamba", "jamba", "bamba", "zamba2"), _STATEFUL),
    **dict.fromkeys(("olmo_hybrid", "falcon_h1", "nemotron_h", "recurrent_gemma"), _STATEFUL),
    **dict.fromkeys(("qwen2_moe", "olmoe", "phimoe", "granitemoe", "glm4_moe", "llama4"), _EXPERTS),
    **dict.fromkeys(("deepseek_v2", "deepseek_v3", "glm4_moe_lite", "mistral4"), _LATENT),
    **dict.fromkeys(("gemma3n", "gemma3n_text", "gemma4", "gemma4_text"), _SHARED_STATES),
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe"), _IMAGE_POSITIONS),
    "phi4_multimodal": _OWN_ADAPTERS,
}


def native_architecture(config: dict[str, Any], where: str) -> str:
    """The transformers class for `config`; UserFault when there is none on the list."""
    named = config.get("architectures")
    name = named[0] if isinstance(named, list) and len(named) == 1 else None
    model_type = config.get("model_type")
    if isinstance(name, str) and ARCHITECTURES.get(name) == model_type:
        _require_text(config, name, where)
        return name
    if isinstance(model_type, str) and (reason := REFUSED.get(model_type)):
        raise _unsupported(f"{name or model_type} cannot be trained here: {reason}.", where)
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


def _require_text(config: dict[str, Any], name: str, where: str) -> None:
    """What an architecture's name does not tell."""
    text = config
    if parts := TEXT_PARTS.get(config["model_type"]):
        text = config.get("text_config") or {}
        # configs of before transformers 5 may leave it out: each model has its usual one
        if (inner := text.get("model_type", parts[0])) not in parts:
            raise _unsupported(f"The text model within {name} is {inner!r}.", where)
    if text.get("use_bidirectional_attention"):
        raise _unsupported(f"This {name} looks ahead: it embeds texts and writes none.", where)
    kinds = set(text.get("layer_types") or ()) - {"full_attention", "sliding_attention"}
    if kinds:
        raise _unsupported(f"{name} has layers of the kind {sorted(kinds)[0]!r}.", where)


def _unsupported(what: str, where: str) -> UserFault:
    return UserFault(
        "architecture_unsupported",
        what,
        where=where,
        fix="docs/reference/architectures.md lists what was run here; choose one of those.",
    )
