"""Which rows of a batch use which adapter."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from finetune.families.adapters.arithmetic import LoraLayer, Rows


@dataclass(frozen=True, eq=False)
class Adapter:
    """Its layers by the base's module names; of a reward model, its head as well, [1, d]."""

    layers: dict[str, LoraLayer]
    head: Tensor | None = None

    @cached_property
    def nbytes(self) -> int:
        head = 0 if self.head is None else self.head.nbytes
        return head + sum(layer.nbytes for layer in self.layers.values())

    def copied(self) -> "Adapter":
        """As it is now, and not trained."""
        return Adapter({name: layer.copied() for name, layer in self.layers.items()}, self.head)


@dataclass(frozen=True, eq=False)
class Assignment:
    """Adapters, each with its rows; rows that no adapter has use the base as it is.

    A row is an entry of what the model is given: a request of a padded batch [rows, width] in
    serving, a token of a packed batch [1, rows] in training. `rows` counts them; None where every
    adapter has all.
    """

    shares: tuple[tuple[Adapter, Rows], ...] = ()
    rows: int | None = None

    @classmethod
    def whole(cls, adapter: Adapter) -> "Assignment":
        return cls(((adapter, None),))

    @classmethod
    def by_row(
        cls, adapters: Sequence[Adapter | None], device: torch.device | str = "cpu"
    ) -> "Assignment":
        """The adapter of each row in turn."""
        found: dict[int, tuple[Adapter, list[int]]] = {}
        for row, adapter in enumerate(adapters):
            if adapter is not None:
                found.setdefault(id(adapter), (adapter, []))[1].append(row)
        if len(found) == 1 and None not in adapters:
            return cls.whole(*(adapter for adapter, _ in found.values()))
        shares = tuple((adapter, _rows(at, device)) for adapter, at in found.values())
        return cls(shares, len(adapters))

    @classmethod
    def by_segment(cls, segments: Iterable[tuple[Adapter | None, int]]) -> "Assignment":
        """(adapter, how many rows), one after the other."""
        shares, end = [], 0
        for adapter, count in segments:
            start, end = end, end + count
            if adapter is not None:
                shares.append((adapter, slice(start, end)))
        return cls(tuple(shares), end)

    def parts(self, module: str) -> list[tuple[LoraLayer, Rows]]:
        """What is to be done in one of the base's modules."""
        return [
            (layer, rows)
            for adapter, rows in self.shares
            if (layer := adapter.layers.get(module)) is not None
        ]


def _rows(at: list[int], device: torch.device | str) -> Rows:
    """Neighbours are a slice, which spares gathering them."""
    if at[-1] - at[0] + 1 == len(at):
        return slice(at[0], at[-1] + 1)
    return torch.tensor(at, device=device)
