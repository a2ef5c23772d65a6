"""What a model thinks is told apart from what it says, however the tokens fall."""

from pathlib import Path

import pytest

from faults import UserFault
from finetune.serving.bases import Base, load_base
from finetune.serving.thoughts import ThoughtReader, opened_by
from finetune.serving.ticket import encode_prompt
from tests.tiny import build_tiny_base

from .conftest import Batch, ask

CASES = [
    (None, "<think>\nhm, so\n\nwell\n</think>\n\nyes\n", ("yes\n", "hm, so\n\nwell")),
    (None, "\n<think>\n\n</think>\n\n{}", ("{}", "")),
    (None, "no thought <think> here", ("no thought <think> here", "")),
    (None, "\n\nplain", ("\n\nplain", "")),
    (None, "<thi", ("<thi", "")),
    (True, "hm\n</think>\n\nyes", ("yes", "hm")),
    (True, "\n</think>\n\n{}", ("{}", "")),
    (True, "</think>yes", ("yes", "")),
    (True, "cut off in the mid\n\ndle </thi", ("", "cut off in the mid\n\ndle </thi")),
    (False, "\n\nsaid </think> as it stands", ("\n\nsaid </think> as it stands", "")),
]


@pytest.mark.parametrize(("inside", "text", "wanted"), CASES)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_thought_is_split_off_wherever_the_text_is_cut(
    inside: bool | None, text: str, wanted: tuple[str, str], size: int
) -> None:
    reader = ThoughtReader(inside)
    gains = [reader.push(text[at : at + size]) for at in range(0, len(text), size)]
    gains.append(reader.flush())
    assert ("".join(said for said, _ in gains), "".join(t for _, t in gains)) == wanted


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Base:
    folder = build_tiny_base(tmp_path_factory.mktemp("thinker"), template="thinking")
    return load_base(folder, "thinker", "fp32")


def test_a_prompt_asks_for_thinking_as_the_request_says(thinker: Base) -> None:
    texts = {
        thinking: thinker.tokenizer.decode(encode_prompt(thinker, ask(thinking=thinking)))
        for thinking in (None, True, False)
    }
    assert texts[None] == texts[True]
    assert texts[False] == texts[True] + "<think>\n\n</think>\n\n"
    prompts = [encode_prompt(thinker, ask(thinking=t)) for t in (True, False)]
    assert [opened_by(thinker.tokenizer, prompt) for prompt in prompts] == [None, False]


def test_a_switch_of_another_name_is_turned_and_an_ended_thought_is_not_awaited(
    tmp_path: Path,
) -> None:
    """As DeepSeek-V3.1's: what comes behind its bare `</think>` is the answer."""
    folder = build_tiny_base(tmp_path / "base", template="thinking")
    template = folder / "chat_template.jinja"
    head, _, _ = template.read_text().partition("{% if enable_thinking")
    template.write_text(head + "{{ '<think>' if thinking else '</think>' }}{% endif %}")
    base = load_base(folder, "thinker", "fp32")
    prompts = [encode_prompt(base, ask(thinking=t)) for t in (None, False, True)]
    assert prompts[0] == prompts[1] != prompts[2]
    assert [opened_by(base.tokenizer, prompt) for prompt in prompts] == [False, False, True]


def test_thoughts_beyond_any_context_are_refused_before_they_are_put_into_tokens(
    thinker: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(text: str) -> list[int]:
        raise AssertionError("put into tokens")

    monkeypatch.setattr(thinker.encoder, "encode_rendered", never)
    asked = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "reasoning_content": "ab cd " * 600_000},
    ]
    with pytest.raises(UserFault) as caught:
        encode_prompt(thinker, ask(messages=asked))
    assert caught.value.code == "context_length_exceeded"


def test_thinking_of_a_base_that_knows_none_is_refused_by_its_name(base: Base) -> None:
    with pytest.raises(UserFault) as caught:
        encode_prompt(base, ask(thinking=True))
    assert caught.value.code == "thinking_unsupported"
    assert caught.value.param == "chat_template_kwargs.enable_thinking"
    encode_prompt(base, ask(thinking=False))


def test_an_answer_that_begins_within_a_thought_is_reasoning_until_it_ends(
    tmp_path: Path, batch: Batch
) -> None:
    """A prompt that opens the thought, as DeepSeek's distills do; the model never ends it."""
    folder = build_tiny_base(tmp_path / "base", template="thinking")
    template = folder / "chat_template.jinja"
    always = template.read_text().replace(
        "assistant\n{% if enable", "assistant\n<think>\n{% if enable"
    )
    template.write_text(always.replace("enable_thinking", "nothing"))
    opened = load_base(folder, "thinker", "fp32")
    (answer,) = batch(ask(), on=opened)
    whole = opened.tokenizer.decode(answer.ids(), skip_special_tokens=True)
    assert answer.text() == ""
    thought = "".join(delta.reasoning for delta in answer.deltas)
    assert thought == whole.strip("\n")


def test_answers_of_bases_without_thinking_are_as_they_were(batch: Batch, base: Base) -> None:
    (answer,) = batch(ask())
    assert all(choice.thoughts is None for choice in answer.ticket.choices)
    assert answer.text() == base.tokenizer.decode(answer.ids(), skip_special_tokens=True)
