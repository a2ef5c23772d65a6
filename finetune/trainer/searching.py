"""Whether the result finds more than the base does: each query held out searches among all texts
held out, by the base's vectors and by the result's; of a reranker, among its own documents alone,
which it puts in order.

Measured once, when training has ended. Texts to be found are those of the validation rows, their
hard negatives among them: figures grow with fewer of them, and are compared on equal rows only.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from finetune.grading.resampling import change, interval_of_mean
from finetune.grading.retrieval import MEASURES, measures, measures_of_lists
from finetune.records.kinds import RANKED, RETRIEVAL, Item, Scored
from finetune.trainer.objectives.contrastive import key_of
from finetune.trainer.run import Run
from finetune.trainer.step_rows import Embedding


@dataclass(frozen=True)
class Searched:
    """By measure, of each query. `reranked`: each put its own documents in order, and searched
    among no others."""

    documents: int
    base: dict[str, list[float]]
    tuned: dict[str, list[float]]
    reranked: bool = False

    def said(self) -> dict[str, Any]:
        """Means of the base and of the result, and what the difference is worth."""
        return {
            "queries": len(self.base[MEASURES[0]]),
            "documents": self.documents,
            **({"reranked": True} if self.reranked else {}),
            "measures": {name: self._change(name) for name in MEASURES},
        }

    def _change(self, name: str) -> dict[str, Any]:
        base, tuned = self.base[name], self.tuned[name]
        found = change(base, tuned)
        return {
            "base": sum(base) / len(base),
            "base_interval": _interval(base),
            "tuned": sum(tuned) / len(tuned),
            "tuned_interval": _interval(tuned),
            "difference": found.difference,
            "interval": list(found.interval) if found.interval else None,
            "p_value": found.p_value,
        }

    def table(self) -> bytes:
        """Comma-separated: figures, and nothing of what stands in a row."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        names = [f"{side}{name}" for name in MEASURES for side in ("base_", "")]
        writer.writerow(("query", *names))
        columns = [side[name] for name in MEASURES for side in (self.base, self.tuned)]
        for number, values in enumerate(zip(*columns, strict=True), 1):
            writer.writerow((number, *values))
        return out.getvalue().encode()


def _interval(values: Sequence[float]) -> list[float] | None:
    found = interval_of_mean(values)
    return list(found) if found else None


def search(run: Run, kept: dict[str, Tensor]) -> Searched | None:
    """`kept`: the result's weights, which the model then has. None: there are no validation rows of
    queries. Yielded may come of it."""
    if run.objective.records is RANKED:
        return _rank(run, kept)
    if not run.valid or run.objective.records is not RETRIEVAL:
        return None
    run.model.load_adapter_state(kept)
    queries, documents, belonging = _texts(run.valid)

    def told(plain: bool) -> dict[str, list[float]]:
        embed = Embedding(run, plain=plain)
        vectors = [embed(each).cpu().numpy() for each in (queries, documents)]
        return measures(vectors[0], vectors[1], belonging)

    return Searched(len(documents), told(True), told(False))


def _rank(run: Run, kept: dict[str, Tensor]) -> Searched | None:
    """Rows of scored pairs are no queries with documents to be put in order."""
    rows = [row for row in run.valid if not isinstance(row, Scored)]
    if not rows:
        return None
    run.model.load_adapter_state(kept)
    lists, belonging = _lists(rows)

    def told(plain: bool) -> dict[str, list[float]]:
        pairs = [pair for found in lists for pair in found]
        scores = Embedding(run, plain=plain)(pairs)[:, 0].split(list(map(len, lists)))
        return measures_of_lists([each.tolist() for each in scores], belonging)

    return Searched(sum(map(len, lists)), told(True), told(False), reranked=True)


def _lists(rows: Sequence[Item]) -> tuple[list[list[Any]], list[set[int]]]:
    """(each query's documents beside it, which of them belong), each pair once."""
    queries: dict[bytes, tuple[dict[bytes, Any], set[bytes]]] = {}
    for row in rows:
        first: Any = row.sequences[0]
        pairs, own = queries.setdefault(_query_of(first), ({}, set()))
        own.add(key_of(first))
        for pair in row.sequences:
            pairs.setdefault(key_of(pair), pair)
    lists = [list(pairs.values()) for pairs, _ in queries.values()]
    found = [
        {number for number, key in enumerate(pairs) if key in own}
        for pairs, own in queries.values()
    ]
    return lists, found


def _query_of(pair: Any) -> bytes:
    """By which equal queries are told, where a long document did not cut them."""
    return b",".join(b"%d" % token for token in pair.input_ids[: pair.first])


def _texts(rows: Sequence[Item]) -> tuple[list[Any], list[Any], list[set[int]]]:
    """(queries, documents, which of them belong to each query), each text once."""
    queries: dict[bytes, tuple[Any, set[int]]] = {}
    documents: dict[bytes, tuple[int, Any]] = {}
    for row in rows:
        query, positive, *negatives = row.sequences
        for text in (positive, *negatives):
            documents.setdefault(key_of(text), (len(documents), text))
        _, own = queries.setdefault(key_of(query), (query, set()))
        own.add(documents[key_of(positive)][0])
    asked = list(queries.values())
    found = [text for _, text in documents.values()]
    return [query for query, _ in asked], found, [own for _, own in asked]
