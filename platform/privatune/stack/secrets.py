"""The stack's own secrets and addresses, made once per data folder and kept there (0600)."""

import json
import os
import secrets
import tempfile
from pathlib import Path
from urllib.parse import quote

ROLES = ("postgres", "privatune_owner", "privatune_app", "privatune_operator")


def socket_path(data: Path, name: str) -> Path:
    """A Unix socket in the data folder, or in a private temp folder when the path is too long
    (sun_path holds 107 bytes)."""
    inside = data / "run" / name
    if len(str(inside)) < 100:
        return inside
    digest = secrets.token_hex(4)
    return Path(tempfile.mkdtemp(prefix=f"privatune-{digest}-")) / name


def ensure_secrets(data: Path) -> dict[str, str]:
    """Reads or makes `secrets/env.json`: what privatune.env fills in for absent variables."""
    folder = data / "secrets"
    path = folder / "env.json"
    if path.exists():
        return {str(k): str(v) for k, v in json.loads(path.read_text("utf-8")).items()}
    for each in (folder, data / "run", data / "objects", data / "models", data / "work"):
        each.mkdir(parents=True, exist_ok=True, mode=0o700)
    values = _make(data)
    partial = path.with_suffix(".tmp")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(values, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    return values


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
        "BROKER_URL": f"filesystem://{data / 'queue'}",
        "PRIVATUNE_OBJECTS": f"file://{data / 'objects'}",
        "PRIVATUNE_MASTER_KEY": f"file:{data / 'secrets' / 'master.json'}",
        "PRIVATUNE_SIGNING_KEY": str(data / "secrets" / "signing.pem"),
        "PRIVATUNE_MODELS": str(data / "models"),
        "PRIVATUNE_WORK": str(data / "work"),
        "PRIVATUNE_SERVING_SOCKET": str(socket_path(data, "serving.sock")),
    }
