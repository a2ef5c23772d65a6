"""The rows of a run: mapped where the check encoded them, else read and encoded here.

Where only the rows came of what the check left, they are encoded and frozen again, which must give
the very bytes that the spec names.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from faults import OurFault, UserFault
from finetune.families.contract import Family, Read
from finetune.records.frozen import FrozenItems
from finetune.records.kinds import Item, RecordKind
from finetune.records.splitting import digest_of
from finetune.trainer.data import Chosen, Joined
from finetune.trainer.lifeline import Stop
from finetune.trainer.spec import RunSpec, tokens_of

TOLD_SECONDS = 2.0  # between two words on how far the reading is
BLOCK = 1 << 20
Rows = TypeVar("Rows", bound=Sequence[Item])

Tell = Callable[[int, int], None]
"""(rows read, of how many)"""


def open_rows(
    spec: RunSpec,
    run_dir: Path,
    family: Family,
    records: RecordKind,
    read: Read,
    *,
    stop: Stop,
    tell: Tell,
) -> tuple[Sequence[Item], Sequence[Item]]:
    """(rows to train, rows held out or none), none of them skipped.

    Raises Yielded; OurFault `data_changed` where a file is not what the spec names; UserFault for
    the first row that cannot be used, with its line.
    """
    data, found = spec.data, list[Sequence[Item]]()
    trained = [(each.train, each.train_sha256, each.train_tokens_sha256) for each in data.further]
    for name, sha256, frozen in (
        (data.train, data.train_sha256, data.train_tokens_sha256),
        *trained,
        (data.valid, data.valid_sha256, data.valid_tokens_sha256),
    ):
        if name is None:
            found.append([])
        elif frozen is not None:
            tokens = tokens_of(run_dir / name)
            if not tokens.exists():
                part = tokens.with_suffix(".part")
                read.freeze(_read(run_dir, name, read, sha256, stop=stop, tell=tell), part)
                part.rename(tokens)
            found.append(_map(spec, tokens, frozen, family, records, stop))
        else:
            found.append(read_rows(run_dir, name, read, sha256, stop=stop, tell=tell))
    *train, valid = found
    if data.held_out is not None:
        return _parted(train[0], run_dir / data.held_out, data.held_out_sha256)
    return (Joined(train) if len(train) > 1 else train[0]), valid


def _parted(rows: Sequence[Item], path: Path, sha256: str | None) -> tuple[Chosen, Chosen]:
    """(rows to train, rows held out) of one file."""
    held_out: list[int] = json.loads(path.read_bytes())
    if sha256 not in (None, digest_of(held_out)) or not 0 < len(held_out) < len(rows):
        raise _changed(path.name)
    apart = set(held_out)
    kept = [number for number in range(len(rows)) if number not in apart]
    return Chosen(rows, kept), Chosen(rows, held_out)


def day_of(rows: Sequence[Item], read: Read) -> str | None:
    """What prompts print as today: as frozen with the rows, else the tokenizer is asked."""
    rows = rows.rows if isinstance(rows, Chosen) else rows
    rows = rows.files[0] if isinstance(rows, Joined) else rows
    told = rows.printed_day if isinstance(rows, FrozenItems) else None
    return read.printed_day if told is None else told or None


def _map(
    spec: RunSpec, path: Path, sha256: str, family: Family, records: RecordKind, stop: Stop
) -> FrozenItems:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            if stop.requested:
                stop.check()
            digest.update(block)
    rows = family.frozen(path)
    if (
        digest.hexdigest() != sha256
        or rows.kind not in records.names
        or rows.longest > spec.max_length
    ):
        raise _changed(path.name)
    return _some(rows, path.name)


def read_rows(
    run_dir: Path,
    name: str,
    read: Read,
    sha256: str | None,
    *,
    stop: Stop | None = None,
    tell: Tell | None = None,
) -> list[Item]:
    """Every row of canonical JSON lines, encoded."""
    return _some(list(_read(run_dir, name, read, sha256, stop=stop, tell=tell)), name)


def open_lines(spec: RunSpec, run_dir: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """As `open_rows`, the canonical rows as they stand, for those that are not only encoded."""
    data = spec.data
    train = _lines_of(run_dir / data.train, data.train_sha256)
    if data.held_out is not None:
        held_out: list[int] = json.loads((run_dir / data.held_out).read_bytes())
        apart = set(held_out)
        kept = [row for number, row in enumerate(train) if number not in apart]
        return kept, [train[number] for number in held_out]
    for each in data.further:
        train += _lines_of(run_dir / each.train, each.train_sha256)
    return train, _lines_of(run_dir / data.valid, data.valid_sha256) if data.valid else []


def _lines_of(path: Path, sha256: str | None) -> list[dict[str, Any]]:
    written = path.read_bytes()
    if sha256 is not None and hashlib.sha256(written).hexdigest() != sha256:
        raise _changed(path.name)
    return [json.loads(line) for line in written.splitlines()]


def _read(
    run_dir: Path,
    name: str,
    read: Read,
    sha256: str | None,
    *,
    stop: Stop | None = None,
    tell: Tell | None = None,
) -> Iterator[Item]:
    digest = hashlib.sha256()
    path, told, of = run_dir / name, time.monotonic(), 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if stop is not None and stop.requested:
                stop.check()
            digest.update(line)
            yield read(line, f"{path.name} line {number}")
            if tell is not None and time.monotonic() - told >= TOLD_SECONDS:
                of = of or _lines(path)
                tell(number, of)
                told = time.monotonic()
    if sha256 is not None and digest.hexdigest() != sha256:
        raise _changed(name)


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(BLOCK), b""))


def _some(rows: Rows, name: str) -> Rows:
    if not rows:
        raise UserFault("no_rows", "There are no rows.", where=name, fix="Add training rows.")
    return rows


def _changed(name: str) -> OurFault:
    return OurFault("data_changed", "The data is not what the run was made for.", where=name)
