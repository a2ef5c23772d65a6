"""Preferences in every form that they come in are the same pair; what is no pair is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.families.causal_lm.reading import RowReader, frozen_items
from finetune.records.check.spec import CheckSpec
from finetune.records.encode import RowEncoder, load_tokenizer
from finetune.records.kinds import PAIR
from finetune.records.preview import Previewer
from tests.finetune.records.conftest import Check
from tests.finetune.records.test_check_formats import CALL, TOOL, canonical, lines
from tests.tiny import build_tokenizer

ASK: Any = {"role": "user", "content": "Turn on the light"}
GOOD: Any = {"role": "assistant", "content": "Done"}
BAD: Any = {"role": "assistant", "content": "Why?"}
PAIR_ROW: Any = {"messages": [ASK], "chosen": [GOOD], "rejected": [BAD]}


def preference(
    messages: Any = (ASK,), preferred: Any = (GOOD,), other: Any = (BAD,), **more: Any
) -> dict[str, Any]:
    return {
        "input": {"messages": list(messages), **more},
        "preferred_output": list(preferred),
        "non_preferred_output": list(other),
    }


SAME = {
    "OpenAI's": ("preference", preference()),
    "messages": ("chosen", {"prompt": [ASK], "chosen": [GOOD], "rejected": [BAD]}),
    "a question": ("chosen", {"prompt": ASK["content"], "chosen": [GOOD], "rejected": [BAD]}),
    "whole conversations": ("chosen", {"chosen": [ASK, GOOD], "rejected": [ASK, BAD]}),
    "whole conversations beside their question": (
        "chosen",
        {"prompt": ASK["content"], "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_every_form_gives_the_same_pair(name: str, check: Check, out_dir: Path) -> None:
    row_format, row = SAME[name]
    report = check(lines(row))
    assert (report.ok, report.format, report.problems) == (True, row_format, [])
    assert canonical(out_dir) == [PAIR_ROW]


def test_tools_are_the_prompts(check: Check, out_dir: Path) -> None:
    calls = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    row = preference(preferred=[calls], tools=[TOOL], parallel_tool_calls=True)
    assert check(lines(row)).problems == []
    assert canonical(out_dir) == [PAIR_ROW | {"chosen": [calls], "tools": [TOOL]}]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Bern is", "chosen": " a city", "rejected": " a bear"},
        {"chosen": "Bern is a city", "rejected": "Bern is a bear"},
    ],
)
def test_texts_are_a_pair_of_completions(row: Any, check: Check, out_dir: Path) -> None:
    assert check(lines(row)).problems == []
    (read,) = canonical(out_dir)
    assert read["prompt"] + read["chosen"] == "Bern is a city"
    assert read["prompt"] + read["rejected"] == "Bern is a bear"
    assert read["prompt"].startswith("Bern is")


@pytest.mark.parametrize("name", [*SAME, "texts"])
def test_a_pairs_own_margin_goes_with_it(name: str, check: Check, out_dir: Path) -> None:
    texts = ("chosen", {"prompt": "Bern is", "chosen": " a city", "rejected": " a bear"})
    row = SAME.get(name, texts)[1]
    told = [row | {"margin": margin} for margin in (1.5, "0.25", 0, None, "")]
    assert check(lines(*told)).ok
    assert [each.get("margin") for each in canonical(out_dir)] == [1.5, 0.25, None, None, None]


@pytest.mark.parametrize("margin", [-1, 100.5, True, "much", [1], "nan"])
def test_a_margin_is_a_number_from_0_to_100(margin: Any, check: Check) -> None:
    (problem,) = check(lines(preference() | {"margin": margin})).problems
    assert (problem.code, problem.field) == ("bad_margin", "margin")


WRONG: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "the same answers": (preference(other=[GOOD]), "same_answers", "non_preferred_output"),
    "the same texts": ({"prompt": "a", "chosen": "b", "rejected": "b"}, "same_answers", "rejected"),
    "the same conversations": (
        {"chosen": [ASK, GOOD], "rejected": [ASK, GOOD]},
        "same_answers",
        "rejected",
    ),
    "no answer": (preference(other=[]), "missing_answer", "non_preferred_output"),
    "nothing behind what both say": (
        {"chosen": [ASK, GOOD], "rejected": [ASK, GOOD, ASK, BAD]},
        "missing_answer",
        "chosen",
    ),
    "a side too few": (
        {"input": {"messages": [ASK]}, "preferred_output": [GOOD]},
        "missing_field",
        "non_preferred_output",
    ),
    "only one text": ({"prompt": "a", "chosen": "b"}, "missing_field", "rejected"),
    "a user in an answer": (
        preference(other=[BAD, ASK, GOOD]),
        "not_an_answer",
        "non_preferred_output[1].role",
    ),
    "an end on another role": (
        preference(preferred=[ASK | {"role": "assistant", "tool_calls": [CALL]}, ASK]),
        "last_not_assistant",
        "preferred_output[1]",
    ),
    "nothing in common": (
        {"chosen": [ASK, GOOD], "rejected": [{"role": "user", "content": "x"}, BAD]},
        "no_shared_prompt",
        "chosen",
    ),
    "no prompt": (preference(messages=[]), "empty_messages", "input.messages"),
    "a strange role in the prompt": (
        preference(messages=[ASK | {"role": "bob"}]),
        "unknown_role",
        "input.messages[0].role",
    ),
    "a text and a list": (
        {"prompt": "a", "chosen": "b", "rejected": [BAD]},
        "wrong_type",
        "rejected",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_pair_is_named(case: str, check: Check) -> None:
    row, code, field = WRONG[case]
    report = check(lines(row))
    assert (code, field) in [(p.code, p.field) for p in report.problems]
    assert not report.ok
    assert report.rows_usable == 0


def test_only_the_answers_are_trained_and_both_are_frozen(
    check: Check, out_dir: Path, tiny_base: Path
) -> None:
    row = preference(messages=[ASK, BAD, ASK])  # of which the assistant's turn is context
    report = check(lines(row), tokenizer_dir=tiny_base)
    frozen = frozen_items(out_dir / "rows.tokens")
    (item,) = list(frozen)
    encoder = RowEncoder(load_tokenizer(tiny_base))
    context = [ASK, BAD | {"weight": 0}, ASK]
    sequences: list[Any] = list(item.sequences)
    for sequence, answer in zip(sequences, (GOOD, BAD), strict=True):
        encoded = encoder.encode({"messages": [*context, answer]})
        assert list(sequence.input_ids) == encoded.input_ids
        assert [bool(each) for each in sequence.labels] == encoded.trained
    assert (report.tokens_trained, frozen.kind) == (item.trained, "pair")
    (line,) = (out_dir / "rows.jsonl").read_bytes().splitlines()
    read: Any = RowReader(tiny_base, PAIR, max_length=2048)(line, "line 1")
    assert [list(s.input_ids) for s in read.sequences] == [list(s.input_ids) for s in sequences]


def test_a_pair_is_as_long_as_its_longer_side_and_cut_as_a_whole(
    check: Check, out_dir: Path, tiny_base: Path
) -> None:
    long = BAD | {"content": "Why? " * 60}
    told: dict[str, Any] = {"tokenizer_dir": tiny_base, "max_length": 60}
    assert check(lines(preference(other=[long])), **told).problem_counts == {"too_long": 1}
    cut = check(lines(preference(other=[long])), overflow="cut", **told)
    assert (cut.rows_usable, cut.rows_cut) == (1, 1)
    (item,) = list(frozen_items(out_dir / "rows.tokens"))
    assert len(item.sequences[0]) < len(item.sequences[1]) == 60
    both = [{"role": "assistant", "content": "Why? " * 60 + end} for end in "ab"]
    alike = check(lines(preference(preferred=both[:1], other=both[1:])), overflow="cut", **told)
    assert alike.problem_counts["same_answers"] == 1  # they differ behind the cut alone


def test_a_preview_names_the_sides(tiny_base: Path) -> None:
    spec = CheckSpec(source=tiny_base, source_name="")
    shown = Previewer.of(spec, load_tokenizer(tiny_base)).preview(PAIR_ROW, "preference")
    assert shown.parts == ["chosen", "rejected"]
    trained = ["".join(p.text for p in each if p.trained) for each in shown.sequences]
    assert trained[0].startswith("Done")
    assert trained[1].startswith("Why?")


def test_a_side_in_several_sequences_has_no_one_likelihood(tmp_path: Path, check: Check) -> None:
    build_tokenizer("thinking").save_pretrained(tmp_path / "base")
    thought = GOOD | {"reasoning_content": "hm"}
    row = {"chosen": [ASK, thought, ASK, thought], "rejected": [ASK, BAD]}
    report = check(json.dumps(row).encode(), tokenizer_dir=tmp_path / "base")
    assert report.problem_counts["answers_apart"] == 1
