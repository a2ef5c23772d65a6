"""TRL's SFTTrainer on exactly our rows, order, adapter and schedule: the oracle of the loss."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel, set_peft_model_state_dict
from peft.optimizers import create_loraplus_optimizer
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer
from trl.kernels import chunked_logprob

from finetune.families.adapters.fresh import _lora_config
from finetune.families.causal_lm.layout import Row
from finetune.families.causal_lm.loading import DTYPES
from finetune.trainer.data import Plan
from finetune.trainer.spec import RunSpec
from finetune.trainer.taking import derived_seed


class _WideTorch:
    float32 = torch.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@contextmanager
def nothing_narrowed() -> Iterator[None]:
    """transformers' norms and TRL's loss compute in float32 even where the model is float64, and
    that rounding (1e-7) would hide a fault. Under this, a float64 tensor stays float64, and TRL's
    fused head, which allocates float32 by name, allocates float64."""
    to, float_ = torch.Tensor.to, torch.Tensor.float

    def wide_to(self: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if self.dtype == torch.float64 and torch.float32 in (*args, kwargs.get("dtype")):
            return self
        return to(self, *args, **kwargs)

    def wide_float(self: torch.Tensor) -> torch.Tensor:
        return self if self.dtype == torch.float64 else float_(self)

    torch.Tensor.to, torch.Tensor.float = wide_to, wide_float  # type: ignore[method-assign]
    chunked_logprob.torch = _WideTorch()
    try:
        yield
    finally:
        torch.Tensor.to, torch.Tensor.float = to, float_  # type: ignore[method-assign]
        chunked_logprob.torch = torch


class Recording(SFTTrainer):
    """Keeps each step's loss as computed; the log adds it up in float32. Each step is seeded."""

    losses: list[float]

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        torch.manual_seed(derived_seed(self.args.seed, len(self.losses)))
        loss = super().compute_loss(*args, **kwargs)
        self.losses.append(float(loss.detach()))
        return loss


class Stopwatch(TrainerCallback):
    """(wall, process) seconds of each optimizer step, batch collation included."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, float]] = []
        self._last = self._now()

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._last = self._now()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        now = self._now()
        self.steps.append((now[0] - self._last[0], now[1] - self._last[1]))
        self._last = now


def train_with_trl(
    base: Path,
    spec: RunSpec,
    rows: Sequence[Row],
    plan: Plan,
    adapter: dict[str, torch.Tensor] | None,
    *,
    out: Path,
    max_steps: int,
    bf16: bool = False,
) -> tuple[list[float], PeftModel, Stopwatch]:
    """Losses of each step, the trained model, and the times.

    The rows are given to TRL in our plan's order, pre-tokenised and with labels, and taken
    sequentially; every epoch's last batch must be full (TRL has no epoch borders then).
    """
    order = [number for step in range(max_steps) for number in plan.rows_of(step)]
    assert len(order) == max_steps * spec.batch_size
    model = AutoModelForCausalLM.from_pretrained(base, dtype=DTYPES[spec.precision])
    config = SFTConfig(
        **schedule(spec, out, max_steps),
        max_length=spec.max_length,
        neftune_noise_alpha=spec.neftune_noise_alpha or None,
        dataset_kwargs={"skip_prepare_dataset": True},
        bf16=bf16,
    )
    watch = Stopwatch()
    trainer = Recording(
        model=model,
        args=config,
        train_dataset=Dataset.from_list([_example(rows[number]) for number in order]),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=_lora_config(model, spec.adapter),
        callbacks=[watch],
    )
    if adapter is not None:
        give(trainer.model, adapter)
    if spec.optim.loraplus_lr_ratio != 1:
        trainer.optimizer = create_loraplus_optimizer(
            trainer.model,
            torch.optim.AdamW,
            lr=spec.optim.learning_rate,
            loraplus_lr_ratio=spec.optim.loraplus_lr_ratio,
            loraplus_weight_decay=spec.optim.weight_decay,
            betas=(spec.optim.beta1, spec.optim.beta2),
            eps=spec.optim.eps,
        )
    trainer.losses = []
    trainer.train()
    return trainer.losses, trainer.model, watch


def schedule(spec: RunSpec, out: Path, max_steps: int) -> dict[str, Any]:
    """What all of TRL's trainers are told, so that they train as the spec says."""
    return {
        "output_dir": str(out),
        "per_device_train_batch_size": spec.batch_size,
        "max_steps": max_steps,
        "learning_rate": spec.optim.learning_rate,
        "lr_scheduler_type": spec.optim.schedule,
        "warmup_steps": spec.optim.warmup_ratio,
        "adam_beta2": spec.optim.beta2,
        "adam_epsilon": spec.optim.eps,
        "weight_decay": spec.optim.weight_decay,
        "max_grad_norm": spec.optim.max_grad_norm,
        "seed": spec.seed,
        "train_sampling_strategy": "sequential",
        "gradient_checkpointing": False,  # memory suffices; the oracle is timed at its best
        "use_cpu": True,
        "fp16": False,
        "logging_steps": 1,
        "logging_strategy": "steps",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def give(model: Any, adapter: dict[str, torch.Tensor]) -> None:
    """The adapter that ours begins with, in its own precision."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(next(iter(adapter.values())).dtype)
    set_peft_model_state_dict(model, adapter)


def _example(row: Row) -> dict[str, list[int]]:
    ids = list(row.input_ids)
    labels = [i if trained else -100 for i, trained in zip(ids, row.labels, strict=True)]
    return {"input_ids": ids, "labels": labels}
