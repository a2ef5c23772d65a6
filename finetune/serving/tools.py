"""Tool calls out of a model's text, in the dialect of its chat template.

They stand between two markers (`<tool_call>{json}</tool_call>` of Qwen and Hermes; SmolLM2 puts a
list inside), or the answer is nothing but `{"name": …, "parameters": …}` (Llama 3). What stands
between the markers may be tags and no JSON (`tagged`), or they are control tokens (`deepseek`,
`mistral`, `harmony`); calls in other words stay plain text.
"""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from faults.nesting import loads
from finetune.records.call_form import CallForm
from finetune.serving import deepseek, harmony, mistral, tagged
from finetune.serving.finite import finite
from finetune.serving.protocol import ToolCall
from finetune.serving.stops import held_suffix
from finetune.serving.tagged import Read, Tags
from finetune.serving.whole import Whole

Marks = deepseek.Marks | mistral.Marks | harmony.Marks

OPEN, CLOSE = "<tool_call>", "</tool_call>"


# As Hermes' template has it; SmolLM2's speaks of it and shows no calls of before
HERMES = CallForm(f'{OPEN}\n{{"name": "', '", "arguments": ', None, f"}}\n{CLOSE}")


def dialect(chat_template: str | None, found: CallForm | None) -> CallForm | None:
    """How the model was taught to call in JSON; None where it was not. `found`: how the template
    shows calls that were made."""
    if found is not None and found.opening and found.closing:
        return found
    template = chat_template or ""
    if OPEN in template and tagged.find(template) is None:
        return HERMES
    return found if found is not None and found.head.lstrip().startswith("{") else None


def reader_of_tags(tags: Tags, tools: list[dict[str, Any]]) -> "ToolCallReader":
    """Of those that stand between `<tool_call>` and its end."""
    return MarkedCalls(read=_numbered(tagged.reading(tags, tools)))


def marks_of(tokenizer: Any, form: CallForm | None) -> Marks | None:
    """The control tokens between which a model calls; None where it does not."""
    return deepseek.find(tokenizer) or harmony.find(tokenizer) or mistral.find(tokenizer, form)


def reader_of_marks(marks: Marks, tools: list[dict[str, Any]]) -> "ToolCallReader":
    """Of those between control tokens."""
    match marks:
        case mistral.Marks():
            return UnendedCalls(_numbered(lambda body: mistral.named(body, tools)))
        case harmony.Marks():
            read = _numbered(harmony.reading(tools))
            return MarkedCalls(harmony.START, harmony.CALL, read=read)
        case _:
            read = _numbered(deepseek.reading(tools))
            return MarkedCalls(deepseek.BEGIN, deepseek.END, read=read)


def _numbered(read: Read) -> Callable[[str, int], list[ToolCall]]:
    def calls(body: str, count: int) -> list[ToolCall]:
        found = read(body)
        if found is None:
            return []
        name, arguments = found
        return [_call({"name": name, "arguments": arguments}, count)]

    return calls


def reader(form: CallForm) -> "ToolCallReader":
    if form.opening:
        return MarkedCalls(form.opening, form.closing)
    return BareCall()


class ToolCallReader(Protocol):
    """Splits streamed text into what is said and what is called. `count`: calls so far."""

    count: int

    def push(self, text: str) -> tuple[str, list[ToolCall]]: ...

    def flush(self) -> tuple[str, list[ToolCall]]:
        """At the answer's end."""
        ...


@dataclass
class BareCall:
    """An answer that begins with `{` is held back to its end: it may be one call."""

    count: int = 0
    _held: str = field(default="", init=False)
    _said: bool = field(default=False, init=False)

    def push(self, text: str) -> tuple[str, list[ToolCall]]:
        if self._said:
            return text, []
        self._held += text
        begin = self._held.lstrip()
        if not begin or begin.startswith("{"):
            return "", []
        self._said = True
        held, self._held = self._held, ""
        return held, []

    def flush(self) -> tuple[str, list[ToolCall]]:
        held, self._held = self._held, ""
        calls = _read(held, self.count)
        self.count += len(calls)
        return ("" if calls else held), calls


