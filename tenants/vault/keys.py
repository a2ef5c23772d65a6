"""The keys above every object: the operator's master key wraps each tenant's key, and only those.

A wrapped key is bound to its tenant: put beside another tenant's name, it does not open.
"""

import os
import secrets
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import tink
from tink import aead, json_proto_keyset_format, proto_keyset_format, secret_key_access

from tenants.vault.errors import KeyDestroyed, KeyUnavailable

aead.register()

TenantId = uuid.UUID | str
_TEMPLATE = aead.aead_key_templates.AES256_GCM
_RESTORE = "Point at the master key this installation was made with, from its backup."


class MasterKey:
    """The operator's key: a tink keyset in a file, or (see `kms`) one that never leaves a KMS."""

    def __init__(self, primitive: aead.Aead, label: str) -> None:
        self.aead = primitive
        self.label = label

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], create: bool = True) -> "MasterKey":
        """Read the keyset (tink's JSON, 0600), made first if allowed. Raises KeyUnavailable."""
        path = Path(path)
        try:
            if create and not path.exists():
                _create(path)
            if path.stat().st_mode & 0o077:
                raise KeyUnavailable(
                    f"The master key {path} can be read by other users.", f"chmod 600 {path}"
                )
            keyset = path.read_text("utf-8")
        except OSError as error:
            raise KeyUnavailable(f"The master key {path} cannot be read: {error}.", _RESTORE) from (
                error
            )
        try:
            handle = json_proto_keyset_format.parse(keyset, secret_key_access.TOKEN)
            return cls(handle.primitive(aead.Aead), f"file:{path}")
        except tink.TinkError as error:
            raise KeyUnavailable(f"{path} is no tink AEAD keyset: {error}.", _RESTORE) from error


class TenantKey:
    """A tenant's key in the clear, in memory only; it wraps the data key of each object."""

    def __init__(self, handle: tink.KeysetHandle) -> None:
        self._aead = handle.primitive(aead.Aead)

    def wrap(self, data_key: tink.KeysetHandle, bound_to: bytes) -> bytes:
        return bytes(proto_keyset_format.serialize_encrypted(data_key, self._aead, bound_to))

    def seal(self, data: bytes, bound_to: bytes) -> bytes:
        """A few kilobytes at most: for what lies in a row and not in an object."""
        return bytes(self._aead.encrypt(data, bound_to))

    def unseal(self, sealed: bytes, bound_to: bytes) -> bytes:
        """Raises tink.TinkError when it is not what `seal` made for `bound_to`."""
        return bytes(self._aead.decrypt(sealed, bound_to))

    def unwrap(self, wrapped: bytes, bound_to: bytes) -> tink.KeysetHandle:
        """Raises tink.TinkError when it is not what `wrap` made for `bound_to`."""
        return proto_keyset_format.parse_encrypted(wrapped, self._aead, bound_to)


def new_tenant_key(master: MasterKey, tenant_id: TenantId) -> bytes:
    """A fresh key for the tenant, wrapped; deleting every copy of these bytes shreds the data."""
    handle = tink.new_keyset_handle(_TEMPLATE)
    return bytes(proto_keyset_format.serialize_encrypted(handle, master.aead, _bound_to(tenant_id)))


def unwrap_tenant_key(
    master: MasterKey, wrapped: bytes | memoryview | None, tenant_id: TenantId
) -> TenantKey:
    """Raises KeyDestroyed when nothing is left of the key, KeyUnavailable when it does not open."""
    if not wrapped:
        raise KeyDestroyed(tenant_id)
    try:
        return TenantKey(
            proto_keyset_format.parse_encrypted(bytes(wrapped), master.aead, _bound_to(tenant_id))
        )
    except tink.TinkError as error:
        raise KeyUnavailable(
            f"The key of tenant {tenant_id} does not open under the master key {master.label}.",
            _RESTORE,
        ) from error


def open_master(uri: str) -> MasterKey:
    """`file:/path/master.json` (made if absent), or a key in a KMS: `gcp-kms://`, `aws-kms://`."""
    scheme, _, rest = uri.partition(":")
    if scheme == "file" and rest.strip("/"):
        return MasterKey.from_file("/" + rest.lstrip("/"))
    if scheme in {"gcp-kms", "aws-kms"}:
        from tenants.vault.kms import open_kms

        return MasterKey(open_kms(uri), uri)
    raise KeyUnavailable(
        f"The master key address {uri!r} is not understood.",
        "Use file:/absolute/path, gcp-kms://projects/... or aws-kms://arn:aws:kms:...",
    )


def _bound_to(tenant_id: TenantId) -> bytes:
    return f"privatune tenant key|{uuid.UUID(str(tenant_id))}|1".encode()


def _create(path: Path) -> None:
    """Write a fresh keyset whole or not at all; of two processes at once, the first one's stays."""
    keyset: Any = json_proto_keyset_format.serialize(
        tink.new_keyset_handle(_TEMPLATE), secret_key_access.TOKEN
    )
    path.parent.mkdir(0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(keyset)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
