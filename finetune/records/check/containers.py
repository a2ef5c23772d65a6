"""What the bytes are, and from bytes to objects: JSON lines, and paragraphs of plain text."""

import codecs
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import PurePath
from typing import Any

from finetune.records.check.columns import looks_like_header
from finetune.records.check.encodings import PARQUET_MAGIC
from finetune.records.check.problems import FileUnusable, Finding, Problems, RowUnusable
from finetune.records.check.source import Source
from finetune.records.check.spec import Container
from finetune.records.check.strict_json import invalid_utf8, loads

# A row's line and what stands there: an object, or why there is none
Item = tuple[int, dict[str, Any] | RowUnusable]
# The same, or the JSON of the object
Line = tuple[int, bytes | dict[str, Any] | RowUnusable]


def detect_container(source: Source, name: str) -> Container:
    """What the bytes are; the name decides only between text and CSV, where they allow both. Raises
    FileUnusable."""
    if source.head.startswith(PARQUET_MAGIC):
        return "parquet"
    ending = suffix(name)
    start = source.head.removeprefix(codecs.BOM_UTF8).lstrip()
    if ending == ".csv" and re.match(rb"\{\s*\"", start):
        return "jsonl"  # no table's header begins so
    if ending not in (".csv", ".txt", ".md", ".text"):
        if start.startswith(b"["):
            raise FileUnusable(Finding("json_array"))
        if re.match(rb"\{\s*[\r\n]", start):
            raise FileUnusable(Finding("pretty_json"))
        if start.startswith(b"{") or ending in (".jsonl", ".json", ".ndjson"):
            return "jsonl"
    if ending == ".csv" or (
        ending not in (".txt", ".md", ".text") and looks_like_header(first_line(start))
    ):
        return "csv"
    return "text"


def suffix(name: str) -> str:
    """The ending of a name, lower-case with its dot, without that of a compression."""
    path = PurePath(name.lower())
    if path.suffix in (".gz", ".gzip", ".zst", ".zstd"):
        path = path.with_suffix("")
    return path.suffix


def first_line(start: bytes) -> str:
    return re.split(rb"[\r\n]", start, maxsplit=1)[0].decode(errors="replace")


_LOOKED_AT = 100  # lines


def _is_prose(head: bytes) -> bool:
    """Of a file that is to hold JSON lines: several lines, and none that even begins as one."""
    lines = [line for line in head.splitlines() if line.strip()][:_LOOKED_AT]
    return len(lines) > 1 and not any(map(_begins_json, lines))


def _begins_json(line: bytes) -> bool:
    start = line.removeprefix(codecs.BOM_UTF8).lstrip()
    if start.startswith((b"{", b"[", b'"')):
        return True
    try:
        loads(start)
    except RowUnusable:
        return False
    return True


def json_lines(source: Source, problems: Problems) -> Iterator[Line]:
    if _is_prose(source.head):
        raise FileUnusable(Finding("not_json_lines"), line=1)
    for number, line in source.lines(problems):
        if line is None:
            yield number, RowUnusable(Finding("line_too_large"))
        elif not line.strip():
            problems.add_once(number, Finding("blank_line"))
        else:
            yield number, line


def object_of(line: bytes) -> dict[str, Any] | RowUnusable:
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
        text = decoded(line)
        if isinstance(text, Finding):
            wrong.append(text)
        else:
            kept.append(text)


def decoded(line: bytes | None) -> str | Finding:
    if line is None:
        return Finding("line_too_large")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        return invalid_utf8(error)
