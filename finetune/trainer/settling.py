"""A step that may have blown up: which of its rows are to blame, and what is done.

Few rows: the step is taken again without them, and they are left out from then on. The weights,
where most rows give such figures: they go back to the last good state, and the rate is lowered.
Either is a pure function of the weights, the rows and the steps before, so a run that is cut off in
the middle of it does the same again. The rules and their reasons stand in
docs/explanation/stability.md.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from faults import UserFault
from finetune import events as said
from finetune.trainer import good
from finetune.trainer.data import line_of, micro_batches
from finetune.trainer.run import Run
from finetune.trainer.stability import limit
from finetune.trainer.step_rows import step_of
from finetune.trainer.taking import Taken, judge, learn, take
from finetune.trainer.totals import Totals

LOWERED = 0.5  # the rate, each time that the weights go back
MOST_TRIED = 8  # rows that are finite, one by one; each costs a step
MOST_EMPTY = 3  # steps in a row of which no row is left: then the weights are at fault after all
NAMED = 20  # rows in a sentence


@dataclass(frozen=True)
class Settled:
    """`taken`: what the step is made of, over all rows but those to blame; None: of nothing. The
    weights are to blame where that leaves none. `blown`: the figures that were no ordinary ones."""

    taken: Taken | None
    blamed: list[int]
    blown: Taken | None = None


@dataclass(frozen=True)
class Alone:
    """A row by itself: its mean loss [nats], and the norm of its summed gradient."""

    number: int
    loss: float
    weight: float
    norm: float

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.loss) and math.isfinite(self.norm)


def settle(run: Run, numbers: Sequence[int]) -> Settled:
    """Yielded may come; nothing of the run has changed then."""
    first = take(run, numbers)
    if not _is_blown(run, first):
        return Settled(first, [])
    blamed: list[int] = []
    for suspects in _suspects(run, first, numbers):
        blamed += suspects
        if len(blamed) == len(numbers):
            return Settled(None, blamed, first)
        again = take(run, [number for number in numbers if number not in blamed])
        if not _is_blown(run, again):
            return Settled(again, blamed, first)
    return Settled(None, [], first)


def _is_blown(run: Run, taken: Taken) -> bool:
    return run.state.steadied.watched.has_blown_up(
        taken.loss, taken.norm, max_norm=run.spec.optim.max_grad_norm
    )


def _suspects(run: Run, blown: Taken, numbers: Sequence[int]) -> Iterator[list[int]]:
    """What to do without, at most half of the rows: at once those that are not finite by
    themselves, then one by one whichever weighs most. Nothing where most rows are so."""
    half = -(-len(numbers) // 2)
    rows = list(map(_alone(run), numbers))
    watched, max_norm = run.state.steadied.watched, run.spec.optim.max_grad_norm
    bad = [r for r in rows if watched.has_blown_up(r.loss, r.norm / r.weight, max_norm=max_norm)]
    if len(rows) > 1 and len(bad) > half:
        return
    broken = [row.number for row in rows if not row.is_finite]
    if broken:
        yield broken
    by_loss = math.isfinite(blown.loss) and blown.loss > limit(watched.losses)
    finite = [row for row in rows if row.is_finite]
    finite.sort(key=lambda row: -(row.loss * row.weight if by_loss else row.norm))
    for row in finite[: min(MOST_TRIED, half - len(broken))]:
        yield [row.number]


def _alone(run: Run) -> Callable[[int], Alone]:
    """Measured without dropout, which has no part in whether a row is garbage."""
    run.model.train(False)

    def of(number: int) -> Alone:
        run.stop.check()
        sums, gradients = learn(run, step_of(run, [number]))
        norms = torch._foreach_norm([each for each in gradients if each is not None])
        norm = float(torch.linalg.vector_norm(torch.stack(norms)))
        return Alone(number, float(sums.loss.detach()) / sums.weight, sums.weight, norm)

    return of


def act(run: Run, settled: Settled, numbers: Sequence[int]) -> None:
    """What a blow-up comes to, once the step that it was found in is counted as done. Raises
    UserFault `training_unstable` where there were more than the spec allows."""
    blown, steadied = settled.blown, run.state.steadied
    assert blown is not None
    _count(run, settled.blamed or numbers)
    if settled.blamed:
        steadied.skipped_rows += settled.blamed
        run.events.say(
            said.RowsSkipped(
                step=run.state.step,
                rows=_lines(run, settled.blamed),
                skipped_rows=len(steadied.skipped_rows),
                rollbacks=steadied.rollbacks,
                loss=str(blown.loss),
                grad_norm=str(blown.norm),
            )
        )
    if settled.taken is None:
        run.state.skipped_in_a_row += 1
    if not settled.blamed or run.state.skipped_in_a_row >= MOST_EMPTY:
        _go_back(run, numbers, blown.loss, blown.norm)


def watch(run: Run, taken: Taken) -> None:
    """A step that goes well, whose gradient has not changed the weights yet."""
    state = run.state
    before = state.step - 1
    if before % good.EVERY == 0:
        run.good = good.taken(run.model, run.optimizer, before)
        state.steadied.good_step = before
    state.steadied.watched.note(taken.loss, taken.norm)


def prove(run: Run) -> None:
    """Before the weights are evaluated, saved or given away: they must give the rows that were
    trained last a loss that is no blow-up. Nothing changes where they do."""
    numbers = rows_of(run, run.state.step - 1)
    totals = Totals(run.objective)
    rows = step_of(run, numbers)
    run.model.train(False)
    for part in micro_batches(rows, run.spec.in_memory.micro_batch_tokens):
        run.stop.check()
        for sums in run.lanes.map(partial(judge, run), part):
            totals.add(sums)
    loss = totals.loss / totals.weight if rows else 0.0
    if run.state.steadied.watched.has_blown_up(loss, 0.0, max_norm=math.inf):
        _count(run, numbers)
        _go_back(run, numbers, loss, None)


def rows_of(run: Run, step: int) -> list[int]:
    """What the step takes: a function of (seed, step) and of the rows that are left out."""
    left_out = set(run.state.steadied.skipped_rows)
    return [number for number in run.plan.rows_of(step) if number not in left_out]


def summary(run: Run) -> list[said.Message]:
    """Of a run that has ended."""
    steadied = run.state.steadied
    if not steadied.rollbacks:
        return []
    return [
        said.TrainingSteadied(
            rollbacks=steadied.rollbacks,
            skipped_rows=len(steadied.skipped_rows),
            rows=_lines(run, steadied.skipped_rows),
            rate_factor=steadied.rate_factor,
        )
    ]


def _go_back(run: Run, numbers: Sequence[int], loss: float, norm: float | None) -> None:
    steadied = run.state.steadied
    if run.good is not None:
        good.go_back(run.good, run.model, run.optimizer)
    steadied.rate_factor *= LOWERED
    run.events.say(
        said.WeightsRolledBack(
            step=run.state.step,
            good_step=run.good.step if run.good else 0,
            rows=_lines(run, numbers),
            rollbacks=steadied.rollbacks,
            rate_factor=steadied.rate_factor,
            loss=str(loss),
            grad_norm="-" if norm is None else str(norm),
        )
    )


def _count(run: Run, guilty: Sequence[int]) -> None:
    steadied = run.state.steadied
    if steadied.rollbacks >= run.spec.max_rollbacks:
        rows = ", ".join(map(str, _lines(run, [*steadied.skipped_rows, *guilty])))
        raise UserFault(
            "training_unstable",
            f"The training blew up at step {run.state.step} once more, after {steadied.rollbacks} "
            f"roll-backs. The rows that it blew up at: {rows}.",
            where=f"step {run.state.step}",
            param="learning_rate_multiplier",
            fix="Look at these rows, mend or remove them, and lower the learning rate multiplier.",
        )
    steadied.rollbacks += 1


def _lines(run: Run, numbers: Sequence[int]) -> list[int]:
    """As people count rows, and no more than they read."""
    return [line_of(run.rows, number) for number in numbers[:NAMED]]
