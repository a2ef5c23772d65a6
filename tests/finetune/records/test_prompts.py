"""Prompts that wait to be answered: read with what their graders are told, and encoded as serving
sends them; what is none is told."""

from pathlib import Path
from typing import Any

import pytest

from finetune.families.causal_lm.reading import RowReader, frozen_items
from finetune.records.check.spec import CheckSpec
from finetune.records.encode import RowEncoder, load_tokenizer
from finetune.records.kinds import PROMPT
from finetune.records.preview import Previewer
from tests.finetune.records.conftest import Check
from tests.finetune.records.test_check_formats import TOOL, canonical, lines
from tests.tiny import build_tiny_base, build_tokenizer

ASK: Any = {"role": "user", "content": "Turn on the light"}
SAID: Any = {"role": "assistant", "content": "Which one?"}
ROW: Any = {"messages": [ASK], "reference_answer": {"intent": "HassTurnOn"}, "level": 3}


def test_what_stands_beside_the_messages_is_the_graders_item(check: Check, out_dir: Path) -> None:
    report = check(lines(ROW, {"messages": [ASK, SAID, ASK], "tools": [TOOL], "level": 1}))
    assert (report.ok, report.format, report.problems) == (True, "prompt", [])
    assert canonical(out_dir) == [
        {"messages": [ASK], "item": {"reference_answer": {"intent": "HassTurnOn"}, "level": 3}},
        {"messages": [ASK, SAID, ASK], "item": {"level": 1}, "tools": [TOOL]},
    ]


def test_a_chat_without_its_answer_stays_a_mistake_in_a_file_of_chats(check: Check) -> None:
    (problem,) = check(lines({"messages": [ASK, SAID, ASK]})).problems
    assert problem.code == "last_not_assistant"
    assert "a field for its graders" in problem.fix


@pytest.mark.parametrize(
    ("row", "code", "field"),
    [
        ({"messages": [ASK, SAID], "level": 1}, "last_not_user", "messages[1].role"),
        ({"messages": [], "level": 1}, "empty_messages", "messages"),
        ({"level": 1}, "missing_field", "messages"),
        ({"messages": [ASK], "functions": [], "level": 1}, "unsupported_field", "functions"),
        ({"messages": [{"role": "user", "content": " "}], "a": 1}, "empty_content",
         "messages[0].content"),
    ],
)  # fmt: skip
def test_what_is_no_prompt_is_told(row: Any, code: str, field: str, check: Check) -> None:
    problem = check(lines(ROW, row)).problems[0]
    assert (problem.line, problem.code, problem.field) == (2, code, field)


def test_a_prompt_is_frozen_as_serving_sends_it_and_nothing_of_it_is_trained(
    check: Check, out_dir: Path, tmp_path: Path
) -> None:
    base = build_tiny_base(tmp_path / "base")
    report = check(lines(ROW), tokenizer_dir=base)
    wanted = RowEncoder(load_tokenizer(base)).render_prompt([ASK])
    assert (report.tokens_total, report.tokens_trained) == (len(wanted), 0)
    item: Any = frozen_items(out_dir / "rows.tokens")[0]
    assert (list(item.input_ids), item.trained) == (wanted, 0)
    read = RowReader(base, PROMPT, max_length=512)
    again: Any = read((out_dir / "rows.jsonl").read_bytes().splitlines()[0], "line 1")
    assert list(again.input_ids) == wanted


@pytest.mark.parametrize("overflow", ["refuse", "cut", "drop"])
def test_a_long_prompt_is_never_cut(overflow: str, check: Check, tmp_path: Path) -> None:
    base = build_tiny_base(tmp_path / "base")
    report = check(lines(ROW), tokenizer_dir=base, max_length=8, overflow=overflow)
    assert report.rows_usable == 0
    assert report.problems[0].code == ("too_long_dropped" if overflow == "drop" else "too_long")


def test_thinking_is_asked_of_the_prompt() -> None:
    tokenizer = build_tokenizer("thinking")
    row: Any = {"messages": [ASK], "item": {}}
    asked: list[Any] = ["each", "on", "off"]
    auto, on, off = (
        tokenizer.decode(RowEncoder(tokenizer, each).encode(row).input_ids) for each in asked
    )
    assert auto == on
    assert off == auto + "<think>\n\n</think>\n\n"


def test_a_preview_shows_the_prompt(tmp_path: Path) -> None:
    spec = CheckSpec(source=tmp_path, source_name="a.jsonl")
    row: Any = {"messages": [ASK], "item": {"a": 1}}
    shown = Previewer.of(spec, build_tokenizer()).preview(row, "prompt")
    assert (shown.used, shown.trained, shown.parts) == (True, 0, [])
    assert "Turn on the light" in "".join(piece.text for piece in shown.sequences[0])
