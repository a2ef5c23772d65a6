"""The table of what a job's history can say."""

import pytest

from finetune.events import MESSAGES, Choice, JobFailed, Message, read


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
    kind.form().format(**dict.fromkeys(kind.model_fields, 1))
    assert kind.level in ("info", "warn", "error")
    assert issubclass(kind, Choice) == hasattr(kind, "setting")


def test_an_entry_is_read_back_as_what_was_said() -> None:
    said = JobFailed(error="disk_full", reason="a {brace} of the reason's own")
    entry = said.entry({"more": 1})
    assert entry["message"] == "The job failed: a {brace} of the reason's own"
    assert (entry["code"], entry["level"]) == ("job_failed", "error")
    assert read(entry["code"], entry["data"]) == said
