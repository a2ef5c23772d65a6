"""What went wrong, as each API face tells it: `/v1` in OpenAI's shape, `/api` in RFC 9457's.

Which problem an exception tells of stands in explaining.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.http import HttpResponse, JsonResponse

from finetune.api import words

WIRE, OWN = "/v1/", "/api/"


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
    def told(self) -> str:
        """In the reader's language."""
        return words.error(self.code, self.text)

    @property
    def permanent(self) -> bool:
        """Whether asking again unchanged is in vain."""
        return self.status < 500 and self.status not in (408, 429)


NOT_FOUND = Problem(404, "not_found", "There is nothing at this address.")
TOO_LARGE = Problem(413, "request_too_large", "The request's body is too large for this address.")
UNKNOWN_HOST = Problem(
    400,
    "unknown_host",
    "This server does not answer to the host name of the request.",
    fix="Use a name that it serves, or let the operator add this one to PRIVATUNE_ALLOWED_HOSTS.",
)
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
DATABASE_FULL = Problem(
    503,
    "storage_full",
    "The database has no room; nothing of this was kept.",
    fix="Try again later; if it stays, tell the operator.",
    retry_after=5,
)


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


def is_api(path: str) -> bool:
    return path.startswith((WIRE, OWN)) or path in ("/v1", "/api")


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


def wire_error(problem: Problem) -> dict[str, Any]:
    """OpenAI's shape: the body of an answer, or the last event of a stream that broke off."""
    return {
        "error": {
            "message": problem.told,
            "type": wire_kind(problem),
            "param": problem.param,
            "code": problem.code,
        }
    }


def wire_kind(problem: Problem) -> str:
    if problem.status == 429:
        return problem.ran_out
    return "server_error" if problem.status >= 500 else "invalid_request_error"


def _wire(problem: Problem) -> JsonResponse:
    # OpenAI's clients take 409 for a lock that will be free soon; our conflicts are permanent.
    status = 400 if problem.status == 409 else problem.status
    return JsonResponse(wire_error(problem), status=status)


def _rfc9457(problem: Problem) -> JsonResponse:
    body: dict[str, Any] = {
        "type": f"urn:privatune:problem:{problem.code}",
        "title": words.error(problem.code, problem.message),
        "status": problem.status,
        "detail": problem.told,
        "code": problem.code,
    }
    extra = {"param": problem.param, "where": problem.where, "fix": problem.fix}
    body |= {name: value for name, value in extra.items() if value is not None}
    return JsonResponse(body, status=problem.status, content_type="application/problem+json")
