"""The base of the wire's views. A handler is named by its method and returns what becomes the JSON
body. It runs in the tenant's scope, a POST once; one that moves many bytes is in `unscoped` and
opens the scope for its own short steps."""

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
from finetune.api import admission
from finetune.api.admission import REPLAYED, Scopes
from finetune.api.identity import Caller
from tenants.database.scope import release_connection
from tenants.roles import Scope
from tenants.services.idempotency import Answer


class MethodUnknown(UserFault):
    status = 405

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__("method_not_allowed", f"{method} does not work here; {allowed} does.")
        self.headers = {"Allow": allowed}


@method_decorator(csrf_exempt, name="dispatch")  # a bearer key is no cookie: nothing to forge
class WireView(View):
    scopes: ClassVar[Scopes] = {}
    unscoped: ClassVar[frozenset[str]] = frozenset()
    caller: Caller

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.caller = admission.admit(request, self.needed_scope(request))
        method = (request.method or "").lower()
        handler = getattr(self, method)
        if method in self.unscoped:
            release_connection()  # bytes may come and go for minutes
            response = reply(handler(request, **kwargs))
            release_connection()
            return response
        return told(admission.answer(request, self.caller, lambda: handler(request, **kwargs)))

    def needed_scope(self, request: HttpRequest) -> Scope:
        """Raises MethodUnknown (405)."""
        needed = admission.needed_scope(self.scopes, request)
        if needed is None:
            raise MethodUnknown(request.method or "", admission.allowed(self.scopes))
        return needed

    def once(
        self, request: HttpRequest, fingerprint: str, make: Callable[[], Any]
    ) -> HttpResponseBase:
        """`make()`, or what it answered when this same request came before. In the open scope."""
        return told(admission.answer_once(request, self.caller, fingerprint, make))


@method_decorator(csrf_exempt, name="dispatch")
class AsyncWireView(WireView):
    """Its handlers are coroutines, outside any scope: they wait for a model, not for the database.

    Whatever touches the database goes through `in_scope`.
    """

    async def dispatch(  # type: ignore[override]
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        needed = self.needed_scope(request)
        self.caller = await sync_to_async(admission.admit)(request, needed)
        handler = getattr(self, (request.method or "").lower())
        return reply(await handler(request, **kwargs))

    def still_admitted(self) -> None:
        """For answers that go on for long. Raises what a request of this key would get now."""
        admission.admit(self.request, self.needed_scope(self.request))

    async def in_scope(self, work: Callable[[], Any]) -> Any:
        def scoped() -> Any:
            with admission.scope_of(self.caller):
                return work()

        return await sync_to_async(scoped)()


def told(answer: Answer) -> HttpResponseBase:
    response = reply(answer.body)
    if answer.replayed:
        for name, value in REPLAYED.items():
            response[name] = value
    return response


def reply(answer: Any) -> HttpResponseBase:
    if isinstance(answer, HttpResponseBase):
        return answer
    return JsonResponse(answer, json_dumps_params={"ensure_ascii": False})


def fingerprint(**fields: Any) -> str:
    """What makes two forms the same wish; a form's own bytes differ by their random boundary."""
    return json.dumps(fields, sort_keys=True)
