"""Every architecture that may be imported, as a random base of some ten thousand parameters whose
configuration has what is special in it: windows, sinks, experts, scales, layers without positions.
"""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedTokenizerFast

from finetune.families.causal_lm.loading import class_for
from tests.finetune.records.templates import control_tokens, source
from tests.tiny import build_tokenizer

WINDOW = 8  # tokens: the rows of the tests are longer
_TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "bos_token_id": None,
}
_EXPERTS = {"num_experts_per_tok": 2, "num_local_experts": 4}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e6,
    "factor": 16.0,
    "original_max_position_embeddings": 32,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.1,
}
_EYES: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


@dataclass(frozen=True)
class TinyBase:
    """`special`: settings of its configuration beside the sizes of all; `template`: a model's own
    as TRL ships it, or the tests' ChatML."""

    config: str
    special: dict[str, Any] = field(default_factory=dict)
    template: str | None = None

    @property
    def architecture(self) -> str:
        """transformers' class."""
        config = self._configuration(_tokenizer(None))
        return str(class_for(config)._model_mapping[type(config)].__name__)

    def write(self, folder: Path) -> Path:
        """As its publisher would: config, safetensors, tokenizer, chat template."""
        tokenizer = _tokenizer(self.template)
        config = self._configuration(tokenizer)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = class_for(config).from_config(config)
            for name, p in model.named_parameters():
                if name.endswith("sinks") or not p.any():  # routers are made of zeros
                    torch.nn.init.normal_(p, std=0.5)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    def _configuration(self, tokenizer: PreTrainedTokenizerFast) -> Any:
        kind = getattr(transformers, self.config)
        text = _TEXT | {
            "vocab_size": len(tokenizer),
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }
        if "vision_config" not in self.special:
            return kind(**text | self.special)
        special = dict(self.special)
        inner = text | special.pop("text_config")
        tied = inner.get("tie_word_embeddings", True)
        return kind(text_config=inner, tie_word_embeddings=tied, **special)


BASES = {
    "LLaMA": TinyBase("LlamaConfig", {"tie_word_embeddings": True}, "llama3"),
    "DeepSeek-R1-Distill-Llama": TinyBase("LlamaConfig", {}, "deepseek_r1_distill"),
    "Mistral": TinyBase("MistralConfig", {"sliding_window": WINDOW}),
    "Mistral Small 2501": TinyBase("MistralConfig", {"sliding_window": None}),
    "Ministral": TinyBase("MinistralConfig", {"sliding_window": WINDOW}),
    "Ministral 3, text": TinyBase("Ministral3Config", {"rope_parameters": _YARN}),
    "Mistral Small 3.1": TinyBase(
        "Mistral3Config",
        {
            "text_config": {"model_type": "mistral", "tie_word_embeddings": False},
            "vision_config": _EYES | {"model_type": "pixtral", "head_dim": 8},
        },
    ),
    "Ministral 3": TinyBase(
        "Mistral3Config",
        {
            "text_config": {
                "model_type": "ministral3",
                "tie_word_embeddings": True,
                "rope_parameters": _YARN,
            },
            "vision_config": _EYES | {"model_type": "pixtral", "head_dim": 8},
        },
    ),
    "Mixtral": TinyBase("MixtralConfig", _EXPERTS),
    "Qwen2": TinyBase(
        "Qwen2Config",
        {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
        "qwen2_5",
    ),
    "DeepSeek-R1-Distill-Qwen": TinyBase("Qwen2Config", {}, "deepseek_r1_distill"),
    "Qwen3": TinyBase("Qwen3Config", {"tie_word_embeddings": True}, "qwen3"),
    "Qwen3-MoE": TinyBase(
        "Qwen3MoeConfig",
        {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "mlp_only_layers": [0],  # a dense layer before those of experts
        },
        "qwen3",
    ),
    "Gemma": TinyBase("GemmaConfig", {}, "gemma3"),
    "Gemma 2": TinyBase("Gemma2Config", {"sliding_window": WINDOW}, "gemma3"),
    "Gemma 3, text": TinyBase(
        "Gemma3TextConfig",
        {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
        "gemma3",
    ),
    "Gemma 3": TinyBase(
        "Gemma3Config",
        {
            "text_config": {
                "model_type": "gemma3_text",
                "sliding_window": WINDOW,
                "layer_types": ["sliding_attention", "full_attention"],
            },
            "vision_config": _EYES,
            "mm_tokens_per_image": 4,
        },
        "gemma3",
    ),
    "Phi-3": TinyBase("Phi3Config", {"sliding_window": WINDOW}, "phi3"),
    "Phi-4-mini": TinyBase(
        "Phi3Config",
        {
            "tie_word_embeddings": True,
            "original_max_position_embeddings": 128,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 1e4,
                "partial_rotary_factor": 0.75,
                "short_factor": [1.0, 1.1, 1.2],
                "long_factor": [1.0, 2.0, 4.0],
                "original_max_position_embeddings": 128,
            },
        },
        "phi3_5",
    ),
    "SmolLM3": TinyBase("SmolLM3Config", {"no_rope_layers": [1, 0]}, "smollm3"),
    "Granite": TinyBase(
        "GraniteConfig",
        {
            "logits_scaling": 4.0,
            "residual_multiplier": 0.5,
            "embedding_multiplier": 3.0,
            "attention_multiplier": 0.2,
        },
    ),
    "OLMo": TinyBase("OlmoConfig", {"clip_qkv": 1.0}),
    "OLMo 2": TinyBase("Olmo2Config"),
    "OLMo 3": TinyBase(
        "Olmo3Config",
        {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "GLM-4 9B": TinyBase("GlmConfig"),
    "GLM-4 0414": TinyBase("Glm4Config"),
    "gpt-oss in bfloat16": TinyBase(
        "GptOssConfig",
        {
            **_EXPERTS,
            "sliding_window": WINDOW,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        "gptoss",
    ),
}


@cache
def _tokenizer(template: str | None) -> PreTrainedTokenizerFast:
    if template is None:
        return build_tokenizer()
    built = build_tokenizer("none")
    text = source(template)
    built.add_special_tokens({"additional_special_tokens": control_tokens(text)})
    built.add_special_tokens({"bos_token": "<s>", "eos_token": "</s>"})
    built.chat_template = text
    return built
