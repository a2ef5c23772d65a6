"""Plain LoRA's arithmetic in one autograd node per linear layer, in place of peft's several.

peft builds, names, saves and initialises the adapter; only `forward` of the linear layers is
replaced, and only where nothing but LoRA happens (no dropout, no DoRA, one adapter). The sums are
the same: y = x W^T + b + s (x A^T) B^T.
"""

from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

ADAPTER = "default"


class _LoraLinear(torch.autograd.Function):
    """x [n, in], weight [out, in] frozen, a [r, in], b [out, r]; a and b may be wider than x."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        a_x, b_x = a.to(x.dtype), (b * scale).to(x.dtype)
        inner = x @ a_x.t()  # [n, r]
        y = torch.nn.functional.linear(x, weight, bias)
        y.addmm_(inner, b_x.t())
        ctx.save_for_backward(x, weight, inner, a, b)
        ctx.scale = scale
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        x, weight, inner, a, b = ctx.saved_tensors
        a_x, b_x = a.to(x.dtype), (b * ctx.scale).to(x.dtype)
        g_inner = g @ b_x  # [n, r]
        g_a = (g_inner.t() @ x).to(a.dtype)
        g_b = (g.t() @ inner).to(b.dtype).mul_(ctx.scale)
        g_x = None
        if ctx.needs_input_grad[0]:
            g_x = g @ weight
            g_x.addmm_(g_inner, a_x)
        return g_x, None, None, g_a, g_b, None


def _fast_forward(layer: LoraLinear) -> Any:
    base = layer.get_base_layer()
    a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    scale = float(layer.scaling[ADAPTER])

    def forward(x: Tensor, *_: Any, **__: Any) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        y = _LoraLinear.apply(flat, base.weight, base.bias, a, b, scale)
        return y.view(*x.shape[:-1], y.shape[-1])

    return forward


def quicken(model: nn.Module) -> int:
    """Replace `forward` of every plain LoRA linear layer; returns how many there were."""
    layers = [m for m in model.modules() if isinstance(m, LoraLinear) and _is_plain(m)]
    for layer in layers:
        setattr(layer, "forward", _fast_forward(layer))  # noqa: B010 (mypy forbids the plain way)
    return len(layers)


def _is_plain(layer: LoraLinear) -> bool:
    return (
        list(layer.lora_A) == [ADAPTER]
        and isinstance(layer.get_base_layer(), nn.Linear)
        and isinstance(layer.lora_dropout[ADAPTER], nn.Identity)
        and ADAPTER not in layer.lora_variant
    )
