"""Kahneman-Tversky optimisation (Ethayarajh et al. 2024): a good answer shall gain on the base, one
that is not shall lose, each against how far the model has strayed from the base in general.

That is told, as TRL tells it, by answers that stand behind prompts of other rows of the step: the
mean of their log-ratios to the base, and 0 at least. Means are over answers, of which a pair has
two.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from finetune.records.answers import behind
from finetune.records.kinds import RATED, Item, Rated
from finetune.trainer.objectives.contract import Ask, Metric, Objective, Settings, Sums
from finetune.trainer.objectives.preferences import Likely, labels_of

if TYPE_CHECKING:
    from torch import Tensor


class KtoSettings(Settings):
    """The weights balance files that have more of the one than of the other."""

    beta: float = Field(default=0.1, gt=0, le=100)
    desirable_weight: float = Field(default=1.0, gt=0, le=1000)
    undesirable_weight: float = Field(default=1.0, gt=0, le=1000)


DEFAULT = KtoSettings()


def ratings(item: Any) -> tuple[bool, ...]:
    """Of each answer, whether it is good; of a pair, the chosen one is."""
    return (item.row.good,) if isinstance(item.row, Rated) else (True, False)


def strayed(items: Sequence[Item], ask: Ask) -> float:
    """[nats]: how much likelier the model holds answers to other prompts than the base does."""
    rows = _mismatched(items, ask.longest)
    found, base = ask(rows), ask(rows, plain=True)
    gained = [ours[0] - theirs[0] for ours, theirs in zip(found, base, strict=True)]
    return max(0.0, sum(gained) / len(gained))


def _mismatched(items: Sequence[Item], longest: int) -> list[Any]:
    """Each prompt with the answer of the row before it. Of pairs all chosen answers come first, so
    that none stands behind its own prompt while there are two pairs."""
    rows = [item.sequences[0] for item in items]
    rows += [item.sequences[1] for item in items if len(item.sequences) > 1]
    return [behind(row, rows[number - 1], longest) for number, row in enumerate(rows)]


def kto(
    model: Likely, batch: Any, items: Sequence[Any], *, settings: KtoSettings = DEFAULT
) -> Sums:
    found = model.log_likelihoods(batch, labels_of(items))
    ratios, good = _ratios(found, items), _good(found, items)
    rewards = settings.beta * ratios.detach()
    count, gains = good.sum().item(), found.detach()
    strays = _strays(found, items)
    return Sums(
        loss=_losses(ratios, good, items, settings).sum(),
        weight=len(found),
        metrics={
            "rewards_chosen": (rewards[good].sum(), count),
            "rewards_rejected": (rewards[~good].sum(), len(found) - count),
            "logps_chosen": (gains[good].sum(), count),
            "logps_rejected": (gains[~good].sum(), len(found) - count),
            "kl": (strays.sum(), len(found)),
        },
    )


def each(
    model: Likely, batch: Any, items: Sequence[Any], *, settings: KtoSettings = DEFAULT
) -> list[tuple[float, float]]:
    found = model.log_likelihoods(batch, labels_of(items))
    losses = _losses(_ratios(found, items), _good(found, items), items, settings)
    parts = losses.split([len(item.sequences) for item in items])
    return [(float(part.sum()), len(part)) for part in parts]


def _ratios(found: "Tensor", items: Sequence[Any]) -> "Tensor":
    """[answers]: of log-likelihoods to the base's."""
    return found - found.new_tensor([base for item in items for base in item.reference])


def _good(like: "Tensor", items: Sequence[Any]) -> "Tensor":
    """[answers]"""
    return like.new_tensor([good for item in items for good in ratings(item)]).bool()


def _strays(like: "Tensor", items: Sequence[Any]) -> "Tensor":
    """[answers]: what `strayed` found of each one's step."""
    return like.new_tensor([item.common for item in items for _ in item.sequences])


def _losses(
    ratios: "Tensor", good: "Tensor", items: Sequence[Any], settings: KtoSettings
) -> "Tensor":
    """[answers], from log-ratios to the base."""
    strays = _strays(ratios, items)
    ways = good.to(ratios.dtype) * 2 - 1
    weights = ratios.new_tensor([settings.undesirable_weight, settings.desirable_weight])
    return weights[good.long()] * (1 - (ways * settings.beta * (ratios - strays)).sigmoid())


METRICS = (
    *map(Metric, ("rewards_chosen", "rewards_rejected")),
    Metric("rewards_margins", between=("rewards_chosen", "rewards_rejected")),
    *map(Metric, ("logps_chosen", "logps_rejected", "kl")),
)

KTO = Objective(
    name="kto",
    records=RATED,
    sums=kto,
    metrics=METRICS,
    needs=frozenset({"reference"}),
    each=each,
    common=strayed,
    settings=KtoSettings,
    fewest=2,
    rate=0.1,
)
