"""Encoded records in one file that is mapped, not read: token ids, what is trained of them, and
which sequences belong to one record.

    token ids    2 bytes each where every id fits, else 4      [tokens]
    lengths      uint32                                        [sequences]
    spans        uint32, trained spans of each                 [sequences]
    edges        uint32, first and behind-last token of each   [2 x spans]
    members      uint32, sequences of each record              [records]
    goods        uint8, 1 where a record's answer is good      [records]; only of rated ones
    scores       float64, how alike a record's texts are       [records]; only of scored ones
    margins      float64, by how much a pair's first is better [records]; only where one says so
    footer       JSON (also the day that prompts print as today), then its length (uint64)
                 and `MAGIC`

Numbers are little-endian, and each part begins at a multiple of eight bytes. Equal records make
equal bytes, whoever encoded them and in how many parts.
"""

import json
import struct
import sys
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, overload

import numpy as np
import numpy.typing as npt

from faults import OurFault
from finetune.records.kinds import Group, Item, Preferred, Rated, Scored

MAGIC = b"PTTOKEN1"
_END = struct.Struct("<Q8s")
_PARTS = ("ids", "lengths", "spans", "edges", "members")
_BESIDE = ("goods", "scores", "margins")  # at most one of them
_WIDE = 1 << 16

assert sys.byteorder == "little"


