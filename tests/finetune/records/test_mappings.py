"""Mappings of columns: what they may hold, and what they must not leave aside."""

import pytest

from finetune.records.check.columns import as_written, parse_columns, propose
from tests.finetune.records.conftest import Check


@pytest.mark.parametrize(
    "name",
    [
        "the question, in short",
        "a=b",
        "问题，简短",
        "a＝b",
        '"quoted"',
        'say "hi", she said',
        "a\\b,",
    ],
)
def test_a_mapping_is_read_back_as_it_is_written_whatever_a_column_is_called(name: str) -> None:
    columns = {"instruction": name, "output": "answer"}
    assert parse_columns(as_written(columns)) == columns
    assert parse_columns(as_written({"output": name})) == {"output": name}


def test_names_without_quotes_are_read_as_before() -> None:
    assert parse_columns('prompt=5" disk, completion = x ,') == {
        "prompt": '5" disk',
        "completion": "x",
    }
    assert as_written({"prompt": '5" disk', "completion": "x"}) == 'prompt=5" disk, completion=x'


def test_a_column_with_a_comma_in_its_name_is_proposed_and_taken(check: Check) -> None:
    given = {"instruction": "q, long"}
    data = b'"q, long",answer\na,b\n'
    told = check(data, "a.csv", columns=given).problems
    proposal = str(told[0].values["proposal"])
    assert parse_columns(proposal) == {"instruction": "q, long", "output": "answer"}
    assert check(data, "a.csv", columns=parse_columns(proposal)).ok
    assert propose(["question", "answer"]) == {"instruction": "question", "output": "answer"}


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"question,answer\na,b\nc,d\n", "a.csv"),
        (b'{"question": "a", "answer": "b"}\n{"question": "c", "answer": "d"}\n', "a.jsonl"),
    ],
)
def test_a_mapped_column_that_the_format_has_no_place_for_is_an_error(
    check: Check, data: bytes, name: str
) -> None:
    """Read as plain text, the questions would be left aside: not what was asked for."""
    report = check(data, name, columns={"text": "answer", "prompt": "question"})
    assert [p.code for p in report.problems] == ["mapped_unused"]
    assert (report.ok, report.rows_usable) == (False, 0)
    assert report.problems[0].values == {"column": "question", "field": "prompt", "format": "text"}
    assert check(data, name, columns={"completion": "answer", "prompt": "question"}).ok


def test_a_cell_that_is_not_json_is_told_as_that_and_not_as_its_line(check: Check) -> None:
    report = check(b"talk,tools\nhello,\n", "a.csv", columns={"messages": "talk"})
    (told,) = report.problems
    assert (told.code, told.line, told.field, told.values) == (
        "cell_not_json",
        2,
        "messages",
        {"at": 1},
    )
    twice = b'messages\n"[{""role"": 1, ""role"": 2}]"\n'
    assert [(p.code, p.field) for p in check(twice, "a.csv").problems] == [
        ("duplicate_key", "messages")
    ]


@pytest.mark.parametrize(
    "header",
    [
        "prompt,Completion,completion",
        "prompt,COMPLETION,Completion",
        "prompt,Completion,Completion",
    ],
)
def test_columns_that_differ_by_capitals_alone_are_refused_unless_a_mapping_parts_them(
    check: Check, header: str
) -> None:
    data = f"{header}\na,b,c\n".encode()
    report = check(data, "a.csv")
    assert [p.code for p in report.problems if p.severity == "error"] == ["same_column"]
    if header == "prompt,Completion,completion":
        mapping = {"prompt": "prompt", "completion": "Completion"}
        assert check(data, "a.csv", columns=mapping).ok
