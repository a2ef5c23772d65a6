"""pass@k is the share of all choices of k answers with one that passes, counted out."""

from itertools import combinations

import pytest

from finetune.grading.attempts import estimates, pass_at
from finetune.grading.intervals import wilson


@pytest.mark.parametrize("answers", [1, 2, 5, 7])
def test_it_is_what_counting_all_choices_gives(answers: int) -> None:
    for passed in range(answers + 1):
        marks = [True] * passed + [False] * (answers - passed)
        for k in range(1, answers + 1):
            choices = list(combinations(marks, k))
            counted = sum(any(choice) for choice in choices) / len(choices)
            assert pass_at(answers, passed, k) == pytest.approx(counted, abs=1e-12)
    assert pass_at(200, 3, 1) == pytest.approx(0.015)
    for wrong in ((3, 4, 1), (3, 1, 4), (3, 1, 0), (3, -1, 1)):
        with pytest.raises(ValueError, match="tell no pass@"):
            pass_at(*wrong)


def test_means_over_questions_have_intervals_over_questions() -> None:
    found = estimates(10, [0, 3, 10, 1])
    assert [each.k for each in found] == [1, 2, 5, 10]
    assert found[0].value == pytest.approx(0.35)
    assert found[-1].value == pytest.approx(0.75)
    for each in found:
        assert each.interval is not None
        low, high = each.interval
        assert low <= each.value <= high
    assert estimates(1, [1, 1])[0].interval == wilson(2, 2), "all right is not for certain"
    assert [each.k for each in estimates(3, [1])] == [1, 2, 3]
    assert estimates(3, [1])[0].interval is None
