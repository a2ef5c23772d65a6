"""Writes docs/reference/templates.md: what encoding makes of kinds of chats under the chat
templates that TRL ships and the tests write; a test keeps it current."""

import sys
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "reference" / "templates.md"

HEAD = """# Chat templates

What becomes of a row of each kind under chat templates of real models: those that TRL ships (a
development dependency; the version is pinned in `constraints.txt`), and, below, those that the
tests write. Made by `scripts/templates_table.py`, which encodes every row with every template. The
tokenizer is the tests' own with the control tokens of the template, so a base's own can differ in
what it calls special.

| column | the row |
|---|---|
| one turn | a question and its answer |
| system | the same behind a system message |
| two turns | two questions, two answers, both trained |
| tools | a list of tools, a call of one, its result, an answer; call and answer are trained |
| thinking | an answer with `reasoning_content` |
| two thoughts | two turns, each answer with reasoning |
| edges | an answer that begins and ends with white space |

| cell | what it means |
|---|---|
| ok | trained in one sequence: exactly what the assistant wrote, with its end, behind the prompt of inference |
| 2 sequences | the template shows earlier turns otherwise once the talk goes on, so that each answer has a sequence behind its own prompt |
| ok, `code` | trained, and the check of the file tells it: `template_trims` (white space at the edges is taken away), `reasoning_dropped` (the template has no place for thoughts), `reasoning_missing` (the prompt opens a thought and the row has none) |
| `code` | refused, when the file is checked: `template_refused` (the template itself raises an error), `template_drops_content` (it would leave out what the row says), `template_not_derivable`, `end_not_trained` |

"""  # noqa: E501 - lines of tables

QUESTIONS = ("turn on the light", "and the fan?")
ANSWERS = ("it is on now", "so is the fan")
THOUGHTS = ("the kitchen, then", "no room was named")


def _talk(*answers: dict[str, Any]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for question, answer in zip(QUESTIONS, answers, strict=False):
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", **answer})
    return messages


@cache
def rows() -> dict[str, dict[str, Any]]:
    from tests.finetune.records.templates import CALL, TOOLS

    plain = [{"content": answer} for answer in ANSWERS]
    thought = [
        {"content": answer, "reasoning_content": reasoning}
        for answer, reasoning in zip(ANSWERS, THOUGHTS, strict=True)
    ]
    called = [
        {"role": "user", "content": "is it warm?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": CALL["id"], "content": "22 degrees"},
        {"role": "assistant", "content": "it is"},
    ]
    system = [{"role": "system", "content": "answer in a few words"}]
    return {
        "one turn": {"messages": _talk(plain[0])},
        "system": {"messages": [*system, *_talk(plain[0])]},
        "two turns": {"messages": _talk(*plain)},
        "tools": {"messages": called, "tools": TOOLS},
        "thinking": {"messages": _talk(thought[0])},
        "two thoughts": {"messages": _talk(*thought)},
        "edges": {"messages": _talk({"content": " it is on now\n"})},
    }


@cache
def _encoder(template: str) -> Any:
    """One for all rows of a template, as a file has one: what it learns of the template stays."""
    from finetune.records.encode import RowEncoder
    from tests.finetune.records.templates import tokenizer

    return RowEncoder(tokenizer(template))


@cache
def encoded(template: str, kind: str) -> Any:
    """What finetune.records makes of a row, or the UserFault that it is refused with."""
    from faults import UserFault

    try:
        return _encoder(template).encode(rows()[kind])
    except UserFault as fault:
        return fault


def _cell(encoded: Any) -> str:
    if isinstance(encoded, Exception):
        return f"`{encoded.code}`"
    count = len(encoded.sequences)
    codes = dict.fromkeys(f"`{remark.code}`" for remark in encoded.remarks)
    return ", ".join(["ok" if count == 1 else f"{count} sequences", *codes])


def page() -> str:
    sys.path[:0] = [str(ROOT)]
    from tests.finetune.records.templates import EVERY, OWN

    parts = [HEAD]
    for title, names in (
        ("As TRL ships them", [name for name in EVERY if name not in OWN]),
        ("The tests' own", list(OWN)),
    ):
        parts.append(f"## {title}\n\n| template | {' | '.join(rows())} |\n")
        parts.append("|---" * (len(rows()) + 1) + "|\n")
        for name in names:
            cells = " | ".join(_cell(encoded(name, kind)) for kind in rows())
            parts.append(f"| {name} | {cells} |\n")
        parts.append("\n")
    return "".join(parts).rstrip("\n") + "\n"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
