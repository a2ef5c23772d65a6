"""Reading typed fields out of a row, collecting a finding for each that is wrong."""

import math
from typing import Any

from finetune.records.check.problems import Finding
from finetune.records.printing import printable

GROUP = "group"  # of a row of any format: rows of one are not parted (records/splitting.py)
_NAMES = {str: "a string", list: "a list", dict: "an object", bool: "true or false"}


def json_type(value: Any) -> str:
    """The value's type in JSON's words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    return _NAMES.get(type(value), type(value).__name__)


class Fields:
    """One object of a row; `path` is its place, such as messages[2].tool_calls[0]."""

    def __init__(self, values: dict[str, Any], findings: list[Finding], path: str = "") -> None:
        self.values = values
        self.findings = findings
        self._path = path

    def place(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def find(self, code: str, name: str, message: str | None = None, **values: str | int) -> None:
        self.findings.append(Finding(code, self.place(name), message, values=values))

    def _wrong_type(self, name: str, wanted: str, value: Any) -> None:
        found = json_type(value)
        self.find(
            "wrong_type",
            name,
            f"The field '{name}' must be {wanted}, not {found}.",
            wanted=wanted,
            found=found,
        )

    def required(self, name: str, kind: type) -> Any:
        """The field's value, or None with a finding."""
        if name not in self.values:
            self.find("missing_field", name, f"The field '{name}' is missing.")
            return None
        return self.optional(name, kind, nullable=False)

    def optional(self, name: str, kind: type, *, nullable: bool = True) -> Any:
        value = self.values.get(name)
        if value is None and nullable:
            return None
        if not isinstance(value, kind):
            self._wrong_type(name, _NAMES[kind], value)
            return None
        return value

    def group(self) -> str | None:
        """Of a row: a name or a whole number."""
        value = self.values.get(GROUP)
        if value is None or value == "":
            return None
        if not isinstance(value, str | int) or isinstance(value, bool):
            self._wrong_type(GROUP, "a string", value)
            return None
        return str(value)

    def number(self, name: str) -> float | None:
        """A finite number, or the text of one, as tables have it; None for anything else."""
        value = self.values.get(name)
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if math.isfinite(value) else None

    def text(self, name: str) -> str:
        """A required string that is not blank; '' with a finding otherwise."""
        value = self.required(name, str)
        if value is not None and not value.strip():
            self.find("empty_content", name, f"The field '{name}' is empty.")
        return value or ""

    def only(self, known: frozenset[str]) -> None:
        beyond = self.values.keys() - known - ({GROUP} if not self._path else set())
        for name in sorted(beyond):
            shown = printable(name)
            self.find("unknown_field", shown, f"The field '{shown}' is not known and is ignored.")

    def objects(self, name: str, items: list[Any]) -> "list[Fields]":
        """The list's objects; a finding for each item that is none."""
        found = []
        for index, item in enumerate(items):
            if isinstance(item, dict):
                found.append(Fields(item, self.findings, f"{self.place(name)}[{index}]"))
            else:
                self._wrong_type(f"{name}[{index}]", _NAMES[dict], item)
        return found
