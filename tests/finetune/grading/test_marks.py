"""What the marks of a side say together, by criterion and by tag, and two sides compared."""

import pytest

from finetune.grading import criteria as held
from finetune.grading.criteria import CRITERIA, EXACT
from finetune.grading.intervals import wilson
from finetune.grading.marks import Mark, by_tag, compare, criteria, interval, summary, told, wins


def marks(*scores: float) -> list[Mark]:
    return [Mark(score, score == 1, by={"exact": (score, score == 1)}) for score in scores]


def test_rights_and_wrongs_have_wilsons_interval_also_when_all_are_alike() -> None:
    told = summary(marks(1, 1, 1, 0))
    assert told["score"] == 0.75
    assert told["interval"] == [round(end, 6) for end in wilson(3, 4)]
    assert (told["passed"], told["failed"], told["errored"]) == (3, 1, 0)
    low, high = interval([1.0] * 20) or (0, 0)
    assert low < 0.9
    assert high == 1


def test_other_scores_are_drawn_again() -> None:
    low, high = interval([0.2, 0.4, 0.6, 0.8]) or (0, 0)
    assert 0.2 < low < 0.5 < high < 0.8
    assert interval([0.5]) is None


def test_an_errored_row_is_neither_passed_nor_failed() -> None:
    found = summary([*marks(1), Mark(0.0, False, errored=True)])
    assert (found["score"], found["passed"], found["failed"], found["errored"]) == (0.5, 1, 0, 1)
    assert criteria([*marks(1, 0), Mark(0.0, False, errored=True)]) == [
        {"name": "exact", "score": 0.5, "passed": 1, "failed": 1}
    ]


def test_tags_group_the_rows_that_have_them() -> None:
    found = by_tag(marks(1, 0, 1), [("easy",), ("hard", "zh"), ("easy", "zh")])
    assert list(found) == ["easy", "hard", "zh"]
    assert [found[tag]["score"] for tag in found] == [1.0, 0.0, 0.5]
    assert found["hard"]["rows"] == 1


def test_pairs_of_rights_and_wrongs_are_compared_exactly() -> None:
    """Ten that only the second answers, none that only the first does."""
    found = compare([0.0] * 10 + [1.0] * 10, [1.0] * 20)
    assert found.difference == 0.5
    assert found.p_value == pytest.approx(2 / 2**10)
    assert found.shown
    assert told(found)["rows"] == 20
    with pytest.raises(ValueError, match="no pairs"):
        compare([1.0], [])


def test_scores_between_are_compared_by_drawing_again() -> None:
    found = compare([0.1, 0.2, 0.3, 0.4, 0.5], [0.2, 0.3, 0.5, 0.6, 0.7])
    assert found.difference == pytest.approx(0.16)
    assert found.p_value == 2 / 32


def test_a_criterion_passes_from_its_threshold_and_shares_by_its_range() -> None:
    judge = {
        "type": "score_model", "name": "judge", "model": "m", "range": [1, 5],
        "input": [{"role": "user", "content": "Rate {{ sample.output_text }}."}],
    }  # fmt: skip
    alike = {
        "type": "text_similarity", "name": "alike", "evaluation_metric": "rouge_l",
        "input": "{{ sample.output_text }}", "reference": "{{ item.reference }}",
    }  # fmt: skip
    middle, strict, likely = CRITERIA.validate_python(
        [judge, judge | {"pass_threshold": 4}, alike | {"pass_threshold": 0.8}]
    )
    assert [held.passes(middle, score) for score in (2.9, 3.0)] == [False, True]
    assert [held.passes(strict, score) for score in (3.9, 4.0)] == [False, True]
    assert [held.passes(likely, score) for score in (0.79, 0.8)] == [False, True]
    assert [held.passes(EXACT, score) for score in (0.0, 1.0)] == [False, True]
    assert [held.share(middle, score) for score in (1, 2, 5)] == [0, 0.25, 1]
    assert held.share(likely, 7.0) == 1
    with pytest.raises(ValueError, match="label_model"):
        CRITERIA.validate_python([{"type": "label_model", "name": "x"}])
    with pytest.raises(ValueError, match="pass_threshold"):
        CRITERIA.validate_python([held.shown(EXACT) | {"pass_threshold": 1}])


def test_wins_are_of_pairs_that_are_told_apart() -> None:
    found = wins([0.1, 0.5, 0.5, 0.2], [0.2, 0.5, 0.4, 0.9])
    told = {"rows": 4, "won": 2, "tied": 1, "share": 0.666667}
    assert found == told | {"interval": [round(end, 6) for end in wilson(2, 3)]}
    assert wins([0.5], [0.5])["interval"] is None
