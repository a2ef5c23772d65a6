"""The quick way from rows to tokens tells what the long one tells, for every template at hand.

The long way renders every beginning of a conversation by itself and encodes every prompt anew.
"""

import random
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from faults import UserFault
from finetune.records.borders import Borders
from finetune.records.conversation import Conversation
from finetune.records.encode import RowEncoder
from finetune.records.rows import ChatRow
from finetune.records.template import ChatTemplate
from finetune.records.watching import is_watchable
from tests.finetune.records.templates import CALL, EVERY, TOOLS, source, tokenizer

WORDS = [
    "one",
    "two words",
    " spaces ",
    "\n\nbreaks\n",
    "客厅",
    "e\u0301",
    "🏠",
    "a  b",
    "",
    "x" * 40,
]


def some_row(random_: random.Random) -> ChatRow:
    """Turns in any order that a customer may think of, most of them the usual one."""
    messages: list[dict[str, Any]] = []
    if random_.random() < 0.4:
        messages.append({"role": "system", "content": "Be brief."})
    if random_.random() < 0.1:
        messages.append({"role": "assistant", "content": "Hello"})
    with_tools = random_.random() < 0.3
    for _ in range(random_.randint(1, 4)):
        messages.append({"role": "user", "content": _say(random_)})
        if with_tools and random_.random() < 0.5:
            messages.append({"role": "assistant", "content": None, "tool_calls": [CALL]})
            answers = random_.randint(1, 2)
            messages += [_answer(random_) for _ in range(answers)]
        answer: dict[str, Any] = {"role": "assistant", "content": _say(random_) or "said"}
        if random_.random() < 0.2:
            answer["reasoning_content"] = "hm"
        if random_.random() < 0.2:
            answer["weight"] = 0
        messages.append(answer)
    row: dict[str, Any] = {"messages": messages}
    if with_tools:
        row["tools"] = TOOLS
    return row  # type: ignore[return-value]


def _say(random_: random.Random) -> str:
    return "".join(random_.choices(WORDS, k=random_.randint(1, 3)))


def _answer(random_: random.Random) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": CALL["id"], "content": _say(random_) or "22"}


def told(encoder: RowEncoder, row: ChatRow) -> Any:
    try:
        return encoder.encode(row)
    except UserFault as fault:
        return fault.as_dict()


@pytest.fixture
def longer() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("kind", ["tiny", "real"])
def test_the_quick_way_tells_what_the_long_one_tells(
    name: str, kind: str, real: PreTrainedTokenizerFast, longer: pytest.MonkeyPatch
) -> None:
    known = tokenizer(name) if kind == "tiny" else real
    known.chat_template = source(name)
    random_ = random.Random(f"{name} {kind}")
    rows = [some_row(random_) for _ in range(8)]
    encoder = RowEncoder(known)
    quick = [told(encoder, row) for row in rows]

    longer.setattr(ChatTemplate, "watch", lambda *_, **__: None)
    longer.setattr(Borders, "cut", lambda *_: None)
    long = RowEncoder(known)
    for row, found in zip(rows, quick, strict=True):
        assert told(long, row) == found


BY_ITS_HEAD = (
    "{% if messages[0].role == 'system' %}{% set sign = 'A' %}{% else %}{% set sign = 'B' %}"
    "{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{{ sign }}{% endif %}"
)


def test_what_a_conversations_head_sets_is_not_taken_for_the_next_conversations() -> None:
    known = deepcopy(tokenizer("smollm2"))  # others have the same one
    known.chat_template = BY_ITS_HEAD
    assert is_watchable(BY_ITS_HEAD)
    asked = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "Ba"}]
    headed = [{"role": "system", "content": "s"}, asked[0], {**asked[1], "content": "Ab"}]
    template = ChatTemplate(known)
    for messages in (asked * 2, [*headed, *headed[1:]], asked * 2):
        shown = Conversation(template, messages, None)
        for count in range(1, len(messages) + 1):
            for prompt in (False, True):
                alone = ChatTemplate(known).render(messages[:count], None, prompt=prompt)
                assert shown.render(count, prompt=prompt) == alone


def test_most_templates_are_rendered_once_for_all_turns() -> None:
    watchable = [name for name in EVERY if is_watchable(source(name))]
    assert {"smollm2", "smollm3", "mistral", "llama3", "qwen2_5"} <= set(watchable)
