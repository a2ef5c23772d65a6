"""From what a request asks of its answer to a grammar's text, in llguidance's Lark.

Calls are written as the model's chat template writes them, so that what is forced is what it was
taught; only their arguments are its own.
"""

import json
from dataclasses import dataclass
from typing import Any

from faults import UserFault
from finetune.records.call_form import ID, CallForm
from finetune.serving.structured import escapes, schemas
from finetune.serving.structured.shapes import NOTES
from finetune.serving.structured.writing import written

# One blank, or a new line with its indentation: without a bound a model can write blanks for ever
_BLANKS = r"(?:[\x20\x09]|\x0D?\x0A[\x20\x09]{0,40})"
CALL_ID = "/[0-9A-Za-z]{9}/"  # as Mistral's are, which alone are asked of a model
_NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True)
class Callable:
    """A tool that may be called, and what its arguments have to be."""

    name: str
    parameters: dict[str, Any]
    place: str = "tools"  # of `parameters` in the request
    strict: bool = False


def callables(tools: list[dict[str, Any]], only: list[str] | None) -> list[Callable]:
    """Raises UserFault for a strict tool's parameters that cannot be kept to; those of others are
    then any object, as nobody promised more."""
    found = []
    for place, tool in enumerate(tools):
        function = tool.get("function", tool)
        if only is None or function["name"] in only:
            where = f"tools.{place}.function.parameters"
            strict, parameters = bool(function.get("strict")), _parameters(function, where)
            found.append(Callable(function["name"], parameters, where, strict))
    return found


def _parameters(function: dict[str, Any], place: str) -> dict[str, Any]:
    given: dict[str, Any] = function.get("parameters") or _NO_ARGUMENTS
    open_type = given.keys() & {"$ref", "anyOf", "oneOf"}
    try:
        return schemas.checked(given if open_type else {**given, "type": "object"}, place)
    except UserFault:
        if function.get("strict"):
            raise
        return {"type": "object"}


def of_schema(schema: dict[str, Any], place: str) -> str:
    """The answer is JSON. Raises UserFault, as `schemas.checked` does."""
    return f"start: {json_of(schemas.checked(schema, place))}"


def of_calls(form: CallForm, rules: list[str], *, several: bool) -> str:
    """The answer is one call, or several. `rules`: what `tool` is."""
    return "\n".join([f"start: {_calls(form, several)}", *rules])


def of_schema_or_calls(
    schema: dict[str, Any], place: str, form: CallForm, rules: list[str], *, several: bool
) -> str:
    """The answer is JSON, or calls."""
    said = json_of(schemas.checked(schema, place))
    start = f"start: said | called\nsaid: {said}\ncalled: {_calls(form, several)}"
    return "\n".join([start, *rules])


def of_text_and_calls(form: CallForm, rules: list[str], *, several: bool) -> str:
    """The answer is text in which calls may stand; without `several` one ends it."""
    if not form.opening:
        start = f"start: TEXT | called\nTEXT: /([^\\s{{](.|\\n)*)?/\ncalled: {_calls(form, False)}"
        return "\n".join([start, *rules])
    # A lazy text ends where the marker first stands: from there on it is a call
    rest = form.head.partition(form.opening)[2]
    call = f"marked {text(rest)} tool {text(form.tail)}"
    start = f"start: (call)* TEXT\ncall: {call}" if several else f"start: TEXT | {call}"
    marked = f"marked[lazy]: TEXT {text(form.opening)}\nTEXT: /(.|\\n)*/"
    return "\n".join([start, marked, *rules])


def _calls(form: CallForm, several: bool) -> str:
    more = f"({text(form.between)} tool)*" if several and form.between else ""
    return f"{text(form.head)} tool {more} {text(form.tail)}"


def rules_of_json(form: CallForm, tools: list[Callable]) -> list[str]:
    """A tool's name and its arguments, as JSON."""
    names = [f"tool_{number}" for number in range(len(tools))]
    rules = [f"tool: {' | '.join(names)}"]
    for name, tool in zip(names, tools, strict=True):
        named = json.dumps(tool.name, ensure_ascii=False)[1:-1] + form.middle
        rules.append(f"{name}: {text(named)} {json_of(tool.parameters)}")
    return rules


def text(words: str) -> str:
    """Literally these, but for a call's id."""
    parts = [json.dumps(part, ensure_ascii=False) if part else "" for part in words.split(ID)]
    return f" {CALL_ID} ".join(parts)


def json_of(schema: dict[str, Any]) -> str:
    plain = written(schema, NOTES)
    guidance = {"whitespace_pattern": _BLANKS} | escapes.allowed(plain)
    return f"%json {json.dumps(plain | {'x-guidance': guidance})}"
