"""Calls between DeepSeek's control tokens, as a grammar: tokens are named by their ids, since no
text is such a token."""

from typing import Any

from finetune.serving import deepseek
from finetune.serving.deepseek import Marks
from finetune.serving.structured.forms import Callable, json_of, of_schema, text


def source(
    marks: Marks, tools: list[Callable], said: tuple[dict[str, Any], str] | None, *,
    forced: bool, several: bool,
) -> str:  # fmt: skip
    """`said`: the schema that an answer without calls is held to, and its place; without one it is
    text, in front of calls, too."""
    between = "BREAK " if marks.fenced else ""
    more = f"({between}call)*" if several else ""
    lines = [f"called: {_token(marks.opening)} call {more} {_token(marks.closing)}"]
    lines.append(f"call: {_token(marks.begin)} tool {_token(marks.end)}")
    lines.append(f"tool: {' | '.join(f'tool_{number}' for number in range(len(tools)))}")
    lines += ['BREAK: "\\n"'] if marks.fenced and several else []
    for number, tool in enumerate(tools):
        lines.append(f"tool_{number}: {_call(marks, tool)}")
    if forced:
        return "\n".join(["start: called", *lines])
    if said is not None:
        form = of_schema(*said).replace("start:", "said:", 1)
        return "\n".join(["start: said | called", form, *lines])
    return "\n".join(["start: TEXT called?", "TEXT: /(.|\\n)*/", *lines])


def _call(marks: Marks, tool: Callable) -> str:
    arguments = json_of(tool.parameters)
    if not marks.fenced:
        return f"{text(tool.name)} {_token(marks.mark)} {arguments}"
    named = text(f"{tool.name}{deepseek.FENCE}")
    return f'"function" {_token(marks.mark)} {named} {arguments} {text(deepseek.FENCE_END)}'


def _token(number: int) -> str:
    return f"<[{number}]>"
