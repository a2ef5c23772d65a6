"""From bytes to objects: JSON lines, paragraphs of plain text, and CSV."""

import codecs
import csv
from collections.abc import Iterator
from itertools import chain
from pathlib import PurePath
from typing import Any

from finetune.records.check.parquet import MAGIC as PARQUET_MAGIC
from finetune.records.check.problems import FileUnusable, Finding, Problems, RowUnusable
from finetune.records.check.source import Source
from finetune.records.check.spec import Container
from finetune.records.check.strict_json import invalid_utf8, loads

# A row's line and what stands there: an object, or why there is none
Item = tuple[int, dict[str, Any] | RowUnusable]

_SPLITTERS = (",", ";", "\t")
_COLUMNS = {"prompt", "completion", "instruction", "output", "messages", "text", "conversations"}
_JSON_COLUMNS = ("messages", "conversations", "tools", "history")


def detect_container(source: Source, name: str) -> Container:
    """What the bytes are; the name decides only between text and CSV. Raises FileUnusable."""
    if source.head.startswith(PARQUET_MAGIC):
        return "parquet"
    source.refuse_utf16()
    suffix = _suffix(name)
    start = source.head.removeprefix(codecs.BOM_UTF8).lstrip()
    if suffix not in (".csv", ".txt", ".md", ".text"):
        if start.startswith(b"["):
            raise FileUnusable(Finding("json_array"))
        if start.startswith(b"{") or suffix in (".jsonl", ".json", ".ndjson"):
            return "jsonl"
    if suffix == ".csv" or (suffix not in (".txt", ".md", ".text") and _has_header(start)):
        return "csv"
    return "text"


def _suffix(name: str) -> str:
    path = PurePath(name.lower())
    if path.suffix in (".gz", ".gzip", ".zst", ".zstd"):
        path = path.with_suffix("")
    return path.suffix


def _has_header(start: bytes) -> bool:
    header = start.partition(b"\n")[0].decode(errors="replace")
    return len(_COLUMNS & set(_header_fields(header))) >= 2


def _header_fields(header: str) -> list[str]:
    splitter = _splitter(header)
    return [field.strip().strip('"') for field in header.strip().split(splitter)]


def _splitter(header: str) -> str:
    """The separator that cuts most known names out of the header (Excel writes ; in Europe)."""

    def known(splitter: str) -> int:
        return len(_COLUMNS & {field.strip(' "') for field in header.strip().split(splitter)})

    return max(_SPLITTERS, key=known)


def json_lines(source: Source, problems: Problems) -> Iterator[Item]:
    for number, line in source.lines(problems):
        if line is None:
            yield number, RowUnusable(Finding("line_too_large"))
        elif not line.strip():
            problems.add_once(number, Finding("blank_line"))
        else:
            yield number, _object(line)


def _object(line: bytes) -> dict[str, Any] | RowUnusable:
    try:
        value = loads(line)
    except RowUnusable as problem:
        return problem
    return value if isinstance(value, dict) else RowUnusable(Finding("not_an_object"))


def paragraphs(source: Source, problems: Problems) -> Iterator[Item]:
    """Plain text: a row is a paragraph, and paragraphs are parted by blank lines."""
    start, kept, wrong = 0, list[str](), list[Finding]()
    end_of_file: tuple[int, bytes | None] = (0, b"")
    for number, line in chain(source.lines(problems), [end_of_file]):
        if line is not None and not line.strip():
            if wrong:
                yield start, RowUnusable(*wrong)
            elif kept:
                yield start, {"text": "\n".join(kept)}
            kept, wrong = [], []
            continue
        if not (kept or wrong):
            start = number
        text = _text(line)
        if isinstance(text, Finding):
            wrong.append(text)
        else:
            kept.append(text)


def _text(line: bytes | None) -> str | Finding:
    if line is None:
        return Finding("line_too_large")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        return invalid_utf8(error)


def csv_rows(source: Source, problems: Problems, line_bytes: int) -> Iterator[Item]:
    """CSV with names in its first line; a row's line is the one on which it ends."""
    csv.field_size_limit(line_bytes)
    wrong: dict[int, Finding] = {}
    lines = _csv_lines(source, problems, wrong)
    header = next(lines, "")
    names = _header_fields(header)
    if len(set(names)) < len(names):
        raise FileUnusable(Finding("bad_csv", message="A field name stands twice in line 1."))
    reader = csv.reader(lines, delimiter=_splitter(header), strict=True)
    first = 2
    while True:
        try:
            values = next(reader, None)
        except csv.Error as error:
            message = f"The CSV cannot be read from here on: {error}."
            raise FileUnusable(Finding("bad_csv", message=message)) from error
        if values is None:
            return
        last = reader.line_num + 1
        found = [wrong.pop(number) for number in range(first, last + 1) if number in wrong]
        if found:
            yield last, RowUnusable(*found)
        elif values:
            yield last, _csv_row(names, values)
        else:
            problems.add_once(last, Finding("blank_line"))
        first = last + 1


def _csv_lines(source: Source, problems: Problems, wrong: dict[int, Finding]) -> Iterator[str]:
    for number, line in source.lines(problems):
        text = _text(line)
        if isinstance(text, Finding):
            wrong[number] = text
            # keeps the quotes, which are ASCII, so that the rows behind are still found
            text = (line or b"").decode(errors="replace")
        yield text + "\n"


def _csv_row(names: list[str], values: list[str]) -> dict[str, Any] | RowUnusable:
    if len(values) != len(names):
        message = f"The row has {len(values)} fields, the header {len(names)}."
        found = {"fields": len(values), "header": len(names)}
        return RowUnusable(Finding("bad_csv", message=message, values=found))
    row: dict[str, Any] = dict(zip(names, values, strict=True))
    for name in _JSON_COLUMNS:
        if row.get(name):
            try:
                row[name] = loads(row[name].encode())
            except RowUnusable as problem:
                return problem
        else:
            row.pop(name, None)
    return row
