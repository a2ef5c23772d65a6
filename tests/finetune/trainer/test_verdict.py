"""What is said of a run that came to its end and has learnt nothing."""

import math

import pytest

from finetune.trainer.state import StepMetrics
from finetune.trainer.verdict import verdict

GUESSING = math.log(49152)  # 10.80


def ran(losses: list[float], valid: dict[int, float] | None = None) -> list[StepMetrics]:
    return [
        StepMetrics(
            step=step,
            epoch=step / len(losses),
            train={"train_loss": loss},
            weight=10,
            learning_rate=1,
            trained_tokens=10 * step,
            valid={"valid_loss": valid[step]} if valid and step in valid else {},
        )
        for step, loss in enumerate(losses, 1)
    ]


def codes(history: list[StepMetrics], *, step: int = 0, base: float | None = None) -> list[str]:
    found = verdict(history, step=step or len(history), base_valid_loss=base, guessing=GUESSING)
    return [each.code for each in found]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([2.0, 30, 14, *[10.81] * 9], ["loss_at_chance"]),  # a rate of 1e4 over twelve steps
        ([2.0, 10.79], ["loss_at_chance"]),
        ([10.79, 10.81, 10.8], ["base_at_chance"]),  # a lower rate would mend nothing
        ([11.2, 9.0, 7.1], []),  # an untrained base that learns
        ([2.0, 6, 7, 6.5, 6.2, 6, 6], ["loss_rose"]),  # ruined, and still better than guessing
        ([2.0, 1.5, 1.2, 0.9, 0.8], []),
        ([2.0, 9, 7, 3, 2.1, 1.9, 1.8, 1.7], []),  # it strayed, and came back
        ([2.0], []),
        ([12.0], []),  # one step: there is none after it
        ([0.4, 1.1, 0.3, 1.2, 0.9], []),  # single rows at a rate too small to matter
        ([2.0, 2.3, 2.4, 2.3], []),  # within what two batches differ by
        ([], []),
    ],
)
def test_a_ruined_run_is_told_and_a_noisy_one_is_not(
    losses: list[float], expected: list[str]
) -> None:
    assert codes(ran(losses)) == expected


def test_a_result_that_is_worse_than_the_base_on_the_same_rows_is_told() -> None:
    losses = [2.0, 1.0, 0.5, 0.1]
    assert codes(ran(losses, {4: 2.2}), base=2.1) == ["worse_than_base"]
    assert codes(ran(losses, {4: 2.1}), base=2.1) == []


def test_only_the_steps_up_to_the_results_count() -> None:
    """`keep: "best"` took the second step; what came of the training later is not in the result."""
    history = ran([2.0, 1.5, 10.9, 10.9, 10.9], {2: 1.4, 5: 11.0})
    assert codes(history, step=2, base=2.0) == []
    assert codes(history, step=5, base=2.0) == ["loss_at_chance", "worse_than_base"]


def test_a_step_that_was_skipped_tells_nothing_of_its_training() -> None:
    history = ran([2.0, 1.0, 0.5])
    history.append(history[-1].model_copy(update={"step": 4, "train": {}, "weight": 0.0}))
    assert codes(history) == []
