"""What went wrong as a page, in the person's language, at every address that is no API's; and the
hooks that Django calls for it (urls.py, settings.py)."""

import sys
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.shortcuts import render
from django.template import loader
from django.utils.translation import get_language_from_request, gettext_lazy, override
from django.views.decorators.csrf import csrf_exempt

from finetune.api.explaining import explain, told
from finetune.api.problems import NOT_FOUND, Problem, answer, is_api
from privatune.portal.refusals import said

FORM_EXPIRED = Problem(403, "form_expired", "The form was not accepted.")
NUL_SENT = Problem(
    400,
    "invalid_characters",
    "A field holds the character NUL, which is no text.",
    fix="Take it out and send the form again.",
)
NOT_ALLOWED = Problem(405, "method_not_allowed", "This address takes no such request.")

NAMED: dict[str, Any] = {
    "form_expired": gettext_lazy("The form was not accepted."),
    "database_down": gettext_lazy("The database does not answer."),
    "missing_scope": gettext_lazy("Your role does not allow this."),
    "tenant_deleted": gettext_lazy("This organisation was deleted."),
}
_UNKNOWN_STATUS: Any = gettext_lazy("The request was refused.")
HEADINGS: dict[int, Any] = {
    401: gettext_lazy("You are not signed in."),
    403: gettext_lazy("You may not do this."),
    404: gettext_lazy("There is nothing at this address."),
    405: gettext_lazy("This is not a page to open."),
    408: gettext_lazy("That took too long."),
    413: gettext_lazy("That is too much at once."),
    429: gettext_lazy("Too many requests."),
    500: gettext_lazy("Something on our side broke."),
    503: gettext_lazy("Not available now."),
}


def page(request: HttpRequest, problem: Problem) -> HttpResponse:
    """Inside the portal, with its bar and the person's organisation."""
    context = {"heading": _heading(problem), "words": said(problem)}
    return _finished(
        render(request, "portal/refused.html", context, status=problem.status), problem
    )


def refused(request: HttpRequest, error: Exception) -> HttpResponse:
    """`page` for what a service refused."""
    return page(request, explain(error))


def bare(request: HttpRequest, problem: Problem) -> HttpResponse:
    """A page that asks nothing of session, database or host: those may be what is broken. A script
    that takes no page gets the same words as JSON. In the language of the request, since the
    middleware that chooses it may not have run."""
    with override(get_language_from_request(request)):
        heading, words = _heading(problem), said(problem)
        if "text/html" not in request.headers.get("Accept", "text/html"):
            told = {"code": problem.code, "message": f"{heading} {words}"}
            return _finished(JsonResponse(told, status=problem.status), problem)
        context = {"heading": heading, "words": words}
        text = loader.render_to_string("portal/problem.html", context)
    return _finished(HttpResponse(text, status=problem.status), problem)


def _heading(problem: Problem) -> str:
    return str(NAMED.get(problem.code) or HEADINGS.get(problem.status, _UNKNOWN_STATUS))


def _finished(response: HttpResponse, problem: Problem) -> HttpResponse:
    if problem.retry_after is not None:
        response["Retry-After"] = str(problem.retry_after)
    response["Cache-Control"] = "no-store"
    return response


def not_allowed(request: HttpRequest, response: HttpResponseNotAllowed) -> HttpResponse:
    """Django's own 405 has no body at all."""
    told = bare(request, NOT_ALLOWED)
    told["Allow"] = response["Allow"]
    return told


# --- Django's hooks -----------------------------------------------------------------------------


@csrf_exempt
def unknown_api_route(request: HttpRequest, **kwargs: Any) -> HttpResponse:
    return answer(request.path, NOT_FOUND)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _told(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _told(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _told(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """Also for what middlewares raise, which no `process_exception` sees."""
    problem = explain(sys.exc_info()[1] or RuntimeError())
    if is_api(request.path):
        return answer(request.path, problem)
    return bare(request, problem)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django has logged the reason. No API takes a cookie, so only pages come here."""
    return bare(request, FORM_EXPIRED)


def _told(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_api(request.path):
        return told(request, exception)
    return bare(request, explain(exception))
