"""Counting a row's tokens, total and trained, and finding rows that are too long."""

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from faults import UserFault
from finetune.records import control
from finetune.records.check.codes import CODES
from finetune.records.check.problems import Finding
from finetune.records.check.spec import CheckSpec, LengthBin
from finetune.records.kinds import Item, RecordKind
from finetune.records.packs import count_packs
from finetune.records.ranking import has_ranking
from finetune.records.recipe import has_recipe
from finetune.records.rows import ChunkRow, EmbeddedRow, RankedRow, Record, Row, TextRow

if TYPE_CHECKING:
    from finetune.records.encoded import Encoded
    from finetune.records.texts import PairEncoder, TextEncoder

_PERCENTILES = (50, 90, 95, 99, 100)


@dataclass(frozen=True, slots=True)
class _Counted:
    """An encoded row as an item that is only counted."""

    encoded: "Encoded"

    def __len__(self) -> int:
        return self.encoded.length

    @property
    def trained(self) -> int:
        return self.encoded.trained_count

    @property
    def sequences(self) -> "tuple[_Counted, ...]":
        return tuple(
            _Counted(replace(self.encoded, sequences=(each,))) for each in self.encoded.sequences
        )


@dataclass
class TokenCounts:
    """`total` and `trained` are of the rows that are used; every usable row is counted, in
    `lengths` at its length before cutting, and in `used` by all its tokens after."""

    total: int = 0
    trained: int = 0
    dropped: int = 0
    cut: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    used: Counter[int] = field(default_factory=Counter)
    asked: Counter[bool] = field(default_factory=Counter)

    def add(self, other: "TokenCounts") -> None:
        self.total += other.total
        self.trained += other.trained
        self.dropped += other.dropped
        self.cut += other.cut
        self.lengths.update(other.lengths)
        self.used.update(other.used)
        self.asked.update(other.asked)

    def thinking(self) -> dict[str, int] | None:
        """Answers whose prompt asks for thinking and whose does not; None: the base knows none."""
        return {"on": self.asked[True], "off": self.asked[False]} if self.asked else None

    def packs(self, limit: int | None) -> int | None:
        """Packs of `limit` tokens that training makes of the rows if it is to pack them."""
        return count_packs(self.used, limit) if limit is not None else None

    @property
    def longest(self) -> int:
        """Tokens of the longest row that is used, all its sequences together."""
        return max(self.used, default=0)

    def histogram(self) -> list[LengthBin]:
        """Rows by length, in bins that double, from 16 tokens up."""
        bins: Counter[int] = Counter()
        for length, rows in self.lengths.items():
            bins[max(16, 1 << (length - 1).bit_length())] += rows
        return [LengthBin(up_to=up_to, rows=bins[up_to]) for up_to in sorted(bins)]

    def percentiles(self) -> dict[str, int]:
        """Nearest-rank percentiles of the length, {"p50": ..., "p100": ...}."""
        total = self.lengths.total()
        if not total:
            return {}
        found, seen = {}, 0
        wanted = [(f"p{p}", -(-p * total // 100)) for p in _PERCENTILES]
        for length in sorted(self.lengths):
            seen += self.lengths[length]
            while wanted and seen >= wanted[0][1]:
                found[wanted.pop(0)[0]] = length
        return found


class TokenCounter:
    """Encodes rows as the trainer will; a record of several sequences is as long as its longest."""

    def __init__(self, spec: CheckSpec, tokenizer: Any) -> None:
        from finetune.records.encode import RowEncoder
        from finetune.records.rendering import printed_day

        self.tokenizer = tokenizer
        self.encoder = RowEncoder(self.tokenizer, spec.thinking)
        self._spec = spec
        self._control = control.matcher(control.special_tokens(self.tokenizer))
        self.vocabulary = len(self.tokenizer)
        self.printed_day = printed_day(self.tokenizer.chat_template)
        self.counts = TokenCounts()
        base = spec.tokenizer_dir
        self._embeds = base is not None and has_recipe(base)
        self._ranks = base is not None and has_ranking(base)

    @cached_property
    def _texts(self) -> "TextEncoder":
        from finetune.records.texts import TextEncoder

        assert self._spec.tokenizer_dir is not None
        return TextEncoder(self._spec.tokenizer_dir, self._spec.max_length, self.tokenizer)

    @cached_property
    def _pairs(self) -> "PairEncoder":
        from finetune.records.texts import PairEncoder

        assert self._spec.tokenizer_dir is not None
        return PairEncoder(self._spec.tokenizer_dir, self._spec.max_length, self.tokenizer)

    def kind_of(self, kind: RecordKind) -> RecordKind:
        """What a record of that kind is to this base."""
        return kind.paired or kind if self._ranks else kind

    def measure(
        self, row: Record, kind: RecordKind, findings: list[Finding]
    ) -> "list[Encoded] | None":
        """The rows that it is trained as; None if it is not used. It is counted in `counts`. A row
        that is to be cut is told so, in it."""
        from finetune.records.encoded import cut

        kind = self.kind_of(kind)
        takes_texts = self._embeds or self._ranks
        if kind.embedded != takes_texts:
            findings.append(Finding("base_embeds" if takes_texts else "base_writes"))
            return None
        if self._ranks and (unfit := _unranked(row)):
            findings.append(unfit)
            return None
        if kind.embedded:
            return self._embedded(row, kind, findings)
        # In a chat it is an error, which the encoder finds; a chunk's document was looked through
        if not {"messages", "ids"} & row.keys() and (token := control.find(self._control, row)):
            findings.append(_control_token(token))
        try:
            rows = self._encode(row, kind)
            length = max(each.longest for each in rows)
            self.counts.lengths[length] += 1
            limit = self._spec.max_length
            if limit is not None and length > limit:
                if not self._overflow(length, limit, findings, asked="item" in row):
                    return None
                rows = [cut(each, limit) for each in rows]
                row["cut_to"] = limit
                self.counts.cut += 1
                if "text" not in row:
                    findings.append(Finding("answer_cut"))
        except UserFault as fault:
            if fault.code not in CODES:
                raise
            findings.append(Finding(fault.code, message=fault.message, fix=fault.fix))
            return None
        if len(rows) > 1 and rows[0].sequences == rows[1].sequences:
            findings.append(Finding("same_answers"))
            return None
        for part, each in enumerate(rows):
            for remark in each.remarks:
                place = kind.place(row, part, remark.message, remark.field)
                findings.append(Finding(remark.code, place))
            self.counts.asked.update(each.asked)
            self.counts.trained += each.trained_count
        tokens = sum(each.length for each in rows)
        self.counts.used[tokens] += 1
        self.counts.total += tokens
        return rows

    def _embedded(
        self, row: Record, kind: RecordKind, findings: list[Finding]
    ) -> "list[Encoded] | None":
        """As `measure`, of texts that become vectors, or pairs of them that become scores."""
        from finetune.records.encoded import Encoded, Sequence

        if token := control.find(self._control, row):
            findings.append(_control_token(token))
        rows: list[Encoded] = []
        lengths: list[int] = []

        def encode(given: EmbeddedRow | RankedRow) -> Item:
            ids, labels, length = self._measured(given)
            lengths.append(length)
            rows.append(Encoded((Sequence(ids, labels),)))
            return _Counted(rows[-1])

        kind.item(row, encode)
        longest = max(lengths)
        limit = self._pairs.longest if self._ranks else self._texts.longest
        self.counts.lengths[longest] += 1
        if longest > limit:
            if not self._overflow(longest, limit, findings, asked=False):
                return None
            row["cut_to"] = limit
            self.counts.cut += 1
        tokens = sum(each.length for each in rows)
        self.counts.used[tokens] += 1
        self.counts.total += tokens
        self.counts.trained += sum(each.trained_count for each in rows)
        return rows

    def _measured(self, given: Any) -> tuple[list[int], list[bool], int]:
        """(tokens, which of them are trained, how many there are of the whole)."""
        if self._ranks:
            pair: RankedRow = given
            return self._pairs.measured(pair["query"], pair["document"])
        text: EmbeddedRow = given
        ids, length = self._texts.measured(text["embedded"], text["side"])
        return ids, [True] * len(ids), length

    def pieces(self, row: Record, findings: list[Finding]) -> list[Record]:
        """What becomes records of its own: the chunks of a document that are asked for, else the
        row itself."""
        limit = self._spec.max_length
        if self._spec.overflow != "chunk" or limit is None or "text" not in row:
            return [row]
        row = cast(TextRow, row)
        try:
            chunks = self.encoder.chunks(row, limit)
        except UserFault:
            return [row]  # `measure` tells it
        if len(chunks) == 1:
            return [row]
        tokens = sum(len(each["ids"]) for each in chunks) - len(chunks) + 1
        message = f"The document has {tokens} tokens; it is read in {len(chunks)} chunks."
        values = {"tokens": tokens, "chunks": len(chunks), "limit": limit}
        findings.append(Finding("chunked", message=message, values=values))
        if token := control.find(self._control, row):
            findings.append(_control_token(token))
        group = {"group": row["group"]} if "group" in row else {}
        return [cast(ChunkRow, each | group) for each in chunks]

    def _encode(self, row: Record, kind: RecordKind) -> "list[Encoded]":
        """The rows that a record is made of, as training has them of the same kind."""
        rows: list[Encoded] = []

        def encode(row: Row) -> Item:
            rows.append(self.encoder.encode(row))
            return _Counted(rows[-1])

        kind.item(row, encode)
        return rows

    def _overflow(self, length: int, limit: int, findings: list[Finding], *, asked: bool) -> bool:
        message = f"The row has {length} tokens; max_length is {limit}."
        values = {"tokens": length, "limit": limit}
        # What is no document has no chunks, and the end of a prompt is what is asked
        if self._spec.overflow in ("refuse", "chunk") or (asked and self._spec.overflow == "cut"):
            findings.append(Finding("too_long", message=message, values=values))
            return False
        if self._spec.overflow == "drop":
            findings.append(
                Finding("too_long_dropped", message=f"{message} It is left out.", values=values)
            )
            self.counts.dropped += 1
            return False
        findings.append(
            Finding("too_long_cut", message=f"{message} Its end is cut off.", values=values)
        )
        return True


def _unranked(row: Any) -> Finding | None:
    """What a base that ranks cannot learn from: there is nothing that the right document is to
    stand above, or its score is no share of what fits."""
    if "negatives" in row and not row["negatives"]:
        return Finding("no_negatives")
    if "score" in row and not 0 <= row["score"] <= 1:
        return Finding("score_beyond_one", "score")
    return None


def _control_token(token: str) -> Finding:
    return Finding(
        "control_token",
        message=f"The text holds the control token '{token}'.",
        values={"token": token},
    )
