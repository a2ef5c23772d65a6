"""Every accepted format is recognized by itself and read into the same canonical rows."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tests.finetune.records.conftest import Check

TALK = [
    {"role": "user", "content": "Turn on the light"},
    {"role": "assistant", "content": "Done"},
]
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Bern"}'},
}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def canonical(out_dir: Path) -> list[Any]:
    return [json.loads(line) for line in (out_dir / "rows.jsonl").read_bytes().splitlines()]


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


CHAT_ROWS = {
    "chat": lines({"messages": TALK}),
    "alpaca": lines({"instruction": "Turn on the light", "input": "", "output": "Done"}),
    "sharegpt": lines(
        {
            "conversations": [
                {"from": "human", "value": "Turn on the light"},
                {"from": "gpt", "value": "Done"},
            ]
        }
    ),
    "fengshenbang": lines({"task": "home", "prompt": ["Turn on the light"], "output": ["Done"]}),
}


@pytest.mark.parametrize("name", CHAT_ROWS)
def test_four_formats_of_the_same_talk_give_the_same_row(
    name: str, check: Check, out_dir: Path
) -> None:
    report = check(CHAT_ROWS[name])
    assert (report.ok, report.format, report.container) == (True, name, "jsonl")
    assert canonical(out_dir) == [{"messages": TALK}]


def test_weights_tools_and_tool_calls_are_kept(check: Check, out_dir: Path) -> None:
    row = {
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": "Is it warm?", "name": "anna"},
            {"role": "assistant", "content": None, "tool_calls": [CALL], "weight": 0},
            {"role": "tool", "tool_call_id": "call_1", "content": "22 degrees"},
            {"role": "assistant", "content": "Yes.", "weight": 1},
        ],
        "tools": [TOOL],
    }
    report = check(lines(row))
    assert report.problems == []
    assert canonical(out_dir) == [row]


def test_text_parts_of_a_message_are_joined(check: Check, out_dir: Path) -> None:
    parts = [{"type": "text", "text": "Turn on "}, {"type": "text", "text": "the light"}]
    check(lines({"messages": [{"role": "user", "content": parts}, TALK[1]]}))
    assert canonical(out_dir) == [{"messages": TALK}]


def test_prompt_and_completion(check: Check, out_dir: Path) -> None:
    row = {"prompt": "Two and two is", "completion": " four"}
    report = check(lines(row))
    assert (report.ok, report.format) == (True, "completion")
    assert canonical(out_dir) == [row]


def test_alpaca_with_input_system_and_history(check: Check, out_dir: Path) -> None:
    check(
        lines(
            {
                "instruction": "Translate",
                "input": "Hund",
                "output": "dog",
                "system": "You translate.",
                "history": [["Katze", "cat"]],
            }
        )
    )
    assert [(m["role"], m["content"]) for m in canonical(out_dir)[0]["messages"]] == [
        ("system", "You translate."),
        ("user", "Katze"),
        ("assistant", "cat"),
        ("user", "Translate\n\nHund"),
        ("assistant", "dog"),
    ]


def test_sharegpt_with_function_calls_and_tools_in_a_string(check: Check, out_dir: Path) -> None:
    function = {"name": "get_weather", "arguments": {"city": "Bern"}}
    talk = [
        {"from": "human", "value": "Is it warm?"},
        {"from": "function_call", "value": json.dumps(function)},
        {"from": "observation", "value": "22 degrees"},
        {"from": "gpt", "value": "Yes."},
    ]
    tools = json.dumps([TOOL["function"]])
    report = check(lines({"conversations": talk, "tools": tools, "system": "Be brief."}))
    assert report.problems == []
    row = canonical(out_dir)[0]
    assert row["tools"] == [TOOL]
    call = row["messages"][2]["tool_calls"][0]
    assert call["function"] == CALL["function"]
    assert row["messages"][3]["tool_call_id"] == call["id"]


def test_fengshenbang_turns_alternate(check: Check, out_dir: Path) -> None:
    check(lines({"task": "qa", "prompt": ["你好", "再见"], "output": ["您好", "再会"]}))
    turns = [(m["role"], m["content"]) for m in canonical(out_dir)[0]["messages"]]
    assert turns == [
        ("user", "你好"),
        ("assistant", "您好"),
        ("user", "再见"),
        ("assistant", "再会"),
    ]


@pytest.mark.parametrize("splitter", [",", ";", "\t"])
def test_csv_with_quoted_line_breaks(splitter: str, check: Check, out_dir: Path) -> None:
    data = f'prompt{splitter}completion\n"a\n""b"""{splitter}c\nd{splitter}e\n'.encode()
    report = check(data, "table.csv")
    assert (report.ok, report.container, report.format) == (True, "csv", "completion")
    assert canonical(out_dir) == [
        {"prompt": 'a\n"b"', "completion": "c"},
        {"prompt": "d", "completion": "e"},
    ]


