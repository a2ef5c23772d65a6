"""What a run tells: its plan before it begins, and each step's metrics."""

import math
from collections.abc import Mapping

from finetune import events as said
from finetune.trainer import optim
from finetune.trainer.data import per_epoch, trained_of
from finetune.trainer.memory import peak_memory_mb
from finetune.trainer.run import Run
from finetune.trainer.silence import silent_groups
from finetune.trainer.state import StepMetrics


def announce(run: Run) -> None:
    run.events.say(
        said.TrainingPlanned(
            rows=len(run.rows),
            trained_tokens_per_epoch=per_epoch(run.plan, run.rows, trained_of),
            total_steps=run.plan.total_steps,
            adapter_parameters=sum(p.numel() for p in run.model.parameters),
            precision=run.spec.precision,
            device=run.spec.device,
        )
    )
    if run.printed_day:
        run.events.say(said.DayFrozen(day=run.printed_day))
    announce_warmup(run)
    if run.spec.lanes > 1:
        lanes = run.lanes
        dealt = said.LanesDealt if lanes.count > 1 else said.OneLane
        run.events.say(dealt(lanes=lanes.count, at_once=lanes.at_once))


def tell_begun(run: Run, figures: Mapping[str, float]) -> None:
    """The figures, by column, of what training begins from, before its first step."""
    loss = figures["valid_loss"]
    if run.spec.start is None:
        message: said.Message = said.BaseEvaluated(base_valid_loss=loss)
        before = "base"
    else:
        message, before = said.StartEvaluated(start_valid_loss=loss), "start"
    run.events.say(message, {f"{before}_{name}": value for name, value in figures.items()})


def announce_warmup(run: Run) -> None:
    """Told where it is another than transformers would make of the spec's ratio."""
    total, ratio = run.plan.total_steps, run.spec.optim.warmup_ratio
    asked, warmup = math.ceil(total * ratio), optim.warmup_steps(total, run.spec.optim)
    if warmup == asked:
        return
    told = said.WarmupShortened if warmup else said.NoWarmup
    run.events.say(told(steps=total, warmup_steps=warmup, asked_warmup_steps=asked))


def report(run: Run, metrics: StepMetrics) -> None:
    state = run.state
    state.pending = None
    metrics = metrics.kept()
    left = run.plan.total_steps - state.step + run.curve_steps
    is_new = run.events.metrics(
        metrics.shown()
        | {
            "weight": metrics.weight,
            "total_steps": run.plan.total_steps,
            "tokens_per_second": round(run.speed.tokens_per_second, 1),
            "memory_mb": peak_memory_mb(),
            "seconds_left": round(run.speed.seconds(left), 1),
        }
    )
    if is_new:
        run.history.add(metrics)
    run.history.go_to(metrics.step)
    if is_new and run.rollouts is not None:
        warned = silent_groups(run.history.steps, run.rollouts.settings.num_iterations)
        if warned is not None:
            run.events.say(warned)
