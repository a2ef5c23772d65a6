"""Every validation row's loss, of the base and of the result."""

import csv
import math
from pathlib import Path

import pytest

from finetune.states import ExitCode
from finetune.trainer.loop import evaluate, prepare
from finetune.trainer.measuring import measure
from finetune.trainer.objectives.sft import SFT
from finetune.trainer.spec import RunSpec
from tests.finetune.trainer.runs import (
    StopAfter,
    error,
    finish,
    make_run,
    report,
    result_hash,
)

SETTINGS = {"adapter": {"r": 4}, "micro_batch_tokens": 64, "lanes": 2, "threads": 2}


def rows_of(run: Path) -> list[dict[str, float]]:
    with (run / "result" / "validation_rows.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_the_rows_losses_add_up_to_the_losses_that_were_told(
    tiny_base: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", tiny_base, **SETTINGS)
    assert finish(run) == ExitCode.DONE, error(run)
    rows, told = rows_of(run), report(run)
    assert [row["row"] for row in rows] == [1, 2, 3, 4, 5, 6]
    weight = sum(row["weight"] for row in rows)
    base = sum(row["base_loss"] for row in rows) / weight
    tuned = sum(row["loss"] for row in rows) / weight
    assert base == pytest.approx(told["base_valid_loss"], rel=1e-5)
    assert tuned == pytest.approx(told["valid_loss"], rel=1e-5)
    change = told["validation_change"]
    assert change["rows"] == 6
    assert change["difference"] == pytest.approx(tuned - base)
    low, high = change["interval"]
    assert low < change["difference"] < high < 0
    assert change["p_value"] == 2 / 2**6  # each of the six rows got better


def test_a_row_stands_at_its_own_number(tiny_base: Path, tmp_path: Path) -> None:
    """Micro-batches and lanes take the rows in other orders."""
    run = make_run(tmp_path / "run", tiny_base, **SETTINGS)
    assert finish(run) == ExitCode.DONE, error(run)
    alone = make_run(
        tmp_path / "alone", tiny_base, **SETTINGS | {"micro_batch_tokens": 1, "lanes": 1}
    )
    assert finish(alone) == ExitCode.DONE, error(alone)
    for one, other in zip(rows_of(run), rows_of(alone), strict=True):
        assert one["weight"] == other["weight"]
        assert math.isclose(one["base_loss"], other["base_loss"], rel_tol=1e-4)
    assert len({row["base_loss"] for row in rows_of(run)}) == 6


def test_without_validation_rows_nothing_is_measured(tiny_base: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", tiny_base, valid=False, **SETTINGS)
    assert finish(run) == ExitCode.DONE, error(run)
    assert report(run)["validation_change"] is None
    assert not (run / "result" / "validation_rows.csv").exists()


def test_stopped_while_it_measures_it_measures_again_to_the_same_bytes(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_run(tmp_path / "whole", tiny_base, **SETTINGS)
    assert finish(whole) == ExitCode.DONE, error(whole)
    run = make_run(tmp_path / "run", tiny_base, **SETTINGS)
    measured = []

    def stopped(taken: object, kept: object) -> object:
        taken.stop = StopAfter(2)  # type: ignore[attr-defined]
        measured.append(kept)
        return measure(taken, kept)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr("finetune.trainer.loop.measure", stopped)
        assert finish(run) == ExitCode.YIELDED
    assert len(measured) == 1
    assert finish(run) == ExitCode.DONE, error(run)
    assert result_hash(run) == result_hash(whole)
    assert rows_of(run) == rows_of(whole)


def test_the_evaluation_and_the_rows_take_the_same_items(tiny_base: Path, tmp_path: Path) -> None:
    from finetune.trainer.events import EventLog
    from finetune.trainer.lifeline import Stop

    folder = make_run(tmp_path / "run", tiny_base, **SETTINGS)
    log = EventLog(folder / "events.jsonl")
    run = prepare(RunSpec.read(folder), SFT, folder, log, Stop())
    with run.lanes:
        found = measure(run, run.model.adapter_state())
        told = evaluate(run)["valid_loss"]
    log.close()
    assert found is not None
    assert found.base == found.tuned, "a fresh adapter changes nothing"
    assert sum(loss for loss, _ in found.base) / sum(by for _, by in found.base) == pytest.approx(
        told, rel=1e-6
    )
