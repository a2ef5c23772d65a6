"""Where words stand in a row: every string with its place, the question, and all of it."""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

# Of a format and not of a person
_STRUCTURE = frozenset({"role", "type", "id", "tool_call_id"})
_ASKED = ("prompt", "question", "input", "text")
_NAME = re.compile(r'[^.\[\]"\\\x00-\x1f]+')
_SPACE = re.compile(r"\s+")


def place_of(place: str, step: str | int) -> str:
    """Of what stands under `step` there: messages[0].content, and of a name with signs of its own
    a["b.c"], so that no two places are called the same."""
    if isinstance(step, int):
        return f"{place}[{step}]"
    if not _NAME.fullmatch(step):
        return f"{place}[{json.dumps(step, ensure_ascii=False)}]"
    return f"{place}.{step}" if place else step


def texts_of(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """(place, text) of each string in a canonical row, such as messages[0].content."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from texts_of(item, place_of(place, index))
    elif isinstance(value, dict):
        for name, item in value.items():
            if not (name in _STRUCTURE and isinstance(item, str)):
                yield from texts_of(item, place_of(place, name))


def whole_of(row: dict[str, Any]) -> str:
    """All that a row says: without what it has in common with many others."""
    said = {name: row[name] for name in row if name not in ("tools", "tags", "group")}
    return "\n".join(text for _, text in texts_of(said))


def question_of(row: dict[str, Any]) -> str:
    """What is asked, by whoever asks: of a training row, or of a row of an evaluation's file. Of
    a document, and of what asks in no known field, the whole."""
    item = row["item"] if isinstance(row.get("item"), dict) else row
    messages = row.get("messages", item.get("messages"))
    if isinstance(messages, list):
        asked = "\n".join(_said_by(messages, "user"))
    else:
        asked = next((item[name] for name in _ASKED if isinstance(item.get(name), str)), "")
    return asked if asked.strip() else whole_of(item)


def _said_by(messages: Iterable[Any], role: str) -> Iterator[str]:
    for message in messages:
        if isinstance(message, dict) and message.get("role") == role:
            yield from (text for _, text in texts_of(message.get("content")))


def folded(text: str) -> str:
    """The same for texts that differ in case, width or white space only."""
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()
