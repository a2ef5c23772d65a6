"""One rule for thoughts: what is trained is what serving asks for, wherever a template thinks."""

import json

import pytest

from faults import UserFault
from finetune.records.encode import RowEncoder
from finetune.records.encoded import Encoded
from finetune.records.rows import ChatRow, Message
from finetune.records.template import ChatTemplate
from finetune.records.thinking import split
from tests.finetune.records.conftest import Check
from tests.finetune.records.templates import SMOLLM3, tokenizer
from tests.tiny import build_tokenizer

SWITCHED = ["qwen3", "qwen3_training", "qwen3_5_think", "qwen3_5_nothink", "qwen3_6", "qwen3_8",
            "nemotron_3_nano", "glm4moe_training", "smollm3", "deepseek_v3_1"]  # fmt: skip
ALWAYS = ["deepseek_r1_distill", "deepseekv3", "qwen3_thinking"]
NEVER = ["smollm2", "qwen2_5", "qwen3_instruct_2507", "llama3", "gemma3"]


def talk(*answers: tuple[str, str]) -> list[Message]:
    """(reasoning, content) of each answer."""
    messages: list[Message] = []
    for number, (reasoning, content) in enumerate(answers):
        messages.append({"role": "user", "content": f"question {number}"})
        answer: Message = {"role": "assistant", "content": content}
        if reasoning:
            answer["reasoning_content"] = reasoning
        messages.append(answer)
    return messages


def answers_of(name: str, encoded: Encoded) -> list[str]:
    return [
        tokenizer(name).decode(
            [i for i, t in zip(each.input_ids, each.trained, strict=True) if t],
            skip_special_tokens=False,
        )
        for each in encoded.sequences
    ]


@pytest.mark.parametrize("name", SWITCHED)
def test_an_answer_without_reasoning_is_trained_bare_behind_a_prompt_that_asks_for_none(
    name: str,
) -> None:
    messages = talk(("", '{"on": 1}'))
    encoder = RowEncoder(tokenizer(name))
    encoded = encoder.encode({"messages": messages})
    (answer,) = answers_of(name, encoded)
    assert "think" not in answer
    assert answer.lstrip().startswith('{"on": 1}')
    prompt = encoder.render_prompt(messages[:1], None, False)
    assert encoded.input_ids[: len(prompt)] == prompt
    assert encoded.asked == (False,)
    assert encoded.remarks == ()


@pytest.mark.parametrize("name", SWITCHED + ALWAYS)
def test_reasoning_is_trained_where_the_model_thinks(name: str) -> None:
    messages = talk(("well, on it goes", '{"on": 1}'))
    encoder = RowEncoder(tokenizer(name))
    encoded = encoder.encode({"messages": messages})
    (answer,) = answers_of(name, encoded)
    thought, _, content = answer.partition("</think>")
    assert thought.replace("<think>", "").strip() == "well, on it goes"
    assert content.strip().startswith('{"on": 1}')
    prompt = encoder.render_prompt(messages[:1], None, True)
    assert encoded.input_ids[: len(prompt)] == prompt
    assert encoded.asked == (True,)
    assert encoded.remarks == ()


@pytest.mark.parametrize("name", SWITCHED + ALWAYS)
def test_reasoning_within_the_content_is_the_same_as_beside_it(name: str) -> None:
    encoder = RowEncoder(tokenizer(name))
    beside = encoder.encode({"messages": talk(("hm", "yes"))})
    within = encoder.encode({"messages": talk(("", "<think>\nhm\n</think>\n\nyes"))})
    assert within == beside


@pytest.mark.parametrize("name", SWITCHED + ALWAYS)
def test_every_turn_is_trained_as_serving_would_ask_for_it(name: str) -> None:
    messages = talk(("thought a", "first"), ("", "second"), ("thought c", "third"))
    encoder = RowEncoder(tokenizer(name))
    encoded = encoder.encode({"messages": messages})
    given = "".join(answers_of(name, encoded))
    assert [given.count(word) for word in ("first", "second", "third")] == [1, 1, 1]
    assert [given.count(f"thought {letter}") for letter in "ac"] == [1, 1]
    for turn, reasons in ((1, True), (3, name in ALWAYS), (5, True)):
        prompt = encoder.render_prompt(messages[:turn], None, reasons)
        assert any(each.input_ids[: len(prompt)] == prompt for each in encoded.sequences)
    assert {remark.code for remark in encoded.remarks} == (
        {"reasoning_missing"} if name in ALWAYS else set()
    )


