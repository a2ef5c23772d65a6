"""A short try of a run on its own data, whose weights are thrown away: how long steps, evaluation
and checkpoints take on this machine, and the memory of the heaviest micro-batch."""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from finetune.trainer.checkpoint import Checkpoints
from finetune.trainer.data import Plan, cut, lengths_of, micro_batches, per_epoch
from finetune.trainer.determinism import watched
from finetune.trainer.events import EventLog
from finetune.trainer.keeping import save
from finetune.trainer.lifeline import Stop
from finetune.trainer.loop import evaluate, prepare, step
from finetune.trainer.memory import peak_memory_mb
from finetune.trainer.objectives import OBJECTIVES, usable
from finetune.trainer.rewards import FOLDER, Rewards
from finetune.trainer.run import Run
from finetune.trainer.spec import RunSpec

REHEARSAL = "rehearsal.json"
# Of steps: a heap grows over the first of them, so a busy machine must not cut them short at once
PROCESSOR_SECONDS, MOST_SECONDS = 30.0, 120.0
MOST_STEPS, LEAST_STEPS = 24, 3
LOOKED_AT = 4000  # steps of an epoch among which the heaviest is sought
EVALUATED_TOKENS = 8192
GRADED = 8  # answers


def rehearse(run_dir: Path, stop: Stop) -> None:
    """Writes RUN_DIR/rehearsal.json. Raises Yielded, UserFault and OurFault as a training does."""
    spec = RunSpec.read(run_dir)
    with TemporaryDirectory(dir=run_dir) as scratch, watched(strict=spec.deterministic):
        events = EventLog(Path(scratch) / "events.jsonl")
        try:
            objective = usable(spec.objective, OBJECTIVES, family=spec.family).told(spec.settings)
            run = prepare(spec, objective, run_dir, events, stop, rewarded=False)
            _refer_to_nothing(run)
            run.checkpoints = Checkpoints(Path(scratch))
            began = time.monotonic()
            with run.lanes:
                told = _measured(run) | _grading(run, run_dir)
            told["seconds"] = time.monotonic() - began
        finally:
            events.close()
    (run_dir / REHEARSAL).write_text(json.dumps(told), encoding="utf-8")


def _refer_to_nothing(run: Run) -> None:
    """What the base says changes no time, and the weights that come of it are thrown away."""
    if "reference" in run.objective.needs:
        unknown = (0.0,) * len(run.rows[0].sequences)
        run.reference = [unknown] * len(run.rows)
        run.valid_reference = [unknown] * len(run.valid)


def _measured(run: Run) -> dict[str, Any]:
    plan = run.plan
    _seconds(run, heaviest_step(run))  # the first is slower than all others, and is not counted
    timed = list(_timed(run))
    valid_tokens, valid_seconds = _evaluation(run)
    began = time.monotonic()
    save(run)
    return {
        "step_tokens": sum(tokens for tokens, _ in timed),
        "step_seconds": sum(seconds for _, seconds in timed),
        "steps_timed": len(timed),
        "total_steps": plan.total_steps,
        "tokens": plan.epochs * per_epoch(plan, run.rows, lambda rows: sum(lengths_of(rows))),
        "valid_tokens": valid_tokens,
        "valid_seconds": valid_seconds,
        "save_seconds": time.monotonic() - began,
        "peak_memory_mb": peak_memory_mb(),
    }


def heaviest_step(run: Run) -> int:
    """With the largest micro-batch of the first epoch."""
    tokens = run.spec.in_memory.micro_batch_tokens
    lengths = lengths_of(run.rows)
    steps = range(min(run.plan.steps_per_epoch, LOOKED_AT))
    return max(steps, key=lambda number: _largest(run.plan, number, lengths, tokens))


def _largest(plan: Plan, number: int, lengths: list[int], tokens: int) -> int:
    """Tokens of a step's largest micro-batch."""
    own = [lengths[row] for row in plan.rows_of(number)]
    return max(sum(own[row] for row in part) for part in cut(own, tokens))


def _timed(run: Run) -> Iterator[tuple[int, float]]:
    """(tokens, seconds) of steps drawn evenly from the plan, for as long as is given."""
    count = min(MOST_STEPS, max(LEAST_STEPS, run.plan.total_steps))
    numbers = [place * run.plan.total_steps // count for place in range(count)]
    random.Random(0).shuffle(numbers)  # noqa: S311
    began, worked = time.monotonic(), time.process_time()
    for done, number in enumerate(numbers):
        spent = time.process_time() - worked > PROCESSOR_SECONDS
        waited = time.monotonic() - began
        if done >= LEAST_STEPS and (spent or waited > MOST_SECONDS):
            return
        if done and waited > 2 * MOST_SECONDS:  # whatever is measured by then
            return
        seconds = _seconds(run, number)
        yield sum(len(run.rows[row]) for row in run.plan.rows_of(number)), seconds


def _seconds(run: Run, number: int) -> float:
    run.state.step = number
    began = time.monotonic()
    step(run)
    return time.monotonic() - began


def _grading(run: Run, run_dir: Path) -> dict[str, Any]:
    """How long graders beside the training take for some answers. The first is not counted: a
    judging model may have to be read for it. {}: nobody grades here, or not within the time."""
    if run.rollouts is None or not (run_dir / FOLDER).is_dir():
        return {}
    rewards, answers = Rewards(run.spec.grader, run_dir, run.stop), run.rollouts.drawn(GRADED)
    if not rewards.asks or rewards.probe(answers[:1]) is None:
        return {}
    seconds = rewards.probe(answers)
    return {} if seconds is None else {"graded": len(answers), "grading_seconds": seconds}


def _evaluation(run: Run) -> tuple[int, float]:
    """(tokens, seconds) of some of the rows held out; (0, 0) without any."""
    if not run.valid:
        return 0, 0.0
    part = next(micro_batches(run.valid, EVALUATED_TOKENS))
    run.valid = part
    began = time.monotonic()
    evaluate(run)
    return sum(map(len, part)), time.monotonic() - began
