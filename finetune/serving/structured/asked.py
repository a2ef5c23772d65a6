"""The constraint that a request puts on its answers."""

from faults import UserFault
from finetune.serving.bases import Base
from finetune.serving.protocol import GenerateRequest
from finetune.serving.structured import forms
from finetune.serving.structured.grammar import Constraint


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
    calls = base.calls if tools else None
    if request.must_call and calls is None:
        raise _unsupported("tool_choice", "none can be forced")
    if calls is None:
        if tools and form is None and base.call_tags is not None:
            _refuse_strictness(request)
        return None if form is None else forms.of_schema(form.json_schema, form.place)
    several = request.parallel_calls
    named = request.must_call_tool
    only = request.callable_tools if named is None else [named]
    offered = forms.callables(tools, only)
    if request.must_call:
        return forms.of_calls(calls, offered, several=several and named is None)
    if form is not None:
        return forms.of_schema_or_calls(
            form.json_schema, form.place, calls, offered, several=several
        )
    strict = any(tool.get("function", tool).get("strict") for tool in tools)
    if several and not strict and only is None:
        return None
    return forms.of_text_and_calls(calls, offered, several=several)


def _refuse_strictness(request: GenerateRequest) -> None:
    """Calls are read out of the answer as the model writes them, and it can be held to nothing."""
    if request.callable_tools is not None:
        raise _unsupported("tool_choice", "all tools may be called, or none")
    if not request.parallel_calls:
        raise _unsupported("parallel_tool_calls", "it cannot be kept from several")
    for at, tool in enumerate(request.tools or []):
        if tool.get("function", tool).get("strict"):
            place = f"tools.{at}.function.strict"
            raise _unsupported(place, "their arguments cannot be kept to a schema")


def _unsupported(param: str, what: str) -> UserFault:
    return UserFault(
        "calls_unsupported",
        f"This model's chat template does not write tool calls as JSON, so {what}.",
        fix=f"Leave `{param}` out.",
        param=param,
    )
