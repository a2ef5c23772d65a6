"""Reinforcement: completions that the model itself has drawn become more or less likely by how
their rewards compare with those of the same prompt's others.

An item is some completions of one prompt (see `Drawn`), with what the trainer found of each before
the step: advantage, and where they are needed the log-probabilities of its tokens by the policy
that drew them and by the base.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import Field, model_validator

from finetune.records.kinds import PROMPT, Group
from finetune.trainer.objectives.contract import Metric, Objective, Settings, Sums

if TYPE_CHECKING:
    from torch import Tensor

BETA = {"grpo": 0.0, "rloo": 0.05}  # where nothing is asked, as TRL has it


class ReinforcementSettings(Settings):
    """Named as TRL names them. `beta`: what straying from the base costs. `num_iterations`: steps
    that the same completions are learned from; from the second on `epsilon` bounds how far one may
    go. `num_generations_eval`: completions of each validation row."""

    algorithm: Literal["grpo", "rloo"] = "grpo"
    num_generations: int = Field(default=8, ge=2, le=64)
    temperature: float = Field(default=1.0, ge=0.01, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_completion_tokens: int = Field(default=512, ge=1, le=32_768)
    beta: float = Field(default=0.0, ge=0, le=10)
    num_iterations: int = Field(default=1, ge=1, le=16)
    epsilon: float = Field(default=0.2, gt=0, lt=1)
    epsilon_high: float = Field(default=0.2, gt=0, le=10)
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = "dapo"
    scale_rewards: Literal["group", "batch", "none"] = "group"
    num_generations_eval: int = Field(default=1, ge=1, le=64)

    @model_validator(mode="before")
    @classmethod
    def _follow(cls, values: Any) -> Any:
        """What is not asked follows from what is."""
        if not isinstance(values, Mapping):
            return values
        algorithm = values.get("algorithm", "grpo")
        beta = BETA.get(algorithm, 0.0) if isinstance(algorithm, str) else 0.0
        found = {"beta": beta, "epsilon_high": values.get("epsilon", 0.2), **values}
        if algorithm == "rloo" and (of_grpo := {"loss_type", "scale_rewards"} & values.keys()):
            asked = {name: cls.model_fields[name].default for name in of_grpo}
            if any(values[name] != default for name, default in asked.items()):
                raise ValueError("loss_type and scale_rewards are settings of grpo")
        return found

    @property
    def asks_policy(self) -> bool:
        """Whether the policy that drew is asked about each token before the step changes it."""
        return self.num_iterations > 1 or (self.algorithm == "rloo" and self.beta > 0)


DEFAULT = ReinforcementSettings()


@dataclass(frozen=True)
class Completion:
    """`tokens` of it, the one that ends it included. `old` and `reference`: log-probabilities
    [nats] of its tokens by the policy that drew it and by the base, where they are needed."""

    tokens: int
    advantage: float
    reward: float
    deviation: float = 0.0  # of its group's rewards
    truncated: bool = False  # it reached the most tokens before it had ended
    failed: bool = False  # its grader gave no reward
    divergence: float = 0.0  # from the base, summed over its tokens, where it is a cost of rewards
    old: Sequence[float] | None = None
    reference: Sequence[float] | None = None


@dataclass(frozen=True)
class Drawn(Group):
    """Some of a prompt's completions: each sequence is the prompt and one of them."""

    completions: tuple[Completion, ...]


class Scores(Protocol):
    """A model that tells how likely each token is."""

    def token_log_probs(self, batch: Any, temperature: float, /) -> "Tensor":
        """[labels]: their log-probabilities [nats], the sequences' end to end."""
        ...


def reinforcement(
    model: Scores, batch: Any, items: Sequence[Any], *, settings: ReinforcementSettings = DEFAULT
) -> Sums:
    drawn: list[Completion] = [each for item in items for each in item.completions]
    found = model.token_log_probs(batch, settings.temperature)  # [tokens]
    old = _of_tokens(found, [each.old for each in drawn])
    old = found.detach() if old is None else old
    sums = _sequences if settings.algorithm == "rloo" else _tokens
    return sums(found, old, drawn, settings)


