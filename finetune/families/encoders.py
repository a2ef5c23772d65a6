"""What bases have in common that read whole texts at once and write nothing: those that embed and
those that rank."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from finetune.families.adapters.assignment import Adapter, Assignment
from finetune.families.adapters.files import read_adapter
from finetune.families.adapters.switch import AdapterSwitch
from finetune.families.contract import Shape
from finetune.records.recipe import positions_of

# of the largest figure; padding that is seen is orders of magnitude above
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 0.1}
REHEARSAL_LAYERS = 2
REHEARSAL_SEQUENCES = 16
REHEARSAL_TOKENS = 32  # of each
REHEARSAL_STEPS = 3


class Encoder:
    """transformers' model, under the adapters that its switch is told of."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.switch = AdapterSwitch(model)
        self.padding = int(model.config.pad_token_id or 0)

    @property
    def device(self) -> torch.device:
        found: torch.device = next(self.model.parameters()).device
        return found

    @property
    def dtype(self) -> torch.dtype:
        found: torch.dtype = next(self.model.parameters()).dtype
        return found

    @property
    def vocabulary_size(self) -> int:
        return int(self.model.config.vocab_size)

    @cached_property
    def nbytes(self) -> int:
        return sum(p.numel() * p.element_size() for p in self.model.parameters())

    def read_adapter(self, safetensors: bytes, config: dict[str, Any]) -> Adapter:
        return read_adapter(self.model, safetensors, config)

    @contextmanager
    def plain(self) -> Iterator[None]:
        with self.switch.using(Assignment()):
            yield


def shape_of(config: Any) -> Shape:
    return Shape(int(config.vocab_size), positions_of(config.to_dict()))


def rehearsed(figures: Callable[[], Tensor]) -> Iterator[Callable[[], None]]:
    """Steps to be timed, of what a model that trains makes of a batch."""

    def step() -> None:
        figures().square().sum().backward()

    for _ in range(REHEARSAL_STEPS):
        yield step
