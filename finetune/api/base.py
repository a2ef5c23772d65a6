"""The base of the wire's views: key, scope, tenant's transaction, one answer per wish.

A handler is named by its method and returns what becomes the JSON body. It runs in the tenant's
scope; one that moves many bytes is in `unscoped` and opens the scope for its own short steps.
"""

import json
from collections.abc import Callable
from typing import Any, ClassVar

from asgiref.sync import sync_to_async
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from faults import UserFault
from finetune.api.identity import Caller, attempt_of, caller_of
from tenants.database.scope import release_connection, tenant_scope
from tenants.roles import Scope
from tenants.services.idempotency import once

Handler = Callable[..., Any]


class MethodUnknown(UserFault):
    status = 405


@method_decorator(csrf_exempt, name="dispatch")  # a bearer key is no cookie: nothing to forge
class ApiView(View):
    """`scopes` gives the scope that each method needs; a method that is not in it is a 405."""

    scopes: ClassVar[dict[str, Scope]] = {}
    unscoped: ClassVar[frozenset[str]] = frozenset()
    caller: Caller

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        handler, method = self._handler(request)
        self.caller = self._admit(request, method)
        response = self._run(request, handler, method, **kwargs)
        release_connection()  # a long download must not hold a connection of the pool
        return response

    def _run(
        self, request: HttpRequest, handler: Handler, method: str, **kwargs: Any
    ) -> HttpResponseBase:
        if method in self.unscoped:
            release_connection()  # bytes may come and go for minutes
            return reply(handler(request, **kwargs))
        with tenant_scope(self.caller.principal.tenant_id):
            if method != "post":
                return reply(handler(request, **kwargs))
            body = request.body.decode("latin-1")
            return self.once(request, body, lambda: handler(request, **kwargs))

    def once(
        self, request: HttpRequest, fingerprint: str, make: Callable[[], Any]
    ) -> HttpResponseBase:
        """`make()`, or what it answered when this same request came before. In the open scope."""
        answer = once(attempt=attempt_of(request, self.caller, fingerprint), make=make)
        response = reply(answer.body)
        if answer.replayed:
            response["idempotent-replayed"] = "true"
        return response

    def _handler(self, request: HttpRequest) -> tuple[Handler, str]:
        method = (request.method or "").lower()
        if method not in self.scopes:
            allowed = ", ".join(sorted(each.upper() for each in self.scopes))
            raise MethodUnknown(
                "method_not_allowed", f"{request.method} does not work here; {allowed} does."
            )
        return getattr(self, method), method

    def _admit(self, request: HttpRequest, method: str) -> Caller:
        caller = caller_of(request)
        caller.principal.require(self.scopes[method])
        return caller


@method_decorator(csrf_exempt, name="dispatch")
class AsyncApiView(ApiView):
    """Its handlers are coroutines, outside any scope: they wait for a model, not for the database.

    Whatever touches the database goes through `in_scope`.
    """

    async def dispatch(  # type: ignore[override]
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        handler, method = self._handler(request)
        self.caller = await sync_to_async(self._admit)(request, method)
        return reply(await handler(request, **kwargs))

    def still_admitted(self) -> None:
        """For answers that go on for long. Raises what a request of this key would get now."""
        self._admit(self.request, (self.request.method or "").lower())

    async def in_scope(self, work: Callable[[], Any]) -> Any:
        def scoped() -> Any:
            with tenant_scope(self.caller.principal.tenant_id):
                answer = work()
            release_connection()  # the answer may stream for minutes
            return answer

        return await sync_to_async(scoped)()


def reply(answer: Any) -> HttpResponseBase:
    if isinstance(answer, HttpResponseBase):
        return answer
    return JsonResponse(answer, json_dumps_params={"ensure_ascii": False})


def fingerprint(**fields: Any) -> str:
    """What makes two forms the same wish; a form's own bytes differ by their random boundary."""
    return json.dumps(fields, sort_keys=True)
