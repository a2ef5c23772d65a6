"""What the history can say is told in Chinese on a job's page, by its code."""

import string

import pytest
from django.utils.translation import gettext, override

from finetune.events import MESSAGES, Message, read
from finetune.models import Event
from finetune.trainer import auto
from privatune.portal.history import reasons, told
from tests.fixtures.language import WORDS, english_sentences


def fields(words: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(words) if name}


def event_of(message: Message) -> Event:
    return Event(**message.entry())


def choices() -> list[Event]:
    asked = auto.Requested(n_epochs="auto", batch_size="auto", learning_rate_multiplier="auto")
    _, chosen = auto.resolve(rows=60, tokens=600, base_parameters=135_000_000, requested=asked)
    return [event_of(each) for each in chosen]


@pytest.mark.parametrize("kind", MESSAGES.values(), ids=MESSAGES)
def test_every_code_has_chinese_words_that_its_parameters_fill(kind: type[Message]) -> None:
    assert fields(kind.words) <= set(kind.model_fields)
    with override("zh-hans"):
        words = gettext(kind.words)
    assert words != kind.words
    assert WORDS["zh-hans"].search(words)
    assert english_sentences(f"<p>{words}</p>") == []
    assert fields(words) <= set(kind.model_fields)


def test_what_was_chosen_is_told_in_chinese_in_the_history_and_with_the_settings() -> None:
    events = choices()
    with override("zh-hans"):
        found = dict(reasons({"n_epochs": "10: as the job keeps it"}, events))
        assert set(found) == {"n_epochs", "batch_size", "learning_rate_multiplier"}
        for said in (*found.values(), *map(told, events)):
            assert WORDS["zh-hans"].search(said), said
            assert english_sentences(f"<p>{said}</p>") == []
    with override("en"):
        assert [told(event) for event in events] == [event.message for event in events]
        assert dict(reasons({}, events))["batch_size"].startswith("4: 15 steps")


@pytest.mark.parametrize(
    ("code", "data"),
    [
        ("", {}),
        ("of_a_newer_version", {"step": 3}),
        ("step_resumed", {}),
        ("step_resumed", {"step": "three"}),
        ("base_evaluated", {"base_valid_loss": None}),
        ("step_resumed", []),
    ],
)
def test_what_this_version_does_not_know_so_is_shown_as_its_message(code: str, data: dict) -> None:  # type: ignore[type-arg]
    assert read(code, data) is None
    event = Event(code=code, data=data, message="Something of another version.")
    with override("zh-hans"):
        assert told(event) == "Something of another version."
        assert reasons({"rank": "16: as it was"}, [event]) == [("rank", "16: as it was")]
