"""Opens a tenant's vault: its key unwrapped in memory, its objects in the configured store."""

from collections.abc import Iterable
from functools import lru_cache
from uuid import UUID

from django.conf import settings
from django.db import transaction

from tenants.database.scope import current_tenant_id
from tenants.models import Tenant
from tenants.vault.keys import MasterKey, open_master, unwrap_tenant_key
from tenants.vault.stores.contract import ObjectStore
from tenants.vault.stores.opening import open_store
from tenants.vault.vault import Vault


@lru_cache(maxsize=1)
def object_store() -> ObjectStore:
    return open_store(settings.OBJECTS_URL)


@lru_cache(maxsize=1)
def master_key() -> MasterKey:
    return open_master(settings.MASTER_KEY_URI)


def open_vault() -> Vault:
    """The vault of the open scope's tenant. Raises KeyDestroyed when its key is gone."""
    return vault_for(current_tenant_id())


def vault_for(tenant_id: UUID) -> Vault:
    """Needs the tenant's scope open: the wrapped key is a row that row-level security guards.

    The vault itself may be used after the scope has closed (long streams hold no transaction).
    """
    wrapped = Tenant.objects.values_list("wrapped_key", flat=True).get(id=tenant_id)
    key = unwrap_tenant_key(master_key(), wrapped, tenant_id)
    return Vault(object_store(), tenant_id, key)


def drop_when_committed(vault: Vault, names: Iterable[str]) -> None:
    """Objects whose rows go in the open transaction: rolled back, both are still there."""
    gone = list(names)

    def drop() -> None:
        for name in gone:
            vault.delete(name)

    transaction.on_commit(drop)
