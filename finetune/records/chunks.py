"""Tokens of text from its chunks, each of which the base's own tokenizer encoded once.

Byte-level BPE encodes every pre-token by itself, and words repeat: most of a file need not be
encoded again. A chunk is one pre-token or several whole ones. Where it ends is told by ASCII and
common Chinese alone, on which no two versions of Unicode differ.
"""

import re
from itertools import chain, product
from typing import Any

CACHED = 1 << 17  # chunks kept, of at most so many characters each: 40 MB
_LONGEST = 64

_HAN, _STOPS = "一-龥", "，。、；：！？"
_SPACE, _MARK = r"[ \t\n]*+", r"[!-/:-@\[-`{-~]"
_CHUNK = re.compile(
    # A word or number; an apostrophe behind it may belong to it
    rf"{_SPACE}{_MARK}*+(?:[A-Za-z]++|[0-9]++)(?=[ \t\n!-&(-~])"
    rf"|{_SPACE}{_MARK}++(?= [!-~])"
    # Only one line break: of several, some pre-tokenizers keep the last for the next word
    rf"|{_SPACE}{_MARK}++\n(?=[A-Za-z0-9])"
    rf"|[{_STOPS}]?+[{_HAN}]++(?=[{_STOPS}])"
    rf"|.+?(?:(?<=[!-~])(?= [!-~])|(?<=[{_HAN}])(?=[{_STOPS}])|\Z)",
    re.DOTALL,
)
_CORE = (*"aZ0 \n\t,'/é你，", "  ", "word")
_NEIGHBOURS = (
    *_CORE,
    *map(chr, range(33, 127)),
    *"\r。他\u3000\u0301",
    "\n\n",
    "'s",
    "'LL",
    "123",
    "://",
)


class Chunks:
    """For a tokenizer that `parts_so`. Keeps what customers wrote, so it belongs to one file."""

    def __init__(self, fast: Any) -> None:
        self._fast = fast
        self._known: dict[str, tuple[int, ...]] = {}

    def ids(self, text: str) -> list[int]:
        """The tokenizer's own tokens of a text in which none of its added ones stands."""
        chunks = _CHUNK.findall(text)
        try:
            return self._joined(chunks)
        except KeyError:
            self._learn(set(chunks))
        found = self._joined(chunks)
        for chunk in chunks:
            if len(chunk) > _LONGEST:
                self._known.pop(chunk, None)
        return found

    def _joined(self, chunks: list[str]) -> list[int]:
        return list(chain.from_iterable(map(self._known.__getitem__, chunks)))

    def _learn(self, chunks: set[str]) -> None:
        missing = [chunk for chunk in chunks if chunk not in self._known]
        if len(self._known) + len(missing) > CACHED:
            self._known.clear()
            missing = list(chunks)
        encoded = self._fast.encode_batch_fast(missing, add_special_tokens=False)
        for chunk, each in zip(missing, encoded, strict=True):
            self._known[chunk] = tuple(each.ids)


def parts_so(fast: Any) -> bool:
    """Whether a tokenizer of bytes encodes pre-tokens each by itself, and parts a text of all
    neighbours that matter as it parts the chunks."""
    model = fast.model
    kinds = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
    if type(model).__name__ != "BPE" or any(getattr(model, kind) for kind in kinds):
        return False
    probed = chain(*product(_NEIGHBOURS, repeat=2), *product(_CORE, repeat=3))
    text = "".join(probed)
    chunks = _CHUNK.findall(text)
    return _parted(fast, text) == [part for chunk in chunks for part in _parted(fast, chunk)]


def _parted(fast: Any, text: str) -> list[str]:
    return [part for part, _ in fast.pre_tokenizer.pre_tokenize_str(text)]
