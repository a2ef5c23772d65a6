"""Collecting problems: all are counted, the first thousand are listed."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from finetune.records.check.codes import CODES
from finetune.records.check.spec import Problem


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem before it has a line: readers of rows know fields, not lines. `values` are what
    the message says beyond the code's title, for whoever tells it in another language."""

    code: str
    field: str | None = None
    message: str | None = None
    fix: str | None = None
    values: Mapping[str, str | int] | None = None

    @property
    def is_error(self) -> bool:
        return CODES[self.code].severity == "error"


class RowUnusable(Exception):
    """A row has findings and cannot be read further."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__(findings[0].code)
        self.findings = findings


class FileUnusable(RowUnusable):
    """Nothing after this place of the file can be read; `line` is where, if one line is it."""

    def __init__(self, *findings: Finding, line: int | None = None) -> None:
        super().__init__(*findings)
        self.line = line


class Problems:
    """Counts every finding; lists up to `limit`, errors and warnings in the file's order."""

    def __init__(self, limit: int) -> None:
        self.counts: Counter[str] = Counter()
        self.listed: list[Problem] = []
        self._limit = limit
        self._causes: set[tuple[str, str]] = set()

    def add(self, line: int | None, finding: Finding) -> None:
        self.counts[finding.code] += 1
        if len(self.listed) >= self._limit:
            return
        code = CODES[finding.code]
        self.listed.append(
            Problem(
                line=line,
                field=finding.field,
                code=finding.code,
                severity=code.severity,
                message=finding.message or code.title,
                fix=finding.fix or code.fix,
                values=dict(finding.values or {}),
            )
        )

    def add_once(self, line: int | None, finding: Finding) -> None:
        """For habits of a whole file, such as CR LF: every line counted, the first listed."""
        if self.counts[finding.code]:
            self.counts[finding.code] += 1
        else:
            self.add(line, finding)

    def add_cause(self, line: int, finding: Finding, cause: str) -> None:
        """For what all rows of a file may have in common, such as a field that no format knows:
        every row counted, the first of each cause listed."""
        if (finding.code, cause) in self._causes or len(self._causes) >= self._limit:
            self.counts[finding.code] += 1
            return
        self._causes.add((finding.code, cause))
        self.add(line, finding)

    def total(self, severity: str) -> int:
        return sum(n for code, n in self.counts.items() if CODES[code].severity == severity)
