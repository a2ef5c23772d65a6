"""Cross-entropy at the trained positions, in chunks: full-vocabulary logits never stand at once.

The output head is frozen, so the only gradient is that of the hidden states, and for a sum it is
known as soon as the logits are: it is taken in the forward pass and the logits are dropped. That
saves the second head matmul that a recompute in the backward pass would need (the idea of Liger
Kernel's fused linear cross entropy, Hsu et al. 2024).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CHUNK_BYTES = 32 << 20  # of logits that stand in memory at a time


@dataclass(frozen=True)
class HeadMath:
    """logits = softcap * tanh(h W^T * scale / softcap) / temperature; `softcap` as in Gemma 2. A
    temperature is not the base's, but of whoever draws tokens."""

    scale: float = 1.0
    softcap: float | None = None
    temperature: float = 1.0

    def logits(self, raw: Tensor) -> Tensor:
        """From h W^T, for comparison; training takes the chunked way below."""
        scaled = raw * self.scale
        if self.softcap is not None:
            scaled = self.softcap * (scaled / self.softcap).tanh()
        return scaled if self.temperature == 1.0 else scaled / self.temperature


class _SumCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, math: HeadMath
    ) -> tuple[Tensor, Tensor]:
        grad = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        right = torch.zeros((), dtype=torch.long, device=hidden.device)
        for _, losses, hits in _chunks(hidden, weight, targets, math, grad):
            total += losses.sum(dtype=torch.float64)
            right += hits
        if grad is not None:
            ctx.save_for_backward(grad)
        ctx.mark_non_differentiable(right)
        return total, right

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor, _: Any) -> tuple[Tensor, None, None, None]:
        (grad,) = ctx.saved_tensors
        return grad * grad_total.to(grad.dtype), None, None, None


def _chunks(
    hidden: Tensor, weight: Tensor, targets: Tensor, math: HeadMath, grad: Tensor | None
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """(which rows, their losses, right guesses ()); d loss / d hidden [n, d] is left in `grad`."""
    wide = torch.promote_types(hidden.dtype, torch.float32)
    rows = max(1, CHUNK_BYTES // (weight.shape[0] * wide.itemsize))
    for start in range(0, hidden.shape[0], rows):
        part = slice(start, start + rows)
        logits = (hidden[part] @ weight.t()).to(wide)
        losses, hits, slope = _chunk(logits, targets[part], math, grad is not None)
        yield part, losses, hits
        if grad is not None:
            torch.mm(slope.to(hidden.dtype), weight, out=grad[part])


def _chunk(
    logits: Tensor, targets: Tensor, math: HeadMath, need_slope: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses [n], right guesses (), and d loss / d (h W^T) [n, vocab] in the logits' place."""
    if math.scale != 1.0:
        logits.mul_(math.scale)
    bend = None
    if math.softcap is not None:
        bend = torch.tanh_(logits.div_(math.softcap)).clone()
        logits.mul_(math.softcap)
    if math.temperature != 1.0:
        logits.div_(math.temperature)
    picked = logits.gather(1, targets[:, None])[:, 0]
    top, guess = logits.max(1)
    hits = (guess == targets).sum()
    logits.sub_(top[:, None]).exp_()
    mass = logits.sum(1)
    losses = mass.log() + top - picked
    if need_slope:
        logits.div_(mass[:, None])
        logits[torch.arange(len(targets), device=logits.device), targets] -= 1
        if bend is not None:
            logits.mul_(1 - bend.square())
        if math.scale != 1.0:
            logits.mul_(math.scale)
        if math.temperature != 1.0:
            logits.div_(math.temperature)
    return losses, hits, logits


class _TokenLosses(torch.autograd.Function):
    """As above, of each label apart: their gradients are weighed by whoever asked."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, math: HeadMath
    ) -> Tensor:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        grad = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        found = torch.empty(hidden.shape[0], dtype=wide, device=hidden.device)
        for part, losses, _ in _chunks(hidden, weight, targets, math, grad):
            found[part] = losses
        if grad is not None:
            ctx.save_for_backward(grad)
        return found

    @staticmethod
    def backward(ctx: Any, grad_found: Tensor) -> tuple[Tensor, None, None, None]:
        (grad,) = ctx.saved_tensors
        return grad * grad_found[:, None].to(grad.dtype), None, None, None


def token_losses(hidden: Tensor, weight: Tensor, targets: Tensor, math: HeadMath) -> Tensor:
    """hidden [n, d], weight [vocab, d] frozen, targets [n] -> the loss of each [n], float32 or
    wider."""
    found: Tensor = _TokenLosses.apply(hidden, weight, targets, math)
    return found


def sum_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, math: HeadMath
) -> tuple[Tensor, Tensor]:
    """hidden [n, d], weight [vocab, d] frozen, targets [n] -> (sum of losses, right guesses).

    The sum is float64 whatever the model's type, so that it does not depend on the chunks.
    """
    total, right = _SumCrossEntropy.apply(hidden, weight, targets, math)
    return total, right
