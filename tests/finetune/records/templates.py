"""Chat templates of real models, and tokenizers that know their control tokens."""

import re
from functools import cache
from pathlib import Path

import trl
from transformers import PreTrainedTokenizerFast

from tests.tiny import build_tokenizer

# A tool, and a call of it; nine letters are all that Mistral's templates take for an id
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Tells the weather.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "Where"}},
                "required": ["city"],
            },
        },
    }
]
CALL = {
    "id": "call00001",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Bern"}'},
}

# Mistral 7B Instruct v0.1 to v0.3: no system role, a space before the answer, </s> after it
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}"
    "{% endfor %}"
)
# SmolLM2's, out of its GGUF file: puts a system message before whatever has none
SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# As many model cards mark it: the end token stands outside of the mark
MARKED_WITHOUT_END = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}"
    "{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# What some fine-tunes of plain base models use: no token ends an answer
PLAIN_WORDS = (
    "{% for m in messages %}### {{ m['role'] }}:\n{{ m['content'] }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}### assistant:\n{% endif %}"
)
# As SmolLM3 says it: in the system message, and before answers that are not thought about
SMOLLM3 = (
    "{% set mode = '/think' if enable_thinking | default(true) else '/no_think' %}"
    "<|im_start|>system\nReasoning Mode: {{ mode }}\n"
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}<|im_end|>\n"
    "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and mode == '/no_think' %}<think>\n\n</think>\n"
    "{{ m.content.lstrip('\n') }}{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if mode == '/no_think' %}<think>\n\n</think>\n{% endif %}{% endif %}"
)
# As Qwen3-Thinking's: every prompt opens a thought, and earlier thoughts are not shown
QWEN3_THINKING = (
    "{% for m in messages %}{% set c = m.content %}{% set t = m.reasoning_content or '' %}"
    "{% if '</think>' in c %}{% set t = c.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set c = c.split('</think>')[-1].lstrip('\n') %}{% endif %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n{{ t.strip('\n') }}\n</think>\n\n"
    "{% endif %}{{ c.lstrip('\n') }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
# As DeepSeek-V3.1's: the switch is called otherwise, no thought is shown, and its end is always
DEEPSEEK_V31 = (
    "{% if thinking is not defined %}{% set thinking = false %}{% endif %}"
    "{% set ns = namespace(asked=false) %}{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ m['content'] }}"
    "{% elif m['role'] == 'user' %}{% set ns.asked = true %}{{ '<｜User｜>' + m['content'] }}"
    "{% elif m['role'] == 'tool' %}{% set ns.asked = false %}"
    "{{ '<｜tool▁output▁begin｜>' + m['content'] + '<｜tool▁output▁end｜>' }}"
    "{% else %}{% if ns.asked %}{{ '<｜Assistant｜></think>' }}{% endif %}"
    "{% set ns.asked = false %}{{ m['content'].split('</think>', 1)[-1] }}{% if m['tool_calls'] %}"
    "{{ '<｜tool▁calls▁begin｜>' }}{% for c in m['tool_calls'] %}{{ '<｜tool▁call▁begin｜>' + "
    "c['function']['name'] + '<｜tool▁sep｜>' + c['function']['arguments'] | tojson + "
    "'<｜tool▁call▁end｜>' }}{% endfor %}{{ '<｜tool▁calls▁end｜>' }}{% endif %}{{ eos_token }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt and ns.asked %}{{ '<｜Assistant｜>' }}"
    "{{ '<think>' if thinking else '</think>' }}{% endif %}"
)

# Mistral's with tools: a list of calls with ids of nine letters (v3: v0.3's and Nemo's), and a
# token before each call, with an id (v11, Small 3.2's) or without (v13, Devstral's, Ministral 3's)
_MISTRAL_TOOLS = (
    "{% set asked = messages | selectattr('role', 'equalto', 'user') | list %}"
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
    "{% if tools and m == asked[-1] %}"
    "{{ '[AVAILABLE_TOOLS]' + tools | tojson + '[/AVAILABLE_TOOLS]' }}{% endif %}"
    "{{ '[INST]' + m.content + '[/INST]' }}{% elif m.role == 'system' %}"
    "{{ '[SYSTEM_PROMPT]' + m.content + '[/SYSTEM_PROMPT]' }}{% elif m.role == 'tool' %}"
    "{{ '[TOOL_RESULTS]' + m.content + '[/TOOL_RESULTS]' }}"
    "{% else %}{% if m.content %}{{ m.content }}{% endif %}{% if m.tool_calls %}CALLS{% endif %}"
    "{{ eos_token }}{% endif %}{% endfor %}"
)
_NINE = "{% if c.id | length != 9 %}{{ raise_exception('an id has nine letters') }}{% endif %}"
MISTRAL_V3 = _MISTRAL_TOOLS.replace(
    "CALLS",
    "{{ '[TOOL_CALLS] [' }}{% for c in m.tool_calls %}"
    + _NINE
    + "{% set f = c.function | tojson %}"
    "{{ f[:-1] + ', \"id\": \"' + c.id + '\"}' }}{% if not loop.last %}{{ ', ' }}{% endif %}"
    "{% endfor %}{{ ']' }}",
)
MISTRAL_V11 = _MISTRAL_TOOLS.replace(
    "CALLS",
    "{% for c in m.tool_calls %}" + _NINE + "{{ '[TOOL_CALLS]' + c.function.name + '[CALL_ID]' + "
    "c.id + '[ARGS]' + c.function.arguments | tojson }}{% endfor %}",
)
MISTRAL_V13 = _MISTRAL_TOOLS.replace(
    "CALLS",
    "{% for c in m.tool_calls %}{{ '[TOOL_CALLS]' + c.function.name + '[ARGS]' + "
    "c.function.arguments | tojson }}{% endfor %}",
)

OWN = {
    "mistral": MISTRAL,
    "mistral_v3": MISTRAL_V3,
    "mistral_v11": MISTRAL_V11,
    "mistral_v13": MISTRAL_V13,
    "smollm2": SMOLLM2,
    "marked_without_end": MARKED_WITHOUT_END,
    "plain_words": PLAIN_WORDS,
    "smollm3": SMOLLM3,
    "qwen3_thinking": QWEN3_THINKING,
    "deepseek_v3_1": DEEPSEEK_V31,
}
_SHIPPED = Path(trl.__file__).parent / "chat_templates"
EVERY = [*OWN, *sorted(path.stem for path in _SHIPPED.glob("*.jinja"))]
# Of models that read images: content must be a list of parts, or no token ends an answer
_NO_TEXT = ("idefics3", "llava_next", "smolvlm")
TEXT_ONLY = [
    name for name in EVERY if not name.startswith((*_NO_TEXT, "plain_words")) and name != "glm4moe"
]
_CONTROL = re.compile(
    r"<[|｜][\w▁｜|]+?[|｜]>|<start_of_turn>|<end_of_turn>|<turn\|>|<\|turn>"
    r"|\[(?:TOOL_CALLS|CALL_ID|ARGS)\]"
)


def source(name: str) -> str:
    """One of ours above, or a model's own template as TRL ships it."""
    if name in OWN:
        return OWN[name]
    return (_SHIPPED / f"{name}.jinja").read_text(encoding="utf-8")


def control_tokens(template: str) -> list[str]:
    return sorted(set(_CONTROL.findall(template)))


@cache
def tokenizer(name: str) -> PreTrainedTokenizerFast:
    """Tiny vocabulary, the template's control tokens, and pad = eos as careless bases have it."""
    template = source(name)
    built = build_tokenizer("none")
    built.add_special_tokens({"additional_special_tokens": control_tokens(template)})
    built.add_special_tokens({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"})
    built.chat_template = template
    return built
