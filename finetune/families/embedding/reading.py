"""Canonical lines of texts to embed, or of pairs to rank, to items of token sequences as training
takes them."""

import json
from array import array
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from faults import UserFault
from faults.nesting import NO_JSON
from finetune.families.embedding.adapted import Text
from finetune.records.frozen import Block, Frozen, FrozenItems, Writer
from finetune.records.kinds import Item, RecordKind, Scored
from finetune.records.rows import EmbeddedRow
from finetune.records.texts import TextEncoder
from finetune.records.thinking import Thinking


class TextReader:
    """Loads the tokenizer once it is needed: where rows were frozen it is not. These bases know no
    thinking."""

    printed_day: str | None = None

    def __init__(
        self,
        base_dir: Path,
        records: RecordKind,
        *,
        max_length: int,
        thinking: Thinking = "each",
    ) -> None:
        self._base_dir, self._records, self._max_length = base_dir, records, max_length
        self._kind = records  # of the last record that was read

    @cached_property
    def _encoder(self) -> Any:
        return TextEncoder(self._base_dir, self._max_length)

    def _encoded(self, row: Any) -> tuple[Item, int]:
        """Of one of a record's texts: it as a sequence, and how many tokens the whole has."""
        given: EmbeddedRow = row
        ids, length = self._encoder.measured(given["embedded"], given["side"])
        return Text(array("i", ids)), length

    def __call__(self, line: bytes, where: str) -> Item:
        longest = 0

        def encode(row: Any) -> Item:
            nonlocal longest
            item, length = self._encoded(row)
            longest = max(longest, length)
            return item

        try:
            record: Any = json.loads(line)
            self._kind = self._records.of(record)
            item = self._kind.item(record, encode)
        except NO_JSON as error:
            raise UserFault(
                "bad_json", f"Not JSON ({type(error).__name__}).", where=where, fix="Mend the line."
            ) from None
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UserFault(
                "bad_row",
                f"Not a canonical {self._records.name} ({type(error).__name__}).",
                where=where,
                fix="Check the file with `privatune check`.",
            ) from error
        if longest > self._encoder.longest and "cut_to" not in record:
            raise UserFault(
                "row_too_long",
                f"{longest} tokens, but max_length is {self._encoder.longest}.",
                where=where,
                param="max_length",
                fix="Raise max_length, shorten the row, or have long rows dropped or cut.",
            )
        return item

    def freeze(self, items: Iterable[Item], path: Path) -> None:
        writer = Writer(path, vocabulary=len(self._encoder.tokenizer))
        for item in items:
            block = Block()
            texts = cast(Sequence[Text], item.sequences)
            block.add(
                ((list(each.input_ids), each.labels) for each in texts),
                score=item.score if isinstance(item, Scored) else None,
            )
            writer.extend(block)
        writer.close(self._kind.name)


def frozen_items(path: Path) -> FrozenItems:
    return FrozenItems(Frozen(path), _text)


def _text(ids: list[int], _labels: bytes) -> Text:
    return Text(ids)
