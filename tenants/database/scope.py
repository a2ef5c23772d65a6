"""Opens a tenant's scope: one transaction in which ORM and PostgreSQL see that tenant only.

Two locks on one door. django-scopes makes a manager raise outside a scope; row-level security makes
even raw SQL return nothing. The setting is local to the transaction, so a pooled connection never
carries it to the next request.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.db import close_old_connections, connection, transaction
from django_scopes import get_scope, scope

SETTING = "privatune.tenant"


class ScopeClash(RuntimeError):
    """A second tenant's scope was opened inside the first; that is always a programming error."""


@contextmanager
def tenant_scope(tenant_id: UUID) -> Iterator[None]:
    """Runs the block as `tenant_id`, in one transaction. Re-entering the same tenant is allowed."""
    if not isinstance(tenant_id, UUID):
        raise TypeError(f"tenant_scope needs a UUID, not {type(tenant_id).__name__}")
    outer = get_scope().get("tenant")
    if outer is not None and outer != tenant_id:
        raise ScopeClash("a scope of another tenant is open in this transaction")
    with transaction.atomic(), scope(tenant=tenant_id):
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config(%s, %s, true)", [SETTING, str(tenant_id)])
        yield


def release_connection() -> None:
    """Gives the thread's connection back to the web server's pool before the request ends, unless
    whoever called us is in the middle of a transaction of its own. Elsewhere it stays open."""
    if not connection.in_atomic_block:
        close_old_connections()


def current_tenant_id() -> UUID:
    """The tenant whose scope is open.

    Raises LookupError outside any scope.
    """
    tenant_id = get_scope().get("tenant")
    if tenant_id is None:
        raise LookupError("no tenant scope is open; wrap the call in tenant_scope(...)")
    return UUID(str(tenant_id))
