"""What is kept of the completions that a step has drawn (trainer/rollouts.py): the first of them,
shortened so that those of all steps of a job stay within bounds."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from finetune.services.jobs.samples import ALTOGETHER, MOST
from finetune.trainer.objectives import OBJECTIVES
from finetune.trainer.spec import ROLLOUTS, RunSpec

LARGEST = 64 << 10  # bytes of a step's
LEAST = 1 << 10  # bytes of a step's, however many steps there are
FIGURES = 400  # bytes of a line that are no words
LONGEST_LINE = 16 << 20  # bytes in the run's folder: the longest answer's tokens and what they need
LONGEST_ERROR = 500  # characters


@dataclass(frozen=True)
class Sampler:
    """`iterations`: steps that learn from the same completions, the first of which they are of."""

    iterations: int

    @classmethod
    def of(cls, spec: RunSpec) -> "Sampler | None":
        """None: its objective draws nothing."""
        if "generation" not in OBJECTIVES[spec.objective].needs:
            return None
        return cls(int(spec.settings.get("num_iterations", 1)))

    def drew(self, step: int) -> int:
        """The step (from 1) for which was drawn what `step` learned from."""
        return step - (step - 1) % self.iterations

    def lines(self, run_dir: Path, step: int, total_steps: int) -> list[bytes]:
        """Of what was drawn for `step`; empty where the folder has it no more."""
        size = max(LEAST, min(LARGEST, ALTOGETHER * self.iterations // max(1, total_steps)))
        most = min(MOST, max(1, size // LEAST))
        try:
            file = _opened(run_dir / ROLLOUTS, f"{step - 1}.jsonl")
        except FileNotFoundError:
            return []
        with file:
            drawn = [line for _, line in zip(range(most), _lines(file), strict=False)]
        return [_line(json.loads(line), size // len(drawn)) for line in drawn]


def _opened(folder: Path, name: str) -> BinaryIO:
    """A file of that very folder: the training process writes there; no link is followed."""
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        return open(os.open(name, flags, dir_fd=at), "rb")
    finally:
        os.close(at)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(LONGEST_LINE):
        yield line


def _line(drawn: dict[str, Any], size: int) -> bytes:
    """What people are told of a completion, in about `size` bytes, its text before all else."""
    text, left = _cut(drawn["text"], size - FIGURES)
    errors = {}
    for kind, said in drawn["errors"].items():
        errors[kind], left = _cut(said[:LONGEST_ERROR], left)
    reasoning, left = _cut(drawn["reasoning"], left)
    calls = drawn["tool_calls"] if len(_json(drawn["tool_calls"])) <= left else []
    whole = (text, reasoning, calls) == tuple(
        drawn[name] for name in ("text", "reasoning", "tool_calls")
    )
    told = {
        "row": drawn.get("line") or drawn["row"] + 1,
        "text": text,
        "reasoning": reasoning,
        "tool_calls": calls,
        "shortened": not whole,
        "tokens": len(drawn["ids"]),
        "truncated": drawn["truncated"],
        "reward": drawn["reward"],
        "scores": drawn["scores"],
        "grader_errors": errors,
        "advantage": drawn["advantage"],
    }
    return _json(told) + b"\n"


def _cut(text: str, room: int) -> tuple[str, int]:
    """As much of the text as has room where it is written, and what room is left."""
    kept = text.encode(errors="replace")[: max(0, room)].decode(errors="ignore")
    while (taken := len(_json(kept)) - 2) > max(0, room):
        kept = kept[: len(kept) * 3 // 4]
    return kept, room - taken


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode(errors="replace")
