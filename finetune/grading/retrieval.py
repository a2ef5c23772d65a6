"""How well vectors, or scores, find what belongs to a query: nDCG, MRR and recall, of each query by
itself.

A document's gain is 1 where it belongs to the query and 0 elsewhere (Järvelin and Kekäläinen 2002);
of documents that are equally near, those that do not belong come first.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

MEASURES = ("ndcg@10", "mrr@10", "recall@1", "recall@5", "recall@10")
_AT_ONCE = 1 << 22  # similarities in memory

Vectors = npt.NDArray[Any]  # [texts, dimensions]


def measures(
    queries: Vectors, documents: Vectors, belonging: Sequence[Collection[int]]
) -> dict[str, list[float]]:
    """By measure, of each query, nearness being the cosine. `belonging`: the numbers of the
    documents that belong to it, at least one."""
    queries, documents = _unit(queries), _unit(documents)
    found: dict[str, list[float]] = {name: [] for name in MEASURES}
    step = max(1, _AT_ONCE // max(1, len(documents)))
    for start in range(0, len(queries), step):
        near = queries[start : start + step] @ documents.T
        for row, own in zip(near, belonging[start : start + step], strict=True):
            for name, value in of_places(_places(row, sorted(own))).items():
                found[name].append(value)
    return found


def measures_of_lists(
    scores: Sequence[Sequence[float]], belonging: Sequence[Collection[int]]
) -> dict[str, list[float]]:
    """By measure, of each query, whose documents were scored one by one. `belonging`: the numbers
    of those of its own list that belong to it, at least one."""
    found: dict[str, list[float]] = {name: [] for name in MEASURES}
    for row, own in zip(scores, belonging, strict=True):
        places = _places(np.asarray(row, dtype=np.float64), sorted(own))
        for name, value in of_places(places).items():
            found[name].append(value)
    return found


def _places(near: npt.NDArray[Any], own: Sequence[int]) -> list[int]:
    """Where the documents that belong stand, from 0, the nearest first."""
    others = np.delete(near, own)
    nearest_first = sorted((float(near[number]) for number in own), reverse=True)
    return [place + int((others >= value).sum()) for place, value in enumerate(nearest_first)]


def of_places(places: Sequence[int]) -> Mapping[str, float]:
    """Of one query, by where its documents stand."""
    gain = sum(1 / np.log2(place + 2) for place in places if place < 10)
    best = sum(1 / np.log2(place + 2) for place in range(min(10, len(places))))
    first = min(places)
    return {
        "ndcg@10": float(gain / best),
        "mrr@10": 1 / (first + 1) if first < 10 else 0.0,
        **{
            f"recall@{most}": sum(place < most for place in places) / len(places)
            for most in (1, 5, 10)
        },
    }


def _unit(vectors: Vectors) -> Vectors:
    wide = np.asarray(vectors, dtype=np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
