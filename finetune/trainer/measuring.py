"""Each validation row's loss, of the base and of the result: what the change by training is worth.

Measured once, when training has ended, on the very weights of the result.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from finetune import events as said
from finetune.grading.resampling import change
from finetune.trainer.data import cut, lengths_of, line_of
from finetune.trainer.rollouts import Rollouts
from finetune.trainer.run import Numbered, Run
from finetune.trainer.state import result_step
from finetune.trainer.step_rows import held_out

TOLD_SECONDS = 10.0  # between two words on how far a long validation is

Loss = tuple[float, float]  # [nats, summed], and what it is divided by


@dataclass(frozen=True)
class RowLosses:
    """By validation row, in the file's order; `lines`: which rows of the file they are."""

    base: Sequence[Loss]
    tuned: Sequence[Loss]
    lines: Sequence[int]

    def table(self) -> bytes:
        """Comma-separated: figures, and nothing of what stands in a row."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("row", "weight", "base_loss", "loss"))
        for line, base, tuned in zip(self.lines, self.base, self.tuned, strict=True):
            writer.writerow((line, base[1], base[0], tuned[0]))
        return out.getvalue().encode()

    def said(self) -> dict[str, Any]:
        """What the rows together say of the mean loss."""
        weights = [weight for _, weight in self.base]
        found = change([loss for loss, _ in self.base], [loss for loss, _ in self.tuned], weights)
        return {
            "rows": found.rows,
            "difference": found.difference,
            "interval": list(found.interval) if found.interval else None,
            "p_value": found.p_value,
        }


def measure(run: Run, kept: dict[str, Tensor]) -> RowLosses | None:
    """`kept`: the result's weights, which the model then has. None: there are no validation rows,
    or the objective tells no row's loss apart. Yielded may come of it."""
    if not run.valid or (run.objective.each is None and run.rollouts is None):
        return None
    run.model.load_adapter_state(kept)
    run.model.train(False)
    lines = [line_of(run.valid, number) for number in range(len(run.valid))]
    if run.rollouts is not None:
        return _rewarded(run, run.rollouts, lines)
    return RowLosses(_losses(run, plain=True), _losses(run, plain=False), lines)


def _rewarded(run: Run, rollouts: Rollouts, lines: Sequence[int]) -> RowLosses | None:
    """A row's loss is its rewards with their sign turned, over its answers. None: a run that an
    older version began, which kept no rewards of before."""
    begun = run.state.begun_rewards
    if begun is None:
        return None
    rewards = rollouts.valid_rewards(run, result_step(run.spec, run.state))
    count = rollouts.settings.num_generations_eval
    base, tuned = ([(-each, float(count)) for each in some] for some in (begun, rewards))
    return RowLosses(base, tuned, lines)


def validation_parts(run: Run, *, plain: bool = False) -> Iterator[list[Numbered]]:
    """The validation rows in micro-batches; tells how far it is where that takes long. `plain`: for
    the base alone."""
    rows = held_out(run, plain=plain)
    done, told = 0, run.clock()
    for part in cut(lengths_of(run.valid), run.spec.in_memory.micro_batch_tokens):
        run.stop.check()
        yield [Numbered(rows[number], number) for number in part]
        done += len(part)
        now = run.clock()
        if now - told >= TOLD_SECONDS and done < len(run.valid):
            run.events.say(said.ValidationGoesOn(rows=done, of=len(run.valid)))
            told = now


def _losses(run: Run, *, plain: bool) -> list[Loss]:
    found: list[Loss] = [(0.0, 0.0)] * len(run.valid)
    for part in validation_parts(run, plain=plain):
        for share in run.lanes.map(partial(_each, run, plain), part):
            for number, loss in share:
                found[number] = loss
    return found


@torch.no_grad()
def _each(run: Run, plain: bool, rows: Sequence[Numbered]) -> list[tuple[int, Loss]]:
    assert run.objective.each is not None
    items = [numbered.row for numbered in rows]
    with run.model.as_begun() if plain else nullcontext():
        losses = run.objective.each(run.model, run.lay_out(items), items)
    return [(row.number, loss) for row, loss in zip(rows, losses, strict=True)]
