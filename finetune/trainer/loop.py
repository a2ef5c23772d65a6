"""The training loop, top to bottom: every method gets its resume, yield, roll-back, evaluation,
early stop, checkpoints and events from here. It keeps no global state.
"""

import math
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from faults import UserFault
from finetune import events as said
from finetune.families import family
from finetune.families.placement import require
from finetune.trainer import optim
from finetune.trainer.checkpoint import Checkpoints
from finetune.trainer.curve import learn_curve, require_measured, steps_ahead
from finetune.trainer.data import make_plan
from finetune.trainer.determinism import watched
from finetune.trainer.events import EventLog
from finetune.trainer.good import taken
from finetune.trainer.keeping import note_nondeterministic, restore, save
from finetune.trainer.lanes import Lanes, lanes_of
from finetune.trainer.lifeline import Stop, Yielded
from finetune.trainer.measuring import measure, validation_parts
from finetune.trainer.objectives import OBJECTIVES, Objective, usable
from finetune.trainer.preferring import prefer
from finetune.trainer.reading import day_of, open_rows
from finetune.trainer.rearranged import rearranged
from finetune.trainer.reference import refer
from finetune.trainer.result import result_weights, write_result
from finetune.trainer.rewards import Rewards
from finetune.trainer.rollouts import Rollouts
from finetune.trainer.run import Run, Speedometer, sequences
from finetune.trainer.searching import search
from finetune.trainer.settling import Settled, act, prove, rows_of, settle, summary, watch
from finetune.trainer.spec import RunSpec
from finetune.trainer.starting import begin
from finetune.trainer.state import StepMetrics, TrainerState, result_step
from finetune.trainer.taking import judge, take
from finetune.trainer.telling import announce, report, tell_begun
from finetune.trainer.together import require_together
from finetune.trainer.totals import Totals
from finetune.trainer.verdict import verdict

MAX_SKIPPED_IN_A_ROW = 3
PROBED_ROWS = 4  # held out ones where there are any


def train(run_dir: Path, stop: Stop, objectives: Mapping[str, Objective] = OBJECTIVES) -> None:
    """Train what RUN_DIR/spec.json says, from the newest checkpoint if there is one.

    Raises Yielded after SIGTERM, UserFault and OurFault.
    """
    spec = RunSpec.read(run_dir)
    events = EventLog(run_dir / "events.jsonl")
    try:
        objective = usable(spec.objective, objectives, family=spec.family).told(spec.settings)
        with watched(strict=spec.deterministic) as nondeterministic:
            run = prepare(spec, objective, run_dir, events, stop)
            run.nondeterministic = nondeterministic
            try:
                with run.lanes:
                    refer(run, run_dir)
                    run_to_the_end(run)
                    kept = result_weights(run)
                    measured = measure(run, kept)
                    searched = search(run, kept)
                    preferred = prefer(run, kept)
                    found = learn_curve(run, run_dir, kept, train=run_to_the_end, judge=evaluate)
            except Yielded:
                save(run, yielded=True)
                raise
            warned = judge_run(run)
            probed = (run.valid or run.rows)[:PROBED_ROWS]
            curve = found.said() if found is not None else None
            write_result(run_dir, run, kept, warned, probed, measured, searched, preferred, curve)
        events.say(said.TrainingDone(steps=run.state.step))
    finally:
        events.close()


