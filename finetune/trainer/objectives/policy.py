"""Policy gradients over completions that were drawn and rewarded: advantages, and the losses of
GRPO (Shao et al. 2024) and RLOO (Ahmadian et al. 2024). Functions of tensors and of nothing else.
"""

from typing import Literal

import torch
from torch import Tensor

SMALL = 1e-4  # beside a standard deviation: a group of like rewards is not blown up

Scale = Literal["group", "batch", "none"]


def deviation(rewards: Tensor) -> Tensor:
    """Of the last axis, Bessel's correction included; 0 for one alone."""
    return rewards.std(-1) if rewards.shape[-1] > 1 else torch.zeros_like(rewards[..., 0])


def group_advantages(rewards: Tensor, scale: Scale) -> Tensor:
    """GRPO's: rewards [prompts, completions] against their group's mean, by their group's standard
    deviation or that of all; without it as in Liu et al. 2025 (Dr. GRPO)."""
    advantages = rewards - rewards.mean(1, keepdim=True)
    if scale == "none":
        return advantages
    by = deviation(rewards)[:, None] if scale == "group" else deviation(rewards.flatten())
    return advantages / (by + SMALL)


def left_out_advantages(rewards: Tensor) -> Tensor:
    """RLOO's: rewards [prompts, completions], each against the mean of the others of its group."""
    others = rewards.sum(1, keepdim=True) - rewards
    return rewards - others / (rewards.shape[1] - 1)


def clipped(ratios: Tensor, advantages: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """(losses, whether the clip holds each back) of ratios to the policy that drew (Schulman et al.
    2017): nothing is gained beyond 1 - low and 1 + high."""
    losses = -torch.min(ratios * advantages, ratios.clamp(1 - low, 1 + high) * advantages)
    beyond = ((ratios < 1 - low) & (advantages < 0)) | ((ratios > 1 + high) & (advantages > 0))
    return losses, beyond


def divergence(found: Tensor, reference: Tensor) -> Tensor:
    """Of each token [nats], never negative (Schulman 2020, the estimator k3)."""
    ratios = reference - found
    return ratios.exp() - ratios - 1
