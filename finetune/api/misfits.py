"""What a body that does not fit its model is told: the field as the body calls it, and the form it
should have, in words of JSON and not of our classes."""

from typing import Any

from pydantic import ValidationError

from faults import UserFault

# What pydantic's kinds of error ask for.
WANTED = {
    "string_type": "a string",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}


def misfit(error: ValidationError, body: Any) -> UserFault:
    """Of the first field at fault. Where it may have several forms, all are told that go as deep
    into the body as any does."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    placed = [(_path(each["loc"], body, each["type"]), each) for each in found]
    field = placed[0][0][:1]
    own = [(path, each) for path, each in placed if path[:1] == field]
    deepest = max(len(path) for path, _ in own)
    path = next(path for path, _ in own if len(path) == deepest)
    errors = [each for its, each in own if its == path]
    param = ".".join(path) or None
    first = errors[0]
    if first["type"] == "extra_forbidden":
        return UserFault("unknown_parameter", f"There is no parameter `{param}`.", param=param)
    if first["type"] == "missing":
        return UserFault("missing_required_parameter", f"`{param}` is missing.", param=param)
    told = list(dict.fromkeys(_told(each["type"], str(each["msg"])) for each in errors))
    wanted = [WANTED[each["type"]] for each in errors if each["type"] in WANTED]
    if len(wanted) == len(errors):
        *others, last = dict.fromkeys(wanted)
        told = [f"must be {', '.join(others)} or {last}" if others else f"must be {last}"]
    return UserFault("invalid_value", f"`{param}` {told[0]}.", param=param)


def _told(kind: str, message: str) -> str:
    if kind in WANTED:
        return f"must be {WANTED[kind]}"
    for said, ours in (("Input should be ", "must be "), ("Input should ", "must ")):
        if message.startswith(said):
            return ours + message.removeprefix(said)
    return message.removeprefix("Value error, ")


def _path(loc: tuple[int | str, ...], body: Any, kind: str) -> list[str]:
    """`loc` without the names of a union's members, which pydantic puts between the fields."""
    path: list[str] = []
    here = body
    for place, part in enumerate(loc):
        if _holds(here, part):
            here = here[part]
        elif not (kind == "missing" and place == len(loc) - 1):
            continue
        path.append(str(part)[:64])
    return path


def _holds(value: Any, part: int | str) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, dict) and part in value
