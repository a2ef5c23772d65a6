"""Write a small model folder as GGUF the way llama.cpp's converter does, to read it back."""

import json
from pathlib import Path

import gguf
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def _permuted(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """llama.cpp keeps the rotary pairs of LLaMA's q and k next to each other."""
    half = weight.shape[0] // heads // 2
    return weight.reshape(heads, 2, half, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def _gguf_name(name: str) -> str:
    if name.startswith("model.layers."):
        _, _, layer, part = name.split(".", 3)
        stem, kind = part.rsplit(".", 1)
        return f"blk.{layer}.{NAMES[stem]}.{kind}"
    stem, kind = name.rsplit(".", 1)
    return f"{NAMES[stem]}.{kind}"


def write_gguf(
    folder: Path,
    target: Path,
    *,
    pre: str = "smollm",
    template: bool = True,
    quantised: bool = False,
) -> Path:
    """`folder` (LLaMA, byte-level BPE) as a GGUF at `target`, in float32 or Q8_0."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = model.config
    out = gguf.GGUFWriter(target, "llama")
    out.add_name("Tiny")
    out.add_context_length(config.max_position_embeddings)
    out.add_embedding_length(config.hidden_size)
    out.add_block_count(config.num_hidden_layers)
    out.add_feed_forward_length(config.intermediate_size)
    out.add_head_count(config.num_attention_heads)
    out.add_head_count_kv(config.num_key_value_heads)
    out.add_layer_norm_rms_eps(config.rms_norm_eps)
    out.add_rope_freq_base(config.rope_parameters["rope_theta"])
    out.add_rope_dimension_count(config.head_dim)
    out.add_vocab_size(config.vocab_size)
    _add_tokenizer(out, tokenizer, pre, template)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if "q_proj" in name:
            tensor = _permuted(tensor, config.num_attention_heads)
        if "k_proj" in name:
            tensor = _permuted(tensor, config.num_key_value_heads)
        data = tensor.contiguous().numpy()
        if quantised and data.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            out.add_tensor(_gguf_name(name), gguf.quants.quantize(data, kind), raw_dtype=kind)
        else:
            out.add_tensor(_gguf_name(name), data)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return target


def _add_tokenizer(out: gguf.GGUFWriter, tokenizer, pre: str, template: bool) -> None:
    core = json.loads(tokenizer.backend_tokenizer.to_str())
    special = {token["content"] for token in core["added_tokens"]}
    tokens = [tokenizer.convert_ids_to_tokens(i) for i in range(len(tokenizer))]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre(pre)
    out.add_token_list(tokens)
    out.add_token_types([3 if token in special else 1 for token in tokens])
    out.add_token_merges([" ".join(merge) for merge in core["model"]["merges"]])
    out.add_eos_token_id(tokenizer.eos_token_id)
    out.add_pad_token_id(tokenizer.pad_token_id)
    out.add_add_bos_token(False)
    if template:
        out.add_chat_template(tokenizer.chat_template)
