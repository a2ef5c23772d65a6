"""The training loop, top to bottom: every method gets its resume, yield, spike guard, evaluation,
early stop, checkpoints and events from here. It keeps no global state.
"""

import math
import platform
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from faults import OurFault, UserFault
from finetune import events as said
from finetune.families import family
from finetune.families.contract import Adapted, Batch
from finetune.records.kinds import Item
from finetune.trainer import optim
from finetune.trainer.checkpoint import Checkpoints
from finetune.trainer.data import Plan, make_plan, micro_batches, read_rows
from finetune.trainer.events import EventLog
from finetune.trainer.lanes import Lanes, lanes_of
from finetune.trainer.lifeline import Stop, Yielded
from finetune.trainer.memory import peak_memory_mb
from finetune.trainer.objectives import OBJECTIVES, Objective, Sums, usable
from finetune.trainer.result import result_step, write_result
from finetune.trainer.spec import RunSpec
from finetune.trainer.state import StepMetrics, TrainerState
from finetune.trainer.totals import Totals
from finetune.trainer.verdict import verdict

MAX_SKIPPED_IN_A_ROW = 3
VALIDATION_TOLD_SECONDS = 10.0  # between two words on how far a long one is
PROBED_ROWS = 4  # held out ones where there are any
SPEED_WINDOW = 20  # steps that tokens/s and the time left are taken over


def train(run_dir: Path, stop: Stop, objectives: Mapping[str, Objective] = OBJECTIVES) -> None:
    """Train what RUN_DIR/spec.json says, from the newest checkpoint if there is one.

    Raises Yielded after SIGTERM, UserFault and OurFault.
    """
    spec = RunSpec.read(run_dir)
    events = EventLog(run_dir / "events.jsonl")
    try:
        objective = usable(spec.objective, objectives)
        run = prepare(spec, objective, run_dir, events, stop)
        try:
            with run.lanes:
                run_to_the_end(run)
        except Yielded:
            save(run, yielded=True)
            raise
        warned = judge_run(run)
        probed = (run.valid or run.rows)[:PROBED_ROWS]
        write_result(
            run_dir, spec, objective, run.state, run.model, run.checkpoints, warned, probed
        )
        events.say(said.TrainingDone(steps=run.state.step))
    finally:
        events.close()


@dataclass
class Run:
    spec: RunSpec
    model: Adapted
    objective: Objective
    lanes: Lanes
    optimizer: torch.optim.AdamW
    rows: Sequence[Item]
    valid: Sequence[Item]
    plan: Plan
    state: TrainerState
    checkpoints: Checkpoints
    events: EventLog
    stop: Stop
    speed: "Speedometer"
    clock: Callable[[], float] = time.monotonic
    saved: tuple[int, bool] | None = None  # (step, was pending) of the last checkpoint


