"""What every family's base has with the adapter that it is trained with."""

from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor

from finetune.families.adapters.assignment import Assignment
from finetune.families.adapters.fresh import TrainableAdapter
from finetune.families.adapters.switch import AdapterSwitch


class Adapted:
    """The adapter applies unless the switch is told of others."""

    def __init__(self, switch: AdapterSwitch, trained: TrainableAdapter) -> None:
        self.switch = switch
        self.trained = trained
        self.parameter_names = list(trained.named)
        self.parameters = list(trained.named.values())
        self._begun = Assignment()
        switch.always(Assignment.whole(trained.adapter))

    def as_begun(self) -> AbstractContextManager[None]:
        """The base as this training began with it: plain, or with the adapter it goes on from."""
        return self.switch.using(self._begun)

    def adapter_state(self) -> dict[str, Tensor]:
        """peft's names -> contiguous CPU tensors."""
        return self.trained.state()

    def load_adapter_state(self, state: dict[str, Tensor]) -> None:
        self.trained.load_state(state)

    def begin_from(self, state: dict[str, Tensor]) -> None:
        self.trained.load_state(state)
        self._begun = Assignment.whole(self.trained.adapter.copied())

    def adapter_config(self, base_name: str) -> dict[str, Any]:
        """What peft writes as adapter_config.json, naming the base instead of a local folder."""
        return self.trained.described(base_name)
