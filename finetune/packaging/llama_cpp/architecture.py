"""What llama.cpp is told about a model, and its weights as llama.cpp wants them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from faults import UserFault
from finetune.packaging.forms import GGUF_ARCHITECTURES
from finetune.packaging.llama_cpp.native import Floats

# llama.cpp turns the two halves of a head's rotary pairs where transformers lays them side by side
_PAIRED = ("llama",)


def unsupported(what: str) -> UserFault:
    return UserFault(
        "form_unsupported",
        f"There is no GGUF of this model: {what}.",
        fix="Have it merged, and convert that with llama.cpp's own tools, or serve it as it is.",
    )


@dataclass(frozen=True)
class Architecture:
    """`config`: the model's config.json; `name`: general.architecture."""

    config: dict[str, Any]
    name: str

    @classmethod
    def of(cls, config: dict[str, Any]) -> "Architecture":
        """Raises UserFault `form_unsupported`."""
        kind = config["architectures"][0]
        if kind not in GGUF_ARCHITECTURES:
            raise unsupported(f"the architecture {kind} is not converted here")
        window = config.get("sliding_window")
        slides = config.get("use_sliding_window", window is not None)
        if slides and window and window < config["max_position_embeddings"]:
            raise unsupported(f"its attention slides over {window} tokens")
        found = cls(config, GGUF_ARCHITECTURES[kind])
        if found._scaling not in ("default", "linear", "llama3"):
            raise unsupported(f"its positions are scaled by {found._scaling!r}")
        return found

    @property
    def blocks(self) -> int:
        return int(self.config["num_hidden_layers"])

    @property
    def tied(self) -> bool:
        return bool(self.config.get("tie_word_embeddings", False))

    @property
    def context(self) -> int:
        return int(self.config["max_position_embeddings"])

    @property
    def _heads(self) -> tuple[int, int]:
        heads = int(self.config["num_attention_heads"])
        return heads, int(self.config.get("num_key_value_heads") or heads)

    @property
    def _head_size(self) -> int:
        size = self.config.get("head_dim")
        return int(size or self.config["hidden_size"] // self._heads[0])

    @property
    def _rope(self) -> dict[str, Any]:
        """As transformers writes it now, or wrote it before its version 5."""
        rope = self.config.get("rope_parameters") or self.config.get("rope_scaling") or {}
        theta = rope.get("rope_theta") or self.config.get("rope_theta", 10000.0)
        return {**rope, "rope_theta": theta}

    @property
    def _scaling(self) -> str:
        return str(self._rope.get("rope_type") or self._rope.get("type") or "default")

    def describe(self, out: Any) -> None:
        """Into a GGUFWriter."""
        from gguf import RopeScalingType

        heads, of_keys = self._heads
        out.add_context_length(self.context)
        out.add_embedding_length(self.config["hidden_size"])
        out.add_block_count(self.blocks)
        out.add_feed_forward_length(self.config["intermediate_size"])
        out.add_head_count(heads)
        out.add_head_count_kv(of_keys)
        out.add_key_length(self._head_size)
        out.add_value_length(self._head_size)
        out.add_layer_norm_rms_eps(self.config["rms_norm_eps"])
        out.add_rope_dimension_count(self._head_size)
        out.add_rope_freq_base(self._rope["rope_theta"])
        out.add_vocab_size(self.config["vocab_size"])
        if self._scaling == "linear":
            out.add_rope_scaling_type(RopeScalingType.LINEAR)
            out.add_rope_scaling_factor(self._rope["factor"])

    def frequencies(self) -> Floats | None:
        """Llama 3.1's factors, by which each pair of a head turns more slowly."""
        if self._scaling != "llama3":
            return None
        rope, size = self._rope, self._head_size
        turns = rope["rope_theta"] ** (-np.arange(0, size, 2) / size)
        waves = 2 * np.pi / turns
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        # 1 for short waves, `factor` for long ones, in between what joins the two
        part = (rope["original_max_position_embeddings"] / waves - low) / (high - low)
        part = np.clip(part, 0.0, 1.0)
        return np.asarray(1 / ((1 - part) / rope["factor"] + part), dtype=np.float32)

    def turned(self, name: str, weight: Floats) -> Floats:
        """The tensor that transformers calls `name`."""
        if self.name not in _PAIRED:
            return weight
        heads = {"q_proj": self._heads[0], "k_proj": self._heads[1]}.get(name.split(".")[-2])
        if heads is None:
            return weight
        halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
        return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))
