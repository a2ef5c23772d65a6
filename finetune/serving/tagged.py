"""Tool calls that are written as tags and no JSON: between `<tool_call>` and its end Qwen3-Coder
and Qwen3.5 put `<function=…><parameter=…>`, GLM-4.5 `<arg_key>` and `<arg_value>`.

Their templates write a text as it stands and anything else as JSON, so that the tool's own schema
has to tell which of the two an argument is.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from faults.nesting import loads
from finetune.serving.finite import finite

Read = Callable[[str], tuple[str, dict[str, Any]] | None]


@dataclass(frozen=True)
class Tags:
    """`parts`: the name, and what holds the arguments, of what stands between the markers; None
    where that is no call. `each` matches an argument's name and value.

    A model may write anything for as long as its context: nothing here looks at a place twice.
    """

    mark: str  # in the template's text
    parts: Callable[[str], tuple[str, str] | None]
    each: re.Pattern[str]


def _function(body: str) -> tuple[str, str] | None:
    body, begin, end = body.strip(), "<function=", "</function>"
    if not body.startswith(begin) or not body.endswith(end):
        return None
    name, _, rest = body[len(begin) : -len(end)].partition(">")
    return name, rest.strip()


def _named_first(body: str) -> tuple[str, str] | None:
    name, mark, rest = body.partition("<arg_key>")
    return name.strip(), (mark + rest).strip()


QWEN = Tags(
    "<function=",
    _function,
    re.compile(r"<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>\s*", re.DOTALL),
)
GLM = Tags(
    "<arg_key>",
    _named_first,
    re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>\s*", re.DOTALL),
)


def find(chat_template: str | None) -> Tags | None:
    """Those in which a template writes calls."""
    return next((tags for tags in (QWEN, GLM) if tags.mark in (chat_template or "")), None)


def reading(tags: Tags, tools: list[dict[str, Any]]) -> Read:
    """Reads what stands between the markers as a call of one of `tools`: its name and arguments;
    None where it is something else."""
    functions = [tool.get("function", tool) for tool in tools]
    known = {each["name"]: _properties(each) for each in functions}

    def read(body: str) -> tuple[str, dict[str, Any]] | None:
        name, rest = tags.parts(body) or ("", "")
        if name not in known:
            return None
        pairs, place = dict[str, Any](), 0
        while place < len(rest):
            pair = tags.each.match(rest, place)
            if pair is None:
                return None
            pairs[pair[1]] = _value(pair[2], known[name].get(pair[1]))
            place = pair.end()
        return name, pairs

    return read


def _properties(function: dict[str, Any]) -> dict[str, Any]:
    given = (function.get("parameters") or {}).get("properties")
    return given if isinstance(given, dict) else {}


def _value(written: str, schema: Any) -> Any:
    """A text where the schema wants one, or where it is no JSON."""
    if _is_text(schema):
        return written
    try:
        return finite(loads(written))
    except ValueError:
        return written


def _is_text(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return False
    listed = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(listed, list) and listed:
        return all(isinstance(each, str) for each in listed)
    return schema.get("type") in ("string", ["string"])
