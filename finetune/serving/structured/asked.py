"""The constraint that a request puts on its answers."""

from faults import UserFault
from finetune.records.call_form import CallForm
from finetune.serving.bases import Base
from finetune.serving.protocol import GenerateRequest
from finetune.serving.structured import forms, in_marks, in_parts, in_tags
from finetune.serving.structured.forms import Callable
from finetune.serving.structured.grammar import Constraint
from finetune.serving.tagged import AROUND


def constraint_of(base: Base, request: GenerateRequest) -> Constraint | None:
    """To be forked for each choice; takes seconds at worst, so never in the model thread, and in
    no thread that others wait for.

    Raises UserFault `schema_unsupported`, `invalid_schema`, `schema_too_large`,
    `schema_too_complex`, each with its place as `param`, or `calls_unsupported`; or OurFault
    `compiler_lost`.
    """
    source = _source(base, request)
    if source is None:
        return None
    place = request.form.place if request.form is not None else "tools"
    return base.grammars.compile(source, place, tenant=request.tenant)


def _source(base: Base, request: GenerateRequest) -> str | None:
    form, tools = request.form, request.tools or []
    calls = (base.calls or (AROUND if base.call_tags else None)) if tools else None
    marks = base.call_marks if tools else None
    parts = base.channels if request.messages is not None else None
    said = None if form is None else (form.json_schema, form.place)
    if parts is not None and said is not None and not tools:
        return in_parts.source(parts, [], said, forced=False)
    if marks is None and calls is None:
        if request.must_call:
            raise _unsupported("tool_choice", "none can be forced")
        return None if form is None else forms.of_schema(form.json_schema, form.place)
    several = request.parallel_calls
    named = request.must_call_tool
    strict = any(tool.get("function", tool).get("strict") for tool in tools)
    only = request.callable_tools if named is None else [named]
    if several and not strict and only is None and form is None and not request.must_call:
        return None
    offered = forms.callables(tools, only)
    if marks is not None:
        forced, many = request.must_call, several and named is None
        return in_marks.source(marks, offered, said, forced=forced, several=many)
    assert calls is not None
    rules = _rules(base, calls, offered)
    if request.must_call:
        return forms.of_calls(calls, rules, several=several and named is None)
    if form is not None:
        return forms.of_schema_or_calls(form.json_schema, form.place, calls, rules, several=several)
    return forms.of_text_and_calls(calls, rules, several=several)


def _rules(base: Base, calls: CallForm, offered: list[Callable]) -> list[str]:
    if base.call_tags is not None:
        return in_tags.rules(base.call_tags.written, offered)
    return forms.rules_of_json(calls, offered)


def _unsupported(param: str, what: str) -> UserFault:
    return UserFault(
        "calls_unsupported",
        f"This model's chat template does not write tool calls in a form that is known, so {what}.",
        fix=f"Leave `{param}` out.",
        param=param,
    )