def prepare(
    spec: RunSpec,
    objective: Objective,
    run_dir: Path,
    events: EventLog,
    stop: Stop,
    *,
    rewarded: bool = True,
) -> Run:
    """`rewarded`: no graders are asked where only time is measured."""
    require_together(spec)
    if spec.threads:
        torch.set_num_threads(spec.threads)
    require(spec.device, spec.precision)
    kind, generates = family(spec.family), "generation" in objective.needs
    read = kind.reader(
        run_dir / spec.base,
        objective.records,
        max_length=spec.max_length,
        thinking=spec.thinking,
    )
    rows, valid = open_rows(
        spec,
        run_dir,
        kind,
        objective.records,
        read,
        stop=stop,
        tell=lambda rows, of: events.say(said.ReadingGoesOn(rows=rows, of=of)),
    )
    plan = make_plan(
        rows,
        batch_size=spec.batch_size,
        epochs=spec.epochs,
        seed=spec.seed,
        pack_to=spec.max_length if spec.packing else None,
        weights=spec.data.weights,
        repeats=int(spec.settings.get("num_iterations", 1)) if generates else 1,
    )
    stop.check()
    model = kind.load(
        run_dir / spec.base,
        spec.adapter,
        precision=spec.precision,
        device=spec.device,
        seed=spec.seed,
        gradient_checkpointing=spec.in_memory.gradient_checkpointing,
        noise_alpha=spec.neftune_noise_alpha,
    )
    model.check_faithful(sequences(rows[:2])[:2])
    run = Run(
        spec=spec,
        model=model,
        objective=objective,
        lanes=Lanes(lanes_of(spec, model), torch.get_num_threads()),
        optimizer=optim.adamw(model.parameters, model.parameter_names, spec.optim),
        rows=rows,
        valid=valid,
        plan=plan,
        state=TrainerState(spec_sha256=spec.sha256),
        checkpoints=Checkpoints(run_dir),
        events=events,
        stop=stop,
        speed=Speedometer(),
        printed_day=day_of(rows, read),
        rearranged=rearranged(spec, objective, read),
    )
    begin(run, run_dir)
    if spec.curve is not None:
        run.begun = taken(model, run.optimizer, 0)
    if generates:
        rewards = Rewards(spec.grader, run_dir, stop) if rewarded else None
        run.rollouts = Rollouts(spec, run.writer, run_dir, stop, rewards=rewards)
    if spec.curve is not None:
        require_measured(run)
        run.curve_steps = steps_ahead(run, run_dir)
    restore(run)
    return run


def run_to_the_end(run: Run) -> None:
    spec, state, plan = run.spec, run.state, run.plan
    announce(run)
    if run.valid and state.base_valid_loss is None:
        base: dict[str, Any] = evaluate(run)
        state.base_valid_loss = base["valid_loss"]
        if run.rollouts is not None:
            state.begun_rewards = run.rollouts.valid_rewards(run, state.step)
        tell_begun(run, base)

    while state.pending or (state.step < plan.total_steps and not state.stopped_early):
        skipped = state.pending is None and not step(run)  # which says so
        ends = state.step == plan.total_steps or state.step % plan.steps_per_epoch == 0
        evaluates = run.valid and (ends or due(spec.eval_every, state.step, ends))
        saves = ends or due(spec.save_every, state.step, ends)
        if run.watched and not skipped and (evaluates or saves):
            prove(run)
        if skipped:
            if not evaluates:
                continue
            state.pending = without_training(run)
        metrics = state.pending
        assert metrics is not None
        if evaluates:
            metrics.valid = evaluate(run)
        report(run, metrics)
        better = evaluates and note_gain(state, metrics, spec.early_stop_patience)
        if better or saves or state.stopped_early:
            save(run)


def step(run: Run) -> bool:
    """One optimizer step: gradients, clip, AdamW.

    Yielded may come between micro-batches; the step then has not happened. False: it was skipped,
    because its loss or gradient has blown up or none of its rows is left.
    """
    state, spec = run.state, run.spec
    started = time.monotonic()
    numbers = rows_of(run, state.step)
    if not numbers:
        state.step += 1
        return False
    steadies = run.watched
    if run.rollouts is not None:
        run.rollouts.prepare(run, numbers)
    settled = settle(run, numbers) if steadies else Settled(take(run, numbers), [])
    rate = optim.learning_rate(state.step, run.plan.total_steps, spec.optim)
    for group in run.optimizer.param_groups:
        group["lr"] = rate * state.steadied.rate_factor * group[optim.RATIO]
    state.step += 1
    state.seconds += time.monotonic() - started
    if settled.blown is not None:
        act(run, settled, numbers)
    taken = settled.taken
    if taken is None:
        state.skipped_steps += 1
        return False
    run.speed.note(taken.tokens, time.monotonic() - started)
    if not steadies and not (math.isfinite(taken.totals.loss) and math.isfinite(taken.norm)):
        skip(run, taken.totals.loss, taken.norm)
        return False
    if steadies:
        watch(run, taken)
    run.optimizer.step()
    state.skipped_in_a_row = 0
    left = [number for number in numbers if number not in settled.blamed]
    drawn = run.rollouts
    trained = [run.rows[n] for n in left] if drawn is None else drawn.items(left)
    state.trained_tokens += sum(item.trained for item in trained)
    scores = drawn.scores if drawn is not None else {}
    state.pending = without_training(run).model_copy(
        update={
            "train": taken.totals.train_means() | scores,
            "weight": taken.totals.weight,
            "grad_norm": taken.norm,
        }
    )
    return True


