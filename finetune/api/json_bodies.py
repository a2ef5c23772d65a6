"""JSON out of a request's bytes, with the place of a mistake, and a body as its model. Knows no
framework: what serves a bundle alone reads its bodies by it, too."""

import json
import math
import re
from typing import Any, NoReturn, TypeVar

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


def read_bytes(body: bytes) -> Any:
    """Raises UserFault with line and column of what is wrong."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserFault(
            "invalid_json",
            "The body is not valid UTF-8.",
            where=f"byte {error.start + 1}",
            fix="Send JSON encoded as UTF-8.",
        ) from None
    return json_of(text)


def fit_object(model: type[Parsed], value: Any) -> Parsed:
    """Raises UserFault for what is no object, or naming the field at fault."""
    if not isinstance(value, dict):
        raise UserFault("invalid_json", "The body must be a JSON object.", where="line 1, column 1")
    return fit(model, value)


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


def fit(model: type[Parsed], value: dict[str, Any]) -> Parsed:
    """Raises UserFault naming the field at fault."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise misfit(error, value) from None


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
