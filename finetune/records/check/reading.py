"""Rows of a part of the file, each by itself: read, validated, counted, written canonically.

Nothing here knows of the rows before, so parts can be read side by side; what follows from the
order of the rows (doubles, the report) is made of the results, in order.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import orjson

from finetune.records.check.codes import CODES
from finetune.records.check.columns import Columns, as_written, field_of, propose
from finetune.records.check.containers import object_of
from finetune.records.check.fields import GROUP, Fields
from finetune.records.check.formats import KINDS, KNOWN, READERS, detect
from finetune.records.check.problems import FileUnusable, Finding, Problems, RowUnusable
from finetune.records.check.spec import CheckSpec, RowFormat
from finetune.records.check.tokens import TokenCounter, TokenCounts
from finetune.records.encode import load_tokenizer
from finetune.records.frozen import Block
from finetune.records.printing import printable
from finetune.records.rows import File, Record, TextRow, label_of, margin_of, score_of
from finetune.records.tags import tags_of

# What a file's own fields cause in each of its rows
_OF_FIELDS = ("unknown_format", "unknown_field", "missing_field")
_PLACE = re.compile(r"\[\d+\]")
PART_BYTES, PART_ROWS = 1 << 18, 1000

Found = tuple[Finding, str | None]
"""A finding, and for one that many rows may have in common, their cause."""


@dataclass
class Part:
    """`rows`: line, and a line of JSON, an object, or why there is none. `notes`: of the file's
    own problems how many rows stand before it, its line, and whether only the first is listed."""

    rows: "list[tuple[int, bytes | dict[str, Any] | tuple[Finding, ...]]]" = field(
        default_factory=list
    )
    notes: list[tuple[int, int | None, Finding, bool]] = field(default_factory=list)


class Notes(Problems):
    """Keeps what readers of the file find until the rows before it are read."""

    def __init__(self) -> None:
        super().__init__(0)
        self.part = Part()

    def add(self, line: int | None, finding: Finding) -> None:
        self.part.notes.append((len(self.part.rows), line, finding, False))

    def add_once(self, line: int | None, finding: Finding) -> None:
        self.part.notes.append((len(self.part.rows), line, finding, True))


@dataclass
class Outcome:
    """Of each row of a part its line, the canonical bytes of the records that it gives (none if it
    is not used), and what was found."""

    rows: list[tuple[int, list[bytes], list[Found]]] = field(default_factory=list)
    block: Block = field(default_factory=Block)
    counts: TokenCounts | None = None
    labels: Counter[bool] = field(default_factory=Counter)  # of the rated rows that are used
    joined: int = 0  # rows used that are in a record of a row before them
    scores: set[float] = field(default_factory=set)  # of the scored rows that are used: two of them
    unusable: FileUnusable | None = None  # what the last of these rows says of the whole file


@dataclass
class Repository:
    """Its files so far, in the row of the first, whose place among a part's rows is `place`."""

    row: TextRow
    place: int


