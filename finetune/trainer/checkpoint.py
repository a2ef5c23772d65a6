"""Checkpoints: complete or absent, verified when read, safetensors and JSON only.

A folder is written under a temporary name, synced, and renamed; one that a crash left half done
is swept away at the next start.
"""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from safetensors.torch import load, save
from torch import Tensor

from finetune.events import CheckpointUnusable
from finetune.trainer.spec import ADAPTER, OPTIMIZER
from finetune.trainer.state import TrainerState

GOOD = "good.safetensors"  # what a blow-up is rolled back to, where it is watched for
DRAWN = "drawn.safetensors"  # completions that the next step learns from, too
PART = "curve.safetensors"  # of the part of a learning curve that is trained: weights, optimizer
PART_GOOD = "curve_good.safetensors"
STATE = "trainer_state.json"
KEPT = 2  # newest, besides the best


@dataclass(frozen=True)
class Saved:
    path: Path
    state: TrainerState
    adapter: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    good: dict[str, Tensor]  # empty: there was none yet
    drawn: dict[str, Tensor]  # empty: the next step draws its own
    part: dict[str, Tensor]  # as finetune.trainer.good writes it; empty: none is trained
    part_good: dict[str, Tensor]


class Checkpoints:
    def __init__(self, run_dir: Path) -> None:
        self.root = run_dir / "checkpoints"
        self.root.mkdir(exist_ok=True)
        for left_over in self.root.glob(".*"):
            shutil.rmtree(left_over)

    def steps(self) -> list[int]:
        return sorted(int(p.name) for p in self.root.iterdir() if p.name.isdigit())

    def path(self, step: int) -> Path:
        return self.root / str(step)

    def save(
        self,
        state: TrainerState,
        adapter: dict[str, Tensor],
        optimizer: dict[str, Tensor],
        good: dict[str, Tensor],
        drawn: dict[str, Tensor],
    ) -> dict[str, str]:
        """Write the checkpoint of `state.step`; returns the SHA-256 of each file."""
        files = {ADAPTER: to_bytes(adapter), OPTIMIZER: to_bytes(optimizer)}
        if good:
            files[GOOD] = to_bytes(good)
        if drawn:
            files[DRAWN] = to_bytes(drawn)
        return self._write(state, files)

    def add(
        self, state: TrainerState, part: dict[str, Tensor], good: dict[str, Tensor]
    ) -> dict[str, str]:
        """The checkpoint of `state.step` once more, its weights as they are, with a part of a
        learning curve beside them; as `save`."""
        named = set(state.sha256) - {PART, PART_GOOD}
        files = {name: (self.path(state.step) / name).read_bytes() for name in sorted(named)}
        if part:
            files[PART] = to_bytes(part)
        if good:
            files[PART_GOOD] = to_bytes(good)
        return self._write(state, files)

    def _write(self, state: TrainerState, files: dict[str, bytes]) -> dict[str, str]:
        state.sha256 = {name: hashlib.sha256(body).hexdigest() for name, body in files.items()}
        files[STATE] = state.model_dump_json().encode()
        write_folder(self.path(state.step), files)
        return {name: hashlib.sha256(body).hexdigest() for name, body in files.items()}

    def latest(self) -> tuple[Saved | None, list[CheckpointUnusable]]:
        """The newest checkpoint whose files are what they were, and what is wrong with newer."""
        problems: list[CheckpointUnusable] = []
        for step in reversed(self.steps()):
            try:
                return self.read(step), problems
            except (OSError, ValueError) as error:
                problems.append(CheckpointUnusable(step=step, reason=str(error)))
        return None, problems

    def read(self, step: int) -> Saved:
        """Raises OSError or ValueError when a file is missing or is not what was written."""
        folder = self.path(step)
        try:
            state = TrainerState.model_validate_json((folder / STATE).read_bytes())
        except ValidationError as error:
            raise ValueError(f"{STATE} is damaged ({error.error_count()} faults)") from error
        tensors: dict[str, dict[str, Tensor]] = {GOOD: {}, DRAWN: {}, PART: {}, PART_GOOD: {}}
        for name in {ADAPTER, OPTIMIZER, *state.sha256}:
            body = (folder / name).read_bytes()
            if hashlib.sha256(body).hexdigest() != state.sha256.get(name):
                raise ValueError(f"{name} does not match its SHA-256")
            tensors[name] = load(body)
        names = (ADAPTER, OPTIMIZER, GOOD, DRAWN, PART, PART_GOOD)
        parts = (tensors[name] for name in names)
        return Saved(folder, state, *parts)

    def prune(self, best_step: int | None) -> None:
        """Keep the newest and the best."""
        steps = self.steps()
        for step in set(steps) - {*steps[-KEPT:], best_step}:
            shutil.rmtree(self.path(step))


def to_bytes(tensors: dict[str, Tensor]) -> bytes:
    # Serialised in memory: safetensors' own file writer hides the errno of a full disk
    return save(tensors, metadata={"format": "pt"})


def write_folder(target: Path, files: dict[str, bytes]) -> None:
    """All of `files` appear under `target` at once and durably, or not at all."""
    temp = target.parent / f".{target.name}.new"
    old = target.parent / f".{target.name}.old"
    shutil.rmtree(temp, ignore_errors=True)
    temp.mkdir()
    try:
        for name, body in files.items():
            _write_durably(temp / name, body)
        _sync_folder(temp)
    except OSError:
        shutil.rmtree(temp, ignore_errors=True)  # give the space back before it is reported
        raise
    if target.exists():  # the same step again, now evaluated
        target.rename(old)
    temp.rename(target)
    _sync_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _write_durably(path: Path, body: bytes) -> None:
    with path.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
