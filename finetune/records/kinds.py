"""What one row of the data is for training: a sequence by itself, or several that belong together.

A kind of record is one entry here; whoever encodes rows for a base is asked for items of a kind.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from finetune.records.rows import Row


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


Encode = Callable[[Row], Item]
"""A canonical row -> its sequence, or the group of its answers' sequences. Raises UserFault."""


@dataclass(frozen=True)
class RecordKind:
    """`name` is for people; `item` makes a canonical record an item. What a record says besides
    its sequences (a score, a preference) an item of its kind carries as a field of its own."""

    name: str
    item: Callable[[Any, Encode], Item]


ROW = RecordKind("row", lambda record, encode: encode(record))
