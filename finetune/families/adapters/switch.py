"""The one place where adapters reach a base: its linear layers, put through `adapt`."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from finetune.families.adapters.arithmetic import adapt
from finetune.families.adapters.assignment import Assignment


class _Now(threading.local):
    """A thread's assignment; threads may run the base side by side."""

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment


class AdapterSwitch:
    """Says for every forward call of a base which rows use which adapter. The base's weights and
    modules stay as they are; of a layer that some adapter adapts, `forward` is replaced."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._hooked: set[str] = set()
        self._now = _Now(Assignment())

    def always(self, assignment: Assignment) -> None:
        """What holds, in every thread, where `using` says nothing else."""
        self._hook(assignment)
        self._now = _Now(assignment)

    @contextmanager
    def using(self, assignment: Assignment) -> Iterator[None]:
        """For the forward calls of this thread inside."""
        self._hook(assignment)
        now = self._now
        before, now.assignment = now.assignment, assignment
        try:
            yield
        finally:
            now.assignment = before

    def recompute(self) -> None:
        """Gradient checkpointing: a step keeps less, and computes it again."""
        enable: Any = self._model.gradient_checkpointing_enable  # transformers'
        enable({"use_reentrant": False, "context_fn": self.recomputing})

    def recomputing(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """torch.utils.checkpoint's `context_fn`: what the backward pass computes again, maybe in
        another thread, uses the adapters that it used before."""
        return nullcontext(), self.using(self._now.assignment)

    def _hook(self, assignment: Assignment) -> None:
        for adapter, _ in assignment.shares:
            for name in adapter.layers.keys() - self._hooked:
                linear = self._model.get_submodule(name)
                assert isinstance(linear, nn.Linear)  # checked where the adapter was made or read
                setattr(linear, "forward", self._forward(name, linear))  # noqa: B010 (mypy forbids the plain way)
                self._hooked.add(name)

    def _forward(self, name: str, linear: nn.Linear) -> Callable[[Tensor], Tensor]:
        def forward(x: Tensor) -> Tensor:
            assignment = self._now.assignment
            parts = assignment.parts(name)
            if not parts:
                return F.linear(x, linear.weight, linear.bias)
            if assignment.rows is None:
                return adapt(linear, x, parts)
            y = adapt(linear, x.view(assignment.rows, -1, x.shape[-1]), parts)
            return y.view(*x.shape[:-1], y.shape[-1])

        return forward
