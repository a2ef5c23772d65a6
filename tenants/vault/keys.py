"""The keys above every object: the operator's master key wraps each tenant's key, and only those.

A wrapped key is bound to its tenant: put beside another tenant's name, it does not open.
"""

import hashlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

import tink
from tink import aead, json_proto_keyset_format, proto_keyset_format, secret_key_access

from tenants.vault.errors import KeyDestroyed, KeyUnavailable
from tenants.vault.keyfiles import RESTORE, make_key_file, read_key_file

aead.register()

TenantId = uuid.UUID | str
_TEMPLATE = aead.aead_key_templates.AES256_GCM


class MasterKey:
    """The operator's key: a tink keyset in a file, or (see `kms`) one that never leaves a KMS."""

    def __init__(self, primitive: aead.Aead, label: str, fingerprint: str) -> None:
        self.aead = primitive
        self.label = label
        self.fingerprint = fingerprint  # tells one key from another and nothing about either

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> "MasterKey":
        """Read the keyset (tink's JSON). Raises KeyUnavailable."""
        path = Path(path)
        keyset = read_key_file(path, "master key")
        try:
            handle = json_proto_keyset_format.parse(keyset.decode(), secret_key_access.TOKEN)
            return cls(handle.primitive(aead.Aead), f"file:{path}", _fingerprint(keyset))
        except (tink.TinkError, UnicodeDecodeError) as error:
            raise KeyUnavailable(f"{path} is no tink AEAD keyset: {error}.", RESTORE) from error

    @classmethod
    def make_file(cls, path: str | os.PathLike[str]) -> "MasterKey":
        """A fresh key in a new file. Raises FileExistsError; only `privatune keys init` calls it.

        Losing the file loses every tenant's data.
        """
        keyset: Any = json_proto_keyset_format.serialize(
            tink.new_keyset_handle(_TEMPLATE), secret_key_access.TOKEN
        )
        make_key_file(Path(path), keyset.encode())
        return cls.from_file(path)


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
            RESTORE,
        ) from error


def master_file(uri: str) -> Path | None:
    """The file that a `file:` address names; None for any other address."""
    scheme, _, rest = uri.partition(":")
    return Path("/" + rest.lstrip("/")) if scheme == "file" and rest.strip("/") else None


def open_master(uri: str) -> MasterKey:
    """`file:/path/master.json`, or a key in a KMS: `gcp-kms://`, `aws-kms://`.

    Raises KeyUnavailable; no key is ever made here: another key than the installation's opens
    nothing, and what it wraps is lost with it.
    """
    scheme, _, _rest = uri.partition(":")
    path = master_file(uri)
    if path is not None:
        return MasterKey.from_file(path)
    if scheme in {"gcp-kms", "aws-kms"}:
        from tenants.vault.kms import open_kms

        return MasterKey(open_kms(uri), uri, uri)
    raise KeyUnavailable(
        f"The master key address {uri!r} is not understood.",
        "Use file:/absolute/path, gcp-kms://projects/... or aws-kms://arn:aws:kms:...",
    )


def _bound_to(tenant_id: TenantId) -> bytes:
    return f"privatune tenant key|{uuid.UUID(str(tenant_id))}|1".encode()


def _fingerprint(keyset: bytes) -> str:
    """Of 256 random bits at least, so that a hash gives nothing away."""
    spelled = json.dumps(json.loads(keyset), sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(b"privatune master key\n" + spelled.encode()).hexdigest()
