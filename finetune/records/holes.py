"""Documents rearranged so that a model learns to fill in the middle: a span of the text is put
behind what follows it (Bavarian et al. 2022, arXiv:2207.14255, applied to each sequence).

Text is cut between characters, and each piece is encoded by itself, as serving encodes a prefix and
a suffix. Every token is trained, as in the paper.
"""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Literal, NamedTuple

from finetune.records.encode import RowEncoder
from finetune.records.infilling import Holes, Order, cannot_infill
from finetune.records.vocabulary import Vocabulary

Role = Literal["prefix", "suffix", "middle"]
_HALVES = 3  # tokens at most that a chunk's end may have of a character that goes on in the next


class Piece(NamedTuple):
    ids: list[int]
    role: Role | None = None  # None: as it stands, or a control token


class _File(NamedTuple):
    """Tokens before a file's text, its text, and those behind."""

    before: list[int]
    text: list[int]
    behind: list[int]
    goes_on: bool  # another file follows, which ends this one


class Rearranging:
    """For one tokenizer. `longest`: tokens that a sequence may have."""

    def __init__(self, encoder: RowEncoder, holes: Holes, longest: int) -> None:
        """Raises UserFault `cannot_infill`."""
        if encoder.infilling is None:
            raise cannot_infill(
                "hyperparameters.fim_rate",
                fix="Leave `fim_rate` out, or choose a base for code.",
            )
        self._encoder, self._dialect = encoder, encoder.infilling
        self._holes, self._longest = holes, longest
        self._vocabulary = Vocabulary(encoder.tokenizer)
        self._end: list[int] = [self._dialect.end or encoder.tokenizer.eos_token_id]

    def __call__(self, ids: Sequence[int], draw: Random) -> list[Piece]:
        """A document's tokens, or a chunk's, in the order in which they are trained. Each file of a
        repository is cut by itself, and what then no longer fits is left out of the surroundings,
        furthest from the hole first."""
        files = [self._cut(file, draw) for file in self._files(list(ids))]
        over = sum(len(piece.ids) for file in files for piece in file) - self._longest
        for file in files:
            over -= _shorten(file, over)
        if over > 0:  # the middle is nearly all there is
            return [Piece(list(ids))]
        return [piece for file in files for piece in file if piece.ids]

    def _files(self, ids: list[int]) -> Iterator[_File]:
        """Of a text that is no repository's, the whole as one file."""
        dialect, start = self._dialect, self._encoder.start_ids
        before = start if start and ids[: len(start)] == start else []
        places = [at for at, token in enumerate(ids) if token == dialect.file]
        for begin, end in zip([len(before), *places], [*places, len(ids)], strict=True):
            if begin == end:
                continue
            own = ids[begin:end]
            ends = own[-1:] if own[-1:] == [self._encoder.tokenizer.eos_token_id] else []
            own = own[: len(own) - len(ends)]
            named = own[:1] in ([dialect.file], [dialect.repository])
            head = self._line(own) if named else 0
            yield _File(before + own[:head], own[head:], ends, end < len(ids))
            before = []

    def _line(self, ids: list[int]) -> int:
        """Tokens up to the end of the first line, which has a name in it."""
        lines = (at for at, token in enumerate(ids, 1) if b"\n" in self._vocabulary.bytes_of(token))
        return next(lines, len(ids))

    def _cut(self, file: _File, draw: Random) -> list[Piece]:
        wanted = draw.random() < self._holes.rate
        order: Order = "spm" if draw.random() < self._holes.spm_rate else "psm"
        begun, text, ended = self._text(file.text)
        begin, end = self._hole(text, draw)
        if not wanted or not text:
            return [Piece([*file.before, *file.text, *file.behind])]
        encode = self._encoder.inner_ids
        prefix = Piece([*begun, *encode(text[:begin])], "prefix")
        suffix = Piece([*encode(text[end:]), *ended], "suffix")
        middle = Piece(encode(text[begin:end]), "middle")
        outer, path = self._parted(file.before)
        return [
            Piece(outer),
            *self._laid_out(prefix, suffix, order, path),
            middle,
            Piece(self._end if self._dialect.end or not (file.behind or file.goes_on) else []),
            Piece(file.behind),
        ]

    def _parted(self, before: list[int]) -> tuple[list[int], list[int]]:
        """What stands before a file's text: (outside of the hole's surroundings, its path where
        that is a part of the prefix)"""
        if not self._dialect.dialect.path_inside or self._dialect.file not in before:
            return before, []
        at = before.index(self._dialect.file) + 1
        return before[:at], before[at:]

    def _laid_out(self, prefix: Piece, suffix: Piece, order: Order, path: list[int]) -> list[Piece]:
        """As `Infilling.before_middle` has it, in pieces."""
        marks = self._dialect.before_middle([-1], [-2], order)
        of = {-1: [Piece(path), prefix], -2: [suffix]}
        return [piece for mark in marks for piece in of.get(mark, [Piece([mark])])]

    def _hole(self, text: str, draw: Random) -> tuple[int, int]:
        if self._holes.cut == "line":
            lines = [0, *(at + 1 for at, sign in enumerate(text) if sign == "\n"), len(text)]
            places = sorted(set(lines))
            if len(places) > 2:  # one line alone has no lines around a hole
                begin, end = sorted(draw.sample(places, 2))
                return begin, end
        begin, end = sorted((draw.randint(0, len(text)), draw.randint(0, len(text))))
        return begin, end

    def _text(self, ids: list[int]) -> tuple[list[int], str, list[int]]:
        """(tokens of a character that began in the chunk before, the text, tokens of one that goes
        on in the next)"""
        data = [self._vocabulary.bytes_of(token) for token in ids]
        begin = 0
        while begin < min(len(ids), _HALVES) and data[begin][:1] and 0x80 <= data[begin][0] < 0xC0:
            begin += 1
        for end in range(len(ids), max(begin, len(ids) - _HALVES) - 1, -1):
            try:
                return ids[:begin], b"".join(data[begin:end]).decode(), ids[end:]
            except UnicodeDecodeError:
                continue
        return ids, "", []


def _shorten(file: list[Piece], over: int) -> int:
    """Takes up to `over` tokens off the suffix's end and the prefix's beginning; how many."""
    taken = 0
    for piece in sorted(file, key=lambda piece: piece.role != "suffix"):
        count = min(over - taken, len(piece.ids))
        if piece.role not in ("prefix", "suffix") or count <= 0:
            continue
        if piece.role == "suffix":
            del piece.ids[len(piece.ids) - count :]
        else:
            del piece.ids[:count]
        taken += count
    return taken
