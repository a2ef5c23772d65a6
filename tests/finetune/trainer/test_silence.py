"""A warning where the answers of most prompts earn the same for several steps: once a stretch."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from finetune.trainer import loop
from finetune.trainer.lifeline import Stop, Yielded
from finetune.trainer.silence import DRAWS, silent_groups
from finetune.trainer.state import StepMetrics
from tests.finetune.trainer.runs import StopAfter, events
from tests.finetune.trainer.test_reinforcement import GRADER, make_drawing

NEVER = GRADER | {"operation": "eq", "reference": "no model says this"}


def history(*shares: float | None) -> list[StepMetrics]:
    """None: a step that was skipped, and evaluated."""
    return [
        StepMetrics(
            step=number, epoch=1.0, learning_rate=1.0, trained_tokens=1,
            train={} if share is None else {"train_silent_groups": share, "train_reward": 0.25},
        )
        for number, share in enumerate(shares, 1)
    ]  # fmt: skip


def told_at(shares: list[float | None], iterations: int = 1) -> list[int]:
    steps = history(*shares)
    return [
        number
        for number in range(1, len(steps) + 1)
        if silent_groups(steps[:number], iterations) is not None
    ]


@pytest.mark.parametrize(
    ("shares", "at"),
    [
        ([], []),
        ([1.0] * (DRAWS - 1), []),
        ([1.0] * 20, [DRAWS]),
        ([0.5] * 20, []),
        ([0.6] * 20, [DRAWS]),
        ([0.0, *[1.0] * 9], [DRAWS + 1]),
        ([*[1.0] * 4, 0.0, *[1.0] * 4], []),
        ([*[1.0] * 6, 0.0, *[1.0] * 6], [DRAWS, 7 + DRAWS]),
        ([1.0, 1.0, None, 1.0, 1.0, 1.0, None, 1.0], [DRAWS + 1]),
    ],
)
def test_it_is_told_once_for_each_stretch(shares: list[float | None], at: list[int]) -> None:
    assert told_at(shares) == at


def test_steps_that_learn_from_the_same_answers_count_once() -> None:
    assert told_at([1.0] * 30, iterations=3) == [3 * (DRAWS - 1) + 1]
    found = silent_groups(history(*[1.0] * 13), 3)
    assert found is not None
    assert (found.steps, found.silent_groups, found.reward) == (DRAWS, 1.0, 0.25)
    assert "(100%)" in found.text


def warnings(run: Path) -> list[Any]:
    return [each for each in events(run, "message") if each["code"] == "groups_silent"]


def test_a_run_that_nothing_is_learnt_in_says_so_while_it_runs_and_once_though_cut_off(
    tiny_base: Path, tmp_path: Path
) -> None:
    asked = {"grader": NEVER, "epochs": 4, "save_every": 4}  # 8 steps
    whole = make_drawing(tmp_path / "whole", tiny_base, **asked)
    counted = StopAfter(10**6)
    loop.train(whole, counted)
    (found,) = warnings(whole)
    assert found["level"] == "warn"
    assert found["data"] == {"steps": DRAWS, "silent_groups": 1.0, "reward": 0.0}
    order = [each["code"] for each in events(whole)]
    assert order.index("groups_silent") < len(order) - 1 - order[::-1].index("step_done")
    checks = 10**6 - counted.left
    cut = make_drawing(tmp_path / "cut", tiny_base, **asked)
    with pytest.raises(Yielded):
        loop.train(cut, StopAfter(checks * 7 // 8))
    assert len(warnings(cut)) == 1
    newest = max((cut / "checkpoints").iterdir(), key=lambda each: int(each.name))
    shutil.rmtree(newest)  # as if it had been killed before it could be written
    loop.train(cut, Stop())
    assert len(warnings(cut)) == 1
