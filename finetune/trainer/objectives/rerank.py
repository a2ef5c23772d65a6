"""Rerankers: of each document beside its query, whether it belongs to it (binary cross-entropy, as
BERT was first made to rank by Nogueira and Cho 2019), or how well it does where that is scored.

Means are over pairs.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import Field

from finetune.records.kinds import RANKED, Item
from finetune.trainer.objectives.contract import Metric, Objective, Settings, Sums

if TYPE_CHECKING:
    from torch import Tensor


class RerankSettings(Settings):
    """`pos_weight`: what documents that belong count, of torch's name: with four negatives to a
    positive, 4 gives both sides the same weight."""

    pos_weight: float = Field(default=1.0, gt=0, le=1000)


DEFAULT = RerankSettings()


class Scores(Protocol):
    def scores(self, batch: Any, /) -> "Tensor": ...  # [sequences], logits


def rerank(
    model: Scores, batch: Any, items: Sequence[Any], *, settings: RerankSettings = DEFAULT
) -> Sums:
    found = model.scores(batch)
    labels = _labels(items, found)
    right = (found.detach() > 0) == (labels >= 0.5)
    return Sums(
        loss=_losses(found, labels, settings).double().sum(),
        weight=len(found),
        metrics={"pair_accuracy": (right.double().sum(), len(found))},
    )


def each(
    model: Scores, batch: Any, items: Sequence[Any], *, settings: RerankSettings = DEFAULT
) -> list[tuple[float, float]]:
    found = model.scores(batch)
    losses = _losses(found, _labels(items, found), settings)
    parts = losses.split([len(item.sequences) for item in items])
    return [(float(part.sum()), float(len(part))) for part in parts]


def _losses(found: "Tensor", labels: "Tensor", settings: RerankSettings) -> "Tensor":
    """[pairs]"""
    from torch.nn.functional import binary_cross_entropy_with_logits

    return binary_cross_entropy_with_logits(
        found, labels, pos_weight=found.new_tensor(settings.pos_weight), reduction="none"
    )


def _labels(items: Sequence[Any], like: "Tensor") -> "Tensor":
    """[pairs]: a scored pair's score; of a query's documents 1 for the first, 0 for others."""
    return like.new_tensor([label for item in items for label in _of(item)])


def _of(item: Item) -> Iterator[float]:
    score: float | None = getattr(item, "score", None)
    yield 1.0 if score is None else score
    for _ in item.sequences[1:]:
        yield 0.0


RERANK = Objective(
    name="rerank",
    records=RANKED,
    sums=rerank,
    metrics=(Metric("pair_accuracy"),),
    each=each,
    family="reranking",
    overflow="cut",
    settings=RerankSettings,
)
