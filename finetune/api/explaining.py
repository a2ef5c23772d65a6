"""Which problem an exception tells of, whoever raised it: ours, Django's, pydantic's, the REST
framework's. What nobody foresaw is logged with the request's id and told without its insides."""

import logging
from typing import Any

from django.core.exceptions import (
    DisallowedHost,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.http import Http404, HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.http.request import RawPostDataException, UnreadablePostError
from rest_framework.exceptions import APIException
from rest_framework.exceptions import ValidationError as SerializerError

from faults import Fault
from finetune.api.problems import (
    DATABASE_DOWN,
    DATABASE_FULL,
    NOT_FOUND,
    TOO_LARGE,
    UNEXPECTED,
    UNKNOWN_HOST,
    Problem,
    Refusal,
    answer,
)
from tenants.database.away import is_away, is_full
from tenants.vault.errors import ObjectLost

log = logging.getLogger(__name__)


def explain(error: BaseException) -> Problem:
    return foreseen(error) or UNEXPECTED


def foreseen(error: BaseException) -> Problem | None:
    """None where the exception must be told without its insides."""
    if isinstance(error, Refusal):
        return error.problem
    if isinstance(error, Fault):
        return _of_fault(error)
    if problem := of_database(error):
        return problem
    if isinstance(error, APIException):
        return _of_rest(error)
    return _of_django(error)


def of_database(error: BaseException) -> Problem | None:
    """Where an exception tells of the database's state and not of our code."""
    if is_full(error):
        return DATABASE_FULL
    return DATABASE_DOWN if is_away(error) else None


def refusal_of(error: Exception) -> Refusal:
    """For whoever answers instead of the application. Logs what is ours to mend."""
    if isinstance(error, Refusal):
        return error
    problem = explain(error)
    if problem.status >= 500:
        log.error("a request was refused at the edge", exc_info=error)
    return Refusal(problem)


def told(request: HttpRequest, error: BaseException) -> HttpResponse:
    """The answer to an exception that a view of an API raised; logs what is ours to mend."""
    problem = explain(error)
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


def _of_fault(error: Fault) -> Problem | None:
    message, fix = error.message, error.fix
    if error.private:
        if error.told is None:
            return None
        log.error("%s", error)  # whole, with place and cause, for the operator
        message, fix = error.told, error.told_fix
    elif isinstance(error, ObjectLost):
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
    if isinstance(error, DisallowedHost):
        return UNKNOWN_HOST
    if isinstance(error, SuspiciousOperation):
        return Problem(400, "bad_request", "The request was refused as malformed.")
    return None
