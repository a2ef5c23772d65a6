"""Multiple negatives ranking (Henderson et al. 2017; InfoNCE): of all of a step's texts that are to
be found, a query's own shall be the likeliest; its hard negatives are among the others."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from finetune.records.kinds import RETRIEVAL, Item
from finetune.trainer.objectives import vectors
from finetune.trainer.objectives.contract import Embed, Metric, Objective, Placed
from finetune.trainer.objectives.vectors import VectorSettings, placed

if TYPE_CHECKING:
    from torch import Tensor


def contrastive(
    items: Sequence[Item], embed: Embed, *, settings: VectorSettings | None = None
) -> list[Placed]:
    settings = settings or VectorSettings()
    queries, own, others = _places(items)
    unfair = _known_to_fit(items)

    def losses(found: "Tensor") -> "tuple[Tensor, dict[str, Tensor]]":
        import torch
        from torch.nn.functional import cross_entropy

        device = found.device
        scores = settings.scale * (found[queries] @ found[[*own, *others]].t())
        scores = scores.masked_fill(torch.tensor(unfair, device=device), float("-inf"))
        right = torch.arange(len(items), device=device)
        first = (scores.detach().argmax(1) == right).double()
        return cross_entropy(scores, right, reduction="none"), {"nearest": first}

    return placed(items, embed, losses, settings)


def _places(items: Sequence[Item]) -> tuple[list[int], list[int], list[int]]:
    """Of all sequences end to end the numbers of: queries, positives, negatives."""
    queries, own, others, place = list[int](), list[int](), list[int](), 0
    for item in items:
        count = len(item.sequences)
        queries.append(place)
        own.append(place + 1)
        others += range(place + 2, place + count)
        place += count
    return queries, own, others


def _known_to_fit(items: Sequence[Item]) -> list[list[bool]]:
    """[queries, texts to be found]: which are no negatives though they stand in another row. The
    very text that shall be found stands there again, or what another row has for the same query.

    They are masked here, and not kept apart by the order of the data, so that this stays a function
    of seed and step and every step is full.
    """
    texts = [[key_of(sequence) for sequence in item.sequences] for item in items]
    fitting: dict[bytes, set[bytes]] = {}
    for query, positive, *_ in texts:
        fitting.setdefault(query, set()).add(positive)
    found = [positive for _, positive, *_ in texts]
    negatives = [text for _, _, *rest in texts for text in rest]
    return [
        [
            number != row and text in fitting[query]
            for number, text in enumerate([*found, *negatives])
        ]
        for row, (query, *_) in enumerate(texts)
    ]


def key_of(sequence: Any) -> bytes:
    """By which equal texts are told."""
    return b",".join(b"%d" % token for token in sequence.input_ids)


CONTRASTIVE = Objective(
    name="contrastive",
    records=RETRIEVAL,
    sums=vectors.sums,
    metrics=(Metric("nearest"),),
    each=vectors.each,
    together=contrastive,
    family="embedding",
    overflow="cut",
    settings=VectorSettings,
    fewest=2,
)
