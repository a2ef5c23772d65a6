"""Rows that are rearranged anew in each epoch, by lot: a function of the seed, the epoch and the
row, so that a run that was stopped sees what one that was not would have seen."""

from collections.abc import Callable
from random import Random
from typing import cast

from finetune.families.contract import Read, ReadsText
from finetune.records.kinds import Item
from finetune.trainer.objectives import Objective
from finetune.trainer.objectives.pretrain import PretrainSettings
from finetune.trainer.spec import RunSpec

HELD_OUT = "held out"  # in place of an epoch: every evaluation sees the same

Rearranged = Callable[[Item, int, int | str], Item]
"""(a row, its number, the epoch or `HELD_OUT`) -> the row as it is trained then."""


def rearranged(spec: RunSpec, objective: Objective, read: Read) -> Rearranged | None:
    """None: rows are trained as they stand. Raises UserFault `cannot_infill`."""
    if not objective.rearranges:
        return None
    holes = PretrainSettings.model_validate(spec.settings).holes
    if holes is None:
        return None
    rearrange = cast(ReadsText, read).rearranging(holes)

    def drawn(item: Item, number: int, epoch: int | str) -> Item:
        return rearrange(item, Random(f"privatune holes {spec.seed} {epoch} {number}"))  # noqa: S311

    return drawn
