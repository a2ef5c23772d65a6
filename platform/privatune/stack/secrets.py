"""The stack's own secrets and addresses, made once per data folder and kept there (0600)."""

import json
import os
import secrets
import tempfile
from pathlib import Path
from urllib.parse import quote, unquote, urlparse

from privatune.env import VARIABLES, Process, embedded_file, knows
from privatune.stack.folder import StackError

DATABASES = ("DATABASE_OWNER_URL", "DATABASE_URL", "DATABASE_OPERATOR_URL")
_HEADS = {"", "file:", "file://", "filesystem://"}  # of values with a path; two have it as URLs do
ROLES = ("postgres", "privatune_owner", "privatune_app", "privatune_operator")


def socket_path(data: Path, name: str, *, folder: str = "") -> Path:
    """A Unix socket in the data folder, or in a private temp folder when the path is too long
    (sun_path holds 107 bytes)."""
    inside = data / "run" / folder / name
    if _fits(inside):
        return inside
    prefix = f"privatune-{secrets.token_hex(4)}-"
    if not _fits(Path(tempfile.gettempdir()) / f"{prefix}{'x' * 8}" / name):
        raise StackError(
            f"Neither {data} nor the folder for temporary files, {tempfile.gettempdir()}, has a "
            "path that is short enough for a Unix socket (107 bytes). Set TMPDIR to a short one, "
            "or choose a shorter folder with --data."
        )
    return Path(tempfile.mkdtemp(prefix=prefix)) / name


def _fits(socket: Path) -> bool:
    return len(os.fsencode(socket)) < 100


def ensure_secrets(data: Path) -> dict[str, str]:
    """Reads or makes `secrets/env.json`, which only the supervisor reads, and beside it one file
    for each kind of process with what that kind may know (privatune.env)."""
    path = data / "secrets" / "env.json"
    if path.exists():
        values = _read(path)
    else:
        for name in ("secrets", "run", "objects", "models", "work"):
            (data / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        values = _make(data)
    _follow(values, data)
    if values["PRIVATUNE_SERVING_SOCKET"] == str(data / "run" / "serving.sock"):
        values["PRIVATUNE_SERVING_SOCKET"] = str(_serving_socket(data))  # as older versions had it
    if not _is_ours(Path(values["PRIVATUNE_SERVING_SOCKET"]).parent, data):
        values["PRIVATUNE_SERVING_SOCKET"] = str(_serving_socket(data))
    Path(values["PRIVATUNE_SERVING_SOCKET"]).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    values.setdefault("PRIVATUNE_SIGNING_PUBLIC_KEY", str(data / "secrets" / "signing.pub.pem"))
    _write_all(data, values)
    return values


def _read(path: Path) -> dict[str, str]:
    try:
        return {str(k): str(v) for k, v in json.loads(path.read_text("utf-8")).items()}
    except (ValueError, AttributeError) as error:
        raise StackError(
            f"{path}, which holds this installation's passwords, is damaged ({error}). "
            "Put it back from its backup."
        ) from error


def reach_database(data: Path, values: dict[str, str], socket_folder: str) -> None:
    """Writes down where the embedded server listens this time: not in the data folder when that
    folder's path is too long for a socket."""
    for name in DATABASES:
        url = urlparse(values[name])
        login, _, _ = url.netloc.rpartition("@")
        values[name] = url._replace(netloc=f"{login}@{quote(socket_folder, safe='')}").geturl()
    _write_all(data, values)


def _follow(values: dict[str, str], data: Path) -> None:
    """A folder that was moved, or put back from a backup elsewhere, names itself: never the place
    it was made at, where another installation may run with the same passwords."""
    before = values.get("PRIVATUNE_FOLDER") or _made_at(values)
    values["PRIVATUNE_FOLDER"] = str(data)
    if before == str(data):
        return
    for name, value in values.items():
        for spelled in (before, quote(before)):  # older versions quoted no URL
            head, found, tail = value.partition(spelled)
            if found and head in _HEADS and tail[:1] in {"", "/"}:
                place = quote(str(data)) if head.endswith("://") else str(data)
                values[name] = f"{head}{place}{tail}"
                break


def _is_ours(folder: Path, data: Path) -> bool:
    """Machines empty their temp folders, and then anybody may take the name."""
    if folder.is_relative_to(data):
        return True
    return folder.is_dir() and folder.stat().st_uid == os.geteuid()


def _made_at(values: dict[str, str]) -> str:
    """Older versions wrote it down in their database's address only."""
    host = urlparse(values["DATABASE_URL"]).netloc.rpartition("@")[2]
    return str(Path(unquote(host)).parent)


def _write_all(data: Path, values: dict[str, str]) -> None:
    _write(data / "secrets" / "env.json", values)
    for kind in Process:
        known = {v.name for v in VARIABLES if knows(v.name, kind)}
        _write(embedded_file(data, kind), {k: v for k, v in values.items() if k in known})


def _serving_socket(data: Path) -> Path:
    """In a folder of its own: it is all that the serving process can write to."""
    return socket_path(data, "serving.sock", folder="serving")


def _write(path: Path, values: dict[str, str]) -> None:
    partial = path.with_suffix(".tmp")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(values, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def _make(data: Path) -> dict[str, str]:
    passwords = {role: secrets.token_urlsafe(24) for role in ROLES}
    sockets = quote(str(data / "pg"), safe="")

    def url(role: str) -> str:
        return f"postgresql://{role}:{passwords[role]}@{sockets}/privatune"

    return {
        "PRIVATUNE_SECRET_KEY": secrets.token_urlsafe(50),
        "PRIVATUNE_HTTPS": "0",
        "DATABASE_SUPERUSER_PASSWORD": passwords["postgres"],
        "DATABASE_OWNER_URL": url("privatune_owner"),
        "DATABASE_URL": url("privatune_app"),
        "DATABASE_OPERATOR_URL": url("privatune_operator"),
        "BROKER_URL": f"filesystem://{quote(str(data / 'queue'))}",
        "PRIVATUNE_OBJECTS": f"file://{quote(str(data / 'objects'))}",
        "PRIVATUNE_MASTER_KEY": f"file:{data / 'secrets' / 'master.json'}",
        "PRIVATUNE_SIGNING_KEY": str(data / "secrets" / "signing.pem"),
        "PRIVATUNE_MODELS": str(data / "models"),
        "PRIVATUNE_WORK": str(data / "work"),
        "PRIVATUNE_SERVING_SOCKET": str(_serving_socket(data)),
    }
