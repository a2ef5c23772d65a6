"""Hard negatives: documents that look right to a model that embeds and are not, mined among the
positives of other queries and further documents.

What scores too near to a query's own positive is probably an answer that nobody has marked, and is
left out (NV-Retriever, Moreira et al. 2024, arXiv:2407.15831, whose TopK-PercPos is the relative
margin). Options and results are those of sentence-transformers' `mine_hard_negatives`, by which the
tests compare.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationInfo, field_validator

Row = dict[str, Any]
Embed = Callable[[Sequence[str], str], Any]
"""(texts, "query" or "document") -> [texts, dimensions], float32."""

SCORES = 1 << 25  # that are held at once: of so many queries as there is room for
_OVER = 10  # candidates to each negative that is wanted, since a filter takes some of them away


class MiningOptions(BaseModel):
    """`relative_margin`: a negative scores at most so much of the positive's score below it (0.05:
    95 % of it); `absolute_margin`: at most the positive's score less this; `max_score`,
    `min_score`: bounds of a negative's cosine. Of what is left, best first, those from `range_min`
    on, of the best `range_max`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    num_negatives: PositiveInt = 3
    range_min: int = Field(default=0, ge=0)
    range_max: PositiveInt | None = None
    relative_margin: float | None = Field(default=0.05, ge=0, le=1)
    absolute_margin: float | None = Field(default=None, ge=0, le=2)
    max_score: float | None = Field(default=None, ge=-1, le=1)
    min_score: float | None = Field(default=None, ge=-1, le=1)

    @field_validator("range_max")
    @classmethod
    def _has_room(cls, range_max: int | None, known: ValidationInfo) -> int | None:
        least = known.data.get("range_min", 0) + known.data.get("num_negatives", 0)
        if range_max is not None and range_max < least:
            raise ValueError("leaves no room for num_negatives behind range_min")
        return range_max

    def most(self, positives: int) -> int:
        """The best so many candidates are looked at, where a query has so many positives."""
        if self.range_max is not None:
            return self.range_max
        filtered = (self.relative_margin, self.absolute_margin, self.max_score)
        spare = 1 if all(each is None for each in filtered) else _OVER
        return self.range_min + self.num_negatives * spare + positives


@dataclass
class Mined:
    """`rows`: those given, with negatives; `skipped`: candidates by the filter that took them."""

    rows: list[Row] = field(default_factory=list)
    queries: int = 0
    documents: int = 0
    negatives: int = 0
    rows_by_found: Counter[int] = field(default_factory=Counter)  # rows by how many each got
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def without(self) -> int:
        """Rows for which none was found."""
        return self.rows_by_found[0]


@dataclass(frozen=True)
class Texts:
    """What is embedded, each once: `documents`, then the keys of `positives`, which are the queries
    and have what answers them."""

    documents: list[str]
    positives: dict[str, list[str]]

    def __len__(self) -> int:
        return len(self.documents) + len(self.positives)


def texts_of(rows: Sequence[Row], corpus: Sequence[str]) -> Texts:
    """In the order in which `mine` asks for them."""
    positives: dict[str, list[str]] = {}
    for row in rows:
        own = positives.setdefault(row["query"], [])
        own += [row["positive"]] if row["positive"] not in own else []
    return Texts(list(dict.fromkeys([*corpus, *(row["positive"] for row in rows)])), positives)


def line_of(row: Row) -> bytes:
    """As a mined file has it."""
    return orjson.dumps(row) + b"\n"


def mine(rows: Sequence[Row], corpus: Sequence[str], embed: Embed, asked: MiningOptions) -> Mined:
    """`rows`: each with `query`, `positive` and maybe `negatives`, which stay and come first;
    `corpus`: further documents. A query with several rows has several positives, none of which is a
    negative of it; the least similar one sets the margin. Nothing is drawn: the same input gives
    the same rows."""
    texts = texts_of(rows, corpus)
    documents, positives = texts.documents, texts.positives
    made = Mined(queries=len(positives), documents=len(documents))
    place = {text: at for at, text in enumerate(documents)}
    more = max(map(len, positives.values()), default=1)
    most = asked.most(more)
    queries, found = list(positives), {}
    vectors = _unit(embed(documents, "document"))
    size = max(1, SCORES // max(1, len(documents)))
    for at in range(0, len(queries), size):
        block = queries[at : at + size]
        scores = _unit(embed(block, "query")) @ vectors.T  # [queries, documents]
        for query, line in zip(block, scores, strict=True):
            answers = [place[text] for text in positives[query]]
            found[query] = [
                documents[number]
                for number in _best(line, answers, most, most + more, asked, made.skipped)
            ]
    for row in rows:
        given = row.get("negatives") or []
        fresh = [text for text in found[row["query"]] if text not in given]
        made.negatives += len(fresh)
        made.rows_by_found[len(fresh)] += 1
        negatives = {"negatives": [*given, *fresh]} if given or fresh else {}
        made.rows.append(row | negatives)
    return made


def _best(
    scores: Any,
    own: list[int],
    most: int,
    looked_at: int,
    asked: MiningOptions,
    skipped: Counter[str],
) -> list[int]:
    """Numbers of the negatives of one query, the hardest first. `scores` [documents]; `own`: its
    positives."""
    import numpy as np

    order = np.argsort(-scores, kind="stable")[:looked_at]
    least = float(min(scores[own]))
    left = []
    for number in order:
        if int(number) in own:
            continue
        if (reason := _reason(float(scores[number]), least, asked)) is None:
            left.append(int(number))
        else:
            skipped[reason] += 1
    return left[asked.range_min : most][: asked.num_negatives]


def _reason(score: float, positive: float, asked: MiningOptions) -> str | None:
    """The filter that leaves a candidate out."""
    if asked.absolute_margin is not None and score + asked.absolute_margin > positive:
        return "absolute_margin"
    margin = asked.relative_margin
    if margin is not None and score > positive - abs(positive) * margin:
        return "relative_margin"
    if asked.max_score is not None and score > asked.max_score:
        return "max_score"
    if asked.min_score is not None and score < asked.min_score:
        return "min_score"
    return None


def _unit(vectors: Any) -> Any:
    import numpy as np

    found = np.asarray(vectors, dtype=np.float32)
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)


def batches(texts: Sequence[str], count: int, characters: int) -> Iterator[Sequence[str]]:
    """In order, at most so many and so long together (one that is longer by itself)."""
    begin = size = 0
    for at, text in enumerate(texts):
        if at > begin and (at - begin == count or size + len(text) > characters):
            yield texts[begin:at]
            begin, size = at, 0
        size += len(text)
    if begin < len(texts):
        yield texts[begin:]
