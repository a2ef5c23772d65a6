"""RUN_DIR/result/: the adapter in peft's own form, the metrics, and the report; all or nothing."""

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

from torch import Tensor

from finetune.families.contract import Adapted
from finetune.trainer.checkpoint import ADAPTER, Checkpoints, to_bytes, write_folder
from finetune.trainer.memory import peak_memory_mb
from finetune.trainer.spec import RunSpec
from finetune.trainer.state import StepMetrics, TrainerState

COLUMNS = ("step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")


def write_result(
    run_dir: Path, spec: RunSpec, state: TrainerState, model: Adapted, checkpoints: Checkpoints
) -> None:
    step, tensors = _chosen(spec, state, model, checkpoints)
    adapter = to_bytes(tensors)
    report = _report(spec, state, step, hashlib.sha256(adapter).hexdigest())
    files = {
        ADAPTER: adapter,
        "adapter_config.json": _json(model.adapter_config(spec.base_name)),
        "metrics.csv": _csv(state.history),
        "report.json": _json(report),
    }
    write_folder(run_dir / "result", files)


def _chosen(
    spec: RunSpec, state: TrainerState, model: Adapted, checkpoints: Checkpoints
) -> tuple[int, dict[str, Tensor]]:
    if spec.keep == "best" and state.best_step not in (None, state.step):
        assert state.best_step is not None
        return state.best_step, checkpoints.read(state.best_step).adapter
    return state.step, model.adapter_state()


def _report(spec: RunSpec, state: TrainerState, step: int, adapter_sha256: str) -> dict[str, Any]:
    """`train_loss` is the mean over the last epoch's steps, weighted by their tokens."""
    evaluated = [m for m in state.history if m.valid_loss is not None]
    at_step = [m.valid_loss for m in evaluated if m.step == step]
    return {
        "steps": state.step,
        "result_step": step,
        "epochs": state.history[-1].epoch if state.history else 0,
        "trained_tokens": state.trained_tokens,
        "train_loss": _last_epoch_loss(state.history),
        "valid_loss": at_step[0] if at_step else None,
        "base_valid_loss": state.base_valid_loss,
        "best_step": state.best_step,
        "best_valid_loss": state.best_loss,
        "skipped_steps": state.skipped_steps,
        "seconds": round(state.seconds, 1),
        "peak_memory_mb": peak_memory_mb(),
        "adapter_sha256": adapter_sha256,
        "precision": spec.precision,
        "stopped_early": state.stopped_early,
    }


def _last_epoch_loss(history: list[StepMetrics]) -> float | None:
    if not history:
        return None
    since = history[-1].epoch - 1
    before = [m.trained_tokens for m in history if m.epoch <= since]
    tokens, total = (before[-1] if before else 0), 0.0
    start = tokens
    for metrics in history:
        if metrics.epoch > since:
            total += metrics.train_loss * (metrics.trained_tokens - tokens)
            tokens = metrics.trained_tokens
    return total / (tokens - start)


def _csv(history: list[StepMetrics]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for metrics in history:
        row = metrics.model_dump()
        writer.writerow(["" if row[name] is None else row[name] for name in COLUMNS])
    return out.getvalue().encode()


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
