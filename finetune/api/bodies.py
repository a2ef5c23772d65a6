"""Reads what a request carries: JSON with the place of a mistake, forms, query parameters."""

import json
import math
import re
from typing import Any, NoReturn, TypeVar

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest
from pydantic import BaseModel, ValidationError

from faults import UserFault
from faults.nesting import ENDLESS, bound
from finetune.api.misfits import misfit

Parsed = TypeVar("Parsed", bound=BaseModel)

DEPTH = 64
DIGITS = 20
SMALLER = "Send a number that 64 bits hold."

# PostgreSQL stores neither NUL nor half a surrogate pair; both can hide in JSON's escapes.
SUSPECT = re.compile(r"\\u(?:0000|[dD][89abAB][0-9a-fA-F]{2}|[dD][c-fC-F][0-9a-fA-F]{2})")


def read_json(request: HttpRequest) -> Any:
    """The body as JSON. Raises UserFault with line and column of what is wrong."""
    try:
        text = request.body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserFault(
            "invalid_json",
            "The body is not valid UTF-8.",
            where=f"byte {error.start + 1}",
            fix="Send JSON encoded as UTF-8.",
        ) from None
    return json_of(text)


def json_of(text: str) -> Any:
    """Raises UserFault with line and column of what is wrong, also for what no database keeps."""
    try:
        value = json.loads(
            text, parse_constant=_no_constant, parse_int=_integer, parse_float=_number
        )
        bound(value, DEPTH)
    except json.JSONDecodeError as error:
        raise UserFault(
            "invalid_json",
            f"The body is not valid JSON: {error.msg}.",
            where=f"line {error.lineno}, column {error.colno}",
            fix="Send one JSON object as the body.",
        ) from None
    except ENDLESS:
        raise _too_deep() from None
    if SUSPECT.search(text):
        _check_text(value)
    return value


def parse(model: type[Parsed], request: HttpRequest) -> Parsed:
    """The body as `model`. Raises UserFault naming the field at fault."""
    value = read_json(request)
    if not isinstance(value, dict):
        raise UserFault("invalid_json", "The body must be a JSON object.", where="line 1, column 1")
    return fit(model, value)


def fit(model: type[Parsed], value: dict[str, Any]) -> Parsed:
    """Raises UserFault naming the field at fault."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise misfit(error, value) from None


def read_form(request: HttpRequest) -> dict[str, str]:
    """A multipart form's text fields; each may come once. Raises UserFault for other bodies."""
    if request.content_type != "multipart/form-data":
        raise UserFault(
            "form_expected",
            "This address takes a multipart/form-data body.",
            fix="Send the file as a form field, as `client.files.create(file=...)` does.",
        )
    fields = {name: values[-1] for name, values in request.POST.lists() if values}
    for name, value in fields.items():
        if "\0" in value:
            raise UserFault("invalid_value", f"`{name}` holds a NUL character.", param=name)
    return fields


def form_file(request: HttpRequest, name: str) -> "UploadedFile[bytes]":
    """The file in the form's field. Raises UserFault when it is missing."""
    file = request.FILES.get(name)
    if not isinstance(file, UploadedFile):
        raise UserFault(
            "missing_required_parameter",
            f"The form has no file in the field `{name}`.",
            fix=f"Send the bytes as the form's file field `{name}`.",
            param=name,
        )
    return file


def query(request: HttpRequest, known: frozenset[str]) -> dict[str, str]:
    """The query parameters. Raises UserFault for one that is not `known`, or that is given twice:
    a misspelt filter that is ignored would answer another question. One that is known as `name[]`
    may come as `name[key]`, with any key."""
    values: dict[str, str] = {}
    for name, given in request.GET.lists():
        if not _is_known(name, known):
            raise UserFault(
                "unknown_parameter",
                "There is no such query parameter.",
                fix="A filter by a key is written `metadata[key]=value`." if "[" in name else None,
                param=name[:64],
            )
        if len(given) > 1:
            raise UserFault("invalid_value", "A query parameter is given once.", param=name[:64])
        values[name] = value = str(given[0])
        if "\0" in value or "\0" in name:
            raise UserFault("invalid_value", "A NUL character is not allowed.", param=name[:64])
    return values


def _is_known(name: str, known: frozenset[str]) -> bool:
    base, opened, rest = name.partition("[")
    if not opened:
        return name in known
    return f"{base}[]" in known and len(rest) > 1 and rest.endswith("]")


def _integer(text: str) -> int:
    # Python refuses to read some thousand digits, PostgreSQL to store more than it has room for.
    if len(text) > DIGITS or not -(2**63) <= int(text) < 2**64:
        raise UserFault("invalid_json", "A whole number in the body is too large.", fix=SMALLER)
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise UserFault("invalid_json", "A number in the body is too large.", fix=SMALLER)
    return value


def _too_deep() -> UserFault:
    return UserFault(
        "invalid_json",
        "The body is nested too deeply.",
        fix=f"Nest at most {DEPTH} objects and lists in one another.",
    )


def _check_text(value: Any) -> None:
    whole = json.dumps(value, ensure_ascii=False)
    try:
        whole.encode("utf-8")
    except UnicodeEncodeError:
        _refuse_text("a lone surrogate (half of a character)")
    if "\\u0000" in whole.replace("\\\\", ""):
        _refuse_text("a NUL character")


def _refuse_text(what: str) -> NoReturn:
    raise UserFault("invalid_json", f"The body holds {what} in a string.", fix="Leave it out.")


def _no_constant(name: str) -> NoReturn:
    raise UserFault("invalid_json", f"{name} is not JSON.", fix="Send a number or null.")
