"""TRL's GRPOTrainer and RLOOTrainer on exactly our prompts, completions, rewards, order, adapter
and schedule: what they would draw and reward themselves is put in its place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from finetune.families.adapters.fresh import _lora_config
from finetune.families.causal_lm.loading import DTYPES
from finetune.trainer.data import Plan
from finetune.trainer.spec import RunSpec

Given = Callable[[int], tuple[list[list[int]], list[float]]]
"""(number of the drawing, from 0) -> completions and rewards of its prompts, end to end."""


@dataclass
class Told:
    losses: list[float]
    norms: list[float]
    metrics: dict[str, list[float]]
    adapter: dict[str, torch.Tensor]


class _Recording:
    """Beside either trainer: completions as given, and each step's loss as computed."""

    given: Given
    losses: list[float]
    drawings: int
    prompts: list[list[int]]

    def _generate_single_turn(self, prompt_ids: Any, *_: Any, **__: Any) -> Any:
        self.prompts += prompt_ids
        completions, _rewards = self.given(self.drawings)
        self.drawings += 1
        return (completions, None) if isinstance(self, GRPOTrainer) else completions

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Any:
        """In the precision of ours: float32 is what separates them otherwise."""
        return super()._calculate_rewards(*args, **kwargs).double()  # type: ignore[misc]

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(*args, **kwargs)  # type: ignore[misc]
        self.losses.append(float(loss.detach()))
        return loss


class RecordingGrpo(_Recording, GRPOTrainer):
    pass


class RecordingRloo(_Recording, RLOOTrainer):
    pass


def reinforce_with_trl(
    base: Path,
    spec: RunSpec,
    rows: Sequence[dict[str, Any]],
    plan: Plan,
    adapter: dict[str, torch.Tensor],
    given: Given,
    *,
    out: Path,
) -> tuple[Told, list[list[int]]]:
    """What it told, and the prompts as it encoded them."""
    settings = dict(spec.settings)
    steps = range(0, plan.total_steps, plan.repeats)
    order = [number for step in steps for number in plan.rows_of(step)]
    rloo = settings.pop("algorithm", "grpo") == "rloo"
    named = {"max_completion_tokens": "max_completion_length"}
    whole = ("num_generations", "max_completion_tokens", "num_iterations")
    told = {named.get(n, n): int(v) if n in whole else v for n, v in settings.items()}
    config = (RLOOConfig if rloo else GRPOConfig)(
        output_dir=str(out),
        per_device_train_batch_size=spec.batch_size * int(settings["num_generations"]),
        max_steps=plan.total_steps,
        learning_rate=spec.optim.learning_rate,
        lr_scheduler_type=spec.optim.schedule,
        warmup_steps=spec.optim.warmup_ratio,
        adam_beta2=spec.optim.beta2,
        adam_epsilon=spec.optim.eps,
        weight_decay=spec.optim.weight_decay,
        max_grad_norm=spec.optim.max_grad_norm,
        seed=spec.seed,
        shuffle_dataset=False,
        gradient_checkpointing=False,
        use_cpu=True,
        bf16=False,
        fp16=False,
        logging_steps=1,
        logging_strategy="steps",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        **told,  # named as there
    )
    model = AutoModelForCausalLM.from_pretrained(base, dtype=DTYPES[spec.precision])
    trainer: Any = None

    def reward(completions: list[Any], **_: Any) -> list[float]:
        rewards: list[float] = given(trainer.drawings - 1)[1]
        assert len(rewards) == len(completions)
        return rewards

    trainer = (RecordingRloo if rloo else RecordingGrpo)(
        model=model,
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_list([{"prompt": rows[n]["messages"]} for n in order]),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=_lora_config(model, spec.adapter),
    )
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(next(iter(adapter.values())).dtype)
    set_peft_model_state_dict(trainer.model, adapter)
    trainer.given, trainer.losses, trainer.drawings, trainer.prompts = given, [], 0, []
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
    metrics = {"kl": [entry["kl"] for entry in logged]} if "kl" in logged[0] else {}
    state = get_peft_model_state_dict(trainer.model)
    norms = [entry["grad_norm"] for entry in logged]
    return Told(trainer.losses, norms, metrics, state), trainer.prompts
