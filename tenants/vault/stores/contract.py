"""Where ciphertext lies: what a folder and S3 both are to the vault.

A store knows nothing of tenants, names or keys; the vault gives it opaque object keys.
"""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol

from tenants.vault.errors import BadKey

# No segment starts with a dot: neither `..` nor the folder of partial writes can be named.
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_PREFIX = re.compile(r"([A-Za-z0-9_][A-Za-z0-9._-]*/)*([A-Za-z0-9_][A-Za-z0-9._-]*)?")
_LONGEST = 800  # bytes; S3 allows 1024 including the store's own prefix
DAY = 86_400.0


class Writer(Protocol):
    """A binary sink that takes all of what it is given."""

    def write(self, data: bytes, /) -> int: ...


class ObjectStore(Protocol):
    """Objects are written once and whole; every method may raise StorageDown or StorageFull."""

    def write(self, key: str) -> AbstractContextManager[Writer]:
        """The object appears, durable and whole, as the block ends; an exception leaves none."""

    def open(self, key: str) -> BinaryIO:
        """A seekable reader that fetches only the ranges read. Raises ObjectMissing."""

    def size(self, key: str) -> int:
        """Bytes stored. Raises ObjectMissing."""

    def delete(self, key: str) -> None:
        """Remove the object; one that is not there is no error."""

    def list(self, prefix: str = "", older_than_s: float = 0) -> Iterator[str]:
        """Keys that start with `prefix` and were written so long ago, in no promised order; partial
        writes never show."""

    def health(self) -> None:
        """Return if the store can be written now, else raise the reason."""

    def sweep_partial(self, older_than_s: float = DAY) -> int:
        """Remove what killed writers left behind; returns how many. Live writers are spared."""


def check_key(key: str) -> str:
    """The key itself, or BadKey."""
    if not _KEY.fullmatch(key):
        raise BadKey(key, "it must be plain segments joined by '/', none starting with '.' or '-'")
    if len(key) > _LONGEST or max(map(len, key.split("/"))) > 200:
        raise BadKey(key, f"at most {_LONGEST} characters, 200 in a segment")
    return key


def check_prefix(prefix: str) -> str:
    """The prefix itself (empty, a folder with its '/', or the start of a name), or BadKey."""
    if not _PREFIX.fullmatch(prefix) or len(prefix) > _LONGEST:
        raise BadKey(prefix, "it is not the beginning of any allowed key")
    return prefix
