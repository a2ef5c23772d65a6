"""Parquet rows, in small batches and counted while they are unpacked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from faults import UserFault
from finetune.records.check.problems import FileUnusable, Finding
from finetune.records.check.source import Source
from finetune.records.printing import printable

# Small, as one batch is unpacked at once: 2.5 kB of Parquet can claim a terabyte
_BATCH_ROWS = 64
_FOOTER_BYTES = 100 * 2**20


def parquet_rows(path: Path, source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and fields of each row. Raises FileUnusable `bad_parquet`."""
    number = 0
    for batch, done in _batches(path):
        source.on_progress(int(source.size * done))
        for row in _rows(batch):
            number += 1
            source.count(_size(row))
            yield number, row


def _batches(path: Path) -> Iterator[tuple[pa.RecordBatch, float]]:
    """Each batch, and the share of all rows that is read with it."""
    read = 0
    try:
        file = pq.ParquetFile(
            path,
            memory_map=False,
            pre_buffer=False,
            buffer_size=1 << 16,
            thrift_string_size_limit=_FOOTER_BYTES,
            thrift_container_size_limit=1_000_000,
        )
        _refuse_huge_groups(file)
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
            read += batch.num_rows
            yield batch, read / max(read, file.metadata.num_rows)
    except (pa.ArrowException, OSError) as error:
        message = f"The file is not readable Parquet: {printable(str(error), 300)}."
        raise FileUnusable(Finding("bad_parquet", message=message)) from error


def _refuse_huge_groups(file: pq.ParquetFile) -> None:
    """Before unpacking, what the file itself admits to."""
    for index in range(file.metadata.num_row_groups):
        size = file.metadata.row_group(index).total_byte_size
        if size > 2**34:
            raise UserFault(
                "limit_decoded_bytes",
                f"Row group {index + 1} of the Parquet file says it unpacks to {size} bytes.",
                fix="Write the file with smaller row groups, or split it.",
            )


def _rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    try:
        rows = batch.to_pylist()
    except UnicodeDecodeError as error:
        raise FileUnusable(
            Finding("invalid_utf8", message=f"A string column is not UTF-8: {error.reason}.")
        ) from error
    return [_without_nulls(row) for row in rows]


def _size(value: Any) -> int:
    """Bytes, roughly. Not Arrow's `nbytes`: a dictionary of one value of a megabyte counts one
    megabyte there, for a billion rows."""
    if isinstance(value, dict):
        return sum(_size(item) for item in value.values())
    if isinstance(value, list):
        return sum(_size(item) for item in value)
    return len(value) if isinstance(value, str | bytes) else 8


def _without_nulls(value: Any) -> Any:
    """Parquet gives every object of a list the same fields; null means that one is absent."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def spool(source: Source, target: Path) -> Path:
    """Unpack a compressed Parquet file to disk, as its footer is read first."""
    with target.open("wb") as file:
        for chunk in source.chunks():
            file.write(chunk)
    return target
