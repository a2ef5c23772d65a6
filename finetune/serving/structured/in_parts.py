"""An answer in harmony's parts, as a grammar: thought, if any, before what is asked for."""

from typing import Any

from finetune.serving.harmony import Marks
from finetune.serving.structured.forms import Callable, json_of, of_schema, text


def source(
    marks: Marks, tools: list[Callable], said: tuple[dict[str, Any], str] | None, *, forced: bool
) -> str:
    """`said`: the schema that the final part is held to, and its place; without one it is text.
    One call ends an answer."""
    channel, message = f"<[{marks.channel}]>", f"<[{marks.message}]>"
    again = f'<[{marks.end}]> <[{marks.start}]> "assistant"'
    thought = f'{channel} ("analysis" | "commentary") {message} TEXT {again}'
    lines = [f"start: (thought)* ({_ways(tools, forced=forced)})", f"thought: {thought}"]
    lines += ["TEXT: /(.|\\n)*/"]
    if tools:
        lines += any_of([_call(marks, tool) for tool in tools])
    if not forced:
        lines.append(f'final: {channel} "final" {message} said')
        lines.append("said: TEXT" if said is None else _renamed(of_schema(*said)))
    return "\n".join(lines)


def any_of(ways: list[str]) -> list[str]:
    """What `tool` is."""
    names = [f"tool_{number}" for number in range(len(ways))]
    each = [f"{name}: {way}" for name, way in zip(names, ways, strict=True)]
    return [f"tool: {' | '.join(names)}", *each]


def _ways(tools: list[Callable], *, forced: bool) -> str:
    if forced:
        return "tool"
    return "tool | final" if tools else "final"


def _call(marks: Marks, tool: Callable) -> str:
    """As the template writes it, or as models do that were taught `<|constrain|>`."""
    channel, message = f"<[{marks.channel}]>", f"<[{marks.message}]>"
    to = text(f" to=functions.{tool.name}")
    ways = [f'{to} {channel} "commentary json"', f'{channel} "commentary" {to} " json"']
    if marks.constrain is not None:
        ways.append(f'{channel} "commentary" {to} " " <[{marks.constrain}]> "json"')
    return f"({' | '.join(ways)}) {message} {json_of(tool.parameters)}"


def _renamed(rule: str) -> str:
    return rule.replace("start:", "said:", 1)
