"""Where a text's tokens are parted whatever stands on either side: at the tokens added to a
tokenizer, such as those around turns.

Tokenizers cut a text at them first and encode the pieces each by itself. So the tokens of a
text's beginning are those of the whole up to its last added token, and only what follows that one
must be encoded again.
"""

import re
from array import array
from bisect import bisect_right
from typing import Any

from finetune.records.chunks import WIDTH, Chunks, parts_so, unpacked

PROVED = 32  # texts encoded both ways before the quick one is trusted
CACHED = 4096  # pieces kept, of at most so many characters each
_SHORT = 256


class Borders:
    def __init__(self, tokenizer: Any) -> None:
        self._fast = tokenizer.backend_tokenizer
        added = tokenizer.added_tokens_decoder
        own = {token.content: number for number, token in added.items() if not token.normalized}
        # One that is no word inside of a word depends on its neighbours
        usable = bool(own) and not any(token.single_word for token in added.values())
        self._own = own if usable else {}
        self._numbers = frozenset(self._own.values())
        self._packed = {text: array("I", [number]).tobytes() for text, number in self._own.items()}
        longest_first = sorted(self._own, key=lambda token: (-len(token), token))
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._certain = usable and _is_bytewise(self._fast)
        self._known: dict[str, list[int]] = {}
        by_place = any(t.normalized or t.lstrip or t.rstrip for t in added.values())
        quick = self._certain and not by_place and parts_so(self._fast)
        self._chunks = Chunks(self._fast, next(iter(own.items()))) if quick else None
        self._proved = 0

    @property
    def is_quick(self) -> bool:
        """Whether chunks are remembered, and were the tokenizer's own so far."""
        return self._chunks is not None

    def cut(self, text: str) -> "Cut | None":
        """The text's tokens, without special ones around it; None where it has no border."""
        found = list(self._pattern.finditer(text))
        if not found:
            return None
        parted = self._quickly(text, found)
        if parted is None or self._proved < PROVED:
            own = self._by_tokenizer(text, found)
            if parted != own:
                self._chunks = None
            self._proved += 1
            parted = own
        if parted is None:
            return None
        ids, places = parted
        return Cut(self, text, ids, places, found, certain=self._certain)

    def _quickly(self, text: str, found: list[re.Match[str]]) -> tuple[list[int], list[int]] | None:
        """Tokens, and the places of the borders among them."""
        if (chunks := self._chunks) is None:
            return None
        begins = [0, *(match.end() for match in found)]
        ends = [*(match.start() for match in found), len(text)]
        between = chunks.packed([text[b:e] for b, e in zip(begins, ends, strict=True)])
        parts, places, place = between[:1], list[int](), len(between[0])
        for match, after in zip(found, between[1:], strict=True):
            places.append(place // WIDTH)
            parts += (self._packed[match[0]], after)
            place += WIDTH + len(after)
        return unpacked(b"".join(parts)), places

    def _by_tokenizer(
        self, text: str, found: list[re.Match[str]]
    ) -> tuple[list[int], list[int]] | None:
        """The same, None where its tokens are no borders."""
        ids: list[int] = self._fast.encode_batch_fast([text], add_special_tokens=False)[0].ids
        numbers = self._numbers
        places = [place for place, token in enumerate(ids) if token in numbers]
        if [ids[place] for place in places] != [self._own[match[0]] for match in found]:
            return None
        return ids, places

    def ids(self, piece: str) -> list[int]:
        """Tokens of a piece that begins with a border; few are written between turns."""
        known = self._known.get(piece)
        if known is None:
            known = self._fast.encode_batch_fast([piece], add_special_tokens=False)[0].ids
            if len(piece) <= _SHORT:
                if len(self._known) >= CACHED:
                    self._known.clear()
                self._known[piece] = known
        return known


class Cut:
    """A text, its tokens and the borders in it: token `places`, characters `found`. `certain`:
    whether a tokenizer's own offsets say nothing that the borders do not."""

    def __init__(
        self,
        borders: Borders,
        text: str,
        ids: list[int],
        places: list[int],
        found: list[re.Match[str]],
        *,
        certain: bool,
    ) -> None:
        self.certain = certain
        self._borders, self._text = borders, text
        self.ids, self._places = ids, places
        self._begins = [match.start() for match in found]
        self._ends = [match.end() for match in found]

    def tokens_before(self, seam: int) -> int | None:
        """How many tokens the text's first `seam` characters have; None if by themselves they are
        encoded otherwise, or one reaches over the seam."""
        last = bisect_right(self._ends, seam) - 1
        if last < 0:
            start, piece = 0, self._text[:seam]
        else:
            start, piece = self._places[last], self._text[self._begins[last] : seam]
        own = self._borders.ids(piece) if piece else []
        end = start + len(own)
        return end if self.ids[start:end] == own else None

    def tokens_until(self, end: int) -> int | None:
        """How many tokens there are up to a border that ends at the character `end`."""
        last = bisect_right(self._ends, end) - 1
        return self._places[last] + 1 if last >= 0 and self._ends[last] == end else None


def _is_bytewise(fast: Any) -> bool:
    """Whether tokens are parts of the text's bytes, end to end, as in byte-level BPE: then so many
    tokens are so many characters, and offsets need not be asked."""
    kinds = repr(fast.pre_tokenizer)
    normal = repr(fast.normalizer)
    plain = normal == "None" or re.fullmatch(r"NFC\(\)", normal) is not None
    return "ByteLevel(add_prefix_space=False" in kinds and plain and "Metaspace" not in kinds
