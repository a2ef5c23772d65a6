"""What counts as a right answer."""

import pytest

from finetune.grading.graders import exact_call, same_intent

SAFE = '{"intent":"HassTurnOn","name":"safe"}'


def test_spaces_and_key_order_do_not_count() -> None:
    assert exact_call('{ "name": "safe", "intent": "HassTurnOn" }', SAFE)


@pytest.mark.parametrize(
    "answer",
    [
        '{"intent":"HassTurnOn","name":"safe","area":"car"}',
        '{"intent":"HassTurnOn"}',
        '{"intent":"HassTurnOff","name":"safe"}',
        '{"intent":"HassTurnOn","name":"safe"} Anything else?',
        '[{"intent":"HassTurnOn","name":"safe"}]',
        "Sure, I can help with that.",
        "",
        "[" * 100_000,
    ],
)
def test_an_answer_that_says_more_less_or_other_is_wrong(answer: str) -> None:
    assert not exact_call(answer, SAFE)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ('{"intent":"HassTurnOn","name":"gate"}', True),
        ('{"intent":"HassTurnOff","name":"safe"}', False),
        ('{"name":"safe"}', False),
        ("HassTurnOn", False),
    ],
)
def test_the_intent_may_be_right_where_the_slots_are_not(answer: str, right: bool) -> None:
    assert same_intent(answer, SAFE) is right
