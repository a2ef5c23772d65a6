"""A suite's file, line by line: what a model is asked, and what the graders know of the row.

A line is a chat as a training file has it, whose last answer is then `item.reference`; OpenAI's
`{"item": {...}}`; or any other object, which is the item itself: with a `prompt` and a `suffix`, a
hole that is to be filled in. `tags`, a list of words, says what
the row is about. The faults name a line and quote nothing of it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from json import dumps
from typing import Any

import orjson

from faults import UserFault
from faults.nesting import DEEPEST, NO_JSON, levels, loads
from finetune.grading.places import NoSuchPlace, TooLong, fill
from finetune.records.tags import LONGEST, MOST, tags_of

MOST_ROWS = 5_000
LONGEST_ROW = 1 << 20  # bytes
MOST_TAGS_IN_ALL = 500  # each has scores of its own, on one page
# Of all questions, as a worker holds them: a short row makes much of a template's places, and
# many small values take far more memory than bytes of their file.
MOST_CHARACTERS = 64 << 20
MOST_VALUES = 4_000_000
ROLES = ("system", "developer", "user", "assistant")

Message = dict[str, str]  # role, content


@dataclass(frozen=True)
class Question:
    """`number`: the file's line, from 1."""

    number: int
    item: dict[str, Any]
    messages: list[Message]
    tags: tuple[str, ...] = ()
    suffix: str | None = None  # what follows the hole that is to be filled in behind the message


def read_questions(
    lines: Iterable[bytes], template: Sequence[Message] | str | None = None
) -> Iterator[Question]:
    """`template`: messages with places, or the path of the item that holds the messages; None: the
    row's own. Raises UserFault with the line."""
    count, size = 0, Size()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        count += 1
        if count > MOST_ROWS:
            raise _bad(number, f"A suite has at most {MOST_ROWS:,} rows.", "Ask fewer.")
        row = _object(number, line)
        question = _question(number, row, template)
        size.add(row, question)
        yield question
    if not count:
        raise UserFault("empty_suite", "The suite has no rows.", fix="Bring a file with rows.")


class Size:
    """What the questions so far take together."""

    def __init__(self) -> None:
        self._characters, self._values = 0, 0
        self._tags: set[str] = set()

    def add(self, row: dict[str, Any], question: Question) -> None:
        """Raises UserFault with the line that is too much."""
        self._characters += sum(len(each["content"]) for each in question.messages)
        self._characters += len(question.suffix or "")
        self._values += sum(map(len, levels(row, DEEPEST)))
        self._tags.update(question.tags)
        if self._characters > MOST_CHARACTERS:
            what = f"The questions have more than {MOST_CHARACTERS >> 20} million characters"
        elif self._values > MOST_VALUES:
            what = f"The rows have more than {MOST_VALUES:,} values"
        elif len(self._tags) > MOST_TAGS_IN_ALL:
            what = f"The rows have more than {MOST_TAGS_IN_ALL} different tags"
        else:
            return
        raise _bad(question.number, f"{what} together.", "Ask less.")


def _object(number: int, line: bytes) -> dict[str, Any]:
    if len(line) > LONGEST_ROW:
        raise _bad(number, f"The row has more than {LONGEST_ROW >> 10} kB.", "Shorten it.")
    try:
        row = loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        dumps(row, allow_nan=False)
        orjson.dumps(row)  # no half of a surrogate pair, no number that 64 bits do not hold
    except (*NO_JSON, TypeError):
        row = None
    if not isinstance(row, dict):
        raise _bad(number, "The row is no JSON object.", "Write one JSON object a line, in UTF-8.")
    return row


def _question(
    number: int, row: dict[str, Any], template: Sequence[Message] | str | None
) -> Question:
    given, own = row.get("item"), row.get("messages")
    item = dict(given) if isinstance(given, dict) else {k: row[k] for k in row if k != "tags"}
    tags = _tags(number, row.get("tags", item.get("tags")))
    messages: Any = own if given is None else item.get("messages")
    if isinstance(messages, list) and messages and _role(messages[-1]) == "assistant":
        item.setdefault("reference", messages[-1].get("content"))
        messages = messages[:-1]
    if isinstance(template, str):
        messages = _at(number, template, item)
    elif template is not None:
        messages = [{**each, "content": _filled(number, each, item)} for each in template]
    elif not isinstance(messages, list):
        messages = [{"role": "user", "content": _asked(item)}]
    suffix = item.get("suffix") if template is None and "messages" not in item else None
    if isinstance(suffix, str) and suffix:
        messages = [{"role": "user", "content": item.get("prompt")}]
        return Question(number, item, _checked(number, messages), tags, suffix)
    return Question(number, item, _checked(number, messages), tags)


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, dict) else None


def _asked(item: dict[str, Any]) -> Any:
    return next((item[name] for name in ("prompt", "question", "input") if name in item), None)


def _at(number: int, path: str, item: dict[str, Any]) -> Any:
    found: Any = {"item": item}
    for step in path.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    if found is None:
        raise _bad(number, "The row has nothing where `item_reference` points.", "Mend the row.")
    return [{"role": "user", "content": found}] if isinstance(found, str) else found


def _filled(number: int, message: Message, item: dict[str, Any]) -> str:
    try:
        return fill(message["content"], {"item": item})
    except (NoSuchPlace, TooLong):
        why = "The row lacks what the messages' template names, or has too much of it."
        raise _bad(number, why, "Give every row what the template names.") from None


def _checked(number: int, messages: Any) -> list[Message]:
    if not isinstance(messages, list) or not messages:
        raise _no_question(number)
    checked = []
    for each in messages:
        role, content = _role(each), each.get("content") if isinstance(each, dict) else None
        if role not in ROLES or not isinstance(content, str):
            raise _no_question(number)
        checked.append({"role": role, "content": content})
    return checked


def _tags(number: int, given: Any) -> tuple[str, ...]:
    found = tags_of(given or [])
    if found is None:
        what = f"`tags` is no list of at most {MOST} words of {LONGEST} characters."
        raise _bad(number, what, 'Write "tags": ["short", "words"].')
    return tuple(found)


def _no_question(number: int) -> UserFault:
    return _bad(
        number,
        "The row asks nothing: it has no messages of role and text.",
        "Give it `messages` as a training row's, or `prompt`, or name a template.",
    )


def _bad(number: int, what: str, fix: str) -> UserFault:
    return UserFault("bad_suite_row", what, where=f"line {number}", fix=fix)
