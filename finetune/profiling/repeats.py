"""Rows that say the same, or nearly the same, as another: in one file, or in the file that is held
out."""

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from finetune.profiling import shingles
from finetune.profiling.texts import folded

NEAR = 0.8  # of the runs of characters are the same in both
MOST_COMPARED = 1_000_000  # texts: their signatures take a quarter of a gigabyte
_LIKELY = 0.6  # of a signature's places; less is no 0.8 but once in many thousand
_TRIED = 4  # candidates of a text that are compared for certain

Text = Callable[[int], str]


@dataclass(frozen=True)
class Repeat:
    """Texts `text` and `of`, by their places from 0. `equal`: when folded."""

    text: int
    of: int
    similarity: float
    equal: bool


class Texts:
    """Digests of all texts and signatures of the first MOST_COMPARED, in their order; a text itself
    is asked for again, by `text`, where two are to be compared."""

    def __init__(self, text: Text) -> None:
        self.text = text
        self.digests = array("Q")
        self._signatures = bytearray()

    def add(self, text: str) -> None:
        plain = folded(text)
        self.digests.append(int.from_bytes(blake2b(plain.encode(), digest_size=8).digest()))
        if len(self.digests) <= MOST_COMPARED:
            self._signatures += shingles.signature(shingles.shingles(plain)).tobytes()

    def __len__(self) -> int:
        return len(self.digests)

    @property
    def compared(self) -> int:
        return min(len(self), MOST_COMPARED)

    @property
    def signatures(self) -> npt.NDArray[np.uint32]:
        found = np.frombuffer(self._signatures, np.uint32)
        return found.reshape(self.compared, shingles.PLACES)

    def runs(self, place: int) -> shingles.Hashes:
        return shingles.shingles(folded(self.text(place)))


def within(texts: Texts) -> Iterator[Repeat]:
    """Each text that repeats an earlier one, once, in order: equal to it, or near."""
    first: dict[int, int] = {}
    near = _earlier(texts.signatures)
    for place, digest in enumerate(texts.digests):
        known = first.setdefault(digest, place)
        if known != place:
            yield Repeat(place, known, 1.0, equal=True)
        elif place < texts.compared and (found := _best(texts, place, texts, near[place])):
            yield found


def across(texts: Texts, others: Texts) -> Iterator[Repeat]:
    """Each of `texts` that says what one of `others` does, once, in order."""
    first: dict[int, int] = {}
    for place, digest in enumerate(others.digests):
        first.setdefault(digest, place)
    near = _in_others(texts.signatures, others.signatures)
    for place, digest in enumerate(texts.digests):
        if digest in first:
            yield Repeat(place, first[digest], 1.0, equal=True)
        elif place < texts.compared and (found := _best(texts, place, others, near[place])):
            yield found


def _best(texts: Texts, place: int, others: Texts, near: npt.NDArray[np.int64]) -> Repeat | None:
    """The most similar of the candidates, if it is near."""
    candidates = np.unique(near[near >= 0])
    if not candidates.size:
        return None
    agree = (others.signatures[candidates] == texts.signatures[place]).mean(axis=1)
    likely = candidates[np.argsort(-agree, kind="stable")[:_TRIED]]
    likely = likely[: int((agree >= _LIKELY).sum())]
    if not likely.size:
        return None
    runs = texts.runs(place)
    similarity, of = max((shingles.jaccard(runs, others.runs(int(c))), -int(c)) for c in likely)
    return Repeat(place, -of, similarity, equal=False) if similarity >= NEAR else None


def _earlier(signatures: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """[texts, 2 * bands]: in each band the first with the same key, and the last before; or -1."""
    count = len(signatures)
    found = np.full((count, 2 * shingles.BANDS), -1, np.int64)
    for band, keys in enumerate(shingles.bands(signatures)):
        order = np.argsort(keys, kind="stable")
        sorted_keys = keys[order]
        same = np.zeros(count, bool)
        same[1:] = sorted_keys[1:] == sorted_keys[:-1]
        starts = np.maximum.accumulate(np.where(same, 0, np.arange(count)))
        behind = np.flatnonzero(same)
        found[order[behind], 2 * band] = order[starts[behind]]
        found[order[behind], 2 * band + 1] = order[behind - 1]
    return found


def _in_others(
    signatures: npt.NDArray[np.uint32], others: npt.NDArray[np.uint32]
) -> npt.NDArray[np.int64]:
    """As `_earlier`: the first and the last of the others that share the key."""
    found = np.full((len(signatures), 2 * shingles.BANDS), -1, np.int64)
    pairs = zip(shingles.bands(signatures), shingles.bands(others), strict=True)
    for band, (keys, theirs) in enumerate(pairs):
        order = np.argsort(theirs, kind="stable")
        sorted_keys = theirs[order]
        low = np.searchsorted(sorted_keys, keys, "left")
        high = np.searchsorted(sorted_keys, keys, "right")
        shared = np.flatnonzero(high > low)
        found[shared, 2 * band] = order[low[shared]]
        found[shared, 2 * band + 1] = order[high[shared] - 1]
    return found
