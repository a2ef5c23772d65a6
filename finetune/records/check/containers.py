"""What the bytes are, and from bytes to objects: JSON lines, and documents of plain text."""

import codecs
import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from finetune.records.check.columns import looks_like_header
from finetune.records.check.encodings import PARQUET_MAGIC
from finetune.records.check.problems import FileUnusable, Finding, Problems, RowUnusable
from finetune.records.check.source import Source
from finetune.records.check.spec import Container
from finetune.records.check.strict_json import invalid_utf8, loads

FORM_FEED = b"\f"
LARGEST_DOCUMENT = 16 << 20  # bytes: it is encoded as a whole
MOST_FINDINGS = 100  # of one document

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


def holds_json_lines(head: bytes) -> bool:
    """Whether text is objects of JSON line by line, as far as its beginning shows."""
    lines = head.removeprefix(codecs.BOM_UTF8).splitlines()
    whole = [line for line in lines[: max(1, len(lines) - 1)] if line.strip()][:_LOOKED_AT]
    return bool(whole) and all(isinstance(object_of(line), dict) for line in whole)


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


def documents(source: Source, problems: Problems) -> Iterator[Item]:
    """Plain text: a file is one document, or several with a form feed between them (U+000C, as a
    page break). Blank lines stay; those around a document are left out."""
    document = _Document()
    for number, text in source.lines(problems):
        pieces = [None] if text is None else text.split(FORM_FEED)
        for place, piece in enumerate(pieces):
            if place:
                yield from document.end()
                document = _Document()
            document.add(number, piece)
    yield from document.end()


class _Document:
    """The lines of a document as they come. More of them than a row may have is not kept."""

    def __init__(self) -> None:
        self._start, self._size = 0, 0
        self._kept, self._wrong = list[str](), list[Finding]()

    def add(self, number: int, line: bytes | None) -> None:
        if not (self._kept or self._wrong):
            if line is not None and not line.strip():
                return
            self._start = number
        text = decoded(line)
        self._size += len(line or b"") + 1
        if isinstance(text, Finding):
            self._wrong = (self._wrong + [text])[:MOST_FINDINGS]
        elif self._size > LARGEST_DOCUMENT:
            self._wrong = self._wrong or [Finding("document_too_large")]
            self._kept = []
        else:
            self._kept.append(text)

    def end(self) -> Iterator[Item]:
        if self._wrong:
            yield self._start, RowUnusable(*self._wrong)
        elif self._kept:
            yield self._start, {"text": "\n".join(self._kept).rstrip()}


def decoded(line: bytes | None) -> str | Finding:
    if line is None:
        return Finding("line_too_large")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        return invalid_utf8(error)
