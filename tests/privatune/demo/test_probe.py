"""The trial of the machine runs the trainer that the job will run."""

from pathlib import Path

import pytest

from privatune.demo.commands import Command
from privatune.demo.grammar import Template
from privatune.demo.probe import BATCH_ROWS, STEPS, training_speed
from privatune.demo.stack import DemoFailed

TEMPLATE = Template("HassTurnOn", "turn on {name}", (), ("switch",), ("name",))
ROWS = [
    Command(f"turn on lamp {number}", f'{{"name":"lamp {number}"}}', TEMPLATE)
    for number in range(STEPS * BATCH_ROWS)
]


@pytest.mark.slow
def test_a_few_steps_give_a_speed_and_leave_nothing(tiny_base: Path, tmp_path: Path) -> None:
    speed = training_speed(tiny_base, ROWS, tmp_path / "probe")
    assert speed.tokens_per_second > 0
    assert speed.start > 0
    assert speed.precision in {"fp32", "bf16"}
    assert not (tmp_path / "probe").exists()


@pytest.mark.slow
def test_a_trainer_that_fails_is_told_with_its_own_words(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DemoFailed, match=r"A few training steps were tried and failed:[\s\S]+no_rows"
    ):
        training_speed(tiny_base, [], tmp_path / "probe")
    assert not (tmp_path / "probe").exists()