def test_csv_with_messages_as_json(check: Check, out_dir: Path) -> None:
    cell = json.dumps(TALK).replace('"', '""')
    report = check(f'messages,tools\n"{cell}",\n'.encode(), "table.csv")
    assert report.problems == []
    assert canonical(out_dir) == [{"messages": TALK}]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_parquet_with_fields_that_are_null_in_some_rows(
    pack: Any, check: Check, out_dir: Path
) -> None:
    weighted = [TALK[0], {**TALK[1], "weight": 1}]
    report = check(pack(parquet([{"messages": TALK}, {"messages": weighted}])), "rows.parquet")
    assert (report.ok, report.container, report.format) == (True, "parquet", "chat")
    assert canonical(out_dir) == [{"messages": TALK}, {"messages": weighted}]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_packed_files_are_unpacked_whatever_they_are_called(pack: Any, check: Check) -> None:
    report = check(pack(CHAT_ROWS["chat"] * 3), "upload.bin")
    assert (report.ok, report.rows, report.container) == (True, 3, "jsonl")
    assert report.compression in ("gzip", "zstd")
    assert report.decoded_bytes == 3 * len(CHAT_ROWS["chat"])


def test_two_packed_parts_in_one_file_are_both_read(check: Check) -> None:
    for pack in (gzip.compress, zstandard.compress):
        assert check(pack(CHAT_ROWS["chat"]) + pack(CHAT_ROWS["chat"])).rows == 2


def test_a_format_that_is_named_is_not_guessed(check: Check) -> None:
    report = check(lines({"text": "a", "prompt": "b", "completion": "c"}), format="completion")
    assert report.format == "completion"
    assert report.problem_counts == {"unknown_field": 1}


ROWS_OF_FORMATS: dict[str, dict[str, Any]] = {
    "chat": json.loads(CHAT_ROWS["chat"].splitlines()[0]),
    "completion": {"prompt": "a", "completion": "b"},
    "alpaca": {"instruction": "a", "output": "b"},
    "text": {"text": "a"},
    "chosen": {"prompt": "a", "chosen": "b", "rejected": "c"},
}


@pytest.mark.parametrize("name", ROWS_OF_FORMATS)
def test_the_group_of_a_row_is_kept_whatever_its_format(
    name: str, check: Check, out_dir: Path
) -> None:
    row = ROWS_OF_FORMATS[name]
    report = check(lines(row | {"group": "a house"}, row | {"group": 7}, row | {"group": None}))
    assert (report.ok, report.format) == (True, name)
    assert "unknown_field" not in report.problem_counts
    assert [each.get("group") for each in canonical(out_dir)] == ["a house", "7", None]


@pytest.mark.parametrize("group", [True, 1.5, ["a"], {"a": 1}])
def test_a_group_of_another_shape_is_named(group: Any, check: Check) -> None:
    report = check(lines({"text": "a", "group": group}))
    (problem,) = report.problems
    assert (problem.code, problem.field, report.ok) == ("wrong_type", "group", False)


def test_a_group_inside_a_message_is_no_group(check: Check, out_dir: Path) -> None:
    row = {"messages": [{"role": "user", "content": "a", "group": "x"},
                        {"role": "assistant", "content": "b"}]}  # fmt: skip
    assert check(lines(row)).problem_counts == {"unknown_field": 1}
    assert "group" not in canonical(out_dir)[0]
