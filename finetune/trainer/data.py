"""Rows from canonical JSONL, and which of them each step takes: a pure function of (seed, step)."""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from faults import OurFault, UserFault
from finetune.families.contract import Read
from finetune.records.kinds import Item
from finetune.records.packs import pack


def read_rows(run_dir: Path, name: str, read: Read, sha256: str | None) -> list[Item]:
    """Every row of `name`, encoded. None is skipped: the first unusable one raises UserFault with
    its line. A file that is not what the spec names raises OurFault `data_changed`."""
    rows = []
    digest = hashlib.sha256()
    with (run_dir / name).open("rb") as lines:
        for number, line in enumerate(lines, 1):
            digest.update(line)
            rows.append(read(line, f"{Path(name).name} line {number}"))
    if sha256 is not None and digest.hexdigest() != sha256:
        raise OurFault("data_changed", "The data is not what the run was made for.", where=name)
    if not rows:
        raise UserFault("no_rows", "There are no rows.", where=name, fix="Add training rows.")
    return rows


@dataclass(frozen=True)
class Plan:
    """What one step takes: `batch_size` items, each a row of the data or a pack of rows (their
    numbers). A row's sequences are never parted."""

    items: tuple[tuple[int, ...], ...]
    batch_size: int
    epochs: int
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.items) // self.batch_size)

    @property
    def total_steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def rows_of(self, step: int) -> list[int]:
        """Row numbers of step 0, 1, ...; every epoch takes each row once, its last step what is
        left over."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = _shuffled(len(self.items), self.seed, epoch)
        chosen = order[place * self.batch_size : (place + 1) * self.batch_size]
        return [row for item in chosen for row in self.items[item]]


def make_plan(
    rows: Sequence[Item], *, batch_size: int, epochs: int, seed: int, pack_to: int | None
) -> Plan:
    items = (
        pack([len(row) for row in rows], pack_to) if pack_to else [(i,) for i in range(len(rows))]
    )
    return Plan(tuple(items), batch_size, epochs, seed)


@lru_cache(maxsize=2)
def _shuffled(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    # Seeding with a string is stable across Python versions and platforms (it is hashed)
    order = list(range(count))
    random.Random(f"privatune {seed} {epoch}").shuffle(order)  # noqa: S311
    return tuple(order)


def micro_batches(rows: Sequence[Item], tokens: int) -> Iterator[list[Item]]:
    """Cut a step's rows into parts of at most `tokens` tokens (at least one row each).

    Sorted by length, so that rows of like length meet in one attention call. A row is whole in
    its part, with all its sequences. The sums of a step do not depend on the cut.
    """
    part: list[Item] = []
    size = 0
    for row in sorted(rows, key=len):
        if part and size + len(row) > tokens:
            yield part
            part, size = [], 0
        part.append(row)
        size += len(row)
    if part:
        yield part
