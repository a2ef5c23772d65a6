"""What one row of the data is for training: a sequence by itself, or several that belong together.

A kind of record is one entry here; whoever encodes rows for a base is asked for items of a kind.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from finetune.records.pairs import RATED as COMPLETION
from finetune.records.pairs import SIDES, Answer, answered, parted, place


class Item(Protocol):
    """One record, encoded. Its sequences are never parted: not by a step, a pack, a micro-batch."""

    def __len__(self) -> int:
        """Tokens of all its sequences."""
        ...

    @property
    def trained(self) -> int:
        """Labels that have something before them to be predicted from."""
        ...

    @property
    def sequences(self) -> Sequence["Item"]:
        """What a family lays out; a single sequence has itself here."""
        ...


@dataclass(frozen=True)
class Group:
    """An item of several sequences, in the order that its kind gives them."""

    sequences: tuple[Item, ...]

    def __len__(self) -> int:
        return sum(len(sequence) for sequence in self.sequences)

    @property
    def trained(self) -> int:
        return sum(sequence.trained for sequence in self.sequences)


@dataclass(frozen=True)
class Rated:
    """A sequence, and whether its answer is good."""

    sequence: Item
    good: bool

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def trained(self) -> int:
        return self.sequence.trained

    @property
    def sequences(self) -> tuple[Item]:
        return (self.sequence,)


@dataclass(frozen=True)
class Scored:
    """Two sequences, and how alike they are."""

    sequences: tuple[Item, ...]
    score: float

    def __len__(self) -> int:
        return sum(len(sequence) for sequence in self.sequences)

    @property
    def trained(self) -> int:
        return sum(sequence.trained for sequence in self.sequences)


@dataclass(frozen=True)
class Preferred(Group):
    """Of which the first is better than the second, by a margin."""

    margin: float = 0.0


Encode = Callable[[Any], Item]
"""A canonical row (a `Row` of rows.py, an `EmbeddedRow` of what becomes a vector, a `RankedRow` of
what becomes a score) -> its sequence, or the group of its answers' sequences. Raises UserFault."""


@dataclass(frozen=True)
class RecordKind:
    """`name` is for people; `item` makes a canonical record an item. What a record says besides
    its sequences (a score, a preference) an item of its kind carries as a field of its own.

    `parts`: the names of the rows that one record is encoded as, where they are several;
    `place`: where the record has a field of a message of the part of that number; `with_rows`:
    training needs the canonical rows, too, beside what they are encoded as. `others`: kinds whose
    records serve as well; `known_by`: a field that only records of this kind have. `embedded`: each
    sequence becomes a vector, and nothing is predicted; `paired`: what such a record is to a base
    that reads two texts as one sequence."""

    name: str
    item: Callable[[Any, Encode], Item]
    parts: tuple[str, ...] = ()
    place: Callable[[Any, int, int, str], str] = lambda record, part, message, field: (
        f"messages[{message}].{field}"
    )
    with_rows: bool = False
    others: "tuple[RecordKind, ...]" = ()
    known_by: str | None = None
    embedded: bool = False
    paired: "RecordKind | None" = None

    def parts_of(self, record: Any) -> tuple[str, ...]:
        """For people: a rated answer is called good or bad."""
        if "label" in record:
            return ("good",) if record["label"] else ("bad",)
        return self.parts + ("negative",) * len(record.get("negatives", ()))

    @property
    def names(self) -> frozenset[str]:
        """Of the kinds that serve where this one is asked for."""
        return frozenset((self.name, *(other.name for other in self.others)))

    def of(self, record: Any) -> "RecordKind":
        """The one among them that the record is."""
        return next((other for other in self.others if other.known_by in record), self)


def _sequence(record: Any, answer: Answer, encode: Encode) -> Item:
    item = encode(answered(record, answer))
    if len(item.sequences) > 1:
        raise parted(answer)
    return item


def _pair(record: Any, encode: Encode) -> Group:
    sequences = tuple(_sequence(record, side, encode) for side in SIDES)
    return Preferred(sequences, record["margin"]) if "margin" in record else Group(sequences)


def _rated(record: Any, encode: Encode) -> Rated:
    return Rated(_sequence(record, COMPLETION, encode), bool(record["label"]))


def _retrieval(record: Any, encode: Encode) -> Group:
    found = [record["positive"], *record["negatives"]]
    query = encode({"embedded": record["query"], "side": "query"})
    return Group((query, *(encode({"embedded": each, "side": "document"}) for each in found)))


def _scored(record: Any, encode: Encode) -> Scored:
    texts = (record["sentence1"], record["sentence2"])
    sequences = tuple(encode({"embedded": text, "side": "text"}) for text in texts)
    return Scored(sequences, float(record["score"]))


def _ranked(record: Any, encode: Encode) -> Group:
    found = [record["positive"], *record["negatives"]]
    return Group(tuple(encode({"query": record["query"], "document": each}) for each in found))


def _scored_pair(record: Any, encode: Encode) -> Scored:
    pair = encode({"query": record["sentence1"], "document": record["sentence2"]})
    return Scored((pair,), float(record["score"]))


ROW = RecordKind("row", lambda record, encode: encode(record))
PROMPT = RecordKind("prompt", lambda record, encode: encode(record), with_rows=True)
PAIR = RecordKind(
    "pair",
    _pair,
    parts=SIDES,
    place=lambda record, part, message, field: place(record, SIDES[part], message, field),
    known_by="chosen",
)
RATED = RecordKind(
    "rated",
    _rated,
    place=lambda record, _part, message, field: place(record, COMPLETION, message, field),
    others=(PAIR,),
    known_by="label",
)
_SCORED_PAIR = RecordKind(
    "scored", _scored_pair, parts=("pair",), known_by="sentence1", embedded=True
)
RANKED = RecordKind(
    "retrieval", _ranked, parts=("positive",), embedded=True, others=(_SCORED_PAIR,)
)
"""The same records as `RETRIEVAL` and `SCORED`, for a base that ranks: each document beside its
query."""
RETRIEVAL = RecordKind(
    "retrieval", _retrieval, parts=("query", "positive"), embedded=True, paired=RANKED
)
SCORED = RecordKind(
    "scored", _scored, parts=("sentence1", "sentence2"), embedded=True, paired=_SCORED_PAIR
)
