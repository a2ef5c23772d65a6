"""Every problem is found with its line, field and code; everything is counted."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from finetune.records.check.codes import CODES
from tests.finetune.records.conftest import Check

USER, ANSWER = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
GOOD = json.dumps({"messages": [USER, ANSWER]}).encode()


def messages(*items: Any, **more: Any) -> bytes:
    return json.dumps({"messages": list(items), **more}).encode()


def call(**changes: Any) -> dict[str, Any]:
    function = {"name": "f", "arguments": "{}"}
    return {"role": "assistant", "tool_calls": [{"id": "1", "function": function, **changes}]}


# what stands in line 2 of a chat file -> (code, field)
LINES: dict[str, tuple[bytes, str, str | None]] = {
    "invalid UTF-8": (b'{"messages": "\xff"}', "invalid_utf8", None),
    "half a line": (b'{"messages": [', "invalid_json", None),
    "two objects": (GOOD + GOOD, "invalid_json", None),
    "a list": (b"[1]", "not_an_object", None),
    "NaN": (b'{"messages": NaN}', "not_finite", None),
    "-Infinity": (b'{"messages": [-Infinity]}', "not_finite", None),
    "a number too large": (b'{"messages": [1e999]}', "not_finite", None),
    "a key twice": (b'{"messages": [], "messages": []}', "duplicate_key", "messages"),
    "a key twice, escaped": (b'{"m": [{"role": 1, "rol\\u0065": 2}]}', "duplicate_key", "role"),
    "a key twice, ending in a backslash": (rb'{"a\\": 1, "a\\": 2}', "duplicate_key", "a\\"),
    "a key twice, spaced": (b'{"a" :1, "a"\t: 2}', "duplicate_key", "a"),
    "half a pair": (rb'{"messages": [{"role": "\ud83d"}]}', "lone_surrogate", "messages[0].role"),
    "half a pair as key": (rb'{"\udc00": 1}', "lone_surrogate", r"\udc00"),
    "deep": (b'{"messages": ' + b"[" * 5000 + b"]" * 5000 + b"}", "too_deep", None),
    "no messages": (b'{"message": []}', "missing_field", "messages"),
    "messages is text": (b'{"messages": "hi"}', "wrong_type", "messages"),
    "an empty talk": (messages(), "empty_messages", "messages"),
    "a message of text": (messages("hi", ANSWER), "wrong_type", "messages[0]"),
    "no answer": (messages(USER), "no_assistant", "messages"),
    "a question last": (messages(USER, ANSWER, USER), "last_not_assistant", "messages[2]"),
    "no role": (messages({"content": "a"}, ANSWER), "missing_field", "messages[0].role"),
    "a strange role": (
        messages({"role": "bot", "content": "a"}, ANSWER),
        "unknown_role",
        "messages[0].role",
    ),
    "a role in capitals": (
        messages(USER, {**ANSWER, "role": "Assistant "}),
        "role_spelling",
        "messages[1].role",
    ),
    "two answers": (messages(USER, ANSWER, ANSWER), "unusual_turn", "messages[2].role"),
    "an answer to the system": (
        messages({**USER, "role": "system"}, ANSWER),
        "unusual_turn",
        "messages[1].role",
    ),
    "a strange role that answers": (
        messages(USER, {**ANSWER, "role": "narrator"}),
        "unknown_role",
        "messages[1].role",
    ),
    "empty": (messages(USER, {**ANSWER, "content": ""}), "empty_content", "messages[1].content"),
    "blank": (messages({**USER, "content": " \n"}, ANSWER), "empty_content", "messages[0].content"),
    "null": (messages({**USER, "content": None}, ANSWER), "empty_content", "messages[0].content"),
    "no content": (messages({"role": "user"}, ANSWER), "missing_field", "messages[0].content"),
    "a number": (messages({**USER, "content": 3}, ANSWER), "wrong_type", "messages[0].content"),
    "an image": (
        messages({**USER, "content": [{"type": "image_url", "image_url": {}}]}, ANSWER),
        "unsupported_content",
        "messages[0].content[0].type",
    ),
    "weight 2": (messages(USER, {**ANSWER, "weight": 2}), "bad_weight", "messages[1].weight"),
    "weight true": (messages(USER, {**ANSWER, "weight": True}), "bad_weight", "messages[1].weight"),
    "a user's weight": (
        messages({**USER, "weight": 1}, ANSWER),
        "misplaced_weight",
        "messages[0].weight",
    ),
    "nothing to train": (
        messages(USER, {**ANSWER, "weight": 0}),
        "nothing_trained",
        "messages",
    ),
    "a call without id": (
        messages(USER, call(id=None)),
        "bad_tool_call",
        "messages[1].tool_calls[0].id",
    ),
    "a call without a name": (
        messages(USER, call(function={})),
        "bad_tool_call",
        "messages[1].tool_calls[0].function",
    ),
    "arguments that are a list": (
        messages(USER, call(function={"name": "f", "arguments": "[]"})),
        "bad_tool_arguments",
        "messages[1].tool_calls[0].function.arguments",
    ),
    "an answer to no call": (
        messages(USER, {"role": "tool", "content": "x", "tool_call_id": "9"}, ANSWER),
        "orphan_tool_message",
        "messages[1].tool_call_id",
    ),
    "a tool without a name": (messages(USER, ANSWER, tools=[{}]), "bad_tool", "tools[0].function"),
    "old functions": (messages(USER, ANSWER, functions=[]), "unsupported_field", "functions"),
    "an unknown field": (messages(USER, ANSWER, note="x"), "unknown_field", "note"),
    "the same row": (GOOD, "duplicate_row", None),
}


@pytest.mark.parametrize("case", LINES)
def test_a_bad_line_is_named_with_line_field_code_and_fix(case: str, check: Check) -> None:
    line, code, field = LINES[case]
    report = check(GOOD + b"\n" + line + b"\n")
    found = [p for p in report.problems if p.code == code]
    assert [(p.line, p.field) for p in found] == [(2, field)], report.problems
    assert found[0].fix
    assert found[0].message
    is_error = CODES[code].severity == "error"
    assert report.ok is not is_error
    assert (report.rows, report.rows_usable) == (2, 1 if is_error else 2)


# other formats: a whole file -> (name, code, line, field)
FILES: dict[str, tuple[bytes, str, str, int | None, str | None]] = {
    "empty": (b"", "a.jsonl", "empty_file", None, None),
    "empty gzip": (gzip.compress(b""), "a.jsonl", "empty_file", None, None),
    "only blank lines": (b"\n\n \n", "a.jsonl", "no_usable_rows", None, None),
    "an array": (b'[\n{"messages": []}]', "a.json", "json_array", None, None),
    "UTF-16": ("{}".encode("utf-16"), "a.jsonl", "utf16", None, None),
    "unknown fields": (b'{"question": 1, "answer": 2}', "a.jsonl", "unknown_format", 1, None),
    "half a gzip": (gzip.compress(GOOD * 9)[:-9], "a.gz", "bad_compression", None, None),
    "no Parquet": (b"PAR1 and then nothing", "a.parquet", "bad_parquet", None, None),
    "CSV with a field too many": (b"prompt,completion\na,b,c\n", "a.csv", "bad_csv", 2, None),
    "CSV with an open quote": (b'prompt,completion\n"a,b\n', "a.csv", "bad_csv", None, None),
    "CSV with a name twice": (b"prompt,prompt\na,b\n", "a.csv", "bad_csv", None, None),
    "CSV that is not UTF-8": (
        b'prompt,completion\n"a\n\xff",b\nc,d\n',
        "a.csv",
        "invalid_utf8",
        3,
        None,
    ),
    "text that is not UTF-8": (b"a\nb\xff\n\nc", "a.txt", "invalid_utf8", 1, None),
    "no completion": (
        b'{"prompt": "a", "completion": " "}',
        "a.jsonl",
        "empty_content",
        1,
        "completion",
    ),
    "Alpaca without output": (b'{"instruction": "a"}', "a.jsonl", "missing_field", 1, "output"),
    "a strange speaker": (
        b'{"conversations": [{"from": "bob", "value": "a"}, {"from": "gpt", "value": "b"}]}',
        "a.jsonl",
        "unknown_role",
        1,
        "conversations[0].from",
    ),
    "uneven turns": (
        b'{"task": "", "prompt": ["a", "b"], "output": ["c"]}',
        "a.jsonl",
        "uneven_turns",
        1,
        "output",
    ),
    "a turn that is no text": (
        b'{"prompt": ["a", null], "output": ["c", "d"]}',
        "a.jsonl",
        "wrong_type",
        1,
        "prompt[1]",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_a_bad_file_is_named(case: str, check: Check) -> None:
    data, name, code, line, field = FILES[case]
    report = check(data, name)
    assert not report.ok
    assert (code, line, field) in [(p.code, p.line, p.field) for p in report.problems]


def test_what_editors_leave_behind_is_mended_and_counted(check: Check, out_dir: Path) -> None:
    report = check(b"\xef\xbb\xbf" + GOOD + b"\r\n\r\n" + messages(USER, USER, ANSWER) + b"\r\n")
    assert report.ok
    assert report.problem_counts == {"bom": 1, "crlf": 3, "blank_line": 1}
    assert [p.code for p in report.problems] == ["bom", "crlf", "blank_line"]
    assert (out_dir / "rows.jsonl").read_bytes().count(b"\r") == 0


def test_a_line_that_is_too_large_costs_no_memory_and_the_next_is_read(check: Check) -> None:
    large = b'{"messages": "' + b"x" * (3 << 20) + b'"}'
    report = check(
        GOOD + b"\n" + large + b"\n" + messages(USER, USER, ANSWER), limits={"line_bytes": 1000}
    )
    assert (report.rows, report.rows_usable) == (3, 2)
    assert [(p.line, p.code) for p in report.problems] == [(2, "line_too_large")]


def test_a_thousand_problems_are_listed_and_all_are_counted(check: Check, out_dir: Path) -> None:
    report = check(b'{"messages": []}\n' * 1500)
    assert report.problem_counts == {"empty_messages": 1500}
    assert len(report.problems) == 1000
    listed = [json.loads(line) for line in (out_dir / "errors.jsonl").read_bytes().splitlines()]
    assert [problem["line"] for problem in listed] == list(range(1, 1001))


def test_strings_that_look_like_keys_are_no_duplicates(check: Check) -> None:
    text = '{"a": 1, "a": 2} and "a" :3'
    assert check(messages({**USER, "content": text}, ANSWER)).problems == []


def test_every_code_is_covered_by_a_test() -> None:
    here = Path(__file__).parent
    paths = [*here.glob("test_*.py"), here.parents[1] / "fixtures" / "odd_files.py"]
    tests = "".join(path.read_text(encoding="utf-8") for path in paths)
    assert [code for code in CODES if f'"{code}"' not in tests] == []


def test_speakers_of_sharegpt_may_be_written_with_capitals(check: Check) -> None:
    turns = [{"from": "Human", "value": "a"}, {"from": "GPT ", "value": "b"}]
    report = check(json.dumps({"conversations": turns}).encode())
    assert (report.ok, report.rows_usable) == (True, 1)
    places = ["conversations[0].from", "conversations[1].from"]
    assert [(p.code, p.field) for p in report.problems] == [("role_spelling", f) for f in places]


def test_an_unknown_role_is_the_only_finding_about_the_turns(check: Check) -> None:
    report = check(messages(USER, {**ANSWER, "role": "narrator"}))
    assert report.problem_counts == {"unknown_role": 1}
