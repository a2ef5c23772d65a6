"""Rerankers: of each document beside its query, whether it belongs to it (binary cross-entropy, as
BERT was first made to rank by Nogueira and Cho 2019), or how well it does where that is scored; or
which of a query's documents does (listwise: ListNet, Cao et al. 2007, with one that belongs).

Means are over pairs; of the listwise loss over queries.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from pydantic import Field, model_validator

from faults import UserFault
from finetune.records.kinds import RANKED, Item
from finetune.trainer.objectives.contract import Metric, Objective, Settings, Sums

if TYPE_CHECKING:
    from torch import Tensor


class RerankSettings(Settings):
    """`pos_weight`: what documents that belong count, of torch's name: with four negatives to a
    positive, 4 gives both sides the same weight. `loss_type`: of each pair by itself, or of each
    query's documents together."""

    pos_weight: float = Field(default=1.0, gt=0, le=1000)
    loss_type: Literal["binary", "listwise"] = "binary"

    @model_validator(mode="after")
    def _weighs_pairs(self) -> Self:
        if self.loss_type == "listwise" and self.pos_weight != 1:
            raise ValueError("pos_weight goes with the loss_type binary alone")
        return self


DEFAULT = RerankSettings()


class Scores(Protocol):
    def scores(self, batch: Any, /) -> "Tensor": ...  # [sequences], logits


def rerank(
    model: Scores, batch: Any, items: Sequence[Any], *, settings: RerankSettings = DEFAULT
) -> Sums:
    found = model.scores(batch)
    labels = _labels(items, found)
    right = (found.detach() > 0) == (labels >= 0.5)
    listwise = settings.loss_type == "listwise"
    losses = _of_lists(found, items) if listwise else _losses(found, labels, settings)
    return Sums(
        loss=losses.double().sum(),
        weight=len(losses),
        metrics={"pair_accuracy": (right.double().sum(), len(found))},
    )


def each(
    model: Scores, batch: Any, items: Sequence[Any], *, settings: RerankSettings = DEFAULT
) -> list[tuple[float, float]]:
    found = model.scores(batch)
    if settings.loss_type == "listwise":
        return [(float(loss), 1.0) for loss in _of_lists(found, items)]
    losses = _losses(found, _labels(items, found), settings)
    parts = losses.split([len(item.sequences) for item in items])
    return [(float(part.sum()), float(len(part))) for part in parts]


def _losses(found: "Tensor", labels: "Tensor", settings: RerankSettings) -> "Tensor":
    """[pairs]"""
    from torch.nn.functional import binary_cross_entropy_with_logits

    return binary_cross_entropy_with_logits(
        found, labels, pos_weight=found.new_tensor(settings.pos_weight), reduction="none"
    )


def _of_lists(found: "Tensor", items: Sequence[Any]) -> "Tensor":
    """[queries]: how unlikely each one's own document is among its documents. Raises UserFault."""
    import torch

    if any(len(item.sequences) == 1 for item in items):
        raise UserFault(
            "loss_needs_lists",
            "A listwise loss compares a query's documents, and rows of scored pairs have one.",
            param="loss_type",
            fix="Leave loss_type out, or bring queries with a positive and negatives.",
        )
    parts = found.split([len(item.sequences) for item in items])
    return torch.stack([-part.log_softmax(0)[0] for part in parts])


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
