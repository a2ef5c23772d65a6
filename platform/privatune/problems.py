"""Every error on its way out: what went wrong, as the API face that was asked tells it.

`/v1` answers in OpenAI's shape, `/api` in RFC 9457's; other addresses get a page
(problem_pages.py). What nobody foresaw is logged with the request's id and told without its
insides.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.multipartparser import MultiPartParserError
from django.http.request import RawPostDataException, UnreadablePostError
from pydantic import ValidationError
from rest_framework.exceptions import APIException
from rest_framework.exceptions import ValidationError as SerializerError

from faults import Fault
from privatune.database_down import is_away
from tenants.vault.errors import ObjectDamaged, ObjectMissing

log = logging.getLogger(__name__)

WIRE, OWN = "/v1/", "/api/"
LOST = (ObjectMissing, ObjectDamaged)


@dataclass(frozen=True)
class Problem:
    """`message` is a whole sentence; `fix` says what to do; `param` names the request's field."""

    status: int
    code: str
    message: str
    where: str | None = None
    fix: str | None = None
    param: str | None = None
    retry_after: int | None = None  # seconds
    ran_out: str = "requests"  # of a 429, as OpenAI names it
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        parts = [self.message, f"({self.where})" if self.where else "", self.fix or ""]
        return " ".join(part for part in parts if part)

    @property
    def permanent(self) -> bool:
        """Whether asking again unchanged is in vain."""
        return self.status < 500 and self.status not in (408, 429)


NOT_FOUND = Problem(404, "not_found", "There is nothing at this address.")
TOO_LARGE = Problem(413, "request_too_large", "The request's body is too large for this address.")


def too_large(limit: int) -> Problem:
    """As TOO_LARGE, with the bytes that the address takes."""
    size = f"{limit >> 20} MB" if limit >> 20 else f"{limit >> 10} kB"
    return replace(
        TOO_LARGE,
        message=f"The request's body is larger than the {size} that this address takes.",
        fix="Send less in one request.",
    )


