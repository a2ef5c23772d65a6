"""Reward models: what is preferred shall score higher (Bradley and Terry 1952), by a margin where
one is asked for (Touvron et al. 2023), about zero where that is (Eisenstein et al. 2023).

Means are over pairs.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import Field

from finetune.records.kinds import PAIR, Item, Preferred
from finetune.trainer.objectives.contract import Metric, Objective, Settings, Sums

if TYPE_CHECKING:
    from torch import Tensor


class RewardSettings(Settings):
    """`margin`: by how much the preferred answer is to score higher, beside a pair's own;
    `center_rewards_coefficient`: what the square of a pair's summed scores costs."""

    margin: float = Field(default=0.0, ge=0, le=100)
    center_rewards_coefficient: float = Field(default=0.0, ge=0, le=100)


DEFAULT = RewardSettings()
METRICS = tuple(
    map(Metric, ("rewards_chosen", "rewards_rejected", "rewards_accuracies", "rewards_margins"))
)


class Scores(Protocol):
    def scores(self, batch: Any, /) -> "Tensor": ...  # [sequences]


def reward(
    model: Scores, batch: Any, items: Sequence[Item], *, settings: RewardSettings = DEFAULT
) -> Sums:
    found = _both(model, batch)
    return Sums(
        loss=_losses(found, items, settings).double().sum(),
        weight=len(items),
        metrics=_measured(found.detach()),
    )


def each(
    model: Scores, batch: Any, items: Sequence[Item], *, settings: RewardSettings = DEFAULT
) -> list[tuple[float, float]]:
    return [(float(loss), 1.0) for loss in _losses(_both(model, batch), items, settings)]


def favours(model: Scores, batch: Any, items: Sequence[Item]) -> list[bool]:
    chosen, rejected = _both(model, batch).unbind(1)
    return [bool(right) for right in chosen > rejected]


def _both(model: Scores, batch: Any) -> "Tensor":
    """[pairs, 2]: scores of the chosen and of the rejected answers."""
    return model.scores(batch).view(-1, 2)


def _losses(found: "Tensor", items: Sequence[Item], settings: RewardSettings) -> "Tensor":
    """[pairs]"""
    from torch.nn.functional import logsigmoid

    chosen, rejected = found.unbind(1)
    margins = [each.margin if isinstance(each, Preferred) else 0.0 for each in items]
    apart = chosen - rejected - settings.margin
    if any(margins):
        apart = apart - apart.new_tensor(margins)
    losses = -logsigmoid(apart)
    if settings.center_rewards_coefficient:
        losses = losses + settings.center_rewards_coefficient * (chosen + rejected).square()
    return losses


def _measured(found: "Tensor") -> "dict[str, tuple[Tensor, float]]":
    """Sums over the pairs, by the names of `METRICS`."""
    chosen, rejected = found.double().unbind(1)
    sums = (chosen, rejected, chosen > rejected, chosen - rejected)
    return {
        metric.name: (each.sum(), len(found)) for metric, each in zip(METRICS, sums, strict=True)
    }


REWARD = Objective(
    name="reward",
    records=PAIR,
    sums=reward,
    metrics=METRICS,
    each=each,
    favours=favours,
    family="scoring",
    settings=RewardSettings,
    rate=0.5,
)
