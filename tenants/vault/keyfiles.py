"""Files that hold a secret key: made once, exclusively, and read only when nobody else can.

Kubernetes lays secrets as links, owned by root and readable by the pod's group (fsGroup, 0440):
that is accepted. A file that others can read, or that the group can write, is not.
"""

import os
import secrets
import stat
from pathlib import Path

from tenants.vault.errors import KeyUnavailable

RESTORE = (
    "Point at the key this installation was made with, from its backup; "
    "a new installation makes its keys with `privatune keys init`."
)


def read_key_file(path: Path, what: str) -> bytes:
    """`what` names the key in the message. Never makes one. Raises KeyUnavailable."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o027:
            raise KeyUnavailable(
                f"The {what} {path} can be read by other users or changed by its group "
                f"(mode {mode:04o}).",
                f"chmod 600 {path} (or 0440 with a group of its own)",
            )
        return path.read_bytes()
    except OSError as error:
        raise KeyUnavailable(f"The {what} {path} cannot be read: {error}.", RESTORE) from error


def make_key_file(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Whole or not at all, and never over another. Raises FileExistsError, OSError."""
    path.parent.mkdir(0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
