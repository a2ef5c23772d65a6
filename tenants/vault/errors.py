"""What can go wrong with stored bytes and their keys; each says how to mend it."""

from faults import OurFault, Outage


class VaultError(OurFault):
    """Base of all. Its words name objects, places and keys: they are the operator's."""

    private = True


class VaultOutage(VaultError, Outage):
    """The storage or a key is away: nothing is lost, and the same request may succeed later."""

    status = 503
    retry_after = 30
    told_fix = "Try again later; if it stays, tell the operator."


class ObjectLost(VaultError):
    """One object's bytes can no longer be given out; whoever asks may know which and why."""

    status = 410
    private = False


class BadKey(VaultError):
    """An object's name that no store accepts; a fault of the caller, never of the tenant."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(
            "object_key_invalid",
            f"The object key {key!r} is not allowed: {why}.",
            fix="Build keys from our own identifiers: letters, digits, '.', '_', '-' and '/'.",
        )


class ObjectMissing(ObjectLost):
    """No such object."""

    def __init__(self, key: str) -> None:
        super().__init__(
            "object_missing",
            f"There is no object {key!r} in the storage.",
            fix="Upload it again; if it should be there, compare the storage with its backup.",
        )


class ObjectDamaged(ObjectLost):
    """The bytes are not the ones that were stored under this name for this tenant."""

    def __init__(self, key: str, what: str) -> None:
        super().__init__(
            "object_damaged",
            f"The object {key!r} failed authentication: {what}.",
            fix="Restore it from a backup or upload it again; it was changed outside of Privatune.",
        )


class StorageFull(VaultOutage):
    """No room left; nothing of the object that was being written is visible."""

    told = "The storage is full; nothing of this was kept."

    def __init__(self, where: str) -> None:
        super().__init__(
            "storage_full",
            f"The storage at {where} is full.",
            fix="Free or add space there, then try again; nothing half-written was kept.",
        )


class StorageDown(VaultOutage):
    """The storage does not answer or refuses us; the same request may succeed later."""

    told = "The storage does not answer."

    def __init__(
        self,
        where: str,
        cause: object,
        fix: str = "Check that it runs, its address and its credentials.",
    ) -> None:
        message = f"The storage at {where} does not work: {cause}."
        super().__init__("storage_down", message, fix=fix)


class KeyUnavailable(VaultOutage):
    """A key cannot be had now: no master key, the wrong one, or a KMS that refuses."""

    told = "The server cannot reach its keys."

    def __init__(self, message: str, fix: str) -> None:
        super().__init__("key_unavailable", message, fix=fix)


class KeyDestroyed(VaultError):
    """The tenant's key was destroyed, and with it all that it stored, backups included."""

    status = 410
    private = False

    def __init__(self, tenant_id: object) -> None:
        super().__init__(
            "key_destroyed",
            f"The key of tenant {tenant_id} was destroyed; its data can never be read again.",
            fix="There is no way back: destroying the key is how a tenant's data is deleted for "
            "good.",
        )