def _read(body: str, count: int) -> list[ToolCall]:
    """One call or a list of them, numbered on from `count`; none where it is something else."""
    try:
        loaded = finite(loads(body))
    except ValueError:
        return []
    items = loaded if isinstance(loaded, list) else [loaded]
    if not items or not all(_is_call(item) for item in items):
        return []
    return [_call(item, count + at) for at, item in enumerate(items)]


@dataclass
class MarkedCalls:
    """Calls stand between two markers, anywhere in the text; `read`: what stands between them."""

    opening: str = OPEN
    closing: str = CLOSE
    count: int = 0
    read: Callable[[str, int], list[ToolCall]] = _read
    _held: str = field(default="", init=False)

    def push(self, text: str) -> tuple[str, list[ToolCall]]:
        """Text to show and calls completed; a call is withheld until it is whole."""
        pending, said = self._held + text, ""
        calls: list[ToolCall] = []
        opening, closing = self.opening, self.closing
        while (start := pending.find(opening)) >= 0:
            end = pending.find(closing, start)
            if end < 0:
                break
            said += self._speech(pending[:start])
            found = self.read(pending[start + len(opening) : end], self.count)
            self.count += len(found)
            # what cannot be read as a call is shown as it stands, never dropped
            said += "" if found else pending[start : end + len(closing)]
            calls += found
            pending = pending[end + len(closing) :]
        cut = start if start >= 0 else len(pending) - held_suffix(pending, [opening])
        self._held = pending[cut:]
        return said + self._speech(pending[:cut]), calls

    def _speech(self, text: str) -> str:
        """Text between calls; the line breaks that templates put there say nothing."""
        return "" if self.count and text.isspace() else text

    def flush(self) -> tuple[str, list[ToolCall]]:
        """An unfinished call, or the start of what was no marker after all, is text."""
        text, self._held = self._held, ""
        return text, []


@dataclass
class UnendedCalls:
    """Calls stand behind Mistral's token, and their JSON ends them; `named`: what reads a call that
    is no list."""

    named: Callable[[str, int], list[ToolCall]]
    count: int = 0
    _held: str = field(default="", init=False)
    _json: Whole | None = field(default=None, init=False)  # of the call that has begun

    def push(self, text: str) -> tuple[str, list[ToolCall]]:
        """Text to show and calls completed; a call is withheld until it is whole."""
        self._held += text
        said, calls = "", list[ToolCall]()
        while True:
            if self._json is None:
                said += self._speech()
                if self._json is None:
                    return said, calls
            body = self._body()
            if body is None:
                return said, calls
            found = self._read(body)
            self.count += len(found)
            # what cannot be read as a call is shown as it stands, never dropped
            said += "" if found else mistral.BEGIN + body
            calls += found

    def flush(self) -> tuple[str, list[ToolCall]]:
        """An unfinished call is text."""
        text = (mistral.BEGIN if self._json else "") + self._held
        self._held, self._json = "", None
        return text, []

    def _speech(self) -> str:
        """What stands before the next call, and its token behind us."""
        said, begun, rest = self._held.partition(mistral.BEGIN)
        if begun:
            self._held, self._json = rest, Whole()
        else:
            cut = len(said) - held_suffix(said, [mistral.BEGIN])
            said, self._held = said[:cut], said[cut:]
        return "" if self.count and said.isspace() else said

    def _body(self) -> str | None:
        """A call that is whole, or what turned out to be none; None: it goes on."""
        assert self._json is not None
        begin, end = mistral.begin_of_json(self._held), None
        if begin is not None:
            end = self._json.end(self._held, begin)
        elif len(self._held) > mistral.LONGEST_HEAD:
            end = len(self._held)
        if end is None:
            return None
        body, self._held, self._json = self._held[:end], self._held[end:], None
        return body

    def _read(self, body: str) -> list[ToolCall]:
        listed = body.lstrip().startswith("[")
        return (_read if listed else self.named)(body, self.count)


def _call(item: dict[str, Any], index: int) -> ToolCall:
    arguments = item.get("arguments", item.get("parameters", {}))
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    call_id = f"call_{secrets.token_hex(12)}"
    return ToolCall(index=index, id=call_id, name=item["name"], arguments=arguments)


def _is_call(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("name"), str)
