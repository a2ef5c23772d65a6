"""What an objective asks of the rows of a step together, before they are parted into micro-batches.

Rows that are held out are asked as steps of the same size, in the file's order.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from finetune.records.kinds import Item
from finetune.trainer.data import cut, lengths_of
from finetune.trainer.objectives.preferences import labels_of
from finetune.trainer.run import Likelihoods, Numbered, Run, Together


def step_of(run: Run, numbers: Sequence[int]) -> list[Item]:
    """Rows to train, as the objective takes them. Yielded may come where it asks the model."""
    rows = [run.row(number) for number in numbers]
    if run.objective.together is not None and rows:
        return list(_together(run, rows))
    if run.objective.common is None or not rows:
        return rows
    common = run.objective.common(rows, Asking(run))
    return [_having(row, common) for row in rows]


def held_out(run: Run, *, plain: bool = False) -> "Held":
    """The validation rows; `plain`: for the base alone."""
    size = run.spec.batch_size
    if run.objective.together is not None:
        starts = range(0, len(run.valid), size)
        steps = ([run.held_out(n) for n in range(s, min(s + size, len(run.valid)))] for s in starts)
        found = (row for step in steps for row in _together(run, step, plain=plain))
        return Held(run, rows=[_without_gradient(row) for row in found])
    if run.objective.common is None:
        return Held(run)
    ask = Asking(run, always_plain=plain)
    commons: list[float] = []
    for start in range(0, len(run.valid), size):
        numbers = range(start, min(start + size, len(run.valid)))
        commons += [run.objective.common(list(map(run.held_out, numbers)), ask)] * len(numbers)
    return Held(run, commons)


class Held:
    """Validation rows as the objective takes them, each made when it is asked for."""

    def __init__(
        self,
        run: Run,
        commons: Sequence[float] | None = None,
        rows: Sequence[Item] | None = None,
    ) -> None:
        self._run, self._commons, self._rows = run, commons, rows

    def __getitem__(self, number: int) -> Item:
        if self._rows is not None:
            return self._rows[number]
        row = self._run.held_out(number)
        return row if self._commons is None else _having(row, self._commons[number])


def _having(row: Any, common: float) -> Item:
    known: Item = replace(row, common=common)
    return known


def _without_gradient(row: Together) -> Together:
    """Nothing is learnt from it, and all of them stand in memory."""
    return replace(row, known=replace(row.known, gradient=row.known.gradient.new_empty(0)))


def _together(run: Run, rows: Sequence[Item], *, plain: bool = False) -> list[Together]:
    """Each with what it is among them."""
    assert run.objective.together is not None
    placed = run.objective.together(rows, Embedding(run, plain=plain))
    return [Together(row, known) for row, known in zip(rows, placed, strict=True)]


class Embedding:
    """See `objectives.contract.Embed`; in micro-batches, and Yielded may come between them."""

    def __init__(self, run: Run, *, plain: bool) -> None:
        self._run, self._plain = run, plain

    def __call__(self, items: Sequence[Item], /) -> torch.Tensor:
        run = self._run
        found: list[torch.Tensor] = [torch.empty(0)] * len(items)
        run.model.train(False)
        for part in cut(lengths_of(items), run.spec.in_memory.micro_batch_tokens):
            run.stop.check()
            numbered = [Numbered(items[number], number) for number in part]
            for share in run.lanes.map(self._share, numbered):
                for number, vectors in share:
                    found[number] = vectors
        return torch.cat(found)

    @torch.no_grad()
    def _share(self, rows: Sequence[Any]) -> list[tuple[int, torch.Tensor]]:
        run, items = self._run, [numbered.row for numbered in rows]
        with run.model.as_begun() if self._plain else nullcontext():
            vectors = run.embedder.embed(run.lay_out(items))
        parts = vectors.split([len(item.sequences) for item in items])
        return [(row.number, part) for row, part in zip(rows, parts, strict=True)]


class Asking:
    """See `objectives.contract.Ask`; without dropout. `always_plain`: the base is all there is."""

    def __init__(self, run: Run, *, always_plain: bool = False) -> None:
        self._run, self._always_plain = run, always_plain
        self.longest = run.spec.max_length

    def __call__(self, items: Sequence[Item], *, plain: bool = False) -> list[Likelihoods]:
        """In micro-batches; Yielded may come between them."""
        run, plain = self._run, plain or self._always_plain
        found: list[Likelihoods] = [()] * len(items)
        run.model.train(False)
        for part in cut(lengths_of(items), run.spec.in_memory.micro_batch_tokens):
            run.stop.check()
            told = likelihoods(run, [items[number] for number in part], plain=plain)
            for number, each in zip(part, told, strict=True):
                found[number] = each
        return found


def likelihoods(run: Run, items: Sequence[Item], *, plain: bool) -> list[Likelihoods]:
    """Of items that stand in memory at once, by the base alone if it is to be `plain`."""
    numbered = [Numbered(item, number) for number, item in enumerate(items)]
    found: dict[int, Likelihoods] = {}
    for share in run.lanes.map(partial(_share, run, plain), numbered):
        found.update(share)
    return [found[number] for number in range(len(items))]


@torch.no_grad()
def _share(run: Run, plain: bool, rows: Sequence[Numbered]) -> dict[int, Likelihoods]:
    items = [numbered.row for numbered in rows]
    with run.model.as_begun() if plain else nullcontext():
        values = run.writer.log_likelihoods(run.lay_out(items), labels_of(items)).tolist()
    told = iter(values)
    return {row.number: tuple(next(told) for _ in row.sequences) for row in rows}
