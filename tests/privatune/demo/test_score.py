"""Scores, their intervals, and the paired comparison of base and tuned."""

import random

import pytest

from privatune.demo.score import compare, score, wilson

CALLS = ['{"intent":"HassTurnOn","name":"safe"}', '{"intent":"HassSetVolume","volume_level":30}']


def test_spaces_and_key_order_do_not_count() -> None:
    answers = ['{ "name": "safe", "intent": "HassTurnOn" }', CALLS[1]]
    assert score(answers, CALLS).accuracy == 1.0


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
    ],
)
def test_an_answer_that_says_more_less_or_other_is_wrong(answer: str) -> None:
    assert score([answer, CALLS[1]], CALLS).right == (False, True)


def test_intent_accuracy_counts_the_right_call_with_wrong_slots() -> None:
    scored = score(['{"intent":"HassTurnOn","name":"gate"}', "no"], CALLS)
    assert (scored.accuracy, scored.intent_accuracy) == (0.0, 0.5)


def test_answers_and_calls_must_pair_up() -> None:
    with pytest.raises(ValueError, match="1 answers for 2 calls"):
        score(["{}"], CALLS)


def test_wilson_interval_matches_published_values() -> None:
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_wilson_interval_ends_at_nothing_and_all_exactly() -> None:
    assert wilson(0, 12)[0] == 0.0
    assert wilson(12, 12)[1] == 1.0


def test_mcnemar_counts_only_pairs_that_differ() -> None:
    base = [True] * 50 + [False] * 6
    tuned = [True] * 50 + [True] * 5 + [False]
    assert compare(base, tuned).p_value == pytest.approx(2 / 2**5)
    assert compare(base, base).p_value == 1.0
    assert compare(base, base).difference == 0.0


def test_the_paired_interval_covers_the_truth_about_95_times_in_100() -> None:
    rng = random.Random(7)
    hits, trials = 0, 1500
    for _ in range(trials):
        base, tuned = [], []
        for _ in range(60):
            ease = rng.random()
            base.append(ease < 0.3)
            tuned.append(ease < 0.3 or rng.random() < 0.5)
        low, high = compare(base, tuned).interval
        hits += low <= 0.35 <= high
    assert 0.93 <= hits / trials <= 0.985


def test_a_base_that_is_never_right_still_gets_an_interval() -> None:
    compared = compare([False] * 200, [True] * 170 + [False] * 30)
    assert compared.difference == pytest.approx(0.85)
    assert 0.79 < compared.interval[0] < 0.85 < compared.interval[1] < 0.9
    assert compared.p_value < 1e-40
