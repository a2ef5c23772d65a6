"""One check from the source to the report: read, validate, count, write canonical rows."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

import orjson

from faults import UserFault
from finetune.records.check.alike import ranking
from finetune.records.check.containers import (
    Line,
    detect_container,
    documents,
    holds_json_lines,
    json_lines,
    suffix,
)
from finetune.records.check.formats import KINDS, REQUIRED
from finetune.records.check.names import disagreement, json_as_text
from finetune.records.check.pool import Pool
from finetune.records.check.problems import FileUnusable, Finding, Problems, RowUnusable
from finetune.records.check.ratings import balance
from finetune.records.check.reading import (
    PART_BYTES,
    PART_ROWS,
    Found,
    Notes,
    Outcome,
    Part,
    RowsReader,
    with_proposal,
)
from finetune.records.check.seen import SeenRows
from finetune.records.check.source import CHUNK, Source
from finetune.records.check.spec import (
    CheckReport,
    CheckSpec,
    Compression,
    Container,
)
from finetune.records.check.tables import csv_rows
from finetune.records.check.tokens import TokenCounts
from finetune.records.frozen import Block, Writer

ROWS, TOKENS, ERRORS, REPORT = "rows.jsonl", "rows.tokens", "errors.jsonl", "report.json"

OnProgress = Callable[[int, int], None]  # bytes of the source read, rows taken

SHARED_BYTES = 4 << 20  # a file of more is read by several processes


def run_check(spec: CheckSpec, out_dir: Path, on_progress: OnProgress) -> CheckReport:
    """Write rows.jsonl, errors.jsonl and report.json to out_dir and return the report; with a
    tokenizer rows.tokens, too, the same rows as they are trained (see `records.frozen`).

    Raises UserFault for what `codes.LIMIT_CODES` lists; whatever is wrong with the file itself
    is in the report.
    """
    with (out_dir / ROWS).open("wb") as rows_file:
        check = _Check(spec, out_dir, rows_file, on_progress)
        check.read()
        check.freeze()
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
        self._reader = RowsReader(spec)
        self._counts = TokenCounts() if spec.tokenizer_dir else None
        self._notes = Notes()
        self._unusable: FileUnusable | None = None
        self._other = _digests(spec.compare_with) if spec.compare_with else None
        self._frozen: Writer | None = None
        self._seen = SeenRows()
        self._labels: Counter[bool] = Counter()
        self._scores: set[float] = set()
        self._source: Source | None = None
        self._container: Container | None = None
        self._rows = self._usable = self._records = self._rows_bytes = self._overlap = 0

    def read(self) -> None:
        try:
            self._source = Source(self._spec.source, self._spec.limits, self._tell)
            if not self._source.head:
                raise FileUnusable(Finding("empty_file"))
            self._source.notices(self._problems)
            for part, outcome in self._outcomes(self._parts(self._source)):
                self._take(part, outcome)
        except FileUnusable as problem:
            self._unusable = problem
        if self._unusable is not None:
            for finding in self._unusable.findings:
                self._problems.add(self._unusable.line, finding)
        for finding in (*balance(self._labels), *ranking(self._scores)):
            self._problems.add(None, finding)
        if not self._usable and not self._problems.total("error"):
            self._problems.add(None, Finding("no_usable_rows"))

    def _tell(self, read: int) -> None:
        self._on_progress(read, self._rows)

    def _parts(self, source: Source) -> Iterator[Part]:
        """The file in parts; one that cannot be read to its end has its last rows all the same."""
        size, since = 0, 0
        try:
            for line, item in self._items(source):
                rows = self._notes.part.rows
                rows.append((line, item.findings if isinstance(item, RowUnusable) else item))
                size += len(item) if isinstance(item, bytes) else 0
                if size >= PART_BYTES or len(rows) >= PART_ROWS or source.decoded - since >= CHUNK:
                    yield self._next_part()
                    size, since = 0, source.decoded
        except FileUnusable as problem:
            self._unusable = problem
        yield self._next_part()

    def _next_part(self) -> Part:
        part, self._notes.part = self._notes.part, Part()
        return part

    def _outcomes(self, parts: Iterator[Part]) -> Iterator[tuple[Part, Outcome]]:
        """By one process until the format is known, then by several where the file is worth it."""
        for part in parts:
            yield part, self._reader.read(part)
            if self._is_worth_more():
                break
        else:
            return
        with Pool(self._reader.read, self._spec.workers) as pool:
            yield from pool.in_order(parts)

    def _is_worth_more(self) -> bool:
        assert self._source is not None
        large = self._source.size >= SHARED_BYTES
        return self._spec.workers > 1 and large and self._reader.format is not None

    def _items(self, source: Source) -> Iterable[Line]:
        self._container = self._choose_container(source)
        if self._spec.format == "auto":
            self._compare_name(source)
        if self._container == "jsonl":
            return json_lines(source, self._notes)
        if self._container == "csv":
            self._reader.renamed = True
            return csv_rows(
                source,
                self._notes,
                self._spec.limits.line_bytes,
                self._spec.columns,
                self._header,
            )
        if self._container == "text":
            return documents(source, self._notes)
        return self._parquet(source)

    def _compare_name(self, source: Source) -> None:
        assert self._container is not None
        ending = suffix(self._spec.source_name)
        found = disagreement(ending, self._container)
        if found is None and self._container == "text" and holds_json_lines(source.head):
            found = json_as_text(ending)
        if found is not None:
            self._problems.add(None, found)

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

    def _parquet(self, source: Source) -> Iterator[Line]:
        # pyarrow is a quarter of what it takes to start a check, and few files need it
        from finetune.records.check.parquet import parquet_rows, spool

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
            needed = REQUIRED[self._reader.row_format(names)]
            if missing := [name for name in needed if name not in names]:
                text = f"The field '{missing[0]}' is missing."
                raise RowUnusable(Finding("missing_field", missing[0], text))
        except RowUnusable as problem:
            found = (with_proposal(each, names, self._spec.columns) for each in problem.findings)
            raise FileUnusable(*found, line=line) from problem

    def _take(self, part: Part, outcome: Outcome) -> None:
        notes = iter([*part.notes, (len(part.rows), None, None, False)])
        note = next(notes)
        self._labels.update(outcome.labels)
        self._scores |= outcome.scores
        self._usable += outcome.joined
        if outcome.counts and self._counts:
            self._counts.add(outcome.counts)
        for number, (line, written, found) in enumerate([*outcome.rows, (0, [], [])]):
            while note[0] <= number and note[2] is not None:
                (self._problems.add_once if note[3] else self._problems.add)(note[1], note[2])
                note = next(notes)
            if number < len(outcome.rows):
                self._take_row(line, written, found)
            if outcome.unusable and number == len(outcome.rows) - 1:
                raise outcome.unusable
        if outcome.block.members:
            self._write_tokens(outcome.block)

    def _take_row(self, line: int, written: list[bytes], found: list[Found]) -> None:
        self._rows += 1
        if self._rows > self._spec.limits.rows:
            raise UserFault(
                "limit_rows",
                f"The file has more than {self._spec.limits.rows} rows.",
                fix="Split it into several files.",
            )
        for finding, cause in found:
            if cause is None:
                self._problems.add(line, finding)
            else:
                self._problems.add_cause(line, finding, cause)
        self._usable += bool(written)
        for record in written:
            self._use(line, record)

    def _use(self, line: int, written: bytes) -> None:
        digest = _digest(written)
        if (first := self._seen.first(digest, line)) != line:
            found = Finding(
                "duplicate_row",
                message=f"The same row stands in line {first}.",
                values={"first": first},
            )
            self._problems.add(line, found)
        if self._other is not None and digest in self._other:
            self._overlap += 1
            self._problems.add(line, Finding("in_both_sets"))
        self._records += 1
        self._rows_bytes += len(written) + 1
        self._rows_sha.update(written)
        self._rows_sha.update(b"\n")
        self._rows_file.write(written)
        self._rows_file.write(b"\n")

    def _write_tokens(self, block: Block) -> None:
        if self._frozen is None:
            assert self._reader.vocabulary is not None
            self._frozen = Writer(
                self._out_dir / TOKENS,
                vocabulary=self._reader.vocabulary,
                printed_day=self._reader.printed_day,
            )
        self._frozen.extend(block)

    def freeze(self) -> None:
        """The end of the token ids, where there are any."""
        if self._frozen is not None:
            assert self._reader.format is not None
            self._frozen.close(KINDS[self._reader.format].name)

    def report(self) -> CheckReport:
        tokens, problems = self._counts, self._problems
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
            format=self._reader.format,
            rows=self._rows,
            rows_usable=self._usable,
            rows_dropped=tokens.dropped if tokens else 0,
            rows_cut=tokens.cut if tokens else 0,
            tokens_total=tokens.total if tokens else None,
            tokens_trained=tokens.trained if tokens else None,
            thinking=tokens.thinking() if tokens else None,
            packs=tokens.packs(self._spec.max_length) if tokens else None,
            good=self._labels[True] if self._labels else None,
            chunks=self._records if tokens and self._spec.overflow == "chunk" else None,
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
            tokens_bytes=self._frozen.bytes if self._frozen else 0,
            source_sha256=source_sha256,
            rows_sha256=self._rows_sha.hexdigest(),
        )


def _digest(written: bytes) -> int:
    """Of all but the tags."""
    if b'"tags":' in written:
        row = orjson.loads(written)
        row.pop("tags", None)
        written = orjson.dumps(row)
    return int.from_bytes(hashlib.blake2b(written, digest_size=8).digest())


def _digests(rows: Path) -> frozenset[int]:
    with rows.open("rb") as file:
        return frozenset(_digest(line.rstrip(b"\n")) for line in file)
