"""TRL's DPOTrainer on exactly our pairs, order, adapter and schedule."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

from finetune.families.causal_lm.adapters.fresh import _lora_config
from finetune.families.causal_lm.loading import DTYPES
from finetune.records.kinds import Group
from finetune.trainer.data import Plan
from finetune.trainer.spec import RunSpec
from tests.finetune.trainer.oracle import give, schedule


@dataclass
class Told:
    losses: list[float]
    metrics: dict[str, list[float]]


class Recording(DPOTrainer):
    """Takes pairs that are tokenised, and keeps each step's loss as computed."""

    losses: list[float]

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(*args, **kwargs)
        self.losses.append(float(loss.detach()))
        return loss


def align_with_trl(
    base: Path,
    spec: RunSpec,
    rows: Sequence[Group],
    plan: Plan,
    adapter: dict[str, torch.Tensor],
    *,
    out: Path,
    max_steps: int,
    goes_on: bool = False,
) -> Told:
    """The rows in our plan's order, pre-tokenised, taken sequentially; every step is full.

    `goes_on`: the trainer is given a peft model that has the adapter, and no configuration for one.
    """
    order = [number for step in range(max_steps) for number in plan.rows_of(step)]
    assert len(order) == max_steps * spec.batch_size
    model = AutoModelForCausalLM.from_pretrained(base, dtype=DTYPES[spec.precision])
    peft_config = _lora_config(model, spec.adapter)
    if goes_on:
        model = get_peft_model(model, peft_config)
        give(model, adapter)
    config = DPOConfig(
        **schedule(spec, out, max_steps),
        bf16=False,
        **spec.settings,  # named as there
    )
    trainer = Recording(
        model=model,
        args=config,
        train_dataset=Dataset.from_list([_example(rows[number]) for number in order]),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=None if goes_on else peft_config,
    )
    assert goes_on == ("ref" in trainer.model.peft_config)
    give(trainer.model, adapter)
    trainer.losses = []
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "rewards/chosen" in entry]
    return Told(trainer.losses, {name: [entry[name] for entry in logged] for name in logged[0]
                                 if "/" in name})  # fmt: skip


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
    return {"prompt_ids": sides.pop("prompt_of_chosen"), **sides}