def prepare(
    spec: RunSpec, objective: Objective, run_dir: Path, events: EventLog, stop: Stop
) -> Run:
    if spec.threads:
        torch.set_num_threads(spec.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    kind = family(spec.family)
    read = kind.reader(
        run_dir / spec.base,
        objective.records,
        max_length=spec.max_length,
        thinking=spec.thinking,
    )
    data = spec.data
    rows = read_rows(run_dir, data.train, read, data.train_sha256)
    valid: list[Item] = []
    if data.valid:
        valid = read_rows(run_dir, data.valid, read, data.valid_sha256)
    plan = make_plan(
        rows,
        batch_size=spec.batch_size,
        epochs=spec.epochs,
        seed=spec.seed,
        pack_to=spec.max_length if spec.packing else None,
    )
    stop.check()
    model = kind.load(
        run_dir / spec.base,
        spec.adapter,
        precision=spec.precision,
        device=spec.device,
        seed=spec.seed,
        gradient_checkpointing=spec.gradient_checkpointing,
    )
    model.check_faithful(sequences(rows[:2])[:2])
    run = Run(
        spec=spec,
        model=model,
        objective=objective,
        lanes=Lanes(lanes_of(spec, model), torch.get_num_threads()),
        optimizer=optim.adamw(model.parameters, spec.optim),
        rows=rows,
        valid=valid,
        plan=plan,
        state=TrainerState(spec_sha256=sha256(spec.model_dump_json().encode()).hexdigest()),
        checkpoints=Checkpoints(run_dir),
        events=events,
        stop=stop,
        speed=Speedometer(),
    )
    restore(run)
    return run


def run_to_the_end(run: Run) -> None:
    spec, state, plan = run.spec, run.state, run.plan
    announce(run)
    if run.valid and state.base_valid_loss is None:
        base: dict[str, Any] = evaluate(run)
        state.base_valid_loss = base["valid_loss"]
        run.events.say(
            said.BaseEvaluated(base_valid_loss=state.base_valid_loss),
            {f"base_{name}": value for name, value in base.items()},
        )

    while state.pending or (state.step < plan.total_steps and not state.stopped_early):
        skipped = state.pending is None and not step(run)  # which says so
        ends = state.step == plan.total_steps or state.step % plan.steps_per_epoch == 0
        evaluates = run.valid and (ends or due(spec.eval_every, state.step, ends))
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
        if better or ends or state.stopped_early or due(spec.save_every, state.step, ends):
            save(run)


def step(run: Run) -> bool:
    """One optimizer step: sums over its micro-batches, one division, clip, AdamW.

    Yielded may come between micro-batches; the step then has not happened. False: it was skipped
    because its loss or gradient is not a finite number.
    """
    state, spec, model = run.state, run.spec, run.model
    started = time.monotonic()
    torch.manual_seed(derived_seed(spec.seed, state.step))  # dropout, whatever ran before
    model.train(True)
    run.optimizer.zero_grad(set_to_none=True)
    totals, tokens = Totals(run.objective), 0
    rows = [run.rows[number] for number in run.plan.rows_of(state.step)]
    for part in micro_batches(rows, spec.micro_batch_tokens):
        run.stop.check()
        for sums, gradients in run.lanes.map(partial(learn, run), part):
            totals.add(sums)
            optim.add_gradients(model.parameters, gradients)
        tokens += sum(map(len, part))
    rate = optim.learning_rate(state.step, run.plan.total_steps, spec.optim)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    optim.mean_gradients(model.parameters, totals.weight)
    norm = optim.clip(model.parameters, spec.optim.max_grad_norm)
    state.step += 1
    state.seconds += time.monotonic() - started
    run.speed.note(tokens, time.monotonic() - started)
    if not (math.isfinite(totals.loss) and math.isfinite(norm)):
        skip(run, totals.loss, norm)
        return False
    run.optimizer.step()
    state.skipped_in_a_row = 0
    state.trained_tokens += sum(row.trained for row in rows)
    state.pending = without_training(run).model_copy(
        update={"train": totals.train_means(), "weight": totals.weight, "grad_norm": norm}
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


def learn(run: Run, rows: Sequence[Item]) -> tuple[Sums, Sequence[Tensor | None]]:
    """(sums, gradient of their loss by the parameters) of rows that stand in memory at once."""
    sums = run.objective.sums(run.model, lay_out(run, rows), rows)
    return sums, torch.autograd.grad(sums.loss, run.model.parameters, allow_unused=True)


def skip(run: Run, loss: float, norm: float) -> None:
    """The spike guard: a step that is not finite leaves the weights alone, and is told."""
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
    totals = Totals(run.objective)
    done, told = 0, run.clock()
    for part in micro_batches(run.valid, run.spec.micro_batch_tokens):
        run.stop.check()
        for sums in run.lanes.map(partial(judge, run), part):
            totals.add(sums)
        done += len(part)
        now = run.clock()
        if now - told >= VALIDATION_TOLD_SECONDS and done < len(run.valid):
            run.events.say(said.ValidationGoesOn(rows=done, of=len(run.valid)))
            told = now
    means = totals.valid_means()
    if not math.isfinite(means["valid_loss"]):
        raise diverged(run, "The validation loss is not a finite number.")
    return means


def judge_run(run: Run) -> list[said.Message]:
    """What is to be said of a run that has ended, told as warnings."""
    state, guessing = run.state, run.objective.guessing
    warned = verdict(
        state.history,
        step=result_step(run.spec, state),
        base_valid_loss=state.base_valid_loss,
        guessing=guessing(run.model) if guessing else None,
    )
    for each in warned:
        run.events.say(each)
    return warned


@torch.no_grad()
def judge(run: Run, rows: Sequence[Item]) -> Sums:
    return run.objective.sums(run.model, lay_out(run, rows), rows)


def lay_out(run: Run, rows: Sequence[Item]) -> Batch:
    # With dropout, rows that begin alike must still draw different masks
    share = run.spec.share_prefixes and run.spec.adapter.dropout == 0
    return run.model.lay_out(sequences(rows), share_prefixes=share)


def sequences(rows: Sequence[Item]) -> list[Item]:
    return [sequence for row in rows for sequence in row.sequences]


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


def report(run: Run, metrics: StepMetrics) -> None:
    state = run.state
    state.history.append(metrics)
    state.pending = None
    run.events.metrics(
        metrics.shown()
        | {
            "total_steps": run.plan.total_steps,
            "tokens_per_second": round(run.speed.tokens_per_second, 1),
            "memory_mb": peak_memory_mb(),
            "seconds_left": round(run.speed.seconds(run.plan.total_steps - state.step), 1),
        }
    )


def save(run: Run, *, yielded: bool = False) -> None:
    """Checkpoint, unless nothing happened since the last one (or, yielding, at all)."""
    state, model = run.state, run.model
    now = (state.step, state.pending is not None)
    if run.saved == now or (yielded and state.step == 0):
        return
    state.events_seq = run.events.seq
    tensors = optim.state_tensors(run.optimizer, model.parameter_names)
    digests = run.checkpoints.save(state, model.adapter_state(), tensors)
    run.saved = now
    last = state.pending or (state.history[-1] if state.history else None)
    run.events.checkpoint(
        {
            "step": state.step,
            "path": f"checkpoints/{state.step}",
            "metrics": last.shown() if last else {},
            "sha256": digests,
        }
    )
    run.checkpoints.prune(state.best_step)


def restore(run: Run) -> None:
    found, problems = run.checkpoints.latest()
    for problem in problems:
        run.events.say(problem)
    run.state.machine = machine()
    if found is None:
        return
    if found.state.spec_sha256 != run.state.spec_sha256:
        raise OurFault("spec_changed", "The checkpoint is of another spec.", where=str(found.path))
    if found.state.machine != machine():
        run.events.say(said.OtherMachine(was=found.state.machine, now=machine()))
    run.state = found.state.model_copy(update={"machine": machine()})
    run.saved = (run.state.step, run.state.pending is not None)
    run.events.seq = max(run.events.seq, found.state.events_seq)
    run.model.load_adapter_state(found.adapter)
    optim.load_state_tensors(run.optimizer, run.model.parameter_names, found.optimizer)
    run.events.say(said.StepResumed(step=run.state.step))


def announce(run: Run) -> None:
    trained = sum(row.trained for row in run.rows)
    run.events.say(
        said.TrainingPlanned(
            rows=len(run.rows),
            trained_tokens_per_epoch=trained,
            total_steps=run.plan.total_steps,
            adapter_parameters=sum(p.numel() for p in run.model.parameters),
            precision=run.spec.precision,
            device=run.spec.device,
        )
    )
    announce_warmup(run)
    if run.spec.lanes > 1:
        lanes = run.lanes
        dealt = said.LanesDealt if lanes.count > 1 else said.OneLane
        run.events.say(dealt(lanes=lanes.count, at_once=lanes.at_once))


def announce_warmup(run: Run) -> None:
    """Told where it is another than transformers would make of the spec's ratio."""
    total, ratio = run.plan.total_steps, run.spec.optim.warmup_ratio
    asked, warmup = math.ceil(total * ratio), optim.warmup_steps(total, run.spec.optim)
    if warmup == asked:
        return
    told = said.WarmupShortened if warmup else said.NoWarmup
    run.events.say(told(steps=total, warmup_steps=warmup, asked_warmup_steps=asked))


def derived_seed(seed: int, step: int) -> int:
    return int.from_bytes(sha256(f"privatune {seed} {step}".encode()).digest()[:8], "big") >> 1


def machine() -> dict[str, str]:
    """What else decides the last bits of a result, besides the spec."""
    return {
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "arch": platform.machine(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    }


class Speedometer:
    """Tokens per second and time left over the last steps of this process."""

    def __init__(self) -> None:
        self._steps: deque[tuple[int, float]] = deque(maxlen=SPEED_WINDOW)

    def note(self, tokens: int, seconds: float) -> None:
        self._steps.append((tokens, seconds))

    @property
    def tokens_per_second(self) -> float:
        seconds = sum(s for _, s in self._steps)
        return sum(t for t, _ in self._steps) / seconds if seconds else 0.0

    def seconds(self, steps: int) -> float:
        done = len(self._steps)
        return steps * sum(s for _, s in self._steps) / done if done else 0.0
