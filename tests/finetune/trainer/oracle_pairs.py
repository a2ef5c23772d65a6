"""TRL's trainers on exactly our pairs, order, adapter and schedule."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from finetune.families.adapters.fresh import _lora_config
from finetune.families.causal_lm.loading import DTYPES
from finetune.records.kinds import Group
from finetune.trainer.data import Plan
from finetune.trainer.spec import RunSpec
from tests.finetune.trainer.oracle import give, schedule


@dataclass
class Told:
    losses: list[float]
    metrics: dict[str, list[Any]]  # None in a step that tells none


class _Recording:
    """Keeps each step's loss as computed; the log adds it up in float32."""

    losses: list[float]

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(*args, **kwargs)  # type: ignore[misc]
        self.losses.append(float(loss.detach()))
        return loss


class _Dpo(_Recording, DPOTrainer):
    """Takes pairs that are tokenised."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset


class _Tokenised:
    """Of trainers that tokenise row by row."""

    def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, Any]:
        row = {"prompt_input_ids": feature["prompt_ids"]}
        for side in ("chosen", "rejected"):
            prompt, answer = feature["prompt_ids"], feature[f"{side}_ids"]
            row |= {
                f"{side}_input_ids": prompt + answer,
                f"{side}_attention_mask": [1] * len(prompt + answer),
                f"{side}_labels": [-100] * len(prompt) + answer,
            }
        return row


class _Kto(_Recording, KTOTrainer):
    """Reads and tokenises its rows itself, and puts each answer behind another's prompt."""


class _Orpo(_Recording, _Tokenised, ORPOTrainer):
    pass


class _Simpo(_Recording, _Tokenised, CPOTrainer):
    pass


def _simpo(**settings: Any) -> Any:
    gamma = settings.pop("gamma")
    return CPOConfig(loss_type="simpo", cpo_alpha=0.0, simpo_gamma=gamma, **settings)


# By objective: the trainer, and its configuration of the schedule and the objective's settings
TRAINERS: dict[str, tuple[Any, Any]] = {
    "dpo": (_Dpo, DPOConfig),
    "orpo": (_Orpo, ORPOConfig),
    "simpo": (_Simpo, _simpo),
    "kto": (_Kto, KTOConfig),
}


def align_with_trl(
    base: Path,
    spec: RunSpec,
    rows: Sequence[Group],
    plan: Plan,
    adapter: dict[str, torch.Tensor],
    *,
    out: Path,
    max_steps: int,
    callbacks: Sequence[Any] = (),
    goes_on: bool = False,
) -> Told:
    """The rows in our plan's order, pre-tokenised, taken sequentially; every step is full.

    `goes_on`: the trainer is given a peft model that has the adapter, and no configuration for one.
    """
    order = [number for step in range(max_steps) for number in plan.rows_of(step)]
    assert len(order) == max_steps * spec.batch_size
    return _trained(base, spec, [_example(rows[number]) for number in order], adapter,
                    schedule(spec, out, max_steps), callbacks, goes_on=goes_on)  # fmt: skip


def rate_with_trl(
    base: Path,
    spec: RunSpec,
    steps: Sequence[Sequence[dict[str, Any]]],
    adapter: dict[str, torch.Tensor],
    *,
    out: Path,
    callbacks: Sequence[Any] = (),
) -> Told:
    """KTO on what each step takes: rows of `prompt`, `completion` and `label`, in that order."""
    told = schedule(spec, out, len(steps)) | {"per_device_train_batch_size": len(steps[0])}
    rows = [row for step in steps for row in step]
    assert len(rows) == len(steps) * len(steps[0])
    return _trained(base, spec, rows, adapter, told, callbacks)


def _trained(
    base: Path,
    spec: RunSpec,
    rows: list[dict[str, Any]],
    adapter: dict[str, torch.Tensor],
    told: dict[str, Any],
    callbacks: Sequence[Any],
    *,
    goes_on: bool = False,
) -> Told:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=DTYPES[spec.precision])
    trainer_of, config = TRAINERS[spec.objective]
    peft_config = _lora_config(model, spec.adapter)
    if goes_on:
        model = get_peft_model(model, peft_config)
        give(model, adapter)
    trainer = trainer_of(
        model=model,
        args=config(**told, bf16=False, **spec.settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=None if goes_on else peft_config,
        callbacks=list(callbacks),
    )
    assert goes_on == ("ref" in trainer.model.peft_config)
    give(trainer.model, adapter)
    trainer.losses = []
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
    names = {name for entry in logged for name in entry}
    figures = {name: [entry.get(name) for entry in logged] for name in names}
    return Told(trainer.losses, figures)


def _example(pair: Group) -> dict[str, list[int]]:
    """What is trained is one stretch of each side; what follows it has no effect."""
    sides: dict[str, list[int]] = {}
    for name, side in zip(("chosen", "rejected"), pair.sequences, strict=True):
        row: Any = side
        labels = list(map(bool, row.labels))
        first, behind = labels.index(True), len(labels) - labels[::-1].index(True)
        assert all(labels[first:behind])
        ids = list(row.input_ids)[:behind]
        sides |= {f"{name}_ids": ids[first:], f"prompt_of_{name}": ids[:first]}
    assert sides["prompt_of_chosen"] == sides.pop("prompt_of_rejected")
    # The texts are for trainers that look for them, and are not read
    texts = {"prompt": "", "chosen": "", "rejected": ""}
    return {"prompt_ids": sides.pop("prompt_of_chosen"), **sides, **texts}
