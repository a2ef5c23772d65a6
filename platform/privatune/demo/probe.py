"""How fast this machine trains: a few steps in the trainer's own process, sandbox, precision,
threads and lanes, as the job will have them."""

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.sandbox.levels import Level, require
from finetune.trainer.spec import RunSpec
from finetune.work.launcher import launch_trainer, probe_machine
from privatune.demo.commands import Command, write_rows
from privatune.demo.stack import DemoFailed

FAMILY = "causal_lm"
BATCH_ROWS = 4
STEPS = 6
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class TrainingSpeed:
    tokens_per_second: float
    start: float  # seconds from starting the process to its first step
    precision: str


def training_speed(base_dir: Path, rows: Sequence[Command], folder: Path) -> TrainingSpeed:
    """Trains STEPS steps on the first rows in `folder`, which is gone afterwards.

    Raises DemoFailed with the trainer's own words.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        machine = _prepare(base_dir, rows, folder)
        started = time.monotonic()
        child = launch_trainer(folder, threads=machine["threads"], level=_level())
        try:
            while not (ended := child.poll() is not None) and not _events(folder):
                time.sleep(POLL_SECONDS)
            start = time.monotonic() - started
            if not ended:
                child.process.wait()
        finally:
            child.kill()
        metrics = [event["data"] for event in _events(folder) if event["type"] == "metrics"]
        if child.process.returncode != 0 or not metrics:
            said = (folder / "trainer.log").read_text("utf-8", errors="replace").strip()
            raise DemoFailed(f"A few training steps were tried and failed:\n{said}")
        return TrainingSpeed(float(metrics[-1]["tokens_per_second"]), start, machine["precision"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def at(folder: Path) -> str:
    """How far `training_speed` is, for people."""
    done = sum(event["type"] == "metrics" for event in _events(folder))
    return f"training a few steps: {done} of {STEPS}" if _events(folder) else "starting a trainer"


def _prepare(base_dir: Path, rows: Sequence[Command], folder: Path) -> dict[str, Any]:
    """What a worker puts into a run's folder; returns what was chosen for the machine."""
    threads = int(os.environ.get("PRIVATUNE_TRAINER_THREADS") or 0) or None
    machine, _, _ = probe_machine(
        FAMILY, base_dir, folder, threads=threads, rows=BATCH_ROWS, level=_level()
    )
    (folder / "base").symlink_to(base_dir.resolve())
    (folder / "data").mkdir()
    write_rows(folder / "data" / "train.jsonl", rows[: STEPS * BATCH_ROWS])
    RunSpec.model_validate(
        {
            "family": FAMILY,
            "epochs": 1,
            "batch_size": BATCH_ROWS,
        }
        | machine
    ).write(folder)
    return machine


def _level() -> Level:
    """The isolation that a worker would use here; the rows are the demo's own, so none will do."""
    return require("allow-none")


def _events(folder: Path) -> list[dict[str, Any]]:
    """The whole lines that the trainer has written so far."""
    try:
        content = (folder / "events.jsonl").read_bytes()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]
