"""Canonical lines of texts to embed, to items of token sequences as training takes them."""

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

    @cached_property
    def _encoder(self) -> TextEncoder:
        return TextEncoder(self._base_dir, self._max_length)

    def __call__(self, line: bytes, where: str) -> Item:
        longest = 0

        def encode(row: EmbeddedRow) -> Item:
            nonlocal longest
            ids, length = self._encoder.measured(row["embedded"], row["side"])
            longest = max(longest, length)
            return Text(array("i", ids))

        try:
            record: Any = json.loads(line)
            item = self._records.item(record, encode)
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
                ((list(each.input_ids), [True] * len(each)) for each in texts),
                score=item.score if isinstance(item, Scored) else None,
            )
            writer.extend(block)
        writer.close(self._records.name)


def frozen_items(path: Path) -> FrozenItems:
    return FrozenItems(Frozen(path), _text)


def _text(ids: list[int], _labels: bytes) -> Text:
    return Text(ids)
