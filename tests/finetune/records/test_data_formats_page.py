"""docs/reference/data-formats.md names every code, and its examples are accepted as they stand."""

import json
import re
from pathlib import Path

import pytest

from finetune.records.check.codes import (
    FILE_CODES,
    LIMIT_CODES,
    LINE_CODES,
    ROW_CODES,
    TOKEN_CODES,
    Code,
)
from finetune.records.check.spec import Limits
from tests.finetune.records.conftest import Check

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "data-formats.md"
TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLES = re.findall(
    r"^### (\w+)\n\n[^`#]*?(?:`[^`]+`[^`#]*?)*```(\w+)\n(.*?)```", TEXT, re.MULTILINE | re.DOTALL
)


def table(codes: dict[str, Code]) -> str:
    rows = [
        f"| `{name}` | {code.severity} | {code.title} | {code.fix} |"
        for name, code in codes.items()
    ]
    return "\n".join(["| code | | what is wrong | the fix |", "|---|---|---|---|", *rows])


def limit_table() -> str:
    rows = [f"| `{name}` | {text} |" for name, text in LIMIT_CODES.items()]
    return "\n".join(["| code | what it means |", "|---|---|", *rows])


@pytest.mark.parametrize("codes", [FILE_CODES, LINE_CODES, ROW_CODES, TOKEN_CODES])
def test_the_page_has_every_code_as_the_checker_says_it(codes: dict[str, Code]) -> None:
    assert table(codes) in TEXT


def test_the_page_has_every_limit() -> None:
    assert limit_table() in TEXT
    limits = Limits()
    for value in (limits.decoded_bytes // 2**30, limits.line_bytes // 2**20, limits.rows):
        assert f"{value:,}" in TEXT


@pytest.mark.parametrize(("name", "kind", "example"), EXAMPLES)
def test_an_example_is_what_it_says(name: str, kind: str, example: str, check: Check) -> None:
    report = check(example.encode(), f"example.{kind}")
    assert report.problems == []
    assert name in (report.format, report.container)


def test_each_format_has_an_example() -> None:
    named = {name for name, _, _ in EXAMPLES}
    assert {
        *["chat", "completion", "alpaca", "sharegpt", "fengshenbang", "text", "csv"],
        *("preference", "chosen", "prompt", "rated", "retrieval", "scored"),
    } == named


def test_messages_are_plain_sentences() -> None:
    for codes in (FILE_CODES, LINE_CODES, ROW_CODES, TOKEN_CODES):
        for name, code in codes.items():
            assert code.title.endswith("."), name
            assert json.dumps(code.fix), name
