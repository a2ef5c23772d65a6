"""Commands with the kind of call that each asks for, as rows to learn vectors from.

A kind of call is written as a signature, `HassLightSet(area, brightness, domain=light)`: what an
assistant has to find among its tools before it can fill one in.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privatune.demo.commands import Command, heldout_commands, train_commands
from privatune.demo.grammar import Grammar, Template

TRAIN_ROWS = 480
QUERIES = 200


@dataclass(frozen=True)
class Searches:
    """`train` to learn from, `heldout` to search with among all `documents`."""

    train: list[Command]
    heldout: list[Command]
    documents: list[str]

    def belonging(self) -> list[set[int]]:
        """Of each held-out command the number of its document."""
        places = {document: place for place, document in enumerate(self.documents)}
        return [{places[signature(command.template)]} for command in self.heldout]

    def write(self, train: Path, heldout: Path) -> None:
        _write(train, (_row(command) for command in self.train))
        _write(heldout, self._heldout_rows())

    def _heldout_rows(self) -> Iterator[dict[str, Any]]:
        """Kinds that no held-out command asks for are negatives, one a row in turn: the search is
        among what stands in the rows, and shall be among all."""
        asked = {signature(command.template) for command in self.heldout}
        others = [document for document in self.documents if document not in asked]
        for number, command in enumerate(self.heldout):
            row = _row(command)
            yield row | ({"negatives": [others[number % len(others)]]} if others else {})


def draw(grammar: Grammar, *, train: int = TRAIN_ROWS, queries: int = QUERIES) -> Searches:
    templates = (*grammar.train, *grammar.heldout)
    documents = sorted({signature(template) for template in templates})
    return Searches(train_commands(grammar, train), heldout_commands(grammar, queries), documents)


def signature(template: Template) -> str:
    """The intent of a template, the slots that a command fills, and those that are fixed."""
    intent, *parts = template.kind
    fixed = [part for part in parts if "=" in part]
    known = {part.partition("=")[0] for part in fixed}
    free = [part for part in parts if "=" not in part and part not in known]
    return f"{intent}({', '.join([*free, *fixed])})"


def _row(command: Command) -> dict[str, Any]:
    return {"query": command.text, "positive": signature(command.template)}


def _write(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def texts(commands: Sequence[Command]) -> list[str]:
    return [command.text for command in commands]
