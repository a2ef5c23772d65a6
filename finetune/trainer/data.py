"""Which rows each step takes: a pure function of (seed, step)."""

import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import overload

from finetune.records.frozen import FrozenItems
from finetune.records.kinds import Item
from finetune.records.packs import pack


@dataclass(frozen=True)
class Plan:
    """What one step takes: `batch_size` items, each a row of the data or a pack of rows (their
    numbers). A row's sequences are never parted."""

    items: Sequence[tuple[int, ...]]
    batch_size: int
    epochs: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.items) // self.batch_size)

    @property
    def total_steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def rows_of(self, step: int) -> list[int]:
        """Row numbers of step 0, 1, ...; every epoch takes each row once, its last step what is
        left over."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = _shuffled(len(self.items), self.seed, epoch)
        chosen = order[place * self.batch_size : (place + 1) * self.batch_size]
        return [row for item in chosen for row in self.items[item]]


def make_plan(
    rows: Sequence[Item], *, batch_size: int, epochs: int, seed: int, pack_to: int | None
) -> Plan:
    items = tuple(pack(lengths_of(rows), pack_to)) if pack_to else Singles(len(rows))
    return Plan(items, batch_size, epochs, seed)


class Singles(Sequence[tuple[int, ...]]):
    """(0,), (1,), ...: each row an item, whatever their number without any memory."""

    def __init__(self, count: int) -> None:
        self._numbers = range(count)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, key: int) -> tuple[int, ...]: ...

    @overload
    def __getitem__(self, key: slice) -> Sequence[tuple[int, ...]]: ...

    def __getitem__(self, key: int | slice) -> tuple[int, ...] | Sequence[tuple[int, ...]]:
        if isinstance(key, slice):
            return [(number,) for number in self._numbers[key]]
        return (self._numbers[key],)


class Chosen(Sequence[Item]):
    """Some of a file's rows, by their numbers in it."""

    def __init__(self, rows: Sequence[Item], numbers: Sequence[int]) -> None:
        self.rows = rows
        self.numbers = array("Q", numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, key: int) -> Item: ...

    @overload
    def __getitem__(self, key: slice) -> Sequence[Item]: ...

    def __getitem__(self, key: int | slice) -> Item | Sequence[Item]:
        if isinstance(key, slice):
            return [self.rows[number] for number in self.numbers[key]]
        return self.rows[self.numbers[key]]

    def lengths(self) -> list[int]:
        whole = lengths_of(self.rows)
        return [whole[number] for number in self.numbers]

    @property
    def trained(self) -> int:
        rows = self.rows
        each = rows.trained_each() if isinstance(rows, FrozenItems) else [r.trained for r in rows]
        return sum(each[number] for number in self.numbers)


def line_of(rows: Sequence[Item], number: int) -> int:
    """As people count a row in its file, from 1."""
    return (rows.numbers[number] if isinstance(rows, Chosen) else number) + 1


def lengths_of(rows: Sequence[Item]) -> list[int]:
    """Tokens of each; frozen rows are not made for it."""
    if isinstance(rows, FrozenItems | Chosen):
        return rows.lengths()
    return [len(row) for row in rows]


def trained_of(rows: Sequence[Item]) -> int:
    """Labels of all of them."""
    if isinstance(rows, FrozenItems | Chosen):
        return rows.trained
    return sum(row.trained for row in rows)


@lru_cache(maxsize=2)
def _shuffled(count: int, seed: int, epoch: int) -> "array[int]":
    # Seeding with a string is stable across Python versions and platforms (it is hashed)
    order = array("I", range(count))
    random.Random(f"privatune {seed} {epoch}").shuffle(order)  # noqa: S311
    return order


def micro_batches(rows: Sequence[Item], tokens: int) -> Iterator[list[Item]]:
    """Cut a step's rows into parts of at most `tokens` tokens (at least one row each).

    Sorted by length, so that rows of like length meet in one attention call. A row is whole in
    its part, with all its sequences. The sums of a step do not depend on the cut.
    """
    for part in cut(lengths_of(rows), tokens):
        yield [rows[number] for number in part]


def cut(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """As `micro_batches`, of rows of these lengths: their numbers."""
    part: list[int] = []
    size = 0
    for number in sorted(range(len(lengths)), key=lengths.__getitem__):
        if part and size + lengths[number] > tokens:
            yield part
            part, size = [], 0
        part.append(number)
        size += lengths[number]
    if part:
        yield part
