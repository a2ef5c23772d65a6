"""How much a tenant may store: its files, parts of uploads, and the unpacked rows of readings."""

from typing import Any

from django.conf import settings
from django.db import connection

from finetune.errors import UserFault
from tenants.database.locks import lock
from tenants.database.scope import current_tenant_id

STORED = """
SELECT (SELECT COALESCE(SUM(bytes), 0) FROM tenants_storedfile WHERE deleted_at IS NULL)
     + (SELECT COALESCE(SUM(bytes), 0) FROM tenants_uploadpart)
     + (SELECT COALESCE(SUM((report->>'rows_bytes')::bigint), 0) FROM finetune_dataset
        WHERE rows_object <> '')
"""


class StorageUsedUp(UserFault):
    status = 403


def stored() -> int:
    """Bytes that the open scope's tenant keeps, unpacked rows counted as they lie."""
    with connection.cursor() as cursor:
        cursor.execute(STORED)
        row: Any = cursor.fetchone()
        return int(row[0])


def require_room(size: int) -> None:
    """In the open scope. Raises StorageUsedUp when `size` more bytes exceed the tenant's budget.

    Of two that ask at once one waits for the other's transaction, so that both see the sum.
    """
    lock(f"storage:{current_tenant_id()}")
    if stored() + size > settings.TENANT_STORAGE_BYTES:
        raise StorageUsedUp(
            "storage_used_up",
            f"Your organisation's storage of {settings.TENANT_STORAGE_BYTES} bytes has no room for "
            f"{size} more; compressed files are counted unpacked.",
            fix="Delete files you no longer need, or ask the operator for more storage.",
        )
