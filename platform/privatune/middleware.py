"""What every request gets, whoever answers it: an id, and errors told in the API's own shape."""

import secrets
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.middleware.locale import LocaleMiddleware
from django.utils import translation
from django.utils.cache import patch_vary_headers

from faults import Fault
from finetune.api.explaining import foreseen, of_database, told
from finetune.api.problems import is_api
from finetune.api.words import language_of
from privatune import problem_pages
from tenants.database.scope import release_connection

Next = Callable[[HttpRequest], Any]


class _Layer:
    """A middleware that is as synchronous as the layer inside it."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Next) -> None:
        self._next = get_response
        self._asynchronous = iscoroutinefunction(get_response)
        if self._asynchronous:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        raise NotImplementedError


class RequestMiddleware(_Layer):
    """Outermost. The id is ours, whatever the client sent: it must be unique in the log, where
    django-structlog finds it as the request's own header."""

    def __call__(self, request: HttpRequest) -> Any:
        request_id = f"req_{secrets.token_hex(16)}"
        request.META["HTTP_X_REQUEST_ID"] = request_id
        if self._asynchronous:
            return self._awaited(request, request_id)
        return _marked(self._next(request), request_id)

    async def _awaited(self, request: HttpRequest, request_id: str) -> HttpResponse:
        response = await self._next(request)
        if response.streaming:  # it may go on for hours, and each look takes its own
            await sync_to_async(release_connection)()
        return _marked(response, request_id)


class Language(LocaleMiddleware):
    """Pages speak the person's language, whom a cookie may name; the APIs that of the request."""

    def process_request(self, request: HttpRequest) -> None:
        if not is_api(request.path):
            super().process_request(request)
            return
        request.LANGUAGE_CODE = language_of(request.headers.get("accept-language", ""))
        translation.activate(request.LANGUAGE_CODE)

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        if not is_api(request.path):
            return super().process_response(request, response)
        response.headers.setdefault("Content-Language", translation.get_language())
        patch_vary_headers(response, ("Accept-Language",))
        return response


class ApiErrors(_Layer):
    """Innermost, so that no other middleware sees an exception that we foresaw."""

    def __call__(self, request: HttpRequest) -> Any:
        if "\0" in request.path and is_api(request.path):
            return self._nothing(request)  # PostgreSQL takes no NUL: no row can have that name
        if self._asynchronous:
            return self._awaited(request)
        return _with_words(request, self._next(request))

    async def _awaited(self, request: HttpRequest) -> HttpResponse:
        return _with_words(request, await self._next(request))

    def _nothing(self, request: HttpRequest) -> Any:
        response = problem_pages.unknown_api_route(request)
        if not self._asynchronous:
            return response

        async def later() -> HttpResponse:
            return response

        return later()

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: Any
    ) -> HttpResponse | None:
        """Text that PostgreSQL cannot hold is refused before any page looks for it or keeps it."""
        if is_api(request.path):
            return None  # bodies.py and whole views say it with the field's place
        sent = [*request.GET.lists()]
        if request.method == "POST":
            sent += request.POST.lists()
        if any("\0" in text for name, texts in sent for text in (name, *texts)):
            return problem_pages.page(request, problem_pages.NUL_SENT)
        return None

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if is_api(request.path):
            return told(request, exception)
        if isinstance(exception, Fault):
            problem = foreseen(exception)
            return problem_pages.page(request, problem) if problem else None
        problem = of_database(exception)
        return problem_pages.bare(request, problem) if problem else None


def _with_words(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """A method that a page does not take is told like everything else."""
    if not isinstance(response, HttpResponseNotAllowed) or is_api(request.path):
        return response
    return problem_pages.not_allowed(request, response)


def _marked(response: HttpResponse, request_id: str) -> HttpResponse:
    """Nothing stays on a disk on the way, or is shown again when its reader has signed out; files
    that are everybody's say for themselves how long they may be kept."""
    response["x-request-id"] = request_id
    response.headers.setdefault("Cache-Control", "private, no-store")
    return response
