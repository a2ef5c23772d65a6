"""Answers that were found good or not, in every form that they come in; what is none is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.families.causal_lm.reading import RowReader, frozen_items
from finetune.records.check.spec import CheckSpec
from finetune.records.encode import RowEncoder, load_tokenizer
from finetune.records.kinds import PAIR, RATED, Rated
from finetune.records.preview import Previewer
from tests.finetune.records.conftest import Check
from tests.finetune.records.test_check_formats import CALL, TOOL, canonical, lines
from tests.finetune.records.test_pairs import ASK, BAD, GOOD, PAIR_ROW

RATED_ROW: Any = {"messages": [ASK], "completion": [GOOD], "label": True}
OTHER: Any = {"prompt": [ASK], "completion": [BAD], "label": False}  # so that a file is even


@pytest.mark.parametrize("prompt", [[ASK], ASK["content"]])
def test_messages_and_a_question_are_the_same_row(prompt: Any, check: Check, out_dir: Path) -> None:
    report = check(lines({"prompt": prompt, "completion": [GOOD], "label": True}, OTHER))
    assert (report.ok, report.format, report.problems, report.good) == (True, "rated", [], 1)
    assert canonical(out_dir)[0] == RATED_ROW


def test_texts_are_completions_with_a_label(check: Check, out_dir: Path) -> None:
    rows = [{"prompt": "Bern is", "completion": " a city", "label": n} for n in (True, 0)]
    assert check(lines(*rows)).problems == []
    read = canonical(out_dir)
    assert read == [row | {"label": label} for row, label in zip(rows, (True, False), strict=True)]
    assert [type(row["label"]) for row in read] == [bool, bool]


def test_tools_are_the_prompts(check: Check, out_dir: Path) -> None:
    calls = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    row = {"prompt": [ASK], "completion": [calls], "label": True, "tools": [TOOL]}
    assert check(lines(row, OTHER)).problems == []
    assert canonical(out_dir)[0] == RATED_ROW | {"completion": [calls], "tools": [TOOL]}


def test_a_table_has_its_labels_as_words(check: Check, out_dir: Path) -> None:
    table = b"prompt,completion,label\na,b,TRUE\nc,d,false\ne,f,1\ng,h,0\ni,j,maybe\n"
    report = check(table, "ratings.csv")
    assert [(p.line, p.code, p.field) for p in report.problems] == [(6, "bad_label", "label")]
    assert [row["label"] for row in canonical(out_dir)] == [True, False, True, False]


def test_a_label_that_says_something_else_leaves_prompts_and_completions(check: Check) -> None:
    report = check(lines({"prompt": "a", "completion": "b", "label": "sports"}))
    assert (report.format, report.problem_counts) == ("completion", {"unknown_field": 1})


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "another label": (OTHER | {"label": "yes"}, "bad_label", "label"),
    "a number": (OTHER | {"label": 0.5}, "bad_label", "label"),
    "no label": ({"prompt": "a", "completion": "b"}, "missing_field", "label"),
    "a text behind messages": (OTHER | {"completion": "b"}, "wrong_type", "completion"),
    "no answer": (OTHER | {"completion": []}, "missing_answer", "completion"),
    "no text": ({"prompt": "a", "completion": " ", "label": True}, "empty_content", "completion"),
    "no prompt": (OTHER | {"prompt": []}, "empty_messages", "prompt"),
    "a user in the answer": (
        OTHER | {"completion": [GOOD, ASK, GOOD]},
        "not_an_answer",
        "completion[1].role",
    ),
    "a strange role": (OTHER | {"prompt": [ASK | {"role": "bob"}]}, "unknown_role",
                       "prompt[0].role"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_rated_answer_is_named(case: str, check: Check) -> None:
    row, code, field = WRONG[case]
    report = check(lines(RATED_TEXT, row))
    assert (code, field) in [(p.code, p.field) for p in report.problems]
    assert not report.ok
    assert report.rows_usable == 1


RATED_TEXT: Any = {"prompt": "a", "completion": "b", "label": True}


@pytest.mark.parametrize(
    ("labels", "codes"),
    [
        ([True, False], []),
        ([True] * 4 + [False] * 3, []),
        ([True] * 3, ["one_sided"]),
        ([False] * 2, ["one_sided"]),
        ([True] * 3 + [False], ["uneven_labels"]),
        ([False] * 3 + [True], ["uneven_labels"]),
    ],
)
def test_a_file_of_one_side_or_uneven_is_told(
    labels: list[bool], codes: list[str], check: Check
) -> None:
    rows = [RATED_TEXT | {"prompt": f"a{n}", "label": label} for n, label in enumerate(labels)]
    report = check(lines(*rows))
    assert [p.code for p in report.problems] == codes
    assert report.ok
    assert report.good == sum(labels)
    if codes == ["uneven_labels"]:
        rarer = "undesirable_weight" if labels[0] else "desirable_weight"
        assert f"{rarer} 3.0" in report.problems[0].fix


def test_the_label_is_frozen_with_the_answer_alone(
    check: Check, out_dir: Path, tiny_base: Path
) -> None:
    rows = [
        {"prompt": [ASK, BAD, ASK], "completion": [GOOD], "label": label} for label in (True, False)
    ]
    report = check(lines(*rows), tokenizer_dir=tiny_base)
    items: Any = frozen_items(out_dir / "rows.tokens")
    assert ([item.good for item in items], items.kind) == ([True, False], "rated")
    assert report.tokens_trained == sum(item.trained for item in items)
    context = [ASK, BAD | {"weight": 0}, ASK, GOOD]
    expected = RowEncoder(load_tokenizer(tiny_base)).encode({"messages": context})
    (sequence,) = items[0].sequences
    assert list(sequence.input_ids) == expected.input_ids
    assert [bool(each) for each in sequence.labels] == expected.trained
    read = RowReader(tiny_base, RATED, max_length=2048)
    again = [read(line, "line") for line in (out_dir / "rows.jsonl").read_bytes().splitlines()]
    assert all(isinstance(item, Rated) for item in again)
    read.freeze(again, out_dir / "again.tokens")
    assert (out_dir / "again.tokens").read_bytes() == (out_dir / "rows.tokens").read_bytes()


def test_pairs_serve_where_ratings_are_asked_for(
    check: Check, out_dir: Path, tiny_base: Path
) -> None:
    pair = {"prompt": [ASK], "chosen": [GOOD], "rejected": [BAD]}
    check(lines(pair), tokenizer_dir=tiny_base)
    read = RowReader(tiny_base, RATED, max_length=2048)
    (item,) = [read(line, "") for line in (out_dir / "rows.jsonl").read_bytes().splitlines()]
    assert len(item.sequences) == 2
    read.freeze([item], out_dir / "again.tokens")
    assert (out_dir / "again.tokens").read_bytes() == (out_dir / "rows.tokens").read_bytes()
    assert RATED.names == {"rated", "pair"}
    assert PAIR.names == {"pair"}


def test_a_preview_says_how_the_answer_was_found(tiny_base: Path) -> None:
    spec = CheckSpec(source=tiny_base, source_name="")
    previewer = Previewer.of(spec, load_tokenizer(tiny_base))
    assert previewer.preview(RATED_ROW, "rated").parts == ["good"]
    assert previewer.preview(RATED_ROW | {"label": False}, "rated").parts == ["bad"]
    assert previewer.preview(PAIR_ROW, "preference").parts == ["chosen", "rejected"]


def test_a_rated_answer_is_cut_and_counted_as_any_other(
    check: Check, out_dir: Path, tiny_base: Path
) -> None:
    rows = [RATED_TEXT | {"completion": "b " * 90}, RATED_TEXT | {"label": False}]
    told: dict[str, Any] = {"tokenizer_dir": tiny_base, "max_length": 40}
    assert check(lines(*rows), overflow="drop", **told).problem_counts == {
        "too_long_dropped": 1,
        "one_sided": 1,
    }
    assert check(lines(*rows), overflow="cut", **told).rows_cut == 1
    assert json.loads((out_dir / "rows.jsonl").read_bytes().splitlines()[0])["cut_to"] == 40
    assert [item.good for item in frozen_items(out_dir / "rows.tokens")] == [True, False]  # type: ignore[attr-defined]
