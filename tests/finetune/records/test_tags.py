"""Tags of training rows are kept, checked, and of no account to what is trained."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from finetune.records.tags import tags_of
from tests.finetune.records.conftest import Check

CHAT: dict[str, Any] = {
    "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
}


def jsonl(*rows: dict[str, Any]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


@pytest.mark.parametrize(
    ("given", "tags"),
    [
        (None, []), ("one", ["one"]), (["a", "b", "a"], ["a", "b"]), ([], []), ([""], None),
        ("", None), ([1], None), ({"a": 1}, None), (["x" * 65], None), (["x"] * 17, None),
    ],
)  # fmt: skip
def test_what_are_tags(given: Any, tags: list[str] | None) -> None:
    assert tags_of(given) == tags


@pytest.mark.parametrize(
    "row",
    [
        CHAT,
        {"prompt": "a", "completion": "b"},
        {"text": "a"},
        {"instruction": "a", "output": "b"},
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        {"messages": CHAT["messages"][:1], "answer": "b"},
    ],
    ids=["chat", "completion", "text", "alpaca", "chosen", "prompt"],
)
def test_tags_stand_in_the_canonical_row_of_every_format(
    check: Check, tmp_path: Path, row: dict[str, Any]
) -> None:
    report = check(jsonl(row | {"tags": ["x", "y"]}))
    assert report.problem_counts == {}
    [written] = (tmp_path / "out" / "rows.jsonl").read_bytes().splitlines()
    assert orjson.loads(written)["tags"] == ["x", "y"]


def test_tags_change_no_token_and_make_no_other_row(check: Check, tokenizer_dir: Path) -> None:
    plain = check(jsonl(CHAT, CHAT), tokenizer_dir=tokenizer_dir)
    tagged = check(jsonl(CHAT | {"tags": "x"}, CHAT | {"tags": "y"}), tokenizer_dir=tokenizer_dir)
    assert (plain.duplicates, tagged.duplicates) == (1, 1)
    assert plain.tokens_total == tagged.tokens_total
    assert plain.tokens_trained == tagged.tokens_trained


def test_what_are_no_tags_is_told_and_left_out(check: Check) -> None:
    report = check(jsonl(CHAT | {"tags": [1]}))
    assert (report.ok, report.problem_counts) == (True, {"bad_tags": 1})


def test_a_tables_column_of_tags_holds_one_word(check: Check, tmp_path: Path) -> None:
    report = check(b"prompt,completion,tags\na,b,x\n", name="rows.csv")
    assert report.problem_counts == {}
    [written] = (tmp_path / "out" / "rows.jsonl").read_bytes().splitlines()
    assert orjson.loads(written)["tags"] == ["x"]
