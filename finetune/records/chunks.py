"""Tokens of text from its chunks, each of which the base's own tokenizer encoded once.

Byte-level BPE encodes every pre-token by itself, and words repeat: most of a file need not be
encoded again. A chunk is one pre-token or several whole ones. Where it ends is told by ASCII and
common Chinese alone, on which no two versions of Unicode differ.
"""

import re
from array import array
from collections.abc import Iterable
from itertools import chain, product
from typing import Any

CACHED = 1 << 17  # chunks kept, twice, of at most so many characters each: 36 MB
_LONGEST = 64
NEWEST = 1 << 18  # characters of whole texts kept
WIDTH = array("I").itemsize  # bytes of a token in memory

_HAN, _STOPS = "一-龥", "，。、；：！？（）《》「」“”…—"
_SPACE, _MARK = r"[ \t\n]*+", rf"[!-/:-@\[-`{{-~{_STOPS}]"
# An apostrophe behind it may belong to it, as in "isn't", if a letter follows
_WORD = (
    rf"(?:[A-Za-z{_HAN}]++|[0-9]++)"
    rf"(?=[ \t\n!-&(-~{_STOPS}{_HAN}]|'[ \t\n!-@\[-`{{-~{_STOPS}{_HAN}])"
)
_CHUNK = re.compile(
    rf"{_SPACE}{_MARK}*+{_WORD}"
    rf"|{_SPACE}{_MARK}++(?= [!-~{_HAN}])"
    # Only one line break: of several, some pre-tokenizers keep the last for the next word
    rf"|{_SPACE}{_MARK}++\n(?=[A-Za-z0-9{_HAN}])"
    # As in code: whatever marks and spaces, up to the end of the next word
    rf"|[ \t\n!-/:-@\[-`{{-~{_STOPS}]++{_WORD}"
    rf"|.+?(?:(?<=[!-~{_HAN}{_STOPS}])(?= [!-~{_HAN}])|(?<=[{_HAN}])(?=[{_STOPS}])|\Z)",
    re.DOTALL,
)
_CORE = (*"aZ0 \n\t,'/é你，", "  ", "word")
_NEIGHBOURS = (
    *_CORE,
    *map(chr, range(33, 127)),
    *"\r。他（”…\u3000\u0301",
    "\n\n",
    "'s",
    "'LL",
    "123",
    "://",
)
_FIT: dict[bytes, bool] = {}  # pre-tokenizers, of which there are few: to ask one takes 0.1 s


class Chunks:
    """For a tokenizer that `parts_so`. Keeps what customers wrote, so it belongs to one file.

    `border`: a token added to the tokenizer, at which it parts any text, and its number.
    """

    def __init__(self, fast: Any, border: tuple[str, int]) -> None:
        self._fast = fast
        self._border, self._number = border
        self._known: dict[str, bytes] = {}
        self._former: dict[str, bytes] = {}  # what is asked for again goes on
        self._whole: dict[str, bytes] = {}
        self._characters = 0  # of the texts in `_whole`

    def packed(self, texts: list[str]) -> list[bytes]:
        """The tokenizer's own tokens of texts in which none of its added ones stands, `WIDTH` bytes
        each: bytes are joined without a look at any single token.

        The newest texts are remembered as they stand: rows have a system prompt in common, and a
        template that gives each answer a sequence of its own repeats all turns before it.
        """
        whole = self._whole
        new = [text for text in dict.fromkeys(texts) if text not in whole]
        if new:
            whole.update(zip(new, self._from_chunks(new), strict=True))
            self._characters += sum(map(len, new))
        found = [whole[text] for text in texts]
        if self._characters > NEWEST:
            whole.clear()
            self._characters = 0
        return found

    def _from_chunks(self, texts: list[str]) -> list[bytes]:
        parted = [_CHUNK.findall(text) for text in texts]
        token_of, found, unknown = self._known.__getitem__, list[bytes](), list[int]()
        for number, chunks in enumerate(parted):
            try:
                found.append(b"".join(map(token_of, chunks)))
            except KeyError:
                found.append(b"")
                unknown.append(number)
        if unknown:
            self._learn_and_join(parted, unknown, found)
        return found

    def _learn_and_join(
        self, parted: list[list[str]], unknown: list[int], found: list[bytes]
    ) -> None:
        known = self._known
        asked = chain.from_iterable(parted[number] for number in unknown)
        missing = dict.fromkeys(chunk for chunk in asked if chunk not in known)
        self._learn(missing)
        for number in unknown:
            found[number] = b"".join(map(known.__getitem__, parted[number]))
        for chunk in missing:
            if len(chunk) > _LONGEST:
                del known[chunk]
        if len(known) > CACHED:
            self._former, self._known = known, {}

    def _learn(self, chunks: Iterable[str]) -> None:
        new = []
        for chunk in chunks:
            if (before := self._former.get(chunk)) is not None:
                self._known[chunk] = before
            else:
                new.append(chunk)
        if new:
            self._known.update(zip(new, self._encoded(new), strict=True))

    def _encoded(self, chunks: list[str]) -> list[bytes]:
        """In one text: a call costs more than most chunks do."""
        text = self._border.join(chunks)
        ids = self._fast.encode_batch_fast([text], add_special_tokens=False)[0].ids
        packed, found, begin = array("I", ids).tobytes(), list[bytes](), 0
        for _ in chunks[1:]:
            end = ids.index(self._number, begin)
            found.append(packed[begin * WIDTH : end * WIDTH])
            begin = end + 1
        return [*found, packed[begin * WIDTH :]]


def unpacked(packed: bytes) -> list[int]:
    return memoryview(packed).cast("I").tolist()


def parts_so(fast: Any) -> bool:
    """Whether a tokenizer of bytes encodes pre-tokens each by itself, and parts a text of all
    neighbours that matter as it parts the chunks."""
    model = fast.model
    kinds = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
    if type(model).__name__ != "BPE" or any(getattr(model, kind) for kind in kinds):
        return False
    parting = fast.pre_tokenizer
    how = parting.__getstate__()
    if how not in _FIT:
        _FIT[how] = _parts_as_chunks(parting)
    return _FIT[how]


def _parts_as_chunks(parting: Any) -> bool:
    probed = chain(*product(_NEIGHBOURS, repeat=2), *product(_CORE, repeat=3))
    text = "".join(probed)
    chunks = _CHUNK.findall(text)
    own = {chunk: _parted(parting, chunk) for chunk in dict.fromkeys(chunks)}
    return _parted(parting, text) == [part for chunk in chunks for part in own[chunk]]


def _parted(parting: Any, text: str) -> list[str]:
    return [part for part, _ in parting.pre_tokenize_str(text)]
