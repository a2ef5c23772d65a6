"""A model computed in float32 though its weights are stored narrower: one module's at a time.

Two ways through a model in bfloat16 differ by more than a small adapter does. Widened, they differ
by float32's rounding, and no second copy of the weights stands in memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

NARROW = (torch.bfloat16, torch.float16)


@contextmanager
def widened(model: nn.Module) -> Iterator[None]:
    """For the forward calls inside. A module's own parameters are float32 while it runs."""
    kept: dict[nn.Module, dict[str, nn.Parameter]] = {}

    def widen(module: nn.Module, _inputs: Any) -> None:
        kept[module] = _narrow(module)
        for name, parameter in kept[module].items():
            module._parameters[name] = nn.Parameter(parameter.float(), requires_grad=False)

    def narrow(module: nn.Module, _inputs: Any, _output: Any) -> None:
        module._parameters.update(kept.pop(module, {}))

    hooks = []
    for module in model.modules():
        if _narrow(module):
            hooks.append(module.register_forward_pre_hook(widen))
            hooks.append(module.register_forward_hook(narrow, always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _narrow(module: nn.Module) -> dict[str, nn.Parameter]:
    own = module._parameters.items()
    return {name: p for name, p in own if p is not None and p.dtype in NARROW}
