"""AdamW, the learning-rate schedule, and the gradient's norm."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from finetune.trainer.spec import OptimSpec

VERY_SHORT = 10  # steps; a run of fewer has none to spare for a rate of zero


RATIO = "rate_ratio"
"""Of each of the optimizer's groups: its rate is so many times the schedule's."""


def adamw(
    parameters: Sequence[nn.Parameter], names: Sequence[str], spec: OptimSpec
) -> torch.optim.AdamW:
    """Decoupled weight decay (Loshchilov & Hutter 2019), one fused kernel for all tensors.

    With a ratio, B and what has one axis (DoRA's magnitudes) go faster, as peft's LoRA+ has it.
    """
    found: dict[float, list[tuple[str, nn.Parameter]]] = {1.0: []}
    for name, parameter in zip(names, parameters, strict=True):
        faster = "lora_B" in name or parameter.ndim == 1
        ratio = spec.loraplus_lr_ratio if faster else 1.0
        found.setdefault(ratio, []).append((name, parameter))
    return torch.optim.AdamW(
        [
            {"params": group, "lr": spec.learning_rate * ratio, RATIO: ratio}
            for ratio, group in found.items()
        ],
        betas=(spec.beta1, spec.beta2),
        eps=spec.eps,
        weight_decay=spec.weight_decay,
        fused=True,
    )


def learning_rate(step: int, total: int, spec: OptimSpec) -> float:
    """For step 0 ... total-1; the formulas of transformers' schedules, which start at zero, over a
    warm-up of `warmup_steps`."""
    warmup = warmup_steps(total, spec)
    if step < warmup:
        return spec.learning_rate * step / warmup
    if spec.schedule == "constant":
        return spec.learning_rate
    done = (step - warmup) / (total - warmup)
    if spec.schedule == "linear":
        return spec.learning_rate * (1 - done)
    return spec.learning_rate * max(0.0, 0.5 * (1 + math.cos(math.pi * done)))


def warmup_steps(total: int, spec: OptimSpec) -> int:
    """Rounded up, as transformers does, but for two edges where its run would learn little or
    nothing: less than one whole step of a very short run is none, and one step is always left."""
    asked = total * spec.warmup_ratio
    if total < VERY_SHORT and asked < 1:
        return 0
    return min(math.ceil(asked), total - 1)


def add_gradients(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> None:
    """Onto `.grad`, as backward() would; None where the loss does not depend on a parameter."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            before = parameter.grad
            # Not in place: autograd may give one tensor as the gradient of two parameters
            parameter.grad = gradient.contiguous() if before is None else before + gradient


def mean_gradients(parameters: Sequence[nn.Parameter], weight: float) -> None:
    """Gradients of the step's sum become those of its mean: one division, whatever the cut."""
    torch._foreach_div_(gradients(parameters), weight)


def gradients(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]


def clip(parameters: Sequence[nn.Parameter], max_norm: float) -> float:
    """Scale the gradients down to `max_norm`; returns the norm before, which may be infinite."""
    return float(nn.utils.clip_grad_norm_(parameters, max_norm))


def state_tensors(optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    """AdamW's moments and step counts as flat named tensors."""
    packed = optimizer.state_dict()
    names = _numbered(packed)
    return {
        f"{names[index]}.{key}": value.cpu().contiguous()
        for index, state in packed["state"].items()
        for key, value in state.items()
    }


def load_state_tensors(optimizer: torch.optim.AdamW, tensors: dict[str, Tensor]) -> None:
    keys = ("step", "exp_avg", "exp_avg_sq")
    packed = optimizer.state_dict()
    packed["state"] = {
        index: {key: tensors[f"{name}.{key}"] for key in keys}
        for index, name in enumerate(_numbered(packed))
        if f"{name}.step" in tensors
    }
    optimizer.load_state_dict(packed)


def _numbered(packed: dict[str, Any]) -> list[str]:
    """The parameters' names as AdamW numbers them, group by group."""
    return [name for group in packed["param_groups"] for name in group["param_names"]]
