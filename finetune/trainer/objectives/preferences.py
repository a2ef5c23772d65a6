"""What objectives on pairs have in common: the likelihoods of both sides, and what they measure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from finetune.records.kinds import Item
from finetune.trainer.objectives.contract import Metric

if TYPE_CHECKING:
    from torch import Tensor

METRICS = tuple(
    Metric(name)
    for name in (
        *("rewards_chosen", "rewards_rejected", "rewards_accuracies", "rewards_margins"),
        *("logps_chosen", "logps_rejected"),
    )
)


class Likely(Protocol):
    """A model that tells how likely sequences are."""

    def log_likelihoods(self, batch: Any, labels: Sequence[int], /) -> "Tensor":
        """[sequences], float64: the summed log-probability [nats] of each one's labels."""
        ...


def labels_of(items: Sequence[Item]) -> list[int]:
    """Of each sequence, end to end."""
    return [sequence.trained for item in items for sequence in item.sequences]


def both_sides(model: Likely, batch: Any, items: Sequence[Item]) -> "Tensor":
    """[pairs, 2]: log-likelihoods of the chosen and of the rejected answers."""
    return model.log_likelihoods(batch, labels_of(items)).view(-1, 2)


def lengths(like: "Tensor", items: Sequence[Item]) -> "Tensor":
    """[pairs, 2]: labels of the chosen and of the rejected answers."""
    return like.new_tensor(labels_of(items)).view(-1, 2)


def measured(rewards: "Tensor", found: "Tensor") -> "dict[str, tuple[Tensor, float]]":
    """Sums over the pairs, by the names of `METRICS`; `rewards` and log-likelihoods [pairs, 2]."""
    rewards, pairs = rewards.detach(), len(found)
    chosen, rejected = rewards.unbind(1)
    sums = {
        "rewards_chosen": chosen,
        "rewards_rejected": rejected,
        "rewards_accuracies": chosen > rejected,
        "rewards_margins": chosen - rejected,
        "logps_chosen": found[:, 0].detach(),
        "logps_rejected": found[:, 1].detach(),
    }
    return {name: (each.sum(), pairs) for name, each in sums.items()}
