"""What can go wrong with stored bytes and their keys; each says how to mend it."""


class VaultError(Exception):
    """Base of all: a stable `code`, what happened, and the way out."""

    def __init__(self, code: str, message: str, fix: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message} Fix: {self.fix}"


class BadKey(VaultError):
    """An object's name that no store accepts; a fault of the caller, never of the tenant."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(
            "object_key_invalid",
            f"The object key {key!r} is not allowed: {why}.",
            "Build keys from our own identifiers: letters, digits, '.', '_', '-' and '/'.",
        )


class ObjectMissing(VaultError):
    """No such object."""

    def __init__(self, key: str) -> None:
        super().__init__(
            "object_missing",
            f"There is no object {key!r} in the storage.",
            "Upload it again; if it should be there, compare the storage with its backup.",
        )


class ObjectDamaged(VaultError):
    """The bytes are not the ones that were stored under this name for this tenant."""

    def __init__(self, key: str, what: str) -> None:
        super().__init__(
            "object_damaged",
            f"The object {key!r} failed authentication: {what}.",
            "Restore it from a backup or upload it again; it was changed outside of Privatune.",
        )


class StorageFull(VaultError):
    """No room left; nothing of the object that was being written is visible."""

    def __init__(self, where: str) -> None:
        super().__init__(
            "storage_full",
            f"The storage at {where} is full.",
            "Free or add space there, then try again; nothing half-written was kept.",
        )


class StorageDown(VaultError):
    """The storage does not answer or refuses us; the same request may succeed later."""

    def __init__(
        self,
        where: str,
        cause: object,
        fix: str = "Check that it runs, its address and its credentials.",
    ) -> None:
        super().__init__("storage_down", f"The storage at {where} does not work: {cause}.", fix)


class KeyUnavailable(VaultError):
    """A key cannot be had now: no master key, the wrong one, or a KMS that refuses."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__("key_unavailable", message, fix)


class KeyDestroyed(VaultError):
    """The tenant's key was destroyed, and with it all that it stored, backups included."""

    def __init__(self, tenant_id: object) -> None:
        super().__init__(
            "key_destroyed",
            f"The key of tenant {tenant_id} was destroyed; its data can never be read again.",
            "There is no way back: destroying the key is how a tenant's data is deleted for good.",
        )
