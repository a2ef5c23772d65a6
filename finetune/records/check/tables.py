"""CSV to objects, as Excel, WPS and exports write it."""

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

from finetune.records.check.columns import Columns, field_of, spelt, splitter_of
from finetune.records.check.containers import Item, decoded
from finetune.records.check.problems import FileUnusable, Finding, Problems, RowUnusable
from finetune.records.check.source import Source
from finetune.records.check.strict_json import loads
from finetune.records.printing import printable

JSON_COLUMNS = ("messages", "conversations", "tools", "history")
CELL_MOST = 32_767  # UTF-16 units; Excel cuts what is longer and says nothing
_SEP_LINE = re.compile(r'"?sep=([,;\t|])"?', re.IGNORECASE)

OnHeader = Callable[[list[str], int], None]
"""Told the names of the columns and their line, before the first row. Raises FileUnusable."""


@dataclass(frozen=True)
class _Header:
    """`names`: of each column the field, or "" for one without a name; `line`: where it
    begins; `lines`: how many it took, with those before it."""

    names: list[str]
    splitter: str
    line: int
    lines: int

    @cached_property
    def json_columns(self) -> list[str]:
        return [name for name in JSON_COLUMNS if name in self.names]


def csv_rows(
    source: Source, problems: Problems, line_bytes: int, columns: Columns, on_header: OnHeader
) -> Iterator[Item]:
    """CSV with names in its first line; a row's line is the one on which it ends."""
    csv.field_size_limit(line_bytes)
    wrong: dict[int, Finding] = {}
    lines = _lines(source, problems, wrong)
    header = _header(lines, problems, columns)
    on_header([name for name in header.names if name], header.line)
    reader = csv.reader(lines, delimiter=header.splitter, strict=True)
    first = header.lines + 1
    while (values := _next(reader)) is not None:
        last = reader.line_num + header.lines
        found = [wrong.pop(number) for number in range(first, last + 1) if number in wrong]
        if found:
            yield last, RowUnusable(*found)
        elif any(map(str.strip, values)):
            yield last, _row(header, values, last, problems)
        else:
            problems.add_once(last, Finding("blank_line"))
        first = last + 1


def _lines(source: Source, problems: Problems, wrong: dict[int, Finding]) -> Iterator[str]:
    for number, line in source.lines(problems):
        text = decoded(line)
        if isinstance(text, Finding):
            wrong[number] = text
            # keeps the quotes, which are ASCII, so that the rows behind are still found
            text = (line or b"").decode(errors="replace")
        yield text + "\n"


def _next(reader: Iterator[list[str]]) -> list[str] | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        message = f"The CSV cannot be read from here on: {error}."
        raise FileUnusable(Finding("bad_csv", message=message)) from error


def _header(lines: Iterator[str], problems: Problems, columns: Columns) -> _Header:
    begin, told = next(lines, ""), None
    before = 0
    while begin:
        if told is None and (match := _SEP_LINE.fullmatch(begin.strip())):
            told = match[1]
            problems.add(before + 1, Finding("sep_line"))
        elif not begin.strip():
            problems.add_once(before + 1, Finding("blank_line"))
        else:
            break
        begin, before = next(lines, ""), before + 1
    splitter = told or splitter_of(begin)
    reader = csv.reader(chain([begin], lines), delimiter=splitter, strict=True)
    written = [name.strip() for name in _next(reader) or []]
    line = before + 1
    names = _fields(written, columns, problems, line)
    given = Counter(name for name in names if name)
    if twice := next((name for name, times in given.items() if times > 1), None):
        message = f"The field name '{printable(twice)}' stands twice in line {line}."
        raise FileUnusable(Finding("bad_csv", message=message))
    if unnamed := names.count(""):
        message = f"Columns without a name: {unnamed}. What stands in them is ignored."
        found = Finding("unnamed_column", message=message, values={"columns": unnamed})
        problems.add(line, found)
    return _Header(names, splitter, line, before + reader.line_num)


