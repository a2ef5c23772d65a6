"""The base of our own API's views: the same keys, scopes and retries as the wire, in REST
framework's clothes so that the OpenAPI document describes them."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar

from django.http import HttpRequest
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import MethodNotAllowed, ParseError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from finetune.api.bodies import read_json
from finetune.api.identity import Caller, attempt_of, caller_of
from tenants.database.scope import release_connection, tenant_scope
from tenants.roles import Scope
from tenants.services.idempotency import once


class KeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer <key>`; `request.auth` is the Caller."""

    def authenticate(self, request: Request) -> tuple[None, Caller]:
        return None, caller_of(request._request)

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = KeyAuthentication
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}


class PlacedJSONParser(BaseParser):
    """JSON whose mistakes are told with line and column, and which holds only storable text."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        request: HttpRequest = parser_context["request"]._request
        value = read_json(request)
        if not isinstance(value, dict):
            raise ParseError("The body must be a JSON object.")
        return value


class OwnView(APIView):
    """`scopes` gives the scope that each method needs; a method that is not in it, HEAD too, is a
    405. Handlers run in the tenant's scope; a POST
    answers a repetition with what the first request made."""

    authentication_classes = [KeyAuthentication]
    parser_classes = [PlacedJSONParser]
    scopes: ClassVar[dict[str, Scope]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for method in ("get", "post", "patch", "delete"):
            if method in cls.__dict__:
                setattr(cls, method, _scoped(cls.__dict__[method], method))

    @property
    def caller(self) -> Caller:
        caller: Any = self.request.auth
        assert isinstance(caller, Caller)
        return caller

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        needed = self.scopes.get((request.method or "").lower())
        if needed is None:
            raise MethodNotAllowed(request.method or "")
        self.caller.principal.require(needed)

    def recorded(self, body: Any) -> Any:
        """What is kept of an answer for a repetition; secrets are not."""
        return body


def _scoped(handler: Callable[..., Any], method: str) -> Callable[..., Any]:
    @wraps(handler)
    def run(view: OwnView, request: Request, **kwargs: Any) -> Any:
        with tenant_scope(view.caller.principal.tenant_id):
            if method != "post":
                answer = handler(view, request, **kwargs)
            else:
                answer = _once(view, request, lambda: handler(view, request, **kwargs))
        release_connection()
        return answer if hasattr(answer, "status_code") else Response(answer)

    return run


def _once(view: OwnView, request: Request, make: Callable[[], Any]) -> Response:
    plain = request._request
    fresh: list[Any] = []

    def record() -> Any:
        fresh.append(make())
        return view.recorded(fresh[0])

    attempt = attempt_of(plain, view.caller, plain.body.decode("latin-1"))
    answer = once(attempt=attempt, make=record)
    if answer.replayed:
        return Response(answer.body, headers={"idempotent-replayed": "true"})
    return Response(fresh[0])
