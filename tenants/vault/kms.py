"""A master key that never leaves a cloud's key service: tink's own clients, with our errors."""

from collections.abc import Callable
from typing import Any

import tink
from tink import aead

from tenants.vault.errors import KeyUnavailable


class _KmsAead(aead.Aead):
    """An AEAD computed by the KMS; each cloud's client raises errors of its own."""

    def __init__(self, remote: aead.Aead, uri: str) -> None:
        self._remote = remote
        self._uri = uri

    def encrypt(self, plaintext: bytes, associated_data: bytes) -> bytes:
        return self._call(self._remote.encrypt, plaintext, associated_data)

    def decrypt(self, ciphertext: bytes, associated_data: bytes) -> bytes:
        return self._call(self._remote.decrypt, ciphertext, associated_data)

    def _call(self, operation: Callable[[bytes, bytes], Any], data: bytes, bound: bytes) -> bytes:
        try:
            return bytes(operation(data, bound))
        except Exception as error:
            raise KeyUnavailable(
                f"The key service refused {self._uri}: {error}.",
                "Check that it is reachable and that these credentials may encrypt and decrypt.",
            ) from error


def open_kms(uri: str) -> aead.Aead:
    """The AEAD behind a KMS address; credentials come from the cloud's own environment."""
    try:
        client = _gcp(uri) if uri.startswith("gcp-kms://") else _aws(uri)
        return _KmsAead(client.get_aead(uri), uri)
    except ImportError as error:
        raise KeyUnavailable(
            f"{uri} needs a package that is not installed: {error}.",
            "pip install 'tink[gcpkms]' or 'tink[awskms]', or use a file: master key.",
        ) from error
    except (tink.TinkError, ValueError) as error:
        raise KeyUnavailable(
            f"{uri} names no key: {error}.",
            "aws-kms://arn:aws:kms:REGION:ACCOUNT:key/ID, or gcp-kms://projects/P/locations/L/"
            "keyRings/R/cryptoKeys/K",
        ) from error


def _gcp(uri: str) -> tink.KmsClient:
    from tink.integration import gcpkms

    return gcpkms.GcpKmsClient(uri, None)


def _aws(uri: str) -> tink.KmsClient:
    import boto3
    from botocore.config import Config
    from tink.integration import awskms

    parts = uri.split(":")  # aws-kms : //arn : aws : kms : region : account : key/...
    if len(parts) < 7:
        raise ValueError("the key's ARN is not complete")
    waits = Config(connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 3})
    client = boto3.Session().client("kms", region_name=parts[4], config=waits)
    return awskms.new_client(boto3_client=client, key_uri=uri)
