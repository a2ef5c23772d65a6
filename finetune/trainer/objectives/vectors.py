"""What objectives of vectors share: the loss of a step by all its vectors at once, its gradient by
each of them, and the sums of a micro-batch that carry this gradient to the weights."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import Field, field_validator

from faults import UserFault
from finetune.records.kinds import Item
from finetune.trainer.objectives.contract import Embed, Placed, Settings, Sums

if TYPE_CHECKING:
    from torch import Tensor


class Embeds(Protocol):
    def embed(self, batch: Any, /) -> "Tensor": ...  # [sequences, dimensions]


class VectorSettings(Settings):
    """`scale`: similarities times this; the inverse of a temperature. `dimensions`: of Matryoshka
    vectors (Kusupati et al. 2022), as "384, 128": the loss is the sum over vectors cut to each, so
    that a cut vector is of use, too; "" takes the whole alone."""

    scale: float = Field(default=20.0, gt=0, le=1000)
    dimensions: str = ""

    @field_validator("dimensions")
    @classmethod
    def _numbers(cls, written: str) -> str:
        parts = [part.strip() for part in written.split(",")] if written.strip() else []
        numbers = [int(part) for part in parts]  # ValueError is pydantic's to tell
        if any(not 0 < number <= 1 << 16 for number in numbers) or len(numbers) > 16:
            raise ValueError("it is at most 16 numbers from 1, with commas between them")
        return ", ".join(map(str, sorted(set(numbers), reverse=True)))

    @property
    def cuts(self) -> list[int]:
        return [int(part) for part in self.dimensions.split(",")] if self.dimensions else []


Losses = Callable[["Tensor"], "tuple[Tensor, dict[str, Tensor]]"]
"""Vectors of length 1 [sequences, d] -> each item's share of the loss [items], and its metrics."""


def placed(
    items: Sequence[Item], embed: Embed, losses: Losses, settings: VectorSettings
) -> list[Placed]:
    """Each item's share, and the gradient by its own vectors of the sum of all shares. Metrics are
    of whole vectors."""
    import torch

    vectors = embed(items).detach().requires_grad_()
    require_cuts(settings, vectors.shape[1])
    cuts = settings.cuts or [vectors.shape[1]]
    with torch.enable_grad():
        _, metrics = losses(_unit(vectors))
        shares = torch.stack([losses(_unit(vectors[:, :width]))[0] for width in cuts]).sum(0)
        (gradient,) = torch.autograd.grad(shares.sum(), vectors)
    told = {name: values.tolist() for name, values in metrics.items()}
    parts = gradient.split([len(item.sequences) for item in items])
    return [
        Placed(share, part, {name: values[number] for name, values in told.items()})
        for number, (share, part) in enumerate(zip(shares.tolist(), parts, strict=True))
    ]


def require_cuts(settings: VectorSettings, width: int) -> None:
    """Raises UserFault `bad_dimensions` for more than the `width` of the base's vectors."""
    if settings.cuts and settings.cuts[0] > width:
        raise UserFault(
            "bad_dimensions",
            f"The base's vectors have {width} dimensions; {settings.cuts[0]} are asked for.",
            param="hyperparameters.dimensions",
            fix="Name no more dimensions than the base has.",
        )


def _unit(vectors: "Tensor") -> "Tensor":
    from torch.nn.functional import normalize

    return normalize(vectors, dim=-1)


def sums(model: Embeds, batch: Any, items: Sequence[Any]) -> Sums:
    """The value is the items' shares; the gradient is that of their vectors, by the chain rule."""
    import torch

    known: list[Placed] = [item.known for item in items]
    first = known[0].gradient
    loss = first.new_tensor([each.loss for each in known], dtype=torch.float64).sum()
    if torch.is_grad_enabled():
        vectors = model.embed(batch)
        carried = (vectors * torch.cat([each.gradient for each in known])).sum()
        loss = loss + (carried - carried.detach())
    measured = {
        name: (first.new_tensor(sum(each.metrics[name] for each in known)), len(known))
        for name in known[0].metrics
    }
    return Sums(loss=loss, weight=len(items), metrics=measured)


def each(_model: Any, _batch: Any, items: Sequence[Any]) -> list[tuple[float, float]]:
    return [(item.known.loss, 1.0) for item in items]
