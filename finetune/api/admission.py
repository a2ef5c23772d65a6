"""How both faces let a request in, whatever framework shows it: the key's scope, the tenant's own
database scope, one answer per wish, and the connection given back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.http import HttpRequest

from finetune.api.identity import Caller, attempt_of, caller_of
from tenants.database.scope import release_connection, tenant_scope
from tenants.roles import Scope
from tenants.services.idempotency import Answer, once

REPLAYED = {"idempotent-replayed": "true"}  # the header of an answer that was made before

Scopes = dict[str, Scope]  # by method; a method that is not in it, HEAD and OPTIONS too, is a 405


def needed_scope(scopes: Scopes, request: HttpRequest) -> Scope | None:
    """The scope that the request's method needs; None: the method does not work here."""
    return scopes.get((request.method or "").lower())


def allowed(scopes: Scopes) -> str:
    """The methods that work, as the header `Allow` lists them."""
    return ", ".join(sorted(each.upper() for each in scopes))


def admit(request: HttpRequest, scope: Scope) -> Caller:
    """The caller. Raises NotAuthenticated (401), and Refused (403) without the scope."""
    caller = caller_of(request)
    caller.principal.require(scope)
    return caller


@contextmanager
def scope_of(caller: Caller) -> Iterator[None]:
    """The caller's tenant, in one transaction. The connection goes back to the pool with it: what
    is answered may take minutes to leave."""
    try:
        with tenant_scope(caller.principal.tenant_id):
            yield
    finally:
        release_connection()


def answer(
    request: HttpRequest,
    caller: Caller,
    make: Callable[[], Any],
    *,
    keep: Callable[[Any], Any] = lambda body: body,
) -> Answer:
    """`make()` in the caller's tenant; of a POST, once."""
    with scope_of(caller):
        if request.method != "POST":
            return Answer(make(), replayed=False)
        return answer_once(request, caller, request.body.decode("latin-1"), make, keep=keep)


def answer_once(
    request: HttpRequest,
    caller: Caller,
    fingerprint: str,
    make: Callable[[], Any],
    *,
    keep: Callable[[Any], Any] = lambda body: body,
) -> Answer:
    """`make()`, or what it answered when this same request came before. In the open scope.

    `fingerprint` stands for the body; `keep` gives what of the answer a repetition may see.
    """
    made: list[Any] = []

    def record() -> Any:
        made.append(make())
        return keep(made[0])

    told = once(attempt=attempt_of(request, caller, fingerprint), make=record)
    return told if told.replayed else Answer(made[0], replayed=False)
