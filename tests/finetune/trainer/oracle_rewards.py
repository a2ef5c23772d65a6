"""TRL's RewardTrainer on exactly our pairs, order, adapter, head and schedule."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from finetune.families.causal_lm.loading import DTYPES
from finetune.records.kinds import Group
from finetune.trainer.data import Plan
from finetune.trainer.spec import RunSpec
from tests.finetune.trainer.oracle import give, schedule
from tests.finetune.trainer.oracle_pairs import Told, _Recording


class _Reward(_Recording, RewardTrainer):
    pass


def reward_with_trl(
    base: Path,
    spec: RunSpec,
    rows: Sequence[Group],
    plan: Plan,
    adapter: dict[str, torch.Tensor],
    *,
    out: Path,
    max_steps: int,
    callbacks: Sequence[Any] = (),
) -> Told:
    """The rows in our plan's order, pre-tokenised, taken sequentially; every step is full."""
    order = [number for step in range(max_steps) for number in plan.rows_of(step)]
    assert len(order) == max_steps * spec.batch_size
    settings: dict[str, Any] = dict(spec.settings)
    margin, center = settings.pop("margin", 0.0), settings.pop("center_rewards_coefficient", None)
    assert not settings
    model = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=1, dtype=DTYPES[spec.precision]
    )
    layers = {name.split(".lora_")[0] for name in adapter if ".lora_" in name}
    trainer = _Reward(
        model=model,
        args=RewardConfig(
            **schedule(spec, out, max_steps),
            bf16=False,
            pad_token=_absent(base, rows),
            center_rewards_coefficient=center,
            disable_dropout=True,
        ),
        train_dataset=Dataset.from_list([_example(rows[number], margin) for number in order]),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=LoraConfig(
            r=spec.adapter.r,
            lora_alpha=int(spec.adapter.alpha),
            target_modules=sorted(name.removeprefix("base_model.model.") for name in layers),
            task_type="SEQ_CLS",
        ),
        callbacks=list(callbacks),
    )
    give(trainer.model, adapter)
    trainer.losses = []
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
    names = {name for entry in logged for name in entry}
    return Told(trainer.losses, {name: [e.get(name) for e in logged] for name in names})


def _absent(base: Path, rows: Sequence[Group]) -> str:
    """A token of no row: the head reads off the last one that is no padding."""
    used = {token for row in rows for side in row.sequences for token in _ids(side)}
    known: dict[str, int] = AutoTokenizer.from_pretrained(base).get_vocab()
    return next(token for token, number in known.items() if number not in used)


def _example(pair: Group, margin: Any) -> dict[str, Any]:
    chosen, rejected = map(_ids, pair.sequences)
    own = getattr(pair, "margin", 0.0)
    return {"chosen_ids": chosen, "rejected_ids": rejected, "margin": float(margin) + own}


def _ids(sequence: Any) -> list[int]:
    return list(sequence.input_ids)
