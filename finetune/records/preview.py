"""A record as the model will see it: its tokens as readable pieces, what is trained of them, and
what became of it on the way. It is encoded by the check's own counter, so that nothing here differs
from what is trained."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from random import Random
from typing import Any, cast

from faults import UserFault
from finetune.records.check.formats import KINDS
from finetune.records.check.problems import Finding, Problems
from finetune.records.check.spec import CheckSpec, Problem, RowFormat
from finetune.records.check.tokens import TokenCounter, TokenCounts
from finetune.records.encoded import Encoded, Sequence
from finetune.records.holes import Rearranging, Role
from finetune.records.infilling import Holes, cannot_infill
from finetune.records.pieces import Piece, Preview
from finetune.records.rows import Record
from finetune.records.vocabulary import Vocabulary

MOST_TOKENS = 1 << 30  # of a record where no limit is asked
SHOWN_TOKENS = 20_000  # of a record; more nobody reads, and they have to be sent

_Part = tuple[Sequence, Role | None]


@dataclass(frozen=True)
class Previewer:
    """For one base and its settings. What it encodes it may remember: one for each caller."""

    counter: TokenCounter
    vocabulary: Vocabulary
    special: frozenset[int]
    longest: int

    @classmethod
    def of(cls, spec: CheckSpec, tokenizer: Any) -> "Previewer":
        counter = TokenCounter(spec, tokenizer)
        added = tokenizer.added_tokens_decoder
        special = frozenset(number for number, token in added.items() if token.special)
        return cls(counter, Vocabulary(tokenizer), special, spec.max_length or MOST_TOKENS)

    def preview(self, row: Record, row_format: RowFormat, holes: Holes | None = None) -> Preview:
        """Of a canonical row, which is not changed. `holes`: how a document is rearranged, which
        training does to some of them. Raises UserFault `cannot_infill`, `no_document`."""
        if holes is not None:
            self._require_holes(row_format)
        findings: list[Finding] = []
        self.counter.counts = TokenCounts()  # of nothing but this record
        encoded = list(self._encoded(cast(Record, dict(row)), row_format, findings))
        sequences = [each for record in encoded for each in record.sequences]
        parts = [self._parts(each, holes, number) for number, each in enumerate(sequences)]
        shown = list(self._shown(parts))
        told = [part for each in parts for part, _ in each]
        tokens = sum(len(each.input_ids) for each in told)
        return Preview(
            used=bool(encoded),
            tokens=tokens,
            trained=sum(sum(each.trained) for each in told),
            hidden=tokens - sum(len(piece.ids) for pieces in shown for piece in pieces),
            sequences=shown,
            parts=list(self.counter.kind_of(KINDS[row_format]).parts_of(row)) if encoded else [],
            margin=cast("float | None", row.get("margin")),
            score=cast("float | None", row.get("score")),
            problems=_listed(findings),
        )

    def _encoded(
        self, row: Record, row_format: RowFormat, findings: list[Finding]
    ) -> Iterator[Encoded]:
        """Of all records that the row gives."""
        for piece in self.counter.pieces(row, findings):
            yield from self.counter.measure(piece, KINDS[row_format], findings) or []

    def _require_holes(self, row_format: RowFormat) -> None:
        if self.counter.encoder.infilling is None:
            raise cannot_infill("fim", fix="Leave `fim` out, or choose a base for code.")
        if row_format != "text":
            raise UserFault(
                "no_document",
                "Only documents are trained with a hole.",
                fix="Leave `fim` out, or look at a file of documents.",
                param="fim",
            )

    def _parts(self, sequence: Sequence, holes: Holes | None, number: int) -> list[_Part]:
        """Each time the same hole: a training draws others."""
        if holes is None:
            return [(sequence, None)]
        rearrange = Rearranging(self.counter.encoder, holes, self.longest)
        pieces = rearrange(sequence.input_ids, Random(f"privatune preview {number}"))  # noqa: S311
        parts = [(Sequence(piece.ids, [True] * len(piece.ids)), piece.role) for piece in pieces]
        parts[0][0].trained[0] = False
        return parts

    def _shown(self, sequences: list[list[_Part]]) -> Iterator[list[Piece]]:
        left = SHOWN_TOKENS
        for parts in sequences:
            shown: list[Piece] = []
            for each, role in parts:
                shown += self._pieces(each.input_ids[:left], each.trained[:left], role)
                left -= min(left, len(each.input_ids))
            yield shown

    def _pieces(self, ids: list[int], trained: list[bool], role: Role | None) -> Iterator[Piece]:
        """Tokens of one label side by side are put together until they are whole characters."""
        labelled = zip(ids, trained, strict=True)
        for label, run in groupby(labelled, key=lambda each: each[1]):
            held, data = [], b""
            for token, _ in run:
                held.append(token)
                data += self.vocabulary.bytes_of(token)
                if _whole(data):
                    yield self._piece(held, data, label, role)
                    held, data = [], b""
            if held:
                yield self._piece(held, data, label, role)

    def _piece(self, ids: list[int], data: bytes, trained: bool, role: Role | None) -> Piece:
        return Piece(
            ids=ids,
            text=data.decode(errors="replace"),
            trained=trained,
            special=ids[0] in self.special,
            part=role,
        )


def _whole(data: bytes) -> bool:
    """Whether no character is cut off at its end; what no further token mends counts as whole."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.reason != "unexpected end of data"
    return True


def _listed(findings: list[Finding]) -> list[Problem]:
    problems = Problems(len(findings))
    for each in findings:
        problems.add(None, each)
    return problems.listed
