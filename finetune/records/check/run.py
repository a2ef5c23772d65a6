"""One check from the source to the report: read, validate, count, write canonical rows."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, cast

import orjson

from faults import UserFault
from finetune.records.check.codes import CODES
from finetune.records.check.columns import Columns, as_written, field_of, propose
from finetune.records.check.containers import Item, detect_container, json_lines, paragraphs
from finetune.records.check.formats import KINDS, KNOWN, READERS, REQUIRED, detect
from finetune.records.check.parquet import parquet_rows, spool
from finetune.records.check.problems import FileUnusable, Finding, Problems, RowUnusable
from finetune.records.check.source import OnProgress, Source
from finetune.records.check.spec import (
    CheckReport,
    CheckSpec,
    Compression,
    Container,
    RowFormat,
)
from finetune.records.check.strict_json import printable
from finetune.records.check.tables import csv_rows
from finetune.records.check.tokens import TokenCounter
from finetune.records.rows import Row

# What a file's own fields cause in each of its rows
_OF_FIELDS = ("unknown_format", "unknown_field", "missing_field")
_PLACE = re.compile(r"\[\d+\]")

ROWS, ERRORS, REPORT = "rows.jsonl", "errors.jsonl", "report.json"


def run_check(spec: CheckSpec, out_dir: Path, on_progress: OnProgress) -> CheckReport:
    """Write rows.jsonl, errors.jsonl and report.json to out_dir and return the report.

    Raises UserFault for what `codes.LIMIT_CODES` lists; whatever is wrong with the file itself
    is in the report.
    """
    with (out_dir / ROWS).open("wb") as rows_file:
        check = _Check(spec, out_dir, rows_file, on_progress)
        check.read()
    report = check.report()
    with (out_dir / ERRORS).open("wb") as file:
        for problem in report.problems:
            file.write(orjson.dumps(problem.model_dump()) + b"\n")
    (out_dir / REPORT).write_text(report.model_dump_json(indent=2), encoding="utf-8")
    return report


class _Check:
    """The counts of one check, while the file goes by."""

    def __init__(
        self, spec: CheckSpec, out_dir: Path, rows_file: IO[bytes], on_progress: OnProgress
    ) -> None:
        self._spec = spec
        self._out_dir = out_dir
        self._rows_file = rows_file
        self._rows_sha = hashlib.sha256()
        self._on_progress = on_progress
        self._problems = Problems(spec.limits.listed)
        self._tokens = TokenCounter(spec, spec.tokenizer_dir) if spec.tokenizer_dir else None
        self._other = _digests(spec.compare_with) if spec.compare_with else None
        self._seen: dict[bytes, int] = {}
        self._source: Source | None = None
        self._container: Container | None = None
        self._format: RowFormat | None = None
        self._rows = self._usable = self._rows_bytes = self._overlap = 0

    def read(self) -> None:
        try:
            self._source = Source(self._spec.source, self._spec.limits, self._on_progress)
            if not self._source.head:
                raise FileUnusable(Finding("empty_file"))
            self._source.notices(self._problems)
            for line, item in self._items(self._source):
                self._one(line, item)
        except FileUnusable as problem:
            for finding in problem.findings:
                self._problems.add(problem.line, finding)
        if not self._usable and not self._problems.total("error"):
            self._problems.add(None, Finding("no_usable_rows"))

    def _items(self, source: Source) -> Iterable[Item]:
        self._container = self._choose_container(source)
        if self._container == "jsonl":
            return json_lines(source, self._problems)
        if self._container == "csv":
            return csv_rows(
                source,
                self._problems,
                self._spec.limits.line_bytes,
                self._spec.columns,
                self._header,
            )
        if self._container == "text":
            return paragraphs(source, self._problems)
        return self._parquet(source)

    def _choose_container(self, source: Source) -> Container:
        asked = self._spec.format
        if asked in ("csv", "parquet"):
            return asked
        found = detect_container(source, self._spec.source_name)
        if asked == "text" and found == "csv":
            return "text"
        if asked not in ("auto", "text") and found == "text":
            return "jsonl"  # so that each line is named as not being JSON
        return found

    def _parquet(self, source: Source) -> Iterator[Item]:
        path = self._spec.source
        if source.compression != "none":
            path = spool(source, self._out_dir / "unpacked.parquet")
        try:
            yield from parquet_rows(path, source)
        finally:
            if path != self._spec.source:
                path.unlink()

    def _header(self, names: list[str], line: int) -> None:
        """One finding about a table's columns, and not one in each of its rows."""
        if not names:
            return
        try:
            needed = REQUIRED[self._row_format(dict.fromkeys(names))]
            if missing := [name for name in needed if name not in names]:
                text = f"The field '{missing[0]}' is missing."
                raise RowUnusable(Finding("missing_field", missing[0], text))
        except RowUnusable as problem:
            found = (_with_proposal(each, names, self._spec.columns) for each in problem.findings)
            raise FileUnusable(*found, line=line) from problem

    def _one(self, line: int, item: dict[str, Any] | RowUnusable) -> None:
        self._rows += 1
        if self._rows > self._spec.limits.rows:
            raise UserFault(
                "limit_rows",
                f"The file has more than {self._spec.limits.rows} rows.",
                fix="Split it into several files.",
            )
        findings: list[Finding] = []
        if isinstance(item, RowUnusable):
            findings.extend(item.findings)
        else:
            if self._spec.columns and self._container != "csv":  # whose header is read so
                item = {field_of(name, self._spec.columns): item[name] for name in item}
            self._read_row(line, item, findings)
        for finding in findings:
            if finding.code in _OF_FIELDS and isinstance(item, dict):
                self._add_of_fields(line, finding, item)
            else:
                self._problems.add(line, finding)

    def _add_of_fields(self, line: int, finding: Finding, item: dict[str, Any]) -> None:
        if finding.code == "unknown_field":
            cause = _PLACE.sub("", finding.field or "")
        else:
            finding = _with_proposal(finding, item, self._spec.columns)
            of_all = "proposal" in (finding.values or {}) or finding.field in self._spec.columns
            if finding.code == "missing_field" and not of_all:
                return self._problems.add(line, finding)  # this row's own fault
            cause = finding.message or ""
        return self._problems.add_cause(line, finding, cause)

    def _read_row(self, line: int, item: dict[str, Any], findings: list[Finding]) -> None:
        try:
            row = READERS[self._row_format(item)](item, findings)
        except FileUnusable:
            raise
        except RowUnusable as problem:
            findings.extend(problem.findings)
            return
        if not any(finding.is_error for finding in findings):
            self._use(line, row, findings)

    def _row_format(self, values: dict[str, Any]) -> RowFormat:
        if self._format is None:
            asked = self._spec.format
            if asked in ("auto", "csv", "parquet"):
                self._format = detect(values)
            else:
                self._format = cast(RowFormat, asked)
            self._require_used(self._format)
        return self._format

    def _require_used(self, found: RowFormat) -> None:
        """A column that the mapping gives to a field shall be trained, and not left aside."""
        unused = [field for field in self._spec.columns if field not in KNOWN[found]]
        if not unused:
            return
        name, known = printable(self._spec.columns[unused[0]]), ", ".join(sorted(KNOWN[found]))
        message = (
            f"The mapping reads '{name}' as {unused[0]}, which rows of the format {found} do not "
            f"have. Theirs are: {known}."
        )
        values = {"column": name, "field": unused[0], "format": found}
        raise FileUnusable(Finding("mapped_unused", unused[0], message, values=values))

    def _use(self, line: int, row: Row, findings: list[Finding]) -> None:
        try:
            written = orjson.dumps(row)
        except TypeError as error:  # a date or bytes in a Parquet column of tools
            findings.append(Finding("wrong_type", message=f"Not a value of JSON: {error}."))
            return
        if self._tokens and self._format:
            if not self._tokens.measure(row, KINDS[self._format], findings):
                return
            if "cut_to" in row:
                written = orjson.dumps(row)
        digest = _digest(written)
        if (first := self._seen.setdefault(digest, line)) != line:
            findings.append(
                Finding(
                    "duplicate_row",
                    message=f"The same row stands in line {first}.",
                    values={"first": first},
                )
            )
        if self._other is not None and digest in self._other:
            self._overlap += 1
            findings.append(Finding("in_both_sets"))
        self._usable += 1
        written += b"\n"
        self._rows_bytes += len(written)
        self._rows_sha.update(written)
        self._rows_file.write(written)

    def report(self) -> CheckReport:
        tokens, problems = self._tokens, self._problems
        compression: Compression = self._source.compression if self._source else "none"
        errors = problems.total("error")
        with self._spec.source.open("rb") as file:
            source_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return CheckReport(
            ok=errors == 0,
            source_name=self._spec.source_name,
            columns=self._spec.columns,
            container=self._container,
            compression=compression,
            format=self._format,
            rows=self._rows,
            rows_usable=self._usable,
            rows_dropped=tokens.dropped if tokens else 0,
            rows_cut=tokens.cut if tokens else 0,
            tokens_total=tokens.total if tokens else None,
            tokens_trained=tokens.trained if tokens else None,
            thinking=tokens.thinking() if tokens else None,
            packs=tokens.packs() if tokens else None,
            longest_row=tokens.longest if tokens else None,
            lengths=tokens.histogram() if tokens else [],
            length_percentiles=tokens.percentiles() if tokens else {},
            duplicates=problems.counts["duplicate_row"],
            overlap=self._overlap if self._other is not None else None,
            errors=errors,
            warnings=problems.total("warning"),
            problem_counts=dict(sorted(problems.counts.items())),
            problems=problems.listed,
            source_bytes=self._spec.source.stat().st_size,
            decoded_bytes=self._source.decoded if self._source else 0,
            rows_bytes=self._rows_bytes,
            source_sha256=source_sha256,
            rows_sha256=self._rows_sha.hexdigest(),
        )


def _with_proposal(finding: Finding, names: Iterable[str], given: Columns) -> Finding:
    """With the mapping that would mend it, where one is likely; names are as `given` reads them."""
    columns = propose(names, given)
    if finding.code == "missing_field" and finding.field not in columns:
        return finding
    if not columns:
        return finding
    proposal = as_written(columns)
    read_so = f"If that is what they are, have the columns read so: {proposal}. Else:"
    fix = f"{read_so} {finding.fix or CODES[finding.code].fix}"
    return replace(finding, fix=fix, values={**(finding.values or {}), "proposal": proposal})


def _digest(written: bytes) -> bytes:
    """Eight bytes tell ten million rows apart with a chance of a collision of 3 in a million."""
    return hashlib.blake2b(written, digest_size=8).digest()


def _digests(rows: Path) -> frozenset[bytes]:
    with rows.open("rb") as file:
        return frozenset(_digest(line.rstrip(b"\n")) for line in file)
