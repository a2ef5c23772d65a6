"""A rehearsal in the real process: it measures the run's own steps, and leaves nothing else."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from finetune.states import ExitCode
from finetune.trainer.data import make_plan
from finetune.trainer.rehearsal import REHEARSAL, heaviest_step
from finetune.trainer.run import Run
from tests.finetune.trainer.runs import error, events, finish, forked, make_run, result_hash


@pytest.mark.parametrize("valid", [True, False])
def test_a_rehearsal_tells_steps_tokens_seconds_and_memory_and_changes_no_training(
    tiny_base: Path, tmp_path: Path, valid: bool
) -> None:
    folder = make_run(tmp_path / "run", tiny_base, valid=valid, adapter={"r": 4})
    before = {path.name for path in folder.iterdir()}
    child = forked(folder, "--rehearse")
    assert child.process.wait() == ExitCode.DONE, error(folder)
    child.kill()
    told: dict[str, Any] = json.loads((folder / REHEARSAL).read_text())
    left = {path.name for path in folder.iterdir()} - before
    assert left == {REHEARSAL, "checkpoints"}
    assert not list((folder / "checkpoints").iterdir())
    assert told["steps_timed"] == told["total_steps"] == 10, "20 rows, 4 a step, 2 epochs"
    assert told["step_tokens"] == told["tokens"], "every step was timed once"
    assert 0 < told["step_seconds"] < told["seconds"]
    assert (told["valid_tokens"] > 0, told["valid_seconds"] > 0) == (valid, valid)
    assert told["peak_memory_mb"] > 50
    assert finish(folder) == ExitCode.DONE
    assert [event["data"]["step"] for event in events(folder, "metrics")] == list(range(1, 11))
    fresh = make_run(tmp_path / "fresh", tiny_base, valid=valid, adapter={"r": 4})
    assert finish(fresh) == ExitCode.DONE
    assert result_hash(folder) == result_hash(fresh)


@pytest.mark.parametrize(
    ("lengths", "at_once", "heaviest"),
    [
        ([5, 5, 90, 5, 5, 5], 100, [90]),  # the longest row
        ([30, 30, 30, 90, 5, 5], 100, [30, 30, 30, 90]),  # 90 either way: the first that has it
        ([60, 60, 10, 10, 10, 10], 100, [60]),
    ],
)
def test_the_heaviest_step_has_the_largest_micro_batch(
    lengths: Sequence[int], at_once: int, heaviest: list[int]
) -> None:
    rows = [range(length) for length in lengths]
    plan = make_plan(cast(Any, rows), batch_size=3, epochs=1, seed=3, pack_to=None)
    spec = SimpleNamespace(in_memory=SimpleNamespace(micro_batch_tokens=at_once))
    run = SimpleNamespace(rows=rows, plan=plan, spec=spec)
    found = plan.rows_of(heaviest_step(cast(Run, run)))
    assert {lengths[row] for row in found} & set(heaviest)
