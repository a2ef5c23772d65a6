"""The header of a base's weights without the weights: shapes are all that some questions need."""

import json
from pathlib import Path


def write_header(
    folder: Path, *, layers: int, hidden: int, keys: int, inner: int, vocabulary: int
) -> None:
    """Of a LLaMA whose head is a table of its own."""
    shapes: dict[str, list[int]] = {
        "model.embed_tokens.weight": [vocabulary, hidden],
        "lm_head.weight": [vocabulary, hidden],
        "model.norm.weight": [hidden],
    }
    for number in range(layers):
        layer = f"model.layers.{number}."
        shapes |= {
            f"{layer}self_attn.q_proj.weight": [hidden, hidden],
            f"{layer}self_attn.k_proj.weight": [keys, hidden],
            f"{layer}self_attn.v_proj.weight": [keys, hidden],
            f"{layer}self_attn.o_proj.weight": [hidden, hidden],
            f"{layer}mlp.gate_proj.weight": [inner, hidden],
            f"{layer}mlp.up_proj.weight": [inner, hidden],
            f"{layer}mlp.down_proj.weight": [hidden, inner],
            f"{layer}input_layernorm.weight": [hidden],
            f"{layer}post_attention_layernorm.weight": [hidden],
        }
    header = json.dumps({name: {"dtype": "BF16", "shape": shape} for name, shape in shapes.items()})
    body = len(header).to_bytes(8, "little") + header.encode()
    (folder / "model.safetensors").write_bytes(body)
