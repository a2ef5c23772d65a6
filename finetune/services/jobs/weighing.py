"""What an epoch takes of each of a job's training files, where there are several, or one with a
weight."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from finetune.models import Dataset
from finetune.trainer.data import taken_of


@dataclass(frozen=True)
class Weighed:
    """A file's reading: rows and tokens of the whole file; an epoch takes `weight` times as many.
    `packs` of the whole file; None: nobody counted them."""

    file: str
    weight: float
    rows: int
    tokens: int
    trained_tokens: int
    longest: int | None
    packs: int | None

    @classmethod
    def of(cls, data: Dataset, weight: float) -> "Weighed":
        report = data.report or {}
        return cls(
            file=data.file.public_id,
            weight=weight,
            rows=data.rows,
            tokens=int(report.get("tokens_total") or 0),
            trained_tokens=data.tokens_trained,
            longest=report.get("longest_row"),
            packs=report.get("packs"),
        )

    @property
    def taken(self) -> int:
        """Rows of an epoch."""
        return taken_of(self.rows, self.weight)

    @property
    def tokens_per_epoch(self) -> int:
        return round(self.tokens * self.taken / max(1, self.rows))

    @property
    def trained_per_epoch(self) -> int:
        return round(self.trained_tokens * self.taken / max(1, self.rows))

    def packs_taken(self, size: int) -> int:
        """Packs of `size` tokens of an epoch."""
        whole = math.ceil(self.tokens / size) if self.packs is None else self.packs
        return taken_of(max(1, whole), self.weight)

    def as_dict(self) -> dict[str, Any]:
        """As `resolved.files` of a job."""
        per_epoch = {"rows_per_epoch": self.taken, "tokens_per_epoch": self.tokens_per_epoch}
        return asdict(self) | per_epoch