def _fields(written: list[str], columns: Columns, problems: Problems, line: int) -> list[str]:
    """The field of each column: as the mapping says, else by its name; capitals forgiven."""
    columns = _as_spelt(columns, written, problems, line)
    taken = set(written) | set(columns)
    fields = []
    for name in written:
        field = field_of(name, columns)
        meant = spelt(field)
        if meant != field and meant in taken and meant not in columns:
            raise FileUnusable(_same(name, meant, written), line=line)
        if meant != field and meant not in taken:
            problems.add(line, _respelt(meant, field, meant))
            taken.add(meant)
            field = meant
        fields.append(field)
    return fields


def _same(name: str, field: str, written: list[str]) -> Finding:
    alike = (each for each in written if each != name and spelt(each) == field)
    other = next(alike, name)
    names = {"one": printable(other), "other": printable(name)}
    message = "The columns '{one}' and '{other}' are called the same but for capitals."
    return Finding("same_column", field, message.format(**names), values=names)


def _as_spelt(
    columns: Columns, written: list[str], problems: Problems, line: int
) -> dict[str, str]:
    """The mapping with each column as the header spells it. Raises FileUnusable."""
    there, spelt_so = set(written), dict[str, str]()
    free = {name.casefold(): name for name in reversed(written) if name not in columns.values()}
    for field, name in columns.items():
        found = name if name in there else free.pop(name.casefold(), None)
        if found is None:
            shown = printable(name)
            message = f"The mapping names the column '{shown}', which is not in line {line}."
            missing = Finding("missing_column", field, message, values={"column": shown})
            raise FileUnusable(missing, line=line)
        if found != name:
            problems.add(line, _respelt(field, found, name))
        spelt_so[field] = found
    return spelt_so


def _respelt(field: str, name: str, meant: str) -> Finding:
    shown, read_as = printable(name), printable(meant)
    message = f"The column '{shown}' was read as '{read_as}'."
    values = {"column": shown, "meant": read_as}
    return Finding("field_spelling", field, message, values=values)


def _row(
    header: _Header, values: list[str], line: int, problems: Problems
) -> dict[str, Any] | RowUnusable:
    names = header.names
    if len(values) != len(names) and not _fit(values, names):
        message = f"Fields in the row: {len(values)}; in the header: {len(names)}."
        found = {"fields": len(values), "header": len(names)}
        return RowUnusable(Finding("bad_csv", message=message, values=found))
    row: dict[str, Any] = dict(zip(names, values, strict=False))
    if "" in row:
        del row[""]
        for index, name in enumerate(names[: len(values)]):
            if not name and values[index].strip():
                # which no format knows, and which is told as that
                row[f"column {index + 1}"] = values[index]
    if len(max(values, key=len)) >= CELL_MOST // 2:
        for name, value in row.items():
            if _units(value) == CELL_MOST:
                problems.add(line, Finding("cell_limit", printable(name)))
    return _with_json(row, header.json_columns)


def _fit(values: list[str], names: list[str]) -> bool:
    """Whether only empty cells, or cells of columns without a name, are too many or too few; the
    header of a sheet may not know of its empty columns (`a,b,,`), which are taken away here."""
    while len(values) > len(names) and not values[-1].strip():
        values.pop()
    return len(values) <= len(names) and not any(names[len(values) :])


def _units(value: str) -> int:
    return len(value.encode("utf-16-le", "surrogatepass")) // 2


def _with_json(row: dict[str, Any], json_columns: list[str]) -> dict[str, Any] | RowUnusable:
    for name in json_columns:
        if row.get(name):
            try:
                row[name] = loads(row[name].encode())
            except RowUnusable as problem:
                return RowUnusable(*(_in_cell(each, name) for each in problem.findings))
        else:
            row.pop(name, None)
    return row


def _in_cell(finding: Finding, field: str) -> Finding:
    """What is wrong with a cell is no fault of its line."""
    if finding.code != "invalid_json":
        return replace(finding, field=field)
    at = (finding.values or {}).get("column", 1)
    message = f"The cell of {field} is not JSON from its character {at} on."
    return Finding("cell_not_json", field, message, values={"at": at})
