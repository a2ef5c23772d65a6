"""Tool calls that are written as tags and no JSON: between `<tool_call>` and its end Qwen3-Coder
and Qwen3.5 put `<function=…><parameter=…>`, GLM-4.5 `<arg_key>` and `<arg_value>`.

Their templates write a text as it stands and anything else as JSON, so that the tool's own schema
has to tell which of the two an argument is.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from finetune.records.call_form import CallForm
from finetune.serving.arguments import Options, options, resolved

Read = Callable[[str], tuple[str, dict[str, Any]] | None]


@dataclass(frozen=True)
class Written:
    """A call as the templates write it: between `before` and `named` its name, then each argument:
    `key`, its name, `value`, what it is, `end`; and `after` them all. No text has `closing` in it.
    """

    before: str
    named: str
    key: str
    value: str
    end: str
    closing: str
    after: str


@dataclass(frozen=True)
class Tags:
    """`parts`: the name, and what holds the arguments, of what stands between the markers; None
    where that is no call. `each` matches an argument's name and value.

    A model may write anything for as long as its context: nothing here looks at a place twice.
    """

    mark: str  # in the template's text
    parts: Callable[[str], tuple[str, str] | None]
    each: re.Pattern[str]
    written: Written


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
    Written(
        before="\n<function=",
        named=">",
        key="\n<parameter=",
        value=">\n",
        end="\n</parameter>",
        closing="</parameter>",
        after="\n</function>\n</tool_call>",
    ),
)
GLM = Tags(
    "<arg_key>",
    _named_first,
    re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>\s*", re.DOTALL),
    Written(
        before="",
        named="",
        key="\n<arg_key>",
        value="</arg_key>\n<arg_value>",
        end="</arg_value>",
        closing="</arg_value>",
        after="\n</tool_call>",
    ),
)
# What stands around calls whose inside is in tags
AROUND = CallForm("<tool_call>", "", "\n<tool_call>", "")


def find(chat_template: str | None) -> Tags | None:
    """Those in which a template writes calls."""
    return next((tags for tags in (QWEN, GLM) if tags.mark in (chat_template or "")), None)


def reading(tags: Tags, tools: list[dict[str, Any]]) -> Read:
    """Reads what stands between the markers as a call of one of `tools`: its name and arguments;
    None where it is something else."""
    functions = [tool.get("function", tool) for tool in tools]
    known = {each["name"]: _arguments(each) for each in functions}

    def read(body: str) -> tuple[str, dict[str, Any]] | None:
        name, rest = tags.parts(body) or ("", "")
        if name not in known:
            return None
        pairs, place = dict[str, Any](), 0
        while place < len(rest):
            pair = tags.each.match(rest, place)
            if pair is None:
                return None
            pairs[pair[1]] = known[name](pair[1]).read(pair[2])
            place = pair.end()
        return name, pairs

    return read


def _arguments(function: dict[str, Any]) -> Callable[[str], Options]:
    """What the tool's schema says of an argument, by its name."""
    root = function.get("parameters") or {}
    schema = resolved(root, root)
    schema = schema if isinstance(schema, dict) else {}
    given = schema.get("properties")
    properties = given if isinstance(given, dict) else {}
    return cache(
        lambda name: options(properties.get(name, schema.get("additionalProperties")), root)
    )
