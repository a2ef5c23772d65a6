"""The last state that was seen to be good, to go back to: the adapter, and what AdamW knows of it.

It is taken while a step's loss and gradient are known, before they change anything: the weights
that gave ordinary figures are what is kept. Checkpoints carry it, so that a run that goes on from
one goes back to the same state.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from finetune.families.contract import Adapted
from finetune.trainer import optim

EVERY = 16  # steps; what is lost by going back is fewer than these, but for steps that blew up
_ADAPTER, _OPTIMIZER = "adapter.", "optimizer."


@dataclass(frozen=True)
class Good:
    step: int  # that had been done
    adapter: dict[str, Tensor]
    optimizer: dict[str, Tensor]


def taken(model: Adapted, optimizer: torch.optim.AdamW, step: int) -> Good:
    state = optim.state_tensors(optimizer)
    return Good(step, _copied(model.adapter_state()), _copied(state))


def go_back(good: Good, model: Adapted, optimizer: torch.optim.AdamW) -> None:
    model.load_adapter_state(good.adapter)
    # Copied: the optimizer would take these very tensors, and change them in place
    optim.load_state_tensors(optimizer, _copied(good.optimizer))


def written(good: Good | None) -> dict[str, Tensor]:
    """As a checkpoint has it."""
    if good is None:
        return {}
    adapter = {_ADAPTER + name: tensor for name, tensor in good.adapter.items()}
    return adapter | {_OPTIMIZER + name: tensor for name, tensor in good.optimizer.items()}


def read(tensors: dict[str, Tensor], step: int | None) -> Good | None:
    if step is None:
        return None
    return Good(step, _under(_ADAPTER, tensors), _under(_OPTIMIZER, tensors))


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}