def _tokens(
    found: "Tensor", old: "Tensor", drawn: Sequence[Completion], settings: ReinforcementSettings
) -> Sums:
    """GRPO: each token by itself. What a step's sum is divided by is the loss type."""
    import torch

    from finetune.trainer.objectives.policy import clipped, divergence

    lengths = torch.tensor([each.tokens for each in drawn], device=found.device)
    advantages = _spread(found, [each.advantage for each in drawn], lengths)
    ratios = (found - old).exp()
    losses, beyond = clipped(ratios, advantages, settings.epsilon, settings.epsilon_high)
    metrics = _measured(drawn) | {"clip_ratio": (beyond.sum(), len(found))}
    if settings.beta > 0:
        reference = _of_tokens(found, [each.reference for each in drawn])
        assert reference is not None  # the trainer has asked the base
        # By the ratio, or its gradient is another's than that of the divergence (Tang & Munos 2025)
        strayed = divergence(found, reference) * ratios
        losses = losses + settings.beta * strayed
        metrics["kl"] = (strayed.detach().double().sum(), len(found))
    weight: float = len(found)
    if settings.loss_type == "grpo":
        losses = losses / lengths.repeat_interleave(lengths)
        weight = len(drawn)
    elif settings.loss_type == "dr_grpo":
        weight = len(drawn) * settings.max_completion_tokens
    return Sums(loss=losses.double().sum(), weight=weight, metrics=metrics)


def _sequences(
    found: "Tensor", old: "Tensor", drawn: Sequence[Completion], settings: ReinforcementSettings
) -> Sums:
    """RLOO: each completion as one action; straying was taken off its reward."""
    import torch

    from finetune.trainer.objectives.policy import clipped

    lengths = [each.tokens for each in drawn]
    ratios = torch.stack([part.sum() for part in (found - old).split(lengths)]).exp()
    advantages = found.new_tensor([each.advantage for each in drawn])
    losses, beyond = clipped(ratios, advantages, settings.epsilon, settings.epsilon_high)
    metrics = _measured(drawn) | {"clip_ratio": (beyond.sum(), len(drawn))}
    if settings.beta > 0:
        strayed = found.new_tensor([each.divergence for each in drawn]).double().sum()
        metrics["kl"] = (strayed, len(found))
    return Sums(loss=losses.double().sum(), weight=len(drawn), metrics=metrics)


def _of_tokens(like: "Tensor", each: Sequence[Sequence[float] | None]) -> "Tensor | None":
    """[tokens], of all completions end to end; None where they were not asked about."""
    known = [values for values in each if values is not None]
    if not known:
        return None
    return like.new_tensor([value for values in known for value in values])


def _spread(like: "Tensor", values: Sequence[float], lengths: "Tensor") -> "Tensor":
    """[tokens]: each completion's value at all of its tokens."""
    return like.new_tensor(values).repeat_interleave(lengths)


def _measured(drawn: Sequence[Completion]) -> "dict[str, tuple[Tensor, float]]":
    import torch

    def mean_of(values: Sequence[float]) -> "tuple[Tensor, float]":
        return torch.tensor(values, dtype=torch.float64).sum(), len(drawn)

    return {
        "reward": mean_of([each.reward for each in drawn]),
        "reward_std": mean_of([each.deviation for each in drawn]),
        "silent_groups": mean_of([float(each.deviation == 0) for each in drawn]),
        "completion_length": mean_of([float(each.tokens) for each in drawn]),
        "truncated": mean_of([float(each.truncated) for each in drawn]),
        "grader_errors": mean_of([float(each.failed) for each in drawn]),
    }


def measures(settings: ReinforcementSettings) -> tuple[Metric, ...]:
    """Of a step; `silent_groups`: the share of prompts whose completions were all worth the same,
    from which nothing is learned."""
    of_answers = tuple(
        Metric(name)
        for name in ("reward", "reward_std", "completion_length", "truncated", "grader_errors")
    )
    of_training = ("silent_groups", "clip_ratio", *(("kl",) if settings.beta > 0 else ()))
    return of_answers + tuple(Metric(name, evaluated=False) for name in of_training)


REINFORCEMENT = Objective(
    name="reinforcement",
    records=PROMPT,
    sums=reinforcement,
    metrics=measures(DEFAULT),
    measures=measures,
    needs=frozenset({"generation"}),
    settings=ReinforcementSettings,
    rate=0.1,
)
