"""The gradient of some rows: sums over their micro-batches, one division, clipped."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

import torch
from torch import Tensor

from finetune.records.kinds import Item
from finetune.trainer import optim
from finetune.trainer.data import micro_batches
from finetune.trainer.objectives import Sums
from finetune.trainer.run import Run
from finetune.trainer.step_rows import step_of
from finetune.trainer.totals import Totals


@dataclass(frozen=True)
class Taken:
    """`norm` is the gradient's before it was clipped; the gradient stands at the parameters."""

    totals: Totals
    norm: float
    tokens: int

    @property
    def loss(self) -> float:
        """The mean [nats]."""
        return self.totals.loss / self.totals.weight


def take(run: Run, numbers: Sequence[int]) -> Taken:
    """Of the next step, over these rows. Nothing of the run has changed then, and Yielded may come
    between micro-batches."""
    spec, model = run.spec, run.model
    drawn = run.rollouts
    rows = step_of(run, numbers) if drawn is None else drawn.items(numbers)
    # Dropout and noise, whatever ran before
    torch.manual_seed(derived_seed(spec.seed, run.state.step))
    model.train(True)
    run.optimizer.zero_grad(set_to_none=True)
    totals, tokens = Totals(run.objective), 0
    for part in micro_batches(rows, spec.in_memory.micro_batch_tokens):
        run.stop.check()
        for sums, gradients in run.lanes.map(partial(learn, run), part):
            totals.add(sums)
            optim.add_gradients(model.parameters, gradients)
        tokens += sum(map(len, part))
    optim.mean_gradients(model.parameters, totals.weight)
    return Taken(totals, optim.clip(model.parameters, spec.optim.max_grad_norm), tokens)


def learn(run: Run, rows: Sequence[Item]) -> tuple[Sums, Sequence[Tensor | None]]:
    """(sums, gradient of their loss by the parameters) of rows that stand in memory at once."""
    sums = run.objective.sums(run.model, run.lay_out(rows), rows)
    return sums, torch.autograd.grad(sums.loss, run.model.parameters, allow_unused=True)


@torch.no_grad()
def judge(run: Run, rows: Sequence[Item]) -> Sums:
    return run.objective.sums(run.model, run.lay_out(rows), rows)


def derived_seed(seed: int, step: int) -> int:
    return int.from_bytes(sha256(f"privatune {seed} {step}".encode()).digest()[:8], "big") >> 1
