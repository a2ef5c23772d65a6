"""How alike two texts are: the share of their runs of five characters that both have (Jaccard),
and signatures by which candidates are found without comparing all with all.

MinHash (Broder, 1997): a signature's places agree with the probability of the Jaccard index. Runs
of characters serve Chinese and English alike, which words do not. Hashed and multiplied in whole
arrays: libraries of MinHash take the runs one by one, at many times the cost.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Signature = npt.NDArray[np.uint32]

RUN = 5  # characters
PLACES = 64
BANDS = 16  # of four places: at an index of 0.8 one text in five thousand is missed
_BLOCK = 1 << 14  # runs hashed at once: more would take memory and be no faster


def shingles(text: str) -> Hashes:
    """A sorted set of hashes, one for each different run; of a shorter text the text itself."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    width = min(RUN, max(len(codes), 1))
    count = len(codes) - width + 1
    if count <= 0:
        return np.zeros(0, np.uint64)
    found = np.zeros(count, np.uint64)
    for place in range(width):
        found = _mixed(found ^ codes[place : place + count])
    return np.unique(found)


def signature(found: Hashes) -> Signature:
    least = np.full(PLACES, np.iinfo(np.uint32).max, np.uint32)
    for start in range(0, len(found), _BLOCK):
        block = found[start : start + _BLOCK]
        hashed = (_FACTORS[:, None] * block + _TERMS[:, None]) >> np.uint64(32)
        np.minimum(least, hashed.min(axis=1).astype(np.uint32), out=least)
    return least


def jaccard(one: Hashes, other: Hashes) -> float:
    """0..1; of two texts without a run 1."""
    both = np.intersect1d(one, other, assume_unique=True).size
    either = one.size + other.size - both
    return both / either if either else 1.0


def bands(signatures: npt.NDArray[np.uint32]) -> Iterator[Hashes]:
    """For each band a key of each text; texts that share one are candidates."""
    width = PLACES // BANDS
    for band in range(BANDS):
        keys = np.zeros(len(signatures), np.uint64)
        for place in range(band * width, (band + 1) * width):
            keys = _mixed(keys ^ signatures[:, place].astype(np.uint64))
        yield keys


def _mixed(values: Hashes) -> Hashes:
    """splitmix64: each bit of the input moves each of the output."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = values ^ (values >> np.uint64(31))
    return mixed


def _constants(start: int) -> Any:
    return _mixed(np.arange(start, start + PLACES, dtype=np.uint64))


_FACTORS: Hashes = _constants(1) | np.uint64(1)
_TERMS: Hashes = _constants(1 << 20)