class Refusal(Exception):
    """An answer that is given instead of the application's, with headers of its own."""

    def __init__(self, problem: Problem, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(problem.code)
        self.problem = problem
        self.headers = list(headers)

    @classmethod
    def of(cls, error: Exception) -> "Refusal":
        """What the error tells; one that nobody foresaw is logged and told without its insides."""
        if isinstance(error, Refusal):
            return error
        problem = explain(error) or UNEXPECTED
        if problem.status >= 500:
            log.error("a request was refused at the edge", exc_info=error)
        return cls(problem)


UNEXPECTED = Problem(
    500,
    "internal_error",
    "Something on our side broke.",
    fix="Try again; if it stays, give the operator the x-request-id of this answer.",
)
DATABASE_DOWN = Problem(
    503,
    "database_down",
    "The database does not answer.",
    fix="Try again in a few seconds.",
    retry_after=5,
)
NUL_SENT = Problem(
    400,
    "invalid_characters",
    "A field holds the character NUL, which is no text.",
    fix="Take it out and send the form again.",
)


def explain(error: BaseException) -> Problem | None:
    """The problem that an exception tells of; None when nobody foresaw it."""
    if isinstance(error, Refusal):
        return error.problem
    if isinstance(error, Fault):
        return _of_fault(error)
    if is_away(error):
        return DATABASE_DOWN
    if isinstance(error, ValidationError):
        return _of_pydantic(error)
    if isinstance(error, APIException):
        return _of_rest(error)
    return _of_django(error)


def _of_fault(error: Fault) -> Problem | None:
    message, fix = error.message, error.fix
    if error.private:
        if error.told is None:
            return None
        log.error("%s", error)  # whole, with place and cause, for the operator
        message, fix = error.told, error.told_fix
    elif isinstance(error, LOST):
        log.error("stored bytes cannot be given out: %s", error)
    return Problem(
        error.status,
        error.code,
        message,
        error.where,
        fix,
        error.param,
        error.retry_after,
        error.ran_out,
        error.headers,
    )


def _of_pydantic(error: ValidationError) -> Problem:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    param = ".".join(str(part) for part in first["loc"]) or None
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return Problem(400, "unknown_parameter", f"There is no parameter `{param}`.", param=param)
    if first["type"] == "missing":
        return Problem(400, "missing_required_parameter", f"`{param}` is missing.", param=param)
    return Problem(400, "invalid_value", f"`{param}`: {message}.", param=param)


def _of_rest(error: APIException) -> Problem:
    if isinstance(error, SerializerError):
        param, detail = _first_detail(error.detail)
        return Problem(400, "invalid_value", detail, param=param)
    return Problem(error.status_code, str(error.default_code), str(error.detail))


def _first_detail(detail: Any, path: str = "") -> tuple[str | None, str]:
    """DRF nests its findings by field and by row; the first one is told."""
    if isinstance(detail, dict):
        name, inner = next(iter(detail.items()))
        field = path if name == "non_field_errors" else f"{path}.{name}".lstrip(".")
        return _first_detail(inner, field)
    if isinstance(detail, list):
        return _first_detail(detail[0], path)
    return path or None, str(detail)


def _of_django(error: BaseException) -> Problem | None:
    if isinstance(error, Http404):
        return NOT_FOUND
    if isinstance(error, PermissionDenied):
        return Problem(403, "forbidden", "You may not do this.")
    if isinstance(error, RequestDataTooBig):
        return TOO_LARGE
    if isinstance(error, TooManyFieldsSent | TooManyFilesSent):
        return Problem(400, "too_many_fields", "The form has too many fields or files.")
    if isinstance(error, MultiPartParserError):
        return Problem(400, "invalid_form", f"The form cannot be read: {error}.")
    if isinstance(error, UnreadablePostError | RawPostDataException):
        return Problem(400, "unreadable_body", "The request's body could not be read.")
    if isinstance(error, SuspiciousOperation):
        return Problem(400, "bad_request", "The request was refused as malformed.")
    return None


# --- The two faces ------------------------------------------------------------------------------


def answer(path: str, problem: Problem) -> HttpResponse:
    response = _wire(problem) if path.startswith(WIRE) else _rfc9457(problem)
    for name, value in problem.headers.items():
        response[name] = value
    if problem.permanent:
        response["x-should-retry"] = "false"  # the openai package obeys it
    if problem.retry_after is not None:
        response["Retry-After"] = str(problem.retry_after)
    if problem.status == 401:
        response["WWW-Authenticate"] = "Bearer"
    return response


def _wire(problem: Problem) -> JsonResponse:
    # OpenAI's clients take 409 for a lock that will be free soon; our conflicts are permanent.
    status = 400 if problem.status == 409 else problem.status
    error = {
        "message": problem.text,
        "type": _wire_type(status, problem),
        "param": problem.param,
        "code": problem.code,
    }
    return JsonResponse({"error": error}, status=status)


def _wire_type(status: int, problem: Problem) -> str:
    if status == 429:
        return problem.ran_out
    return "server_error" if status >= 500 else "invalid_request_error"


def _rfc9457(problem: Problem) -> JsonResponse:
    body: dict[str, Any] = {
        "type": f"urn:privatune:problem:{problem.code}",
        "title": problem.message,
        "status": problem.status,
        "detail": problem.text,
        "code": problem.code,
    }
    extra = {"param": problem.param, "where": problem.where, "fix": problem.fix}
    body |= {name: value for name, value in extra.items() if value is not None}
    return JsonResponse(body, status=problem.status, content_type="application/problem+json")


def is_api(path: str) -> bool:
    return path.startswith((WIRE, OWN)) or path in ("/v1", "/api")


def told(request: HttpRequest, error: BaseException) -> HttpResponse:
    """The answer to an exception that a view of an API raised; logs what is ours to mend."""
    problem = explain(error) or UNEXPECTED
    if problem.status >= 500:
        log.error(
            "request %s: %s %s failed",
            request.headers.get("x-request-id", "-"),
            request.method,
            request.path,
            exc_info=error,
        )
    return answer(request.path, problem)


def handle(error: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """REST framework's hook."""
    return told(context["request"]._request, error)
