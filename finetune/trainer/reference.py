"""How likely the base alone holds each sequence: computed once, before the first step.

The rows stand in memory as the spec says and in the file's order, whatever the steps do later, so
that a run that goes on elsewhere finds the same bits. What is done is kept in the run's folder.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from finetune import events as said
from finetune.records.kinds import Item
from finetune.trainer.data import cut, lengths_of
from finetune.trainer.run import Likelihoods, Run
from finetune.trainer.step_rows import likelihoods

TOLD_SECONDS = 10.0  # between two words on how far it is


def refer(run: Run, run_dir: Path) -> None:
    """Gives the run its references. Yielded may come of it; what is done is kept."""
    if "reference" not in run.objective.needs:
        return
    run.model.train(False)
    run.reference = _of(run, run.rows, run_dir / "reference-train.jsonl")
    run.valid_reference = _of(run, run.valid, run_dir / "reference-valid.jsonl")


def _of(run: Run, rows: Sequence[Item], path: Path) -> list[Likelihoods]:
    found: list[Likelihoods] = [()] * len(rows)
    parts = list(cut(lengths_of(rows), run.spec.micro_batch_tokens))
    kept = iter(list(_kept(path)))  # read before the file is written anew
    done, told = 0, run.clock()
    with path.open("w", encoding="utf-8") as file:
        for part in parts:
            by_row = next(kept, None)
            if by_row is None or len(by_row) != len(part):
                run.stop.check()
                by_row = likelihoods(run, [rows[number] for number in part], plain=True)
            for number, each in zip(part, by_row, strict=True):
                found[number] = tuple(each)
            file.write(json.dumps(by_row) + "\n")
            file.flush()
            done += len(part)
            if (now := run.clock()) - told >= TOLD_SECONDS and done < len(rows):
                run.events.say(said.ReferenceGoesOn(rows=done, of=len(rows)))
                told = now
    return found


def _kept(path: Path) -> Iterator[list[Likelihoods]]:
    """The parts that are whole; what stands behind one that is not is done again."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    for line in lines:
        try:
            yield [tuple(map(float, each)) for each in json.loads(line)]
        except (ValueError, TypeError):
            return
