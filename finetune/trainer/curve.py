"""The learning curve: once a run has trained, the same settings on parts of its rows, each within
the next, and each measured on the same rows held out. Their weights are thrown away.

A part is a run of its own on the model that stands in memory. How far it is stands in the whole
run's last checkpoint, so that a run that is cut off in the middle of a part ends in the same
figures; the result's weights are those that the run had before.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from faults import OurFault, UserFault
from finetune import events as said
from finetune.grading.learning import Point, learning_curve, told
from finetune.records.kinds import Item
from finetune.records.nesting import Nested
from finetune.trainer.data import Chosen, make_plan
from finetune.trainer.events import EventLog
from finetune.trainer.good import go_back
from finetune.trainer.history import History
from finetune.trainer.keeping import restore_part, save, save_part
from finetune.trainer.lifeline import Yielded
from finetune.trainer.run import Likelihoods, Run, Speedometer
from finetune.trainer.state import CurveState, Learnt, TrainerState, result_step

LOST = ("training_diverged", "training_unstable")  # a part may, where the whole did not
EVENTS = "curve.jsonl"  # of the part that is trained, for nobody


@dataclass(frozen=True)
class Curve:
    """`parts` ascend; `loss` is that of the result, over all `rows`."""

    parts: Sequence[Learnt]
    rows: int
    loss: float

    def said(self) -> dict[str, Any]:
        """As the report has it; `trained_tokens` and `seconds` are beside the run's own."""
        measured = [Point(part.rows, part.loss) for part in self.parts if part.loss is not None]
        return {
            "parts": [part.model_dump() for part in self.parts],
            "trained_tokens": sum(part.trained_tokens for part in self.parts),
            "seconds": round(sum(part.seconds for part in self.parts), 3),
            **told(learning_curve([*measured, Point(self.rows, self.loss)])),
        }


def learn_curve(
    run: Run,
    run_dir: Path,
    kept: Mapping[str, Tensor],
    *,
    train: Callable[[Run], None],
    judge: Callable[[Run], Mapping[str, float]],
) -> Curve | None:
    """`kept`: the result's weights, which the model has afterwards. None: it was not asked for.
    Yielded may come of it, and OurFault `data_changed`."""
    if run.spec.curve is None:
        return None
    kept = {name: tensor.clone() for name, tensor in kept.items()}  # they are the model's own
    nested = _nested(run, run_dir)
    state = run.state.curve = run.state.curve or CurveState()
    for number in range(len(state.learnt), len(nested.sizes)):
        part = _part(run, run_dir, nested.parts[number])
        _tell(run, part, number, len(nested.sizes))
        loss = _trained(part, train, judge)
        state.learnt.append(
            Learnt(
                rows=len(part.rows),
                loss=loss,
                steps=part.state.step,
                trained_tokens=part.state.trained_tokens,
                seconds=part.state.seconds,
            )
        )
        part.events.close()
        save_part(run, None)
        learnt = said.CurvePartLost(rows=len(part.rows))
        run.events.say(
            learnt if loss is None else said.CurvePartDone(rows=len(part.rows), loss=loss)
        )
    run.model.load_adapter_state(kept)
    return Curve(state.learnt, len(run.rows), _loss_of_whole(run))


def steps_ahead(run: Run, run_dir: Path) -> int:
    """About how many steps the parts take: in the ratio of their rows to all. Raises OurFault
    `data_changed`."""
    return round(run.plan.total_steps * sum(_nested(run, run_dir).sizes) / len(run.rows))


def require_measured(run: Run) -> None:
    """Raises UserFault where a spec by hand asks for a curve of what has none."""
    if not run.valid or run.plan.shares or run.plan.repeats > 1 or run.rollouts is not None:
        raise UserFault(
            "curve_impossible",
            "A learning curve is of one training file, taken once an epoch, with rows held out, "
            "by a method that draws no answers.",
            param="learning_curve",
        )


def _nested(run: Run, run_dir: Path) -> Nested:
    """Raises OurFault `data_changed` where the parts are not those that the spec names."""
    asked = run.spec.curve
    assert asked is not None
    found = Nested.read((run_dir / asked.parts).read_bytes())
    if asked.sha256 not in (None, found.sha256) or not set(found.rows) <= _places(run.rows).keys():
        raise OurFault(
            "data_changed", "The parts are not what the run was made for.", where=asked.parts
        )
    return found


def _places(rows: Sequence[Item]) -> Mapping[int, int]:
    """Number in the file -> place among the rows to train."""
    numbers = rows.numbers if isinstance(rows, Chosen) else range(len(rows))
    return {number: place for place, number in enumerate(numbers)}


def _part(run: Run, run_dir: Path, numbers: Sequence[int]) -> Run:
    """Where the run began, or where the part was left."""
    assert run.begun is not None
    spec, places = run.spec, _places(run.rows)
    rows = Chosen(run.rows.rows if isinstance(run.rows, Chosen) else run.rows, numbers)
    reference: Sequence[Likelihoods] | None = None
    if run.reference is not None:
        reference = [run.reference[places[number]] for number in numbers]
    go_back(run.begun, run.model, run.optimizer)
    log = run_dir / EVENTS
    log.unlink(missing_ok=True)
    state = TrainerState(
        spec_sha256=run.state.spec_sha256, base_valid_loss=run.state.base_valid_loss
    )
    part = replace(
        run,
        rows=rows,
        plan=make_plan(
            rows,
            batch_size=spec.batch_size,
            epochs=spec.epochs,
            seed=spec.seed,
            pack_to=spec.max_length if spec.packing else None,
        ),
        state=state,
        events=EventLog(log),
        speed=Speedometer(),
        history=History(),
        good=None,
        reference=reference,
        saved=None,
        whole=run,
    )
    restore_part(run, part)
    return part


def _tell(run: Run, part: Run, number: int, of: int) -> None:
    begun = said.CurvePartBegun(
        number=number + 1,
        of=of,
        rows=len(part.rows),
        all_rows=len(run.rows),
        steps=part.plan.total_steps,
    )
    run.events.say(begun)


def _trained(
    part: Run,
    train: Callable[[Run], None],
    judge: Callable[[Run], Mapping[str, float]],
) -> float | None:
    """The loss of what the part's result would be. None: it diverged, or it would be no number."""
    try:
        train(part)
        if part.spec.keep == "best" and part.state.best_loss is not None:
            return part.state.best_loss
        last = part.history.last
        if last is not None and last.step == part.state.step and last.valid_loss is not None:
            return last.valid_loss
        return judge(part)["valid_loss"]  # it was cut off between its last step and here
    except Yielded:
        save(part, yielded=True)
        raise
    except UserFault as fault:
        if fault.code not in LOST:
            raise
        return None


def _loss_of_whole(run: Run) -> float:
    step = result_step(run.spec, run.state)
    losses = {metrics.step: metrics.valid_loss for metrics in run.history.steps if metrics.valid}
    loss = losses[step]
    assert loss is not None
    return loss  # each run with rows held out ends with an evaluation
