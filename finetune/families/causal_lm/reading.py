"""Canonical lines to items of token sequences, as training takes them."""

import json
from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, cast

from faults import UserFault
from faults.nesting import NO_JSON
from finetune.families.causal_lm.layout import Row
from finetune.records import rows
from finetune.records.encode import RowEncoder, load_tokenizer
from finetune.records.frozen import Block, Frozen, FrozenItems, Writer
from finetune.records.holes import Rearranging
from finetune.records.infilling import Holes
from finetune.records.kinds import Group, Item, Preferred, Rated, RecordKind
from finetune.records.rendering import printed_day
from finetune.records.thinking import Thinking


class RowReader:
    """Loads the tokenizer once it is needed: where rows were frozen it is not."""

    def __init__(
        self,
        base_dir: Path,
        records: RecordKind,
        *,
        max_length: int,
        thinking: Thinking = "each",
    ) -> None:
        self._base_dir, self._thinking = base_dir, thinking
        self._records = records
        self._kind = records  # of the row that was read last; a file has rows of one kind
        self._max_length = max_length

    @cached_property
    def _encoder(self) -> RowEncoder:
        return RowEncoder(load_tokenizer(self._base_dir), self._thinking)

    @property
    def printed_day(self) -> str | None:
        return printed_day(self._encoder.tokenizer.chat_template)

    def __call__(self, line: bytes, where: str) -> Item:
        try:
            record: Any = json.loads(line)
        except NO_JSON as error:
            raise UserFault(
                "bad_json", f"Not JSON ({type(error).__name__}).", where=where, fix="Mend the line."
            ) from None
        try:
            self._kind = self._records.of(record)
            item = self._kind.item(record, self._encode)
        except UserFault as fault:
            raise _without_quotes(fault, where) from None
        except (KeyError, TypeError, AttributeError) as error:
            raise UserFault(
                "bad_row",
                f"Not a canonical {self._records.name} ({type(error).__name__}).",
                where=where,
                fix="Check the file with `privatune check`.",
            ) from error
        longest = max(len(sequence) for sequence in item.sequences)
        if longest > self._max_length:
            raise UserFault(
                "row_too_long",
                f"{longest} tokens, but max_length is {self._max_length}.",
                where=where,
                param="max_length",
                fix="Raise max_length, shorten the row, or have long rows dropped or cut.",
            )
        return item

    def freeze(self, items: Iterable[Item], path: Path) -> None:
        writer = Writer(path, vocabulary=len(self._encoder.tokenizer), printed_day=self.printed_day)
        for item in items:
            block = Block()
            sequences = cast(Sequence[Row], item.sequences)
            block.add(
                ((list(each.input_ids), list(map(bool, each.labels))) for each in sequences),
                good=item.good if isinstance(item, Rated) else None,
                margin=item.margin if isinstance(item, Preferred) else None,
            )
            writer.extend(block)
        writer.close(self._kind.name)

    def rearranging(self, holes: Holes) -> Callable[[Item, Random], Item]:
        rearrange = Rearranging(self._encoder, holes, self._max_length)

        def rearranged(item: Item, draw: Random) -> Item:
            row = cast(Row, item)
            ids = [token for piece in rearrange(row.input_ids, draw) for token in piece.ids]
            if ids == list(row.input_ids):
                return row
            fixed = max(1, len(self._encoder.start_ids)) if row.labels[0] == 0 else 1
            return Row(array("i", ids), bytes(fixed) + b"\1" * (len(ids) - fixed))

        return rearranged

    def _encode(self, row: rows.Row) -> Item:
        # 5 bytes a token instead of Python's 40
        sequences = tuple(
            Row(array("i", each.input_ids), bytes(each.trained))
            for each in self._encoder.encode(row).sequences
        )
        return sequences[0] if len(sequences) == 1 else Group(sequences)


def frozen_items(path: Path) -> FrozenItems:
    return FrozenItems(Frozen(path), Row)


def _without_quotes(fault: UserFault, where: str) -> UserFault:
    """The fault's own words may quote the row, and this one is told outside the vault."""
    from finetune.records.check.codes import CODES  # only here: it brings Arrow along

    code = CODES.get(fault.code)
    return UserFault(
        fault.code,
        code.title if code else "The row cannot be encoded for this base.",
        where=where,
        fix=code.fix if code else "Check the file with `privatune check --model-dir`.",
    )
