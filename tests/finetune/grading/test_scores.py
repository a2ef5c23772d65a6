"""Scores and verdicts."""

import pytest

from finetune.grading.graders import exact_call
from finetune.grading.intervals import wilson
from finetune.grading.scores import Score, Verdict, compare, score

CALL = '{"intent":"HassSetVolume","volume_level":30}'


def marked(right: list[bool]) -> Score:
    return Score(tuple(right), sum(right) / len(right), wilson(sum(right), len(right)))


def test_each_answer_is_marked_against_its_own_question() -> None:
    scored = score([CALL, "no", CALL], [CALL, CALL, "{}"], exact_call)
    assert scored.right == (True, False, False)
    assert scored.accuracy == pytest.approx(1 / 3)
    assert scored.interval == wilson(1, 3)


@pytest.mark.parametrize(("answers", "expected"), [(["{}"], [CALL, CALL]), ([], [])])
def test_answers_and_questions_must_pair_up(answers: list[str], expected: list[str]) -> None:
    with pytest.raises(ValueError, match=f"{len(answers)} answers for {len(expected)} questions"):
        score(answers, expected, exact_call)


def test_scores_of_other_questions_are_not_compared() -> None:
    with pytest.raises(ValueError, match="shorter"):
        compare(marked([True, False]), marked([True]))


def test_mcnemar_counts_only_pairs_that_differ() -> None:
    first = marked([True] * 50 + [False] * 6)
    second = marked([True] * 50 + [True] * 5 + [False])
    assert compare(first, second).p_value == pytest.approx(2 / 2**5)
    assert compare(first, first).p_value == 1.0
    assert compare(first, first).difference == 0.0


def test_mcnemar_matches_a_published_example() -> None:
    # Fagerland, Lydersen & Laake 2013, BMC Medical Research Methodology 13:91, table 1 (Bentur et
    # al. 2009): 1, 1, 7 and 12 pairs, exact conditional p = 0.0703
    first = marked([True, True] + [False] * 7 + [False] * 12)
    second = marked([True, False] + [True] * 7 + [False] * 12)
    assert compare(first, second).p_value == pytest.approx(0.0703, abs=5e-5)


def test_a_model_that_is_never_right_still_gets_an_interval() -> None:
    compared = compare(marked([False] * 200), marked([True] * 170 + [False] * 30))
    assert compared.difference == pytest.approx(0.85)
    assert 0.79 < compared.interval[0] < 0.85 < compared.interval[1] < 0.9
    assert compared.p_value < 1e-40
    assert compared.verdict is Verdict.BETTER


def test_the_verdict_says_no_more_than_the_interval_shows() -> None:
    few, more = marked([True] * 5 + [False] * 15), marked([True] * 8 + [False] * 12)
    many, most = marked([True] * 50 + [False] * 150), marked([True] * 80 + [False] * 120)
    assert compare(few, more).verdict == "no difference shown"
    assert compare(many, most).verdict == "better"
    assert compare(most, many).verdict == "worse"
