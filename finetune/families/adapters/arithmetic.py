"""What an adapter makes of a linear layer, forward and backward.

Plain LoRA, of any number of adapters, is one autograd node with the base's layer: y = x W^T + b,
and on each adapter's own rows y += s (x A^T) B^T in y's memory. DoRA and dropout come on top, in
peft's order of operations and with torch's own gradients. Without autograd (serving, evaluation)
the same sums run and nothing is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Rows = slice | Tensor | None
"""Of a batch's first axis: a run of them, their numbers, or all."""


@dataclass(frozen=True, eq=False)
class LoraLayer:
    """An adapter's tensors for one linear layer.

    `scale` is alpha / r, or alpha / sqrt(r) for rsLoRA. DoRA has a `magnitude` while it is trained
    and, once settled, a `gain`: that magnitude by the adapted weight's norm. `still`: of an adapter
    that begins in the base, the factors that take its beginning off again (see beginnings.py).
    """

    down: Tensor  # A [r, in]
    up: Tensor  # B [out, r]
    scale: float = 1.0
    dropout: float = 0.0
    magnitude: Tensor | None = None  # [out]
    gain: Tensor | None = None  # [out]
    still: tuple[Tensor, Tensor] | None = None  # [r, in], [out, r]

    @property
    def factors(self) -> tuple[Tensor, Tensor]:
        """A and B as they are applied: of twice the rank where something stands still."""
        if self.still is None:
            return self.down, self.up
        return torch.cat((self.down, self.still[0])), torch.cat((self.up, self.still[1]), dim=1)

    @property
    def plain(self) -> bool:
        return self.magnitude is None and self.gain is None and self.dropout == 0

    @property
    def nbytes(self) -> int:
        tensors = (self.down, self.up, self.magnitude, self.gain)
        return sum(t.numel() * t.element_size() for t in tensors if t is not None)

    def copied(self) -> "LoraLayer":
        """With tensors of its own, which no training changes."""

        def copy(tensor: Tensor | None) -> Any:
            return None if tensor is None else tensor.detach().clone()

        down, up = copy(self.down), copy(self.up)
        still = None if self.still is None else (copy(self.still[0]), copy(self.still[1]))
        kept = {"magnitude": copy(self.magnitude), "gain": copy(self.gain), "still": still}
        return replace(self, down=down, up=up, **kept)

    def settled(self, weight: Tensor) -> "LoraLayer":
        """As it is served: in the base weight's type and place, whatever is constant in it taken
        in float32 and once."""
        scaled, gain = self.up.float() * self.scale, self.magnitude
        if gain is not None:
            merged = weight.float() + (scaled @ self.down.float()).to(weight.device)
            gain = gain.to(weight.device).float() / merged.norm(dim=1)
        fit = partial(Tensor.to, device=weight.device, dtype=weight.dtype)
        return LoraLayer(fit(self.down), fit(scaled), gain=None if gain is None else fit(gain))

    def merged(self, weight: Tensor) -> Tensor:
        """[out, in]: W + s B A, of DoRA by each output's magnitude; in `weight`'s type."""
        down, up = (factor.to(weight.dtype) for factor in self.factors)
        merged = weight + self.scale * (up @ down)
        if self.magnitude is None:
            return merged
        norm = torch.linalg.norm(merged, dim=1)
        return merged * (self.magnitude.to(weight.dtype) / norm).unsqueeze(1)

    def apply(self, x: Tensor, y: Tensor, linear: nn.Linear) -> Tensor:
        """x [..., in] and the base's y [..., out] -> the adapted output, for what is not plain."""
        if self.gain is not None:
            return self._gained(x, y, linear.bias)
        wide = x.to(self.down.dtype)
        drops = self.dropout > 0 and linear.training
        if drops:
            wide = F.dropout(wide, self.dropout)
        if self.magnitude is None:
            return (y + self._change(wide) * self.scale).to(y.dtype)
        gain = (self.magnitude / self._norm(linear.weight)).view(1, -1)
        if drops:  # what peft does: the base's part, too, sees what was left
            plain = F.linear(wide, linear.weight.to(wide.dtype))
        else:
            plain = y if linear.bias is None else y - linear.bias
        return (y + ((gain - 1) * plain + gain * self._change(wide) * self.scale)).to(y.dtype)

    def _change(self, x: Tensor) -> Tensor:
        down, up = self.factors
        return F.linear(F.linear(x, down), up)

    @torch.no_grad()
    def _norm(self, weight: Tensor) -> Tensor:
        """||W + s B A|| of each output; a constant in training (section 4.3 of Liu et al. 2024)."""
        down, up = self.factors
        product = F.linear(down.t().contiguous(), up).t()  # [out, in]
        return torch.linalg.norm(weight.to(product.dtype) + self.scale * product, dim=1)

    def _gained(self, x: Tensor, y: Tensor, bias: Tensor | None) -> Tensor:
        assert self.gain is not None
        plain = y if bias is None else y - bias
        adapted = self.gain * (plain + self._change(x))  # section 4.1 of Liu et al. 2024
        return adapted if bias is None else adapted + bias