@dataclass
class Block:
    """Some records, one after the other, as they will stand in the file."""

    ids: "array[int]" = field(default_factory=lambda: array("I"))
    lengths: "array[int]" = field(default_factory=lambda: array("I"))
    spans: "array[int]" = field(default_factory=lambda: array("I"))
    edges: "array[int]" = field(default_factory=lambda: array("I"))
    members: "array[int]" = field(default_factory=lambda: array("I"))
    goods: "array[int]" = field(default_factory=lambda: array("B"))
    scores: "array[float]" = field(default_factory=lambda: array("d"))
    margins: "array[float]" = field(default_factory=lambda: array("d"))

    def add(
        self,
        sequences: Iterable[tuple[list[int], list[bool]]],
        *,
        good: bool | None = None,
        score: float | None = None,
        margin: float | None = None,
    ) -> None:
        """One record: of each sequence the ids, and which of them are trained; of a rated one,
        whether its answer is good, of a scored one its score, and of a pair its margin."""
        members = 0
        for input_ids, trained in sequences:
            edges = edges_of(trained)
            self.ids.extend(input_ids)
            self.lengths.append(len(input_ids))
            self.spans.append(len(edges) // 2)
            self.edges.extend(edges)
            members += 1
        self.members.append(members)
        if good is not None:
            self.goods.append(good)
        if score is not None:
            self.scores.append(score)
        self.margins.append(margin or 0.0)


def edges_of(trained: list[bool]) -> list[int]:
    """Where trained spans begin and end: [first, behind the last, first, ...]."""
    edges, place, wanted = [], 0, True
    while True:
        try:
            place = trained.index(wanted, place)
        except ValueError:
            break
        edges.append(place)
        wanted = not wanted
    return [*edges, len(trained)] if len(edges) % 2 else edges


class Writer:
    """Writes blocks in order. Only what stands behind the ids is kept in memory, some bytes for
    each sequence. Without `close` the file has no end and is refused."""

    def __init__(self, path: Path, *, vocabulary: int, printed_day: str | None = None) -> None:
        self._file: IO[bytes] = path.open("wb")
        self._day = printed_day
        self._width = "<u2" if vocabulary <= _WIDE else "<u4"
        self._rest = Block()
        self._tokens = self._trained = 0
        self.bytes = 0  # of the whole file, once it is closed

    def extend(self, block: Block) -> None:
        ids = np.frombuffer(block.ids, dtype=np.uint32)
        if self._width == "<u2" and len(ids) and int(ids.max()) >= _WIDE:
            raise OurFault("internal", "A token's id is larger than the vocabulary.")
        self._file.write(ids.astype(self._width).tobytes())
        self._tokens += len(ids)
        edges = np.frombuffer(block.edges, dtype=np.uint32).astype(np.int64)
        self._trained += int((edges[1::2] - edges[::2]).sum())
        for name in (*_PARTS[1:], *_BESIDE):
            getattr(self._rest, name).extend(getattr(block, name))

    def close(self, kind: str) -> None:
        """`kind`: of the records."""
        places = [0]
        self._pad(places)
        if not any(self._rest.margins):
            self._rest.margins = array("d")
        beside = [name for name in _BESIDE if getattr(self._rest, name)]
        for name in (*_PARTS[1:], *beside):
            self._file.write(getattr(self._rest, name).tobytes())
            self._pad(places)
        footer = {
            "kind": kind,
            "ids": self._width,
            "tokens": self._tokens,
            "trained": self._trained,
            "sequences": len(self._rest.lengths),
            "records": len(self._rest.members),
            "printed_day": self._day or "",
            "places": places,
        }
        if self._rest.scores:
            footer["scored"] = True
        if "margins" in beside:
            footer["margined"] = True
        written = json.dumps(footer, sort_keys=True).encode()
        self._file.write(written + _END.pack(len(written), MAGIC))
        self.bytes = self._file.tell()
        self._file.close()

    def _pad(self, places: list[int]) -> None:
        self._file.write(b"\0" * (-self._file.tell() % 8))
        places.append(self._file.tell())


class Frozen:
    """A file of records, mapped. `tokens` and `trained` count those of all of them."""

    def __init__(self, path: Path) -> None:
        """Raises OurFault `data_changed` when it is none, or was cut."""
        footer = _footer(path)
        self.kind: str = footer["kind"]
        self.tokens: int = footer["tokens"]
        self.trained: int = footer["trained"]
        # "": none is printed; None: older files do not tell
        self.printed_day: str | None = footer.get("printed_day")
        places, count = footer["places"], footer["sequences"]
        self._ids = _mapped(path, footer["ids"], places[0], self.tokens)
        lengths = _mapped(path, "<u4", places[1], count)
        spans = _mapped(path, "<u4", places[2], count)
        self._edges = _mapped(path, "<u4", places[3], (places[4] - places[3]) // 4)
        members = _mapped(path, "<u4", places[4], footer["records"])
        self.longest = int(lengths.max(initial=0))
        self._starts, self._spans = _starts(lengths), _starts(spans)
        # Most files have one sequence to a record, which then need no table
        self._firsts = None if footer["records"] == count else _starts(members)
        self.records: int = footer["records"]
        beside, scored = len(places) > len(_PARTS) + 1, footer.get("scored", False)
        margined = footer.get("margined", False)
        rated = beside and not scored and not margined
        self._goods = _mapped(path, "u1", places[5], self.records) if rated else None
        self._scores = _mapped(path, "<f8", places[5], self.records) if scored else None
        self._margins = _mapped(path, "<f8", places[5], self.records) if margined else None

    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of all sequences of each record."""
        firsts = np.arange(self.records + 1) if self._firsts is None else self._firsts
        return np.diff(self._starts[firsts])

    def trained_by_record(self) -> npt.NDArray[np.int64]:
        """Labels of all sequences of each record."""
        spans = (self._edges[1::2].astype(np.int64) - self._edges[::2]).cumsum()
        done = np.concatenate([np.zeros(1, dtype=np.int64), spans])
        firsts = np.arange(self.records + 1) if self._firsts is None else self._firsts
        return np.diff(done[self._spans[firsts]])

    def sequences(self, record: int) -> list[tuple[list[int], bytes]]:
        """Of each sequence the ids, and a byte that is 1 where one is trained."""
        if self._firsts is None:
            return [self._sequence(record)]
        first, behind = self._firsts[record : record + 2]
        return [self._sequence(number) for number in range(first, behind)]

    def good(self, record: int) -> bool | None:
        """Of a rated one, whether its answer is good."""
        return None if self._goods is None else bool(self._goods[record])

    def score(self, record: int) -> float | None:
        """Of a scored one, how alike its texts are."""
        return None if self._scores is None else float(self._scores[record])

    def margin(self, record: int) -> float:
        """Of a pair, by how much its first is better."""
        return 0.0 if self._margins is None else float(self._margins[record])

    def _sequence(self, number: int) -> tuple[list[int], bytes]:
        start, end = self._starts[number : number + 2]
        ids: list[int] = self._ids[start:end].tolist()
        labels = bytearray(len(ids))
        first, behind = self._spans[number : number + 2]
        edges = self._edges[2 * int(first) : 2 * int(behind)].tolist()
        for begin, stop in zip(edges[::2], edges[1::2], strict=True):
            labels[begin:stop] = b"\1" * (stop - begin)
        return ids, bytes(labels)


class FrozenItems(Sequence[Item]):
    """Records as items, each made when it is asked for by `make`, from a sequence's ids and
    labels."""

    def __init__(self, frozen: Frozen, make: Callable[[list[int], bytes], Item]) -> None:
        self._frozen, self._make = frozen, make
        self.kind = frozen.kind

    @property
    def trained(self) -> int:
        """Labels of all of them."""
        return self._frozen.trained

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return self._frozen.longest

    @property
    def printed_day(self) -> str | None:
        """What their prompts print as today; "" where they print none, None where untold."""
        return self._frozen.printed_day

    def trained_each(self) -> list[int]:
        """Labels of each."""
        return self._frozen.trained_by_record().tolist()

    def lengths(self) -> list[int]:
        """`len` of each."""
        return self._frozen.lengths().tolist()

    def __len__(self) -> int:
        return self._frozen.records

    @overload
    def __getitem__(self, key: int) -> Item: ...

    @overload
    def __getitem__(self, key: slice) -> list[Item]: ...

    def __getitem__(self, key: int | slice) -> Item | list[Item]:
        if isinstance(key, slice):
            return [self[number] for number in range(*key.indices(len(self)))]
        if not -len(self) <= key < len(self):
            raise IndexError(key)
        found = self._frozen.sequences(key % len(self))
        items = tuple(self._make(ids, labels) for ids, labels in found)
        if (good := self._frozen.good(key % len(self))) is not None:
            return Rated(items[0], good)
        if (score := self._frozen.score(key % len(self))) is not None:
            return Scored(items, score)
        if margin := self._frozen.margin(key % len(self)):
            return Preferred(items, margin)
        return items[0] if len(items) == 1 else Group(items)


def _footer(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size >= _END.size:
            file.seek(size - _END.size)
            length, magic = _END.unpack(file.read(_END.size))
            if magic == MAGIC and length <= size - _END.size:
                file.seek(size - _END.size - length)
                footer: dict[str, Any] = json.loads(file.read(length))
                return footer
    raise OurFault("data_changed", "The file of token ids is not whole.", where=path.name)


def _mapped(path: Path, kind: str, place: int, count: int) -> npt.NDArray[Any]:
    if not count:  # nothing cannot be mapped
        return np.empty(0, dtype=kind)
    return np.memmap(path, dtype=kind, mode="r", offset=place, shape=(count,))


def _starts(lengths: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Of each where it begins, and where the last one ends."""
    starts = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts
