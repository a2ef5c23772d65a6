"""RUN_DIR/result/: the adapter in peft's own form, the metrics, and the report; all or nothing."""

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from finetune.events import Message
from finetune.families.contract import PROBES
from finetune.records.kinds import Item
from finetune.trainer.checkpoint import to_bytes, write_folder
from finetune.trainer.data import line_of
from finetune.trainer.measuring import RowLosses
from finetune.trainer.memory import peak_memory_mb
from finetune.trainer.objectives import Objective
from finetune.trainer.preferring import Preferred
from finetune.trainer.run import Run
from finetune.trainer.searching import Searched
from finetune.trainer.spec import ADAPTER, RunSpec
from finetune.trainer.state import StepMetrics, TrainerState, result_step

ROW_LOSSES = "validation_rows.csv"
RETRIEVAL_TABLE = "retrieval.csv"


def write_result(
    run_dir: Path,
    run: Run,
    kept: dict[str, Tensor],
    warned: Sequence[Message],
    probed: Sequence[Item],
    measured: RowLosses | None,
    searched: Searched | None,
    preferred: Preferred | None,
    curve: dict[str, Any] | None,
) -> None:
    """`kept`: its weights. `probed`: rows that the adapter is asked about, so that packing can ask
    its files again."""
    spec, state, model, history = run.spec, run.state, run.model, run.history.steps
    step = result_step(spec, state)
    adapter = to_bytes(kept)
    model.load_adapter_state(kept)
    probes = model.probe([sequence for row in probed for sequence in row.sequences])
    report = _report(spec, state, history, step, hashlib.sha256(adapter).hexdigest())
    report["skipped_rows"] = [line_of(run.rows, row) for row in state.steadied.skipped_rows]
    report["validation_change"] = measured.said() if measured is not None else None
    if searched is not None:
        report["retrieval"] = searched.said()
    if preferred is not None:
        report["preferences"] = preferred.said()
    if curve is not None:
        report["learning_curve"] = curve
    waited = run.rollouts.waited if run.rollouts is not None else None
    if waited is not None:
        steps, evaluations = waited
        report["grading"] = {
            "answers": steps.answers + evaluations.answers,
            "seconds": round(steps.seconds + evaluations.seconds, 3),
            "step_seconds": round(steps.seconds, 3),
        }
    report["printed_day"] = run.printed_day
    report["warnings"] = [each.entry() for each in warned]
    if spec.relief is not None:
        report["relief"] = spec.relief.model_dump() | {"after_step": state.relieved_at}
    files = {
        ADAPTER: adapter,
        "adapter_config.json": _json(model.adapter_config(spec.base_name)),
        "metrics.csv": _csv(run.objective, history),
        "report.json": _json(report),
        PROBES: to_bytes(probes),
    }
    if measured is not None:
        files[ROW_LOSSES] = measured.table()
    if searched is not None:
        files[RETRIEVAL_TABLE] = searched.table()
    write_folder(run_dir / "result", files)


def result_weights(run: Run) -> dict[str, Tensor]:
    step = result_step(run.spec, run.state)
    if step == run.state.step:
        return run.model.adapter_state()
    return run.checkpoints.read(step).adapter


def _report(
    spec: RunSpec,
    state: TrainerState,
    history: Sequence[StepMetrics],
    step: int,
    adapter_sha256: str,
) -> dict[str, Any]:
    """`train_loss` is the mean over the last epoch's steps, weighted as in each step."""
    evaluated = [m for m in history if m.valid_loss is not None]
    at_step = [m.valid_loss for m in evaluated if m.step == step]
    return {
        "steps": state.step,
        "result_step": step,
        "epochs": history[-1].epoch if history else 0,
        "trained_tokens": state.trained_tokens,
        "train_loss": _last_epoch_loss(history),
        "valid_loss": at_step[0] if at_step else None,
        f"{'start' if spec.start else 'base'}_valid_loss": state.base_valid_loss,
        "best_step": state.best_step,
        "best_valid_loss": state.best_loss,
        "skipped_steps": state.skipped_steps,
        "rollbacks": state.steadied.rollbacks,
        "rate_factor": state.steadied.rate_factor,
        "seconds": round(state.seconds, 3),
        "peak_memory_mb": peak_memory_mb(),
        "adapter_sha256": adapter_sha256,
        "precision": spec.precision,
        "deterministic": not state.nondeterministic,
        "nondeterministic": state.nondeterministic,
        "stopped_early": state.stopped_early,
    }


def _last_epoch_loss(history: Sequence[StepMetrics]) -> float | None:
    if not history:
        return None
    since, tokens = history[-1].epoch - 1, 0
    total, weights = 0.0, 0.0
    for metrics in history:
        if metrics.epoch > since and metrics.train:
            weight = metrics.weight or metrics.trained_tokens - tokens
            total += metrics.train_loss * weight
            weights += weight
        tokens = metrics.trained_tokens
    return total / weights if weights else None


def _csv(objective: Objective, history: Sequence[StepMetrics]) -> bytes:
    columns = ("step", *objective.train_columns, *objective.valid_columns)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for metrics in history:
        row = metrics.shown()
        writer.writerow([row.get(name, "") for name in columns])
    return out.getvalue().encode()


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
