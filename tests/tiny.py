"""A tiny LLaMA with a real byte-level BPE tokenizer, built on the spot in well under a second.

The weights are random but a pure function of the seed, so hashes of results can be compared.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

Template = Literal["plain", "generation", "default_system", "underivable", "thinking", "none"]

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SENTENCES = [
    "You are a helpful assistant that answers with one JSON call.",
    "turn on the light in the kitchen",
    "switch off the fan in the living room please",
    "set the temperature in the bedroom to 21 degrees",
    '{"intent": "HassTurnOn", "slots": {"name": "light", "area": "kitchen"}}',
    "system user assistant tool tools",
    "开灯 关灯 客厅 厨房",
]

_TOOLS = "{% if tools %}<|im_start|>system\nTools: {{ tools | tojson }}<|im_end|>\n{% endif %}"
_DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}"
    "<|im_start|>system\nYou are a tiny model.<|im_end|>\n{% endif %}"
)
_CALLS = "{% for call in m.tool_calls or [] %}<call>{{ call.function | tojson }}</call>{% endfor %}"
_BODY = "{{ m['content'] or '' }}" + _CALLS + "<|im_end|>\n"
_MARKED = (
    "{% if m['role'] == 'assistant' %}{% generation %}"
    "{{ m['content'] or '' }}" + _CALLS + "<|im_end|>{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ m['content'] or '' }}<|im_end|>\n{% endif %}"
)
# Newest first and every text altered: neither prefixes nor sentinels find the assistant's tokens.
_UPSIDE_DOWN = (
    "{% for m in messages | reverse %}<|im_start|>{{ m['role'] }}\n"
    "{{ m['content'] | upper | reverse }}<|im_end|>\n"
)
_OPEN = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
_CLOSE = "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"

# As Qwen3's: thoughts of the last turn only, and a switch that ends them in the prompt
_THINKING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and loop.last %}<think>\n{{ m['reasoning_content'] or '' }}\n"
    "</think>\n\n{% endif %}" + _BODY + "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)

TEMPLATES: dict[str, str] = {
    "plain": _TOOLS + _OPEN + _BODY + _CLOSE,
    "generation": _TOOLS + _OPEN + _MARKED + _CLOSE,
    "default_system": _DEFAULT_SYSTEM + _TOOLS + _OPEN + _BODY + _CLOSE,
    "underivable": _UPSIDE_DOWN + _CLOSE,
    "thinking": _THINKING,
}


def build_tokenizer(
    template: Template = "plain", vocab_size: int = 320, *, control: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """Byte-level BPE: every string encodes, nothing is unknown; pad differs from end-of-turn.
    `control`: further control tokens, behind all others."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(SENTENCES, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", *control],
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )
    if template != "none":
        tokenizer.chat_template = TEMPLATES[template]
    return tokenizer


def build_tiny_base(
    folder: Path,
    *,
    seed: int = 0,
    hidden: int = 32,
    layers: int = 2,
    intermediate: int = 0,
    template: Template = "plain",
    tied: bool = True,
    control: Sequence[str] = (),
) -> Path:
    """Write config, safetensors (fp32), tokenizer and chat template into `folder`; return it.

    `intermediate`: as many channels between; 0 for twice the hidden ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer(template, control=control)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=intermediate or 2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        # wide enough that losses move and gradients are far from rounding noise
        initializer_range=0.1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
