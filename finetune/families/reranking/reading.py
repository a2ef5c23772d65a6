"""Canonical lines of queries with their documents, to items of pairs as training takes them."""

from array import array
from functools import cached_property
from pathlib import Path
from typing import Any

from finetune.families.embedding.reading import TextReader
from finetune.records.frozen import Frozen, FrozenItems
from finetune.records.kinds import Item
from finetune.records.ranking import Pair
from finetune.records.rows import RankedRow
from finetune.records.texts import PairEncoder


class PairReader(TextReader):
    """As texts are read, two to a sequence."""

    @cached_property
    def _encoder(self) -> Any:
        return PairEncoder(self._base_dir, self._max_length)

    def _encoded(self, row: Any) -> tuple[Item, int]:
        given: RankedRow = row
        ids, labels, length = self._encoder.measured(given["query"], given["document"])
        return Pair(array("i", ids), labels.index(True)), length


def frozen_items(path: Path) -> FrozenItems:
    return FrozenItems(Frozen(path), _pair)


def _pair(ids: list[int], labels: bytes) -> Pair:
    return Pair(ids, labels.index(1))