class RowsReader:
    """`format` is that of the first row whose format can be told. `renamed`: whether the mapping
    of columns was followed already, in a table's header."""

    def __init__(self, spec: CheckSpec) -> None:
        self._spec = spec
        self._tokens = (
            TokenCounter(spec, load_tokenizer(spec.tokenizer_dir)) if spec.tokenizer_dir else None
        )
        self.format: RowFormat | None = None
        self.renamed = False
        self._repository: Repository | None = None  # whose files are being read

    @property
    def vocabulary(self) -> int | None:
        """Tokens that the base's tokenizer knows; None without one."""
        return self._tokens.vocabulary if self._tokens else None

    @property
    def printed_day(self) -> str | None:
        """What the base's prompts print as today's date, where they print one."""
        return self._tokens.printed_day if self._tokens else None

    def row_format(self, values: Iterable[str]) -> RowFormat:
        """Of a row, or of a table's columns. Raises RowUnusable."""
        if self.format is None:
            asked = self._spec.format
            if asked in ("auto", "csv", "parquet"):
                named = values if isinstance(values, dict) else dict.fromkeys(values)
                self.format = detect(named)
            else:
                self.format = cast(RowFormat, asked)
            self._require_used(self.format)
        return self.format

    def _require_used(self, found: RowFormat) -> None:
        """A column that the mapping gives to a field shall be trained, and not left aside."""
        unused = [field for field in self._spec.columns if field not in KNOWN[found] | {GROUP}]
        if not unused:
            return
        name, known = printable(self._spec.columns[unused[0]]), ", ".join(sorted(KNOWN[found]))
        message = (
            f"The mapping reads '{name}' as {unused[0]}, which rows of the format {found} do not "
            f"have. Theirs are: {known}."
        )
        values = {"column": name, "field": unused[0], "format": found}
        raise FileUnusable(Finding("mapped_unused", unused[0], message, values=values))

    def read(self, part: Part) -> Outcome:
        outcome = Outcome()
        if self._tokens:
            outcome.counts = self._tokens.counts = TokenCounts()
        for line, given in part.rows:
            try:
                outcome.rows.append((line, *self._one(given, outcome)))
            except FileUnusable as problem:
                outcome.rows.append((line, [], []))
                outcome.unusable = problem
                break
        self._end_repository(outcome)
        return outcome

    def _end_repository(self, outcome: Outcome) -> None:
        """What its files give together stands where the first of them does."""
        if (repository := self._repository) is None:
            return
        self._repository = None
        _, written, found = outcome.rows[repository.place]
        findings: list[Finding] = []
        written += self._records(repository.row, findings, outcome.block)
        found += [(finding, None) for finding in findings]
        outcome.joined += len(repository.row.get("more", ())) if written else 0

    def _one(self, given: Any, outcome: Outcome) -> tuple[list[bytes], list[Found]]:
        item = object_of(given) if isinstance(given, bytes) else given
        findings: list[Finding] = []
        written: list[bytes] = []
        if isinstance(item, dict):
            if self._spec.columns and not self.renamed:
                item = {field_of(name, self._spec.columns): item[name] for name in item}
            written = self._read_row(item, findings, outcome)
        elif isinstance(item, RowUnusable):
            findings.extend(item.findings)
        else:
            findings.extend(item)
        return written, [self._with_cause(finding, item) for finding in findings]

    def _with_cause(self, finding: Finding, item: Any) -> Found:
        if finding.code == "licence_named":
            return finding, str((finding.values or {})["licence"])
        if finding.code not in _OF_FIELDS or not isinstance(item, dict):
            return finding, None
        if finding.code == "unknown_field":
            return finding, _PLACE.sub("", finding.field or "")
        columns = self._spec.columns
        finding = with_proposal(finding, item, columns)
        of_all = "proposal" in (finding.values or {}) or finding.field in columns
        if finding.code == "missing_field" and not of_all:
            return finding, None  # this row's own fault
        return finding, finding.message or ""

    def _read_row(
        self, item: dict[str, Any], findings: list[Finding], outcome: Outcome
    ) -> list[bytes]:
        try:
            found = self.row_format(item)
            tags = _tags(item, findings)
            # Of a prompt, graders may ask for them, too
            told = item if found == "prompt" else {k: item[k] for k in item if k != "tags"}
            row = READERS[found](told, findings)
            if found != "prompt" and (group := Fields(item, findings).group()) is not None:
                row = cast(Record, {**row, "group": group})
        except FileUnusable:
            raise
        except RowUnusable as problem:
            findings.extend(problem.findings)
            return []
        if any(finding.is_error for finding in findings):
            return []
        if tags:
            row["tags"] = tags
        if self._joins(row):
            self._join(cast(TextRow, row), outcome)
            return []
        self._end_repository(outcome)
        written = self._use(row, findings, outcome.block)
        if written and (label := label_of(row)) is not None:
            outcome.labels[label] += 1
        if written and (score := score_of(row)) is not None and len(outcome.scores) < 2:
            outcome.scores.add(score)
        return written

    def _use(self, row: Record, findings: list[Finding], block: Block) -> list[bytes]:
        try:
            written = orjson.dumps(row)
        except TypeError as error:  # a date or bytes in a Parquet column of tools
            findings.append(Finding("wrong_type", message=f"Not a value of JSON: {error}."))
            return []
        if not (self._tokens and self.format):
            return [written]
        return self._records(row, findings, block)

    def _joins(self, row: Record) -> bool:
        """Files of a repository are read as one document where documents are read in chunks."""
        wanted = self._spec.overflow == "chunk" and self._spec.max_length is not None
        return bool(self._tokens) and wanted and "repo" in row

    def _join(self, row: TextRow, outcome: Outcome) -> None:
        known = self._repository
        if known is not None and known.row["repo"] == row["repo"]:
            known.row.setdefault("more", []).append(
                cast(File, {name: row[name] for name in ("path", "text") if name in row})
            )
            return
        self._end_repository(outcome)
        self._repository = Repository(row, len(outcome.rows))

    def _records(self, row: Record, findings: list[Finding], block: Block) -> list[bytes]:
        assert self._tokens
        pieces = self._tokens.pieces(row, findings)
        return [line for piece in pieces if (line := self._freeze(piece, findings, block))]

    def _freeze(self, row: Record, findings: list[Finding], block: Block) -> bytes | None:
        """The row's canonical line, its token ids being in `block`; None if it is not used."""
        assert self._tokens
        assert self.format
        rows = self._tokens.measure(row, KINDS[self.format], findings)
        if rows is None:
            return None
        block.add(
            ((each.input_ids, each.trained) for encoded in rows for each in encoded.sequences),
            good=label_of(row),
            score=score_of(row),
            margin=margin_of(row),
        )
        return orjson.dumps(row)


def _tags(item: dict[str, Any], findings: list[Finding]) -> list[str]:
    tags = tags_of(item.get("tags"))
    if tags is None:
        findings.append(Finding("bad_tags", "tags"))
    return tags or []


def with_proposal(finding: Finding, names: Iterable[str], given: Columns) -> Finding:
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
