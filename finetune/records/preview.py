"""A record as the model will see it: its tokens as readable pieces, what is trained of them, and
what became of it on the way. It is encoded by the check's own counter, so that nothing here differs
from what is trained."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

from finetune.records.check.formats import KINDS
from finetune.records.check.problems import Finding, Problems
from finetune.records.check.spec import CheckSpec, Problem, RowFormat
from finetune.records.check.tokens import TokenCounter, TokenCounts
from finetune.records.encoded import Encoded
from finetune.records.pieces import Piece, Preview
from finetune.records.rows import Record
from finetune.records.vocabulary import Vocabulary

SHOWN_TOKENS = 20_000  # of a record; more nobody reads, and they have to be sent


@dataclass(frozen=True)
class Previewer:
    """For one base and its settings. What it encodes it may remember: one for each caller."""

    counter: TokenCounter
    vocabulary: Vocabulary
    special: frozenset[int]

    @classmethod
    def of(cls, spec: CheckSpec, tokenizer: Any) -> "Previewer":
        counter = TokenCounter(spec, tokenizer)
        added = tokenizer.added_tokens_decoder
        special = frozenset(number for number, token in added.items() if token.special)
        return cls(counter, Vocabulary(tokenizer), special)

    def preview(self, row: Record, row_format: RowFormat) -> Preview:
        """Of a canonical row, which is not changed."""
        findings: list[Finding] = []
        self.counter.counts = TokenCounts()  # of nothing but this record
        encoded = list(self._encoded(cast(Record, dict(row)), row_format, findings))
        shown = list(self._shown(encoded))
        tokens = sum(len(each.input_ids) for each in encoded)
        return Preview(
            used=bool(encoded),
            tokens=tokens,
            trained=sum(each.trained_count for each in encoded),
            hidden=tokens - sum(len(piece.ids) for pieces in shown for piece in pieces),
            sequences=shown,
            parts=list(KINDS[row_format].parts_of(row)) if encoded else [],
            problems=_listed(findings),
        )

    def _encoded(
        self, row: Record, row_format: RowFormat, findings: list[Finding]
    ) -> Iterator[Encoded]:
        """Of all records that the row gives."""
        for piece in self.counter.pieces(row, findings):
            yield from self.counter.measure(piece, KINDS[row_format], findings) or []

    def _shown(self, records: list[Encoded]) -> Iterator[list[Piece]]:
        left = SHOWN_TOKENS
        for record in records:
            for each in record.sequences:
                yield list(self._pieces(each.input_ids[:left], each.trained[:left]))
                left -= min(left, len(each.input_ids))

    def _pieces(self, ids: list[int], trained: list[bool]) -> Iterator[Piece]:
        """Tokens of one label side by side are put together until they are whole characters."""
        labelled = zip(ids, trained, strict=True)
        for label, run in groupby(labelled, key=lambda each: each[1]):
            held, data = [], b""
            for token, _ in run:
                held.append(token)
                data += self.vocabulary.bytes_of(token)
                if _whole(data):
                    yield self._piece(held, data, label)
                    held, data = [], b""
            if held:
                yield self._piece(held, data, label)

    def _piece(self, ids: list[int], data: bytes, trained: bool) -> Piece:
        special = ids[0] in self.special
        return Piece(ids=ids, text=data.decode(errors="replace"), trained=trained, special=special)


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