def without_training(run: Run) -> StepMetrics:
    """Of the step just done: its place. All that there is of a skipped one."""
    state = run.state
    return StepMetrics(
        step=state.step,
        epoch=round(state.step / run.plan.steps_per_epoch, 4),
        train={},
        weight=0.0,
        learning_rate=run.optimizer.param_groups[0]["lr"],
        trained_tokens=state.trained_tokens,
    )


def skip(run: Run, loss: float, norm: float) -> None:
    """Without stability: a step that is not finite leaves the weights alone, and is told."""
    state = run.state
    state.skipped_steps += 1
    state.skipped_in_a_row += 1
    run.events.say(
        said.StepSkipped(
            step=state.step,
            skipped_steps=state.skipped_steps,
            loss=str(loss),
            grad_norm=str(norm),
        )
    )
    if state.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
        raise diverged(
            run,
            f"{MAX_SKIPPED_IN_A_ROW} steps in a row had a loss or gradient that is not finite.",
        )


def diverged(run: Run, what: str) -> UserFault:
    return UserFault(
        "training_diverged",
        what,
        where=f"step {run.state.step}",
        param="learning_rate_multiplier",
        fix="Lower the learning rate multiplier, or raise the batch size.",
    )


def evaluate(run: Run) -> dict[str, float]:
    """The loss and the objective's metrics, by column, over the whole validation set: quotients of
    sums, not means of means."""
    run.model.train(False)
    if run.rollouts is not None:
        return run.rollouts.evaluate(run)
    totals = Totals(run.objective)
    for part in validation_parts(run):
        for sums in run.lanes.map(partial(judge, run), [numbered.row for numbered in part]):
            totals.add(sums)
    means = totals.valid_means()
    if not math.isfinite(means["valid_loss"]):
        raise diverged(run, "The validation loss is not a finite number.")
    return means


def judge_run(run: Run) -> list[said.Message]:
    """What is to be said of a run that has ended, told as warnings."""
    state, guessing = run.state, run.objective.guessing
    warned = verdict(
        run.history.steps,
        step=result_step(run.spec, state),
        base_valid_loss=state.base_valid_loss,
        goes_on=run.spec.start is not None,
        guessing=guessing(run.model) if guessing else None,
    )
    warned += summary(run)
    note_nondeterministic(run)
    if state.nondeterministic:
        warned.append(said.NotDeterministic(operations="; ".join(state.nondeterministic)))
    for each in warned:
        run.events.say(each)
    return warned


def due(every: int | None, step: int, epoch_ends: bool) -> bool:
    return epoch_ends if every is None else step % every == 0


def note_gain(state: TrainerState, metrics: StepMetrics, patience: int | None) -> bool:
    """Remember the best evaluation; True if this is it. Too many without one stop the run."""
    assert metrics.valid_loss is not None
    if state.best_loss is None or metrics.valid_loss < state.best_loss:
        state.best_loss, state.best_step = metrics.valid_loss, metrics.step
        state.evaluations_without_gain = 0
        return True
    state.evaluations_without_gain += 1
    state.stopped_early = patience is not None and state.evaluations_without_gain >= patience
    return False