def test_equal_prompts_are_trained_alike_in_the_first_turn_and_the_second() -> None:
    encoder = RowEncoder(tokenizer("qwen3"))
    two = answers_of("qwen3", encoder.encode({"messages": talk(("", "yes"), ("", "yes"))}))
    assert two == ["yes<|im_end|>", "yes<|im_end|>"]


@pytest.mark.parametrize("name", ALWAYS)
def test_a_thought_that_every_prompt_opens_is_ended_at_once_and_told(name: str) -> None:
    encoded = RowEncoder(tokenizer(name)).encode({"messages": talk(("", "yes"))})
    (answer,) = answers_of(name, encoded)
    assert answer.startswith("\n</think>\n\nyes")
    assert [(r.code, r.message) for r in encoded.remarks] == [("reasoning_missing", 1)]


def test_the_switch_asks_the_same_of_all_answers() -> None:
    row: ChatRow = {"messages": talk(("hm", "yes"), ("", "no"))}
    on = RowEncoder(tokenizer("qwen3"), "on").encode(row)
    assert answers_of("qwen3", on)[1] == "<think>\n\n</think>\n\nno<|im_end|>"
    assert [(r.code, r.message) for r in on.remarks] == [("reasoning_missing", 3)]
    off = RowEncoder(tokenizer("qwen3"), "off").encode(row)
    assert answers_of("qwen3", off) == ["yes<|im_end|>", "no<|im_end|>"]
    assert [(r.code, r.message) for r in off.remarks] == [("reasoning_dropped", 1)]
    assert (on.asked, off.asked) == ((True, True), (False, False))


@pytest.mark.parametrize(("names", "setting"), [(ALWAYS, "off"), (NEVER, "on")])
def test_what_a_template_cannot_be_asked_is_refused(names: list[str], setting: str) -> None:
    for name in names:
        encoder = RowEncoder(tokenizer(name), setting)  # type: ignore[arg-type]
        with pytest.raises(UserFault) as trained:
            encoder.encode({"messages": talk(("", "yes"))})
        with pytest.raises(UserFault) as asked:
            encoder.render_prompt(talk(("", ""))[:1], None, setting == "on")
        assert trained.value.code == asked.value.code == "thinking_unsupported"


@pytest.mark.parametrize("name", NEVER)
def test_a_base_that_knows_no_thinking_says_that_reasoning_is_left_out(name: str) -> None:
    encoder = RowEncoder(tokenizer(name))
    encoded = encoder.encode({"messages": talk(("hm", "yes"))})
    assert encoded.sequences == encoder.encode({"messages": talk(("", "yes"))}).sequences
    assert [(r.code, r.message) for r in encoded.remarks] == [("reasoning_dropped", 1)]
    assert encoded.asked == ()


def test_reasoning_of_an_answer_that_is_not_trained_is_told_where_the_template_drops_it() -> None:
    messages = talk(("hm", "yes"), ("ho", "no"))
    messages[1]["weight"] = 0
    encoded = RowEncoder(tokenizer("qwen3")).encode({"messages": messages})
    assert [(r.code, r.message) for r in encoded.remarks] == [("reasoning_dropped", 1)]


def test_smollm3s_system_prompt_says_what_the_answer_does() -> None:
    encoder = RowEncoder(tokenizer("smollm3"))
    encoded = encoder.encode({"messages": talk(("hm", "yes"), ("", "no"))})
    modes = [tokenizer("smollm3").decode(each.input_ids) for each in encoded.sequences]
    assert ["Reasoning Mode: /think" in text for text in modes] == [True, False]
    assert ChatTemplate(tokenizer("smollm3")).thinks
    assert "reasoning_content" not in SMOLLM3


def test_deepseek_v3_1s_thoughts_end_as_its_own_prompts_end_them() -> None:
    """No line breaks: that is how the model writes them, and how its template ends none at all."""
    encoder = RowEncoder(tokenizer("deepseek_v3_1"))
    thought = encoder.encode({"messages": talk(("hm", "yes"))})
    assert answers_of("deepseek_v3_1", thought) == ["hm</think>yes</s>"]
    bare = encoder.encode({"messages": talk(("", "yes"), ("", "no"))})
    assert answers_of("deepseek_v3_1", bare) == ["yes</s>no</s>"]
    asked = [encoder.prompt_text(talk(("", ""))[:1], None, think) for think in (True, False, None)]
    ends = [text.partition("<｜Assistant｜>")[2] for text in asked]
    assert ends == ["<think>", "</think>", "</think>"]


