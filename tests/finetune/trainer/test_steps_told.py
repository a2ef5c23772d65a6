"""Checkpoints hold no history: it stands in the log of events, and they know it by its digest."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from finetune.states import ExitCode
from finetune.trainer import checkpoint as checkpoints
from finetune.trainer.checkpoint import Checkpoints
from finetune.trainer.events import EventLog
from finetune.trainer.lifeline import Yielded
from finetune.trainer.loop import train
from finetune.trainer.state import StepMetrics, TrainerState
from tests.finetune.trainer.runs import (
    StopAfter,
    error,
    events,
    finish,
    make_run,
    report,
    result_hash,
)

SETTINGS: dict[str, Any] = {
    "save_every": 3,
    "eval_every": 4,
    "adapter": {"r": 1, "targets": ["v_proj"]},
}


def test_a_checkpoint_is_of_one_size_however_many_steps_were_done(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(
        tmp_path / "run", tiny_base, **(SETTINGS | {"epochs": 10, "save_every": 1}), rows=10
    )
    sizes: dict[int, int] = {}
    write = checkpoints.write_folder

    def measured(target: Path, files: dict[str, bytes]) -> None:
        if target.name.isdigit():
            sizes[int(target.name)] = sum(map(len, files.values()))
        write(target, files)

    monkeypatch.setattr(checkpoints, "write_folder", measured)
    assert finish(run) == ExitCode.DONE
    steps = sorted(sizes)
    assert steps == list(range(1, 31))
    # Numbers have unlike many digits; a step's figures in JSON have 250 bytes
    assert max(sizes.values()) - sizes[2] < 100
    assert (
        TrainerState.model_validate_json(
            (run / "checkpoints" / "30" / "trainer_state.json").read_bytes()
        ).told.steps
        == 30
    )


@pytest.fixture(scope="module")
def whole(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_run(tmp_path_factory.mktemp("whole") / "run", tiny_base, **SETTINGS)
    assert finish(run) == ExitCode.DONE
    return run


def test_whatever_a_kill_leaves_of_log_and_checkpoints_is_gone_on_from_to_the_same_bytes(
    whole: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies of the folder as kill -9 would leave it, at each seam between the two."""
    run = make_run(tmp_path / "run", tiny_base, **SETTINGS)
    left: list[Path] = []

    def killed(seam: str, torn: bytes = b"") -> None:
        copy = tmp_path / f"{len(left)} {seam}"
        shutil.copytree(run, copy, symlinks=True)
        with (copy / "events.jsonl").open("ab") as file:
            file.write(torn)
        left.append(copy)

    append, save, prune = EventLog._append, Checkpoints.save, Checkpoints.prune

    def appending(log: EventLog, type_: Any, *told: Any) -> None:
        append(log, type_, *told)
        if type_ == "metrics" and log.reported_step in (1, 6, 8):
            killed("told, not saved", b'{"seq": 9, "type": "metr')

    def saving(self: Checkpoints, state: TrainerState, *tensors: Any) -> Any:
        saved = save(self, state, *tensors)
        if state.step in (3, 10):
            killed("saved, not said")
        return saved

    def pruning(self: Checkpoints, best: int | None) -> None:
        if self.steps()[-1] == 6:
            killed("said, not pruned")
        prune(self, best)

    with monkeypatch.context() as patched:
        patched.setattr(EventLog, "_append", appending)
        patched.setattr(Checkpoints, "save", saving)
        patched.setattr(Checkpoints, "prune", pruning)
        assert finish(run) == ExitCode.DONE
    assert len(left) >= 6
    for copy in left:
        assert finish(copy) == ExitCode.DONE, copy.name
        assert result_hash(copy) == result_hash(whole), copy.name
        steps = [event["data"]["step"] for event in events(copy, "metrics")]
        assert steps == list(range(1, 11)), copy.name


def test_in_another_folder_it_goes_on_from_the_checkpoint_and_what_was_told(
    whole: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """As a worker fills one: the newest checkpoint, and of the log the metrics alone."""
    first = stopped(tmp_path / "first", tiny_base)
    second = tmp_path / "second"
    shutil.copytree(first, second, symlinks=True, ignore=shutil.ignore_patterns("events.jsonl"))
    told = [json.dumps(event) + "\n" for event in events(first, "metrics")]
    assert told
    (second / "events.jsonl").write_text("".join(told))
    assert finish(second) == ExitCode.DONE
    assert result_hash(second) == result_hash(whole)
    ours, theirs = report(second), report(whole)
    for same in ("train_loss", "valid_loss", "trained_tokens", "adapter_sha256"):
        assert ours[same] == theirs[same]


def stopped(folder: Path, base: Path, checks: int = 12) -> Path:
    run = make_run(folder, base, **SETTINGS)
    with pytest.raises(Yielded):
        train(run, StopAfter(checks))
    return run


@pytest.mark.parametrize("how", ["another figure", "a line less", "no log", "no JSON"])
def test_a_log_that_is_not_what_was_told_is_refused(
    tiny_base: Path, tmp_path: Path, how: str
) -> None:
    run = stopped(tmp_path / "run", tiny_base)
    path = run / "events.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if '"metrics"' in line)
    if how == "another figure":
        event = json.loads(lines[first])
        event["data"]["train_loss"] += 1e-12
        lines[first] = json.dumps(event) + "\n"
    elif how == "a line less":
        del lines[first]
    elif how == "no JSON":
        lines[first] = "{" + lines[first]
    path.write_text("" if how == "no log" else "".join(lines))
    assert finish(run) == ExitCode.OURS
    told = error(run)
    assert told["code"] == "events_changed"
    assert "events.jsonl" in told["where"]
    assert told["fix"]


def test_figures_that_were_told_stand_when_their_step_is_done_again(
    tiny_base: Path, tmp_path: Path
) -> None:
    """On another machine the last bits are others; a step has one line, in log and metrics.csv."""
    run = stopped(tmp_path / "run", tiny_base, checks=5)
    newest = max(int(path.name) for path in (run / "checkpoints").iterdir())
    line = events(run, "metrics")[-1]
    line["data"] |= {"step": newest + 1, "train_loss": 1.25, "epoch": (newest + 1) / 5}
    line["seq"] = events(run)[-1]["seq"] + 1
    with (run / "events.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    with pytest.raises(Yielded):
        train(run, StopAfter(4))  # beyond that step: its checkpoints count the line as it stands
    assert max(int(path.name) for path in (run / "checkpoints").iterdir()) > newest
    assert finish(run) == ExitCode.DONE
    with (run / "result" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, 11))
    assert rows[newest]["train_loss"] == "1.25"


def test_a_steps_figures_keep_their_bits_and_lose_a_zeros_sign() -> None:
    metrics = StepMetrics(
        step=1,
        epoch=0.1,
        train={"train_loss": -0.0, "train_margin": 1e-308},
        weight=131,
        learning_rate=0.1 + 0.2,
        trained_tokens=7,
    ).kept()
    told = json.loads(json.dumps(metrics.shown()))
    assert str(told["train_loss"]) == "0.0"
    assert (told["train_margin"], told["learning_rate"]) == (1e-308, 0.1 + 0.2)
