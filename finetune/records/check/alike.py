"""Rows to learn vectors from: a query with what shall be found for it, or two texts with a score of
how alike they are. Their fields are known by the names that data for sentence-transformers has."""

from collections.abc import Collection, Iterator
from typing import Any

from finetune.records.check.fields import Fields, json_type
from finetune.records.check.problems import Finding
from finetune.records.rows import RetrievalRow, ScoredPairRow

_QUERY = ("query", "anchor")
_POSITIVE = ("positive", "pos")
_NUMBERED = tuple(f"negative_{number}" for number in range(1, 33))  # a column each, as tables have
_NEGATIVE = ("negative", "negatives", "neg", *_NUMBERED)
_SCORE = ("score", "label", "similarity_score")
RETRIEVAL_FIELDS = frozenset({*_QUERY, *_POSITIVE, *_NEGATIVE})
SCORED_FIELDS = frozenset({"sentence1", "sentence2", *_SCORE})


def is_retrieval(keys: Collection[str]) -> bool:
    return any(name in keys for name in _QUERY) and any(name in keys for name in _POSITIVE)


def is_scored(keys: Collection[str]) -> bool:
    return "sentence1" in keys and "sentence2" in keys


def read_retrieval(values: dict[str, Any], findings: list[Finding]) -> RetrievalRow:
    """`query`, `positive` and as many negatives as there are: each a text, or a list of one."""
    fields = Fields(values, findings)
    fields.only(RETRIEVAL_FIELDS)
    query = fields.text(_named(values, _QUERY))
    place = _named(values, _POSITIVE)
    positives = _texts(fields, place)
    if len(positives) > 1:
        fields.find("several_positives", place)
    positive = positives[0] if positives else ""
    if not positives:
        fields.find("missing_field", place, f"The field '{place}' is missing or empty.")
    negatives = list(_negatives(fields, positive))
    return RetrievalRow(query=query, positive=positive, negatives=negatives)


def _negatives(fields: Fields, positive: str) -> Iterator[str]:
    """Empty cells of a table are left out: its rows may have fewer than it has columns."""
    for name in _NEGATIVE:
        for text in _texts(fields, name, blank=name in _NUMBERED):
            if text == positive:
                fields.find("negative_is_positive", name)
            yield text


def _texts(fields: Fields, name: str, *, blank: bool = False) -> list[str]:
    given = fields.values.get(name)
    if given is None or (blank and given == ""):
        return []
    if isinstance(given, str):
        return [fields.text(name)]
    found = []
    for number, text in enumerate(fields.optional(name, list) or []):
        if isinstance(text, str) and text.strip():
            found.append(text)
        else:
            fields.find(
                "empty_content", f"{name}[{number}]", "A text of the list is empty or none."
            )
    return found


def read_scored(values: dict[str, Any], findings: list[Finding]) -> ScoredPairRow:
    """`sentence1`, `sentence2` and a number."""
    fields = Fields(values, findings)
    fields.only(SCORED_FIELDS)
    one, other = (fields.text(name) for name in ("sentence1", "sentence2"))
    return ScoredPairRow(sentence1=one, sentence2=other, score=_score(fields))


def _score(fields: Fields) -> float:
    name = _named(fields.values, _SCORE)
    value = fields.values.get(name)
    if value is None:
        fields.find("missing_field", name, f"The field '{name}' is missing.")
        return 0.0
    score = fields.number(name)
    if score is None:
        found = json_type(value)
        fields.find("bad_score", name, f"A score must be a number, not {found}.", found=found)
    return score or 0.0


def _named(values: dict[str, Any], names: tuple[str, ...]) -> str:
    """The name that the row has for a field; its first where it has none."""
    return next((name for name in names if name in values), names[0])


def ranking(scores: Collection[float]) -> Iterator[Finding]:
    """Of a whole file's scores, of which two different ones do: whether there is an order."""
    if len(scores) == 1:
        (score,) = scores
        yield Finding(
            "one_score",
            message=f"All pairs have the score {score}.",
            values={"score": str(score)},
        )
