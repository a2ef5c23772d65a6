"""One conversation through one chat template, in transformers' immutable sandbox.

Knows no tokenizer and no model's habits; those are `template`'s.
"""

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

import jinja2
from jinja2 import meta

from faults import UserFault

CharSpan = tuple[int, int]
Tools = list[dict[str, Any]] | None

# Llama 3 and others print today's date: a run resumed tomorrow would then train other tokens.
_FROZEN_DATE = "{% set date_string = '26 Jul 2024' %}{{ '' }}"
_FROZEN_CLOCK = (
    "{% macro strftime_now(format) %}{{ {'%d %b %Y': '26 Jul 2024', '%d %B %Y': '26 July 2024', "
    "'%B %d, %Y': 'July 26, 2024'}[format] or '2024-07-26' }}{% endmacro %}{{ '' }}"
)
TEMPLATE_ERRORS = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


@cache
def stock() -> Any:
    """transformers' own way with templates. Imported with the first that is rendered: a process
    that renders none starts half a second sooner."""
    from transformers.utils import chat_template_utils

    return chat_template_utils


def render(
    source: str,
    messages: Sequence[dict[str, Any]],
    tools: Tools,
    variables: Mapping[str, Any],
    *,
    prompt: bool,
    marks: bool,
) -> tuple[str, list[CharSpan]]:
    """The text, and with `marks` the character spans of the template's generation marks in it.

    `prompt`: end with what comes before an answer. Raises UserFault `template_refused`.
    """
    try:
        result: Any = stock().render_jinja_template(
            [list(messages)],
            tools=list(tools) if tools else None,
            chat_template=source,
            add_generation_prompt=prompt,
            return_assistant_tokens_mask=marks,
            **variables,
        )
    except TEMPLATE_ERRORS as error:
        raise UserFault(
            "template_refused",
            f"The base model's chat template refuses this conversation: {error}.",
            fix="Write the conversation as the template wants it (some know no system role, "
            "or need user and assistant to take turns), or choose another base.",
        ) from error
    texts, spans = result
    return texts[0], spans[0] if marks else []


@lru_cache(maxsize=64)
def taken(source: str) -> frozenset[str]:
    """The variables that a template takes from whoever renders it: not those that it only sets
    itself, and no fields of messages. None of one that is no template, which `render` tells."""
    try:
        environment = stock()._compile_jinja_template(source).environment
        return frozenset(meta.find_undeclared_variables(environment.parse(source)))
    except TEMPLATE_ERRORS:
        return frozenset()


DAY = "2024-07-26"
"""That every prompt prints as today, in training, here and in what is taken away."""


def printed_day(templates: str | dict[str, str] | None) -> str | None:
    """What prompts print as today where one of a tokenizer's templates can write it."""
    sources = [templates] if isinstance(templates, str) else (templates or {}).values()
    return DAY if any(map(_prints_day, sources)) else None


def _prints_day(source: str) -> bool:
    return "date_string" in source or "strftime_now" in source


def frozen(source: str) -> str:
    """A template that says the same day for ever, whoever renders it."""
    if "date_string" in source:
        source = _FROZEN_DATE + source
    return _FROZEN_CLOCK + source if "strftime_now" in source else source


SENTINEL = "qZsentinelXk7"


def fresh_sentinel(text: str) -> str:
    """A word that does not occur in the text, and that no template trims or escapes."""
    sentinel, number = SENTINEL, 0
    while sentinel in text:
        number += 1
        sentinel = f"{SENTINEL}{number}Y"
    return sentinel