def adapt(linear: nn.Linear, x: Tensor, parts: Sequence[tuple[LoraLayer, Rows]]) -> Tensor:
    """x [rows, ..., in] -> [rows, ..., out]; no row may stand in two parts."""
    y = _plain(linear, x, [part for part in parts if part[0].plain])
    for layer, rows in parts:
        if not layer.plain:
            y = _put(y, rows, layer.apply(_take(x, rows), _take(y, rows), linear))
    return y


def _plain(linear: nn.Linear, x: Tensor, parts: Sequence[tuple[LoraLayer, Rows]]) -> Tensor:
    if not parts:
        return F.linear(x, linear.weight, linear.bias)
    places = [(rows, layer.scale) for layer, rows in parts]
    factors = [factor for layer, _ in parts for factor in layer.factors]
    if not torch.is_grad_enabled():
        return _forward(x, linear.weight, linear.bias, places, factors)[0]
    y: Tensor = _Plain.apply(x, linear.weight, linear.bias, places, *factors)
    return y


_Places = Sequence[tuple[Rows, float]]  # rows and scale of each adapter


class _Plain(torch.autograd.Function):
    """x [rows, ..., in], weight [out, in] frozen, then A [r, in] and B [out, r] of each place;
    A and B may be of a wider type than x."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, places: _Places, *factors: Tensor
    ) -> Tensor:
        y, inners = _forward(x, weight, bias, places, factors)
        ctx.save_for_backward(x, weight, *inners, *factors)
        ctx.places = places
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *kept = ctx.saved_tensors
        count = len(ctx.places)
        inners, downs, ups = kept[:count], kept[count::2], kept[count + 1 :: 2]
        g_x = None
        if ctx.needs_input_grad[0]:
            g_x = (_flat(g) @ weight).view(x.shape)
        grads = []
        for (rows, scale), inner, down, up in zip(ctx.places, inners, downs, ups, strict=True):
            g_part = _flat(_take(g, rows))
            g_inner = g_part @ _scaled(up, scale, x.dtype)  # [n, r]
            grads.append((g_inner.t() @ _flat(_take(x, rows))).to(down.dtype))
            grads.append((g_part.t() @ inner).to(up.dtype).mul_(scale))
            if g_x is not None:
                _add_product(g_x, rows, g_inner, down.to(x.dtype))
        return g_x, None, None, None, *grads


def _forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, places: _Places, factors: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """(y, x A^T of each place)."""
    y = F.linear(_flat(x), weight, bias)
    # no view, as autograd counts it: OLMo clamps what it gets in place, and of a view it may not
    y = torch.ops.aten._unsafe_view(y, [*x.shape[:-1], weight.shape[0]])
    inners = []
    for (rows, scale), down, up in zip(places, factors[::2], factors[1::2], strict=True):
        inner = _flat(_take(x, rows)) @ down.to(x.dtype).t()  # [n, r]
        _add_product(y, rows, inner, _scaled(up, scale, x.dtype).t())
        inners.append(inner)
    return y, inners


def _scaled(up: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    return up.to(dtype) if scale == 1.0 else (up * scale).to(dtype)


def _flat(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


def _take(x: Tensor, rows: Rows) -> Tensor:
    return x if rows is None else x[rows]


def _add_product(y: Tensor, rows: Rows, left: Tensor, right: Tensor) -> None:
    """y[rows] += left @ right, in place; rounded once."""
    part = _take(y, rows)  # a view, unless rows are numbers
    part.view(-1, part.shape[-1]).addmm_(left, right)
    if isinstance(rows, Tensor):
        y[rows] = part


def _put(y: Tensor, rows: Rows, part: Tensor) -> Tensor:
    """y with these rows replaced, as autograd can follow it; in place without autograd."""
    if rows is None:
        return part
    if not torch.is_grad_enabled():
        y[rows] = part
        return y
    if isinstance(rows, slice):
        return torch.slice_scatter(y, part, 0, rows.start, rows.stop)
    return y.index_copy(0, rows, part)
