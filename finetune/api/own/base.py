"""The base of our own API's views: the same keys, scopes and retries as the wire, in REST
framework's clothes so that the OpenAPI document describes them."""

from collections.abc import Callable
from typing import Any, ClassVar

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import MethodNotAllowed, ParseError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from finetune.api import admission
from finetune.api.admission import REPLAYED, Scopes
from finetune.api.bodies import read_json
from finetune.api.identity import Caller, caller_of


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


# A handler is named by its method and returns a body, or a response of its own. It runs in the
# tenant's scope, a POST once, unless its service opens the scope itself (`own_scope`; reads only).
# (No docstring: the OpenAPI document would show it at each operation.)
class OwnView(APIView):
    authentication_classes = [KeyAuthentication]
    parser_classes = [PlacedJSONParser]
    scopes: ClassVar[Scopes] = {}
    own_scope: ClassVar[bool] = False

    @property
    def caller(self) -> Caller:
        caller: Any = self.request.auth
        assert isinstance(caller, Caller)
        return caller

    @property
    def allowed_methods(self) -> list[str]:
        """Of the header `Allow`."""
        return sorted(each.upper() for each in self.scopes)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """REST framework's own steps, with the handler let in as on the wire."""
        self.args, self.kwargs = args, kwargs
        self.request = asked = self.initialize_request(request, *args, **kwargs)
        self.headers = self.default_response_headers
        try:
            self.initial(asked, *args, **kwargs)
            handler: Callable[..., Any] = getattr(self, (request.method or "").lower())
            response = self._answer(request, lambda: handler(asked, *args, **kwargs))
        except Exception as error:
            response = self.handle_exception(error)
        self.response = self.finalize_response(asked, response, *args, **kwargs)
        return self.response

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Raises what the key may not do, or 405, before the handler is looked up."""
        super().initial(request, *args, **kwargs)
        needed = admission.needed_scope(self.scopes, request._request)
        if needed is None:
            raise MethodNotAllowed(request.method or "")
        self.caller.principal.require(needed)

    def recorded(self, body: Any) -> Any:
        """What is kept of an answer for a repetition; secrets are not."""
        return body

    def _answer(self, request: HttpRequest, make: Callable[[], Any]) -> Any:
        if self.own_scope:
            return Response(make())
        told = admission.answer(request, self.caller, make, keep=self.recorded)
        if isinstance(told.body, HttpResponseBase):
            return told.body
        return Response(told.body, headers=REPLAYED if told.replayed else None)
