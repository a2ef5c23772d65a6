"""What an objective gives to the loop: the sums of a micro-batch, never means."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Sums:
    """Of one micro-batch. `loss` [nats, summed] carries the graph; `weight` is in tokens."""

    loss: Tensor
    weight: int
    right: Tensor  # tokens guessed right


@dataclass(frozen=True)
class Objective:
    """`name` is RunSpec's `method`; `sums` takes a model and a batch that it laid out."""

    name: str
    sums: Callable[[Any, Any], Sums]
