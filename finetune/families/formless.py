"""Families whose models leave as their bundle alone: there is no merged form of them."""

from collections.abc import Sequence
from pathlib import Path

from faults import UserFault
from finetune.families.contract import Expected


class Formless:
    """The contract's `merge` and `expected`, refused. `said` and `instead`: what the customer
    reads."""

    said: str
    instead: str

    def merge(
        self, base_dir: Path, packed: Path, folder: Path, *, shard_bytes: int
    ) -> dict[str, str]:
        raise self._no_form()

    def expected(
        self,
        base_dir: Path,
        packed: Path,
        merged: dict[str, str],
        *,
        tokens: int,
        texts: Sequence[str] | None = None,
    ) -> Expected:
        raise self._no_form()

    def _no_form(self) -> UserFault:
        return UserFault("form_unsupported", self.said, fix=self.instead)
