"""The plain verdict: each branch, and which comes first."""

import pytest

from finetune.grading.advice import FEWEST_ROWS, SAID, Decision, Reason, advise
from finetune.grading.resampling import Change


def gain(low: float, high: float, rows: int = 100) -> Change:
    return Change(rows, (low + high) / 2, (low, high), 0.5)


BETTER, WORSE, NOTHING = gain(0.1, 0.2), gain(-0.2, -0.1), gain(-0.1, 0.1)


@pytest.mark.parametrize(
    ("base", "examples", "options", "decision", "reason"),
    [
        (BETTER, None, {}, "deploy", "better_than_base"),
        (BETTER, BETTER, {}, "deploy", "better_than_both"),
        (BETTER, NOTHING, {}, "more_data", "examples_as_good"),
        (BETTER, WORSE, {}, "do_not", "examples_better"),
        (WORSE, None, {}, "do_not", "worse_than_base"),
        (WORSE, BETTER, {}, "do_not", "worse_than_base"),
        (NOTHING, None, {}, "more_data", "undecided"),
        (gain(-0.04, 0.04), None, {}, "do_not", "no_gain"),
        (gain(0.1, 0.2, FEWEST_ROWS - 1), None, {}, "more_data", "too_few_rows"),
        (gain(0.1, 0.2, FEWEST_ROWS), None, {}, "deploy", "better_than_base"),
        (BETTER, BETTER, {"errors": 0.11}, "more_data", "too_many_errors"),
        (BETTER, BETTER, {"errors": 0.1}, "deploy", "better_than_both"),
        (BETTER, BETTER, {"seen": 0.11, "errors": 0.5}, "more_data", "trained_on"),
        (BETTER, BETTER, {"seen": 0.1}, "deploy", "better_than_both"),
    ],
)
def test_the_verdict_and_its_reason(
    base: Change, examples: Change | None, options: dict[str, float], decision: str, reason: str
) -> None:
    found = advise(base, examples, **options)  # type: ignore[arg-type]
    assert (found.decision, found.reason) == (Decision(decision), Reason(reason))
    assert found.said == SAID[Reason(reason)]


def test_a_single_row_decides_nothing() -> None:
    assert advise(Change(1, 1.0, None, 1.0)).reason == Reason.TOO_FEW_ROWS


def test_every_reason_has_its_words() -> None:
    assert set(SAID) == set(Reason)
