"""The table of what a job's history can say."""

import re
from typing import get_type_hints

import pytest

from finetune.events import MESSAGES, BatchSizeOfRows, Choice, JobFailed, Message, read
from finetune.events.message import filled


def kinds(of: type[Message]) -> set[type[Message]]:
    below = {kind for each in of.__subclasses__() for kind in kinds(each)}
    return below or {of}


def test_every_message_stands_in_the_table_under_a_code_of_its_own() -> None:
    assert len(kinds(Message)) == len(MESSAGES)
    assert {kind.code for kind in kinds(Message)} == set(MESSAGES)
    assert all(len(code) <= 60 for code in MESSAGES), "the column is no wider"


@pytest.mark.parametrize("kind", MESSAGES.values(), ids=MESSAGES)
def test_a_message_needs_no_word_that_it_does_not_have(kind: type[Message]) -> None:
    """No parameter has the name of what an event has beside them, which `data` would then hide."""
    assert not {"code", "level", "words"} & set(kind.model_fields)
    filled(kind.form(), dict.fromkeys(kind.model_fields, 1))
    assert kind.level in ("info", "warn", "error")
    assert issubclass(kind, Choice) == hasattr(kind, "setting")


@pytest.mark.parametrize("kind", MESSAGES.values(), ids=MESSAGES)
@pytest.mark.parametrize(
    ("number", "wrong"), [(1, r"\b1 (?!is\b|was\b)\w*[^s\W]s\b"), (2, r"\b2 (row|step)\b")]
)
def test_what_is_counted_agrees_with_its_number(
    kind: type[Message], number: int, wrong: str
) -> None:
    hints = get_type_hints(kind)
    values = {name: number if hints[name] is int else "x" for name in kind.model_fields}
    values |= {name: 1.5 for name in kind.model_fields if hints[name] is float}
    said = filled(kind.form(), values)
    assert not re.search(wrong, said), said


def test_several_things_are_counted_in_one_sentence() -> None:
    def said(rows: int, steps: int) -> str:
        return BatchSizeOfRows(batch_size=1, rows=rows, steps=steps).text

    assert said(1, 1) == "batch_size: 1: 1 step an epoch from 1 row."
    assert said(0, 2) == "batch_size: 1: 2 steps an epoch from 0 rows."


def test_an_entry_is_read_back_as_what_was_said() -> None:
    said = JobFailed(error="disk_full", reason="a {brace} of the reason's own")
    entry = said.entry({"more": 1})
    assert entry["message"] == "The job failed: a {brace} of the reason's own"
    assert (entry["code"], entry["level"]) == ("job_failed", "error")
    assert read(entry["code"], entry["data"]) == said
