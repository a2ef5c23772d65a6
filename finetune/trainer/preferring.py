"""Of how many pairs held out a reward model scores the preferred answer higher: as training began
with it, and as the result. Measured once, when training has ended."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from finetune.grading.intervals import wilson
from finetune.grading.resampling import change
from finetune.trainer.measuring import validation_parts
from finetune.trainer.run import Numbered, Run


@dataclass(frozen=True)
class Preferred:
    """By pair, in the file's order."""

    before: Sequence[bool]
    after: Sequence[bool]

    def said(self) -> dict[str, Any]:
        """Both accuracies with 95% intervals (Wilson), and what the difference is worth."""
        found = change(list(map(float, self.before)), list(map(float, self.after)))
        return {
            "pairs": len(self.before),
            "before": _accuracy(self.before),
            "after": _accuracy(self.after),
            "difference": found.difference,
            "interval": list(found.interval) if found.interval else None,
            "p_value": found.p_value,
        }


def _accuracy(right: Sequence[bool]) -> dict[str, Any]:
    return {
        "accuracy": sum(right) / len(right),
        "interval": list(wilson(sum(right), len(right))),
    }


def prefer(run: Run, kept: dict[str, Tensor]) -> Preferred | None:
    """`kept`: the result's weights, which the model then has. None: there are no validation rows,
    or the objective favours nothing. Yielded may come of it."""
    if not run.valid or run.objective.favours is None:
        return None
    run.model.load_adapter_state(kept)
    run.model.train(False)
    return Preferred(_favoured(run, plain=True), _favoured(run, plain=False))


def _favoured(run: Run, *, plain: bool) -> list[bool]:
    found = [False] * len(run.valid)
    for part in validation_parts(run, plain=plain):
        for share in run.lanes.map(partial(_share, run, plain), part):
            for number, right in share:
                found[number] = right
    return found


@torch.no_grad()
def _share(run: Run, plain: bool, rows: Sequence[Numbered]) -> list[tuple[int, bool]]:
    assert run.objective.favours is not None
    items = [numbered.row for numbered in rows]
    with run.model.as_begun() if plain else nullcontext():
        found = run.objective.favours(run.model, run.lay_out(items), items)
    return [(row.number, right) for row, right in zip(rows, found, strict=True)]
