"""Reads the trainer's events.jsonl as it grows, whole lines only, each exactly once."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.sandbox.left import opened

LONGEST_LINE = 1 << 20  # bytes; the trainer's are below 1 kB


@dataclass
class EventTail:
    """`read` gives what is new; only `keep` moves on, so that a failed write is read again."""

    path: Path
    _at: int = 0
    _next: int = field(default=0, init=False)

    @classmethod
    def of_what_comes(cls, path: Path) -> "EventTail":
        """Past what the file holds already."""
        return cls(path, path.stat().st_size if path.exists() else 0)

    def read(self) -> list[dict[str, Any]]:
        """New complete lines, parsed; a line that is still being written waits."""
        try:
            with opened(self.path) as file:
                file.seek(self._at)
                data = file.read(16 * LONGEST_LINE)
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._next = self._at + len(whole)
        return [json.loads(line) for line in whole.splitlines() if line]

    def keep(self) -> None:
        self._at = self._next
