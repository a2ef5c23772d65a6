"""Which rows each step takes: a pure function of (seed, step)."""

import random
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import overload

from finetune.records.frozen import FrozenItems
from finetune.records.kinds import Item
from finetune.records.packs import pack


@dataclass(frozen=True)
class Share:
    """A file's items: `count` of them from the number `start`, of which each epoch takes `taken`:
    some of them, or some more than once."""

    start: int
    count: int
    taken: int


@dataclass(frozen=True)
class Plan:
    """What one step takes: `batch_size` items, each a row of the data or a pack of rows (their
    numbers). A row's sequences are never parted. `shares`: of several files; () takes each item
    once an epoch."""

    items: Sequence[tuple[int, ...]]
    batch_size: int
    epochs: int
    seed: int
    shares: tuple[Share, ...] = ()
    repeats: int = 1  # steps in a row that take the same

    @property
    def items_per_epoch(self) -> int:
        return sum(share.taken for share in self.shares) if self.shares else len(self.items)

    @property
    def steps_per_epoch(self) -> int:
        return self.repeats * -(-self.items_per_epoch // self.batch_size)

    @property
    def total_steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def rows_of(self, step: int) -> list[int]:
        """Row numbers of step 0, 1, ...; every epoch takes each row once, or as often as its file's
        weight says, and its last step what is left over."""
        epoch, place = divmod(step, self.steps_per_epoch)
        place //= self.repeats
        if self.shares:
            order = _mixed(self.shares, self.seed, epoch)
        else:
            order = _shuffled(len(self.items), self.seed, epoch)
        chosen = order[place * self.batch_size : (place + 1) * self.batch_size]
        return [row for item in chosen for row in self.items[item]]


def make_plan(
    rows: Sequence[Item],
    *,
    batch_size: int,
    epochs: int,
    seed: int,
    pack_to: int | None,
    weights: Sequence[float] = (1.0,),
    repeats: int = 1,
) -> Plan:
    """`weights`: of the files that `rows` are of; no pack has rows of two."""
    files = rows.files if isinstance(rows, Joined) else [rows]
    if len(files) == 1 and weights[0] == 1:
        items = tuple(pack(lengths_of(rows), pack_to)) if pack_to else Singles(len(rows))
        return Plan(items, batch_size, epochs, seed, repeats=repeats)
    packed, shares, rows_before = list[tuple[int, ...]](), list[Share](), 0
    for file, weight in zip(files, weights, strict=True):
        packs = pack(lengths_of(file), pack_to) if pack_to else ((n,) for n in range(len(file)))
        start = len(packed)
        packed += (tuple(row + rows_before for row in each) for each in packs)
        count, rows_before = len(packed) - start, rows_before + len(file)
        shares.append(Share(start, count, taken_of(count, weight)))
    return Plan(packed, batch_size, epochs, seed, tuple(shares), repeats)


def taken_of(count: int, weight: float) -> int:
    """How many of a file's items an epoch takes, with repetitions."""
    return max(1, round(weight * count))


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


class Joined(Sequence[Item]):
    """The rows of several files, one after the other."""

    def __init__(self, files: Sequence[Sequence[Item]]) -> None:
        self.files = list(files)
        self._ends = list(accumulate(map(len, files)))

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, key: int) -> Item: ...

    @overload
    def __getitem__(self, key: slice) -> Sequence[Item]: ...

    def __getitem__(self, key: int | slice) -> Item | Sequence[Item]:
        if isinstance(key, slice):
            return [self[number] for number in range(*key.indices(len(self)))]
        if not 0 <= key < len(self):
            raise IndexError(key)
        file = bisect_right(self._ends, key)
        return self.files[file][key - (self._ends[file] - len(self.files[file]))]

    def lengths(self) -> list[int]:
        return [length for file in self.files for length in lengths_of(file)]

    @property
    def trained(self) -> int:
        return sum(map(trained_of, self.files))


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
    """As people count a row in its file, from 1; of several files, through all of them."""
    return (rows.numbers[number] if isinstance(rows, Chosen) else number) + 1


def lengths_of(rows: Sequence[Item]) -> list[int]:
    """Tokens of each; frozen rows are not made for it."""
    if isinstance(rows, FrozenItems | Chosen | Joined):
        return rows.lengths()
    return [len(row) for row in rows]


def trained_of(rows: Sequence[Item]) -> int:
    """Labels of all of them."""
    if isinstance(rows, FrozenItems | Chosen | Joined):
        return rows.trained
    return sum(row.trained for row in rows)


@lru_cache(maxsize=2)
def _shuffled(count: int, seed: int, epoch: int) -> "array[int]":
    # Seeding with a string is stable across Python versions and platforms (it is hashed)
    order = array("I", range(count))
    random.Random(f"privatune {seed} {epoch}").shuffle(order)  # noqa: S311
    return order


@lru_cache(maxsize=2)
def _mixed(shares: tuple[Share, ...], seed: int, epoch: int) -> "array[int]":
    """The items of an epoch, of all files, shuffled."""
    order = array("I")
    for number, share in enumerate(shares):
        order.extend(share.start + item for item in _taken(share, seed, number, epoch))
    random.Random(f"privatune {seed} {epoch}").shuffle(order)  # noqa: S311
    return order


def _taken(share: Share, seed: int, file: int, epoch: int) -> Iterator[int]:
    """What an epoch takes of one file: a stretch of its shuffled items, which are shuffled anew
    each time that all were taken."""
    place, end = epoch * share.taken, (epoch + 1) * share.taken
    while place < end:
        again, first = divmod(place, share.count)
        order = array("I", range(share.count))
        random.Random(f"privatune {seed} file {file} {again}").shuffle(order)  # noqa: S311
        stretch = order[first : first + end - place]
        yield from stretch
        place += len(stretch)


def per_epoch(plan: Plan, rows: Sequence[Item], count: Callable[[Sequence[Item]], int]) -> int:
    """What an epoch takes of what `count` counts in rows: tokens or labels; of files that it takes
    a share of, that share."""
    if not plan.shares:
        return count(rows)
    files = rows.files if isinstance(rows, Joined) else [rows]
    parts = zip(plan.shares, files, strict=True)
    return sum(round(count(file) * share.taken / share.count) for share, file in parts)


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
