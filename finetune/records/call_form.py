"""How a chat template writes an assistant's tool calls, found out by rendering one and two."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from faults import UserFault

_NAME, _NEXT, _WORD = "qZcalledXk7", "qZcalledXk8", "qZsaidXk7"
ID = "qZid12345"  # in a form it stands for a call's id
_ARGUMENTS = re.compile(r'\{\s*"qZkey":\s*1\s*\}')


@dataclass(frozen=True)
class CallForm:
    """`head` NAME `middle` ARGUMENTS (`between` NAME `middle` ARGUMENTS)* `tail`, the arguments in
    JSON.

    `between` None: the template takes one call at a time. `ID` in them is what differs from call to
    call.
    """

    head: str
    middle: str
    between: str | None
    tail: str

    @property
    def opening(self) -> str:
        """The marker before a call's JSON; "" where the JSON is the whole answer."""
        return self.head.partition("{")[0].strip().rstrip("[").strip()

    @property
    def closing(self) -> str:
        """The marker behind a call's JSON."""
        return self.tail.rpartition("}")[2].strip().lstrip("]").strip()


def find(render: Callable[[list[dict[str, Any]]], str], *, as_text: bool) -> CallForm | None:
    """None where calls are not shown, or not as a JSON object of name and arguments.

    render: messages to text; a UserFault where the template refuses them. `as_text`: the template
    takes arguments as a string.
    """
    try:
        said = render(_talk({"content": _WORD}))
        called = render(_talk(_calls([_NAME], as_text)))
    except UserFault:
        return None
    start, _, end = said.partition(_WORD)
    one = _inside(called, start, end)
    found = _ARGUMENTS.search(one)
    head, named, rest = one[: found.start()].partition(_NAME) if found else ("", "", "")
    if found is None or not named or not head.rstrip().endswith('"'):
        return None
    tail = one[found.end() :]
    return CallForm(head, rest, _between(render, as_text), tail)


def _between(render: Callable[[list[dict[str, Any]]], str], as_text: bool) -> str | None:
    try:
        two = render(_talk(_calls([_NAME, _NEXT], as_text)))
    except UserFault:
        return None
    first = _ARGUMENTS.search(two)
    following = two.find(_NEXT)
    return two[first.end() : following] if first and following > first.end() else None


def _inside(text: str, start: str, end: str) -> str:
    """An answer's text without what stands around any answer; "" where that differs. Some put a
    blank before what is said only."""
    start = start if text.startswith(start) else start.rstrip(" ")
    if not text.startswith(start) or not text.endswith(end):
        return ""
    return text[len(start) : len(text) - len(end)]


def _talk(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": "u"}, {"role": "assistant", "content": "", **answer}]


def _calls(names: list[str], as_text: bool) -> dict[str, Any]:
    arguments: Any = '{"qZkey": 1}' if as_text else {"qZkey": 1}
    functions = [{"name": name, "arguments": arguments} for name in names]
    calls = [{"id": ID, "type": "function", "function": each} for each in functions]
    return {"tool_calls": calls}