@pytest.mark.parametrize(
    ("template", "switches"),
    [
        ("{% if enable_thinking is defined and not enable_thinking %}x{% endif %}",
         ("enable_thinking",)),
        ("{% if not thinking is defined %}{% set thinking = true %}{% endif %}"
         "{% if thinking %}x{% endif %}", ("thinking",)),
        ("{% if enable_thinking is defined %}{% set thinking = enable_thinking %}{% endif %}"
         "{{ thinking }}", ("enable_thinking", "thinking")),
        ("{% for m in messages %}{% set thinking = m.thinking %}{{ thinking }}{% endfor %}", ()),
        ("{# enable_thinking #}{{ 'thinking' }}", ()),
        ("{% generation %}{{ thinking }}{% endgeneration %}", ("thinking",)),
    ],
)  # fmt: skip
def test_the_switch_is_what_the_template_takes_from_whoever_renders_it(
    template: str, switches: tuple[str, ...]
) -> None:
    known = build_tokenizer("none")
    known.chat_template = template
    assert ChatTemplate(known).switches == switches


def test_a_check_counts_answers_by_thinking_and_names_reasoning_that_is_lost(
    check: Check, tmp_path: object
) -> None:
    tokenizer("qwen3").save_pretrained(f"{tmp_path}/base")
    rows = [talk(("hm", "yes"), ("", "no")), talk(("", "yes"))]
    rows[1][1]["reasoning"] = "well"  # type: ignore[typeddict-unknown-key]
    data = b"".join(json.dumps({"messages": messages}).encode() + b"\n" for messages in rows)
    told = {"tokenizer_dir": f"{tmp_path}/base"}
    report = check(data, **told)
    assert report.thinking == {"on": 2, "off": 1}
    assert report.problem_counts == {}
    off = check(data, **told, thinking="off")
    assert off.thinking == {"on": 0, "off": 3}
    assert [(p.code, p.line, p.field) for p in off.problems] == [
        ("reasoning_dropped", 1, "messages[1].reasoning_content"),
        ("reasoning_dropped", 2, "messages[1].reasoning_content"),
    ]


def test_reasoning_is_the_assistants_alone(check: Check) -> None:
    messages = [{"role": "user", "content": "a", "reasoning_content": "hm"}, *talk(("", "b"))[1:]]
    report = check(json.dumps({"messages": messages}).encode())
    assert [(p.code, p.field) for p in report.problems] == [
        ("misplaced_reasoning", "messages[0].reasoning_content")
    ]


@pytest.mark.parametrize(
    ("answer", "field"),
    [
        ({"content": "<think>never closed"}, "content"),
        ({"content": "<think>one</think><think>two</think>b"}, "content"),
        ({"content": "<think>one</think>b", "reasoning_content": "two"}, "content"),
        ({"content": "b", "reasoning_content": "<think>hm</think>"}, "reasoning_content"),
        ({"content": "b", "reasoning": "hm</think>"}, "reasoning"),
        ({"content": "b", "reasoning_content": "one", "reasoning": "two"}, "reasoning"),
        ({"content": "b", "reasoning_content": "one", "reasoning": "one"}, None),
        ({"content": "<think></think>b"}, None),
        ({"content": "say <think> aloud"}, None),
    ],
)
def test_reasoning_whose_end_cannot_be_told_is_refused(
    check: Check, answer: dict[str, str], field: str | None
) -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", **answer}]
    report = check(json.dumps({"messages": messages}).encode())
    found = [(p.code, p.field) for p in report.problems]
    assert found == ([("unclear_reasoning", f"messages[1].{field}")] if field else [])


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("<think>a</think>b", ("a", "b")),
        ("  <think>\nq\n</think>\n\nb", ("q", "b")),
        ("a</think>b", ("a", "b")),
        ("<think><think>a</think>b", ("", "<think><think>a</think>b")),
        ("<think>a</think>b</think>", ("", "<think>a</think>b</think>")),
        ("<think>a", ("", "<think>a")),
        (" x", ("", " x")),
    ],
)
def test_a_thought_written_into_the_content_is_split_off(
    content: str, parts: tuple[str, str]
) -> None:
    assert split(content) == parts


@pytest.mark.parametrize("piece", [" ", "<think>", "</think>", "\n<think>", "< "])
def test_megabytes_without_a_thought_are_looked_through_once(piece: str) -> None:
    """Once a pattern began anew at every space: a few dozen kB held the model server up."""
    content = piece * 1_000_000 + "x"
    assert split(content) == ("", content)
