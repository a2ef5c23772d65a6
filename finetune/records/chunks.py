"""Tokens of text from its chunks, each of which the base's own tokenizer encoded once.

Byte-level BPE encodes every pre-token by itself, and words repeat: most of a file need not be
encoded again. A chunk is one pre-token or several whole ones. Where it ends is told by ASCII and
common Chinese alone, on which no two versions of Unicode differ.
"""

import re
from collections.abc import Iterable
from itertools import chain, product
from typing import Any

CACHED = 1 << 17  # chunks kept, twice, of at most so many characters each: 80 MB
_LONGEST = 64

_HAN, _STOPS = "一-龥", "，。、；：！？"
_SPACE, _MARK = r"[ \t\n]*+", r"[!-/:-@\[-`{-~]"
_WORD = r"(?:[A-Za-z]++|[0-9]++)(?=[ \t\n!-&(-~])"  # an apostrophe behind it may belong to it
_CHUNK = re.compile(
    rf"{_SPACE}{_MARK}*+{_WORD}"
    rf"|{_SPACE}{_MARK}++(?= [!-~])"
    # Only one line break: of several, some pre-tokenizers keep the last for the next word
    rf"|{_SPACE}{_MARK}++\n(?=[A-Za-z0-9])"
    # As in code: whatever marks and spaces, up to the end of the next word
    rf"|[ \t\n!-/:-@\[-`{{-~]++{_WORD}"
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
    """For a tokenizer that `parts_so`. Keeps what customers wrote, so it belongs to one file.

    `border`: a token added to the tokenizer, at which it parts any text, and its number.
    """

    def __init__(self, fast: Any, border: tuple[str, int]) -> None:
        self._fast = fast
        self._border, self._number = border
        self._known: dict[str, tuple[int, ...]] = {}
        self._former: dict[str, tuple[int, ...]] = {}  # what is asked for again goes on

    def ids(self, texts: list[str]) -> list[list[int]]:
        """The tokenizer's own tokens of texts in which none of its added ones stands."""
        parted = [_CHUNK.findall(text) for text in texts]
        known = self._known
        missing = [chunk for chunk in chain.from_iterable(parted) if chunk not in known]
        if missing:
            self._learn(dict.fromkeys(missing))
        found = [self._joined(chunks) for chunks in parted]
        for chunk in missing:
            if len(chunk) > _LONGEST:
                known.pop(chunk, None)
        if len(known) > CACHED:
            self._former, self._known = known, {}
        return found

    def _joined(self, chunks: list[str]) -> list[int]:
        return list(chain.from_iterable(map(self._known.__getitem__, chunks)))

    def _learn(self, chunks: Iterable[str]) -> None:
        new = []
        for chunk in chunks:
            if (before := self._former.get(chunk)) is not None:
                self._known[chunk] = before
            else:
                new.append(chunk)
        if new:
            self._known.update(zip(new, self._encoded(new), strict=True))

    def _encoded(self, chunks: list[str]) -> list[tuple[int, ...]]:
        """In one text: a call costs more than most chunks do."""
        text = self._border.join(chunks)
        ids = self._fast.encode_batch_fast([text], add_special_tokens=False)[0].ids
        found, begin = list[tuple[int, ...]](), 0
        for _ in chunks[1:]:
            end = ids.index(self._number, begin)
            found.append(tuple(ids[begin:end]))
            begin = end + 1
        return [*found, tuple(ids[begin:])]


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
