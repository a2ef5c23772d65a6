"""A trained answer stands behind the very tokens that serving sends to be continued."""

import pytest
from transformers import PreTrainedTokenizerFast

from faults import UserFault
from finetune.records.encode import RowEncoder
from finetune.records.encoded import Encoded
from finetune.records.rows import ChatRow, Message
from finetune.records.template import ChatTemplate
from tests.finetune.records.templates import (
    CALL,
    EVERY,
    TEXT_ONLY,
    TOOLS,
    source,
    tokenizer,
)
from tests.tiny import build_tokenizer


def talk(*said: str) -> list[Message]:
    roles = ["user", "assistant"] * len(said)
    return [{"role": role, "content": text} for role, text in zip(roles, said, strict=False)]


ROWS: dict[str, ChatRow] = {
    "plain": {"messages": talk("turn on", '{"intent": "HassTurnOn"}')},
    "line breaks": {"messages": talk("turn on", "\n\nfirst")},
    "spaces": {"messages": talk("turn on", "   first")},
    "two turns": {"messages": talk("one", "\nfirst", "two", "\n\nsecond", "three", "third")},
    "thoughts": {
        "messages": [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "first", "reasoning_content": "hm, one"},
            {"role": "user", "content": "two"},
            {"role": "assistant", "content": "\n\nsecond"},
            {"role": "user", "content": "three"},
            {"role": "assistant", "content": "third", "reasoning_content": "\nhm, three\n"},
        ]
    },
    "a tool": {
        "messages": [
            {"role": "user", "content": "Is it warm?"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call00001", "content": "22 degrees"},
            {"role": "assistant", "content": "\n\nIt is."},
        ],
        "tools": TOOLS,
    },
}


def assert_behind_its_prompt(encoder: RowEncoder, row: ChatRow, encoded: Encoded) -> None:
    messages = row["messages"]
    answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    has_switch = ChatTemplate(encoder.tokenizer).has_switch
    prompts = [
        encoder.render_prompt(
            messages[:i],
            row.get("tools"),
            bool(messages[i].get("reasoning_content")) if has_switch else None,
        )
        for i in answers
    ]
    whole = encoded.sequences[0]
    if len(encoded.sequences) == 1:
        for prompt in prompts:
            assert whole.input_ids[: len(prompt)] == prompt
        assert not any(whole.trained[: len(prompts[0])])
        return
    for sequence, prompt in zip(encoded.sequences, prompts, strict=True):
        assert sequence.input_ids[: len(prompt)] == prompt
        assert not any(sequence.trained[: len(prompt)])
        assert any(sequence.trained)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("kind", ["tiny", "real"])
def test_every_prompt_is_a_prefix_in_tokens(
    name: str, kind: str, real: PreTrainedTokenizerFast
) -> None:
    known = tokenizer(name) if kind == "tiny" else real
    known.chat_template = source(name)
    encoder = RowEncoder(known)
    taken = []
    for shape, row in ROWS.items():
        try:
            encoded = encoder.encode(row)
        except UserFault:
            continue
        taken.append(shape)
        assert_behind_its_prompt(encoder, row, encoded)
    if name in TEXT_ONLY:
        assert {shape for shape in ROWS if shape != "a tool"} <= set(taken)


def test_a_token_that_would_span_prompt_and_answer_is_split(real: PreTrainedTokenizerFast) -> None:
    """Qwen2.5's prompt ends in a line break, which this tokenizer joins with those that follow."""
    real.chat_template = source("qwen2_5")
    encoder = RowEncoder(real)
    messages = talk("turn on", "\n\nfirst")
    joined = real.apply_chat_template(messages, return_dict=True)["input_ids"]
    prompt = encoder.render_prompt(messages[:1])
    assert joined[: len(prompt)] != prompt

    encoded = encoder.encode({"messages": messages})
    assert encoded.input_ids[: len(prompt)] == prompt
    assert encoded.trained.index(True) == len(prompt)
    assert real.decode(encoded.input_ids) == real.decode(joined)


def test_where_a_token_spans_a_seam_each_turn_is_a_sequence_of_its_own(
    real: PreTrainedTokenizerFast,
) -> None:
    """At the second turn serving sees the first answer's tokens joined with its prompt's."""
    real.chat_template = source("qwen2_5")
    encoder = RowEncoder(real)
    row: ChatRow = {"messages": talk("one", "\n\nfirst", "two", "second")}
    encoded = encoder.encode(row)
    assert len(encoded.sequences) == 2
    assert_behind_its_prompt(encoder, row, encoded)
    plain: ChatRow = {"messages": talk("one", "first", "two", "second")}
    assert len(encoder.encode(plain).sequences) == 1


def test_marks_that_take_in_the_prompt_train_only_what_is_behind_it() -> None:
    known = build_tokenizer("none")
    known.chat_template = (
        "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}<|im_start|>assistant"
        "\n{{ m.content }}<|im_end|>{% endgeneration %}{% else %}<|im_start|>{{ m.role }}\n"
        "{{ m.content }}<|im_end|>{% endif %}\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    encoded = RowEncoder(known).encode({"messages": talk("one", "first", "two", "second")})
    trained = [i for i, t in zip(encoded.input_ids, encoded.trained, strict=True) if t]
    assert known.decode(trained) == "first<|im_end|>second<|im_end|>"
