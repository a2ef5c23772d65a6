"""Which rows of a file are kept apart for validation: drawn by lot, in clusters that stay together.

Rows are of one cluster that have the same `group`, say the same, or nearly the same: a validation
row with a twin in training tells nothing of new data. What they say is compared without what the
operator of a chat wrote (system prompts), letter case, spaces and punctuation.
"""

import hashlib
import random
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from faults import UserFault

MOST_ROWS = 1_000_000  # each has a sketch of 256 bytes in memory
LARGEST_SHARE = 0.5
SHINGLE = 5  # characters (of chunks: tokens) that are compared at once
ALIKE = 0.85  # of the shingles of two rows, those in both: then they are nearly the same
BANDS, WIDTH = 16, 4  # of a sketch: rows meet where one band is equal (Broder 1997)
_UNSPOKEN = ("system", "developer")

Sketch = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Split:
    """Row numbers from 0, ascending; `clusters`: those of more than one row, in the whole file."""

    held_out: tuple[int, ...]
    rows: int
    clusters: int

    @property
    def sha256(self) -> str:
        return digest_of(self.held_out)

    @property
    def kept(self) -> list[int]:
        """The rows to train."""
        apart = set(self.held_out)
        return [number for number in range(self.rows) if number not in apart]


def digest_of(numbers: Sequence[int]) -> str:
    """SHA-256 of the numbers in decimal, each with a line break."""
    return hashlib.sha256("".join(f"{number}\n" for number in numbers).encode()).hexdigest()


def split(rows: Iterable[bytes], *, share: float, seed: int) -> Split:
    """Of canonical rows: equal rows, share and seed give an equal split. Raises UserFault
    `split_impossible` where none can be made."""
    return split_of(clusters_of(rows), share=share, seed=seed)


def split_of(clusters: Sequence[Sequence[int]], *, share: float, seed: int) -> Split:
    """They are taken in a drawn order, each that still fits into `share` of the rows. Raises
    UserFault `split_impossible` where none does."""
    count = sum(map(len, clusters))
    left = max(1, round(share * count)) if count > 1 else 0
    order = list(range(len(clusters)))
    random.Random(f"privatune split {seed}").shuffle(order)  # noqa: S311
    held_out: list[int] = []
    for number in order:
        if len(clusters[number]) <= left:
            held_out += clusters[number]
            left -= len(clusters[number])
    if not held_out or len(held_out) == count:
        raise UserFault(
            "split_impossible",
            f"No part of these {count} rows can be kept apart: they say nearly the same, or are of "
            "one group.",
            fix="Give a `validation_file`, a larger `validation_split`, or more rows.",
            param="validation_split",
        )
    together = sum(len(cluster) > 1 for cluster in clusters)
    return Split(tuple(sorted(held_out)), count, together)


def clusters_of(rows: Iterable[bytes]) -> list[list[int]]:
    """Row numbers that belong together, by their first rows. Raises UserFault `split_impossible`
    where there are too many rows."""
    same, groups, sketches = _Sets(), dict[bytes, int](), bytearray()
    for number, line in enumerate(rows):
        if number == MOST_ROWS:
            raise UserFault(
                "split_impossible",
                f"Files of more than {MOST_ROWS:,} rows are not split.",
                fix="Give a `validation_file`.",
                param="validation_split",
            )
        same.add()
        record: dict[str, Any] = orjson.loads(line)
        if (group := record.get("group", record.get("item", {}).get("group"))) is not None:
            key = hashlib.blake2b(str(group).encode(), digest_size=16).digest()
            same.join(number, groups.setdefault(key, number))
        sketches += _sketch(_units(record)).tobytes()
    for number, other in _alike(np.frombuffer(sketches, np.uint32).reshape(-1, BANDS * WIDTH)):
        same.join(number, other)
    return same.listed()


class _Sets:
    """Disjoint sets of row numbers, each named by its least (Tarjan 1975)."""

    def __init__(self) -> None:
        self._parent = array("q")

    def add(self) -> None:
        self._parent.append(len(self._parent))

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self._root(one), self._root(other)))
        self._parent[second] = first

    def _root(self, number: int) -> int:
        while (up := self._parent[number]) != number:
            self._parent[number] = self._parent[up]
            number = up
        return number

    def listed(self) -> list[list[int]]:
        found: dict[int, list[int]] = {}
        for number in range(len(self._parent)):
            found.setdefault(self._root(number), []).append(number)
        return list(found.values())


def _units(record: dict[str, Any]) -> npt.NDArray[np.uint64]:
    """What a row says, as numbers: its letters and digits, or a chunk's tokens."""
    if (ids := record.get("ids")) is not None:
        return np.array(ids, dtype=np.uint64)
    said = "".join(c for text in _texts(record) for c in text.casefold() if c.isalnum())
    return np.frombuffer(said.encode("utf-32-le"), dtype="<u4").astype(np.uint64)


def _texts(record: dict[str, Any]) -> Iterator[str]:
    for name in ("messages", "prompt", "chosen", "rejected", "completion", "text"):
        value = record.get(name)
        if isinstance(value, str):
            yield value
        for message in value if isinstance(value, list) else []:
            if message["role"] not in _UNSPOKEN:
                yield message.get("reasoning_content") or ""
                yield message.get("content") or ""
                yield from (str(call.get("function")) for call in message.get("tool_calls") or [])


_RANDOM = np.random.Generator(np.random.PCG64(20240726))
_ODD = _RANDOM.integers(0, 2**63, (BANDS * WIDTH, 1), dtype=np.uint64) * 2 + 1
_PLUS = _RANDOM.integers(0, 2**63, (BANDS * WIDTH, 1), dtype=np.uint64)
_PLACES_OF_BAND = _ODD[:WIDTH, 0]
_PLACES = np.array([pow(1_099_511_628_211, n, 2**64) for n in range(SHINGLE)], dtype=np.uint64)


def _sketch(units: npt.NDArray[np.uint64]) -> Sketch:
    """[bands x width] least hashes of the row's shingles: of two rows about as many are equal as
    shingles are in both (Broder 1997)."""
    if len(units) < SHINGLE:
        units = np.concatenate([units, np.zeros(SHINGLE - len(units), dtype=np.uint64)])
    windows = np.lib.stride_tricks.sliding_window_view(units + np.uint64(1), SHINGLE)
    shingles = np.unique((windows * _PLACES).sum(axis=1, dtype=np.uint64))
    mixed = shingles ^ (shingles >> np.uint64(31))
    hashes = mixed[None] * _ODD + _PLUS
    return (hashes >> np.uint64(32)).min(axis=1).astype(np.uint32)


def _alike(sketches: Sketch) -> Iterator[tuple[int, int]]:
    """Neighbours among the rows [rows, bands x width] with an equal band, where they are alike."""
    for start in range(0, BANDS * WIDTH, WIDTH):
        band = sketches[:, start : start + WIDTH].astype(np.uint64)
        keys = (band * _PLACES_OF_BAND).sum(axis=1, dtype=np.uint64)
        order = np.argsort(keys, kind="stable")
        met = np.flatnonzero(keys[order[1:]] == keys[order[:-1]])
        for one, other in zip(order[met].tolist(), order[met + 1].tolist(), strict=True):
            if (sketches[one] == sketches[other]).mean() >= ALIKE:
                yield other, one
