"""Calls between control tokens, as a grammar: tokens are named by their ids, since no text is such
a token."""

from typing import Any

from finetune.serving import deepseek, harmony, mistral
from finetune.serving.structured import in_parts
from finetune.serving.structured.forms import (
    CALL_ID,
    Callable,
    json_of,
    of_schema,
    rules_of_json,
    text,
)  # fmt: skip

Said = tuple[dict[str, Any], str]


def source(
    marks: deepseek.Marks | mistral.Marks | harmony.Marks, tools: list[Callable],
    said: Said | None, *, forced: bool, several: bool,
) -> str:  # fmt: skip
    """`said`: the schema that an answer without calls is held to, and its place; without one it is
    text, in front of calls, too."""
    match marks:
        case harmony.Marks():
            return in_parts.source(marks, tools, said, forced=forced)
        case mistral.Marks():
            lines = _mistral(marks, tools, several=several)
        case _:
            lines = _deepseek(marks, tools, several=several)
    if forced:
        return "\n".join(["start: called", *lines])
    if said is not None:
        form = of_schema(*said).replace("start:", "said:", 1)
        return "\n".join(["start: said | called", form, *lines])
    return "\n".join(["start: TEXT called?", "TEXT: /(.|\\n)*/", *lines])


def _deepseek(marks: deepseek.Marks, tools: list[Callable], *, several: bool) -> list[str]:
    between = "BREAK " if marks.fenced else ""
    more = f"({between}call)*" if several else ""
    lines = [f"called: {_token(marks.opening)} call {more} {_token(marks.closing)}"]
    lines.append(f"call: {_token(marks.begin)} tool {_token(marks.end)}")
    lines += ['BREAK: "\\n"'] if marks.fenced and several else []
    return [*lines, *in_parts.any_of([_in_deepseek(marks, tool) for tool in tools])]


def _in_deepseek(marks: deepseek.Marks, tool: Callable) -> str:
    arguments = json_of(tool.parameters)
    if not marks.fenced:
        return f"{text(tool.name)} {_token(marks.mark)} {arguments}"
    named = text(f"{tool.name}{deepseek.FENCE}")
    return f'"function" {_token(marks.mark)} {named} {arguments} {text(deepseek.FENCE_END)}'


def _mistral(marks: mistral.Marks, tools: list[Callable], *, several: bool) -> list[str]:
    begin = _token(marks.begin)
    if marks.args is None:
        head = text(marks.form.head.partition(mistral.BEGIN)[2])
        between = marks.form.between
        more = f"({text(between)} tool)*" if several and between else ""
        called = f"called: {begin} {head} tool {more} {text(marks.form.tail)}"
        return [called, *rules_of_json(marks.form, tools)]
    numbered = "" if marks.call_id is None else f"{_token(marks.call_id)} {CALL_ID}"
    rest = f"{numbered} {_token(marks.args)}"
    ways = [f"{text(tool.name)} {rest} {json_of(tool.parameters)}" for tool in tools]
    more = "(call)*" if several else ""
    return [f"called: call {more}", f"call: {begin} tool", *in_parts.any_of(ways)]


def _token(number: int) -> str:
    return f"<[{number}]>"
