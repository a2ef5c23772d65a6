"""What the history can say is told in Chinese on a job's page, by its code."""

import string

import pytest
from django.utils.translation import gettext, override

from finetune.events import MESSAGES, JobWaits, LearningRateChosen, Message, read
from finetune.events.waits import WAITS, Wait
from finetune.models import Event
from finetune.trainer import auto
from privatune.portal.history import reasons, told
from privatune.portal.refusals import kept
from privatune.portal.words import JOB_STATES
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


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_what_is_waited_for_is_told_in_chinese_by_its_code(wait: type[Wait]) -> None:
    assert fields(wait.words) == set(wait.model_fields)
    kinds = {name: field.annotation for name, field in wait.model_fields.items()}
    given = {name: 4711 if kind is int else "x-4711" for name, kind in kinds.items()}
    waiting = wait(**given)
    event = event_of(JobWaits.of(waiting))
    assert event.message == f"Waiting: {waiting.text}"
    reading = {"code": "waiting", "message": waiting.text, "waits_for": waiting.code,
               "about": waiting.params}  # fmt: skip
    with override("zh-hans"):
        for said in (told(event), kept(reading)["said"]):  # type: ignore[index]
            assert gettext(wait.words).split("{")[0] in said
            assert WORDS["zh-hans"].search(gettext(wait.words))
            assert english_sentences(f"<p>{said}</p>") == []
            assert ("4711" in said) == bool(wait.model_fields)
    with override("en"):
        assert told(event) == event.message
        assert waiting.text in kept(reading)["said"]  # type: ignore[index]


@pytest.mark.parametrize("data", [{}, {"waits_for": "of_a_newer_version", "about": {"n": 1}}])
def test_a_wait_that_is_not_known_is_told_in_chinese_without_its_reason(data: dict) -> None:  # type: ignore[type-arg]
    event = Event(code="job_waits", data={"reason": "It is so.", **data}, message="It is so.")
    with override("zh-hans"):
        assert english_sentences(f"<p>{told(event)}</p>") == []
        assert "It is so" not in told(event)


def test_an_error_that_was_given_up_says_after_how_many_attempts() -> None:
    error = {"code": "worker_lost", "message": "x", "attempts": 3}
    with override("en"):
        told_so = kept(error)["said"]  # type: ignore[index]
        assert told_so.endswith("Given up; attempts without progress: 3.")
        assert "by itself" not in told_so
    with override("zh-hans"):
        assert "3" in kept(error)["said"]  # type: ignore[index]


def test_a_queue_is_not_said_to_be_for_a_gpu() -> None:
    """Nor that of a machine that has none."""
    with override("en"):
        assert not any("GPU" in str(badge.word) for badge in JOB_STATES.values())


def test_what_was_chosen_is_told_in_chinese_in_the_history_and_with_the_settings() -> None:
    events = choices()
    with override("zh-hans"):
        found = dict(reasons({"n_epochs": "10: as the job keeps it"}, events))
        assert set(found) == {"n_epochs", "batch_size", "learning_rate_multiplier"}
        for said in (*found.values(), *map(told, events)):
            assert WORDS["zh-hans"].search(said), said
            assert english_sentences(f"<p>{said}</p>") == []
        settings = [told(event).partition(":")[0] for event in events]
        assert set(settings) == {"n_epochs", "batch_size", "learning_rate_multiplier"}
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


def test_a_models_size_is_counted_in_chinese_as_chinese_counts() -> None:
    for million, counted in ((135, "1.35 亿参数"), (8000, "80 亿参数"), (3, "0.03 亿参数")):
        chosen = LearningRateChosen(million_parameters=million, learning_rate=1e-4)
        with override("zh-hans"):
            assert counted in chosen.told(gettext(chosen.words))
        assert f"{million} million parameters" in chosen.text
