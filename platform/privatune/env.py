"""Every environment variable that the server reads, in one list: the docs' table is made from it.

Any secret NAME can also come from a file: NAME_FILE (container secrets). With PRIVATUNE_DATA set
and a variable absent, the data folder's own secrets fill in (the embedded default).
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Variable:
    name: str
    meaning: str
    default: str | None = None
    secret: bool = False


VARIABLES = (
    Variable("PRIVATUNE_DATA", "Data folder of the embedded stack; also the run workspace.", "var/data"),
    Variable("PRIVATUNE_SECRET_KEY", "Django's signing key.", secret=True),
    Variable("PRIVATUNE_ALLOWED_HOSTS", "Host names served, comma-separated.", "127.0.0.1,localhost"),
    Variable("PRIVATUNE_TRUSTED_ORIGINS", "Origins for CSRF when behind TLS, comma-separated.", ""),
    Variable("PRIVATUNE_HTTPS", "1: cookies are secure, HTTP is redirected, HSTS is sent.", "1"),
    Variable("DATABASE_URL", "PostgreSQL as the app's role (no ownership, no RLS bypass).", secret=True),
    Variable("DATABASE_OWNER_URL", "PostgreSQL as the owner role; give it to migrations only.", "", secret=True),
    Variable("DATABASE_OPERATOR_URL", "PostgreSQL as the operator role; the web needs it for the admin.", "", secret=True),
    Variable("BROKER_URL", "Celery broker: amqp://, redis:// or filesystem:///folder.", secret=True),
    Variable("PRIVATUNE_OBJECTS", "Object store: file:///folder or s3://bucket/prefix?endpoint=…&region=…"),
    Variable("PRIVATUNE_MASTER_KEY", "Key that wraps tenant keys: file:/path (a Tink keyset).", secret=True),
    Variable("PRIVATUNE_SIGNING_KEY", "PEM file of the P-256 key that signs artifacts."),
    Variable("PRIVATUNE_MODELS", "Folder of imported base models."),
    Variable("PRIVATUNE_WORK", "Folder for private run folders (fast local disk, never shared)."),
    Variable("PRIVATUNE_SERVING_SOCKET", "Unix socket of the serving process."),
    Variable("PRIVATUNE_LEASE_SECONDS", "How long a worker's claim on a run lives without heartbeat.", "60"),
    Variable("PRIVATUNE_HEARTBEAT_SECONDS", "How often a worker renews its claim.", "10"),
    Variable("PRIVATUNE_SWEEP_SECONDS", "How often forgotten work is looked for.", "15"),
    Variable("PRIVATUNE_RUN_ATTEMPTS", "Claims without progress before a run is failed.", "3"),
    Variable("PRIVATUNE_TRAINER_THREADS", "CPU threads of a training process.", ""),
    Variable("PRIVATUNE_MAX_FILE_MB", "Largest file.", "512"),
    Variable("PRIVATUNE_CHECK_MEMORY_MB", "Memory limit of the data checker's child process.", "4096"),
    Variable("PRIVATUNE_CHECK_SECONDS", "Time limit of one data check.", "1800"),
    Variable("PRIVATUNE_LOG_LEVEL", "DEBUG, INFO, WARNING or ERROR.", "INFO"),
)  # fmt: skip

_BY_NAME = {variable.name: variable for variable in VARIABLES}


class Missing(RuntimeError):
    """A setting is absent; the message names it and says how to give it."""


def data_dir() -> Path:
    return Path(os.environ.get("PRIVATUNE_DATA", "var/data")).resolve()


def _embedded() -> dict[str, str]:
    """What `privatune up` wrote for its own data folder, if there is one."""
    path = data_dir() / "secrets" / "env.json"
    try:
        loaded = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    return {str(key): str(value) for key, value in loaded.items()}


_EMBEDDED = _embedded()


def read(name: str) -> str:
    """The variable's value: environment, NAME_FILE, the data folder's own, then the default."""
    variable = _BY_NAME[name]
    if name in os.environ:
        return os.environ[name]
    if variable.secret and f"{name}_FILE" in os.environ:
        return Path(os.environ[f"{name}_FILE"]).read_text("utf-8").strip()
    if name in _EMBEDDED:
        return _EMBEDDED[name]
    if variable.default is not None:
        return variable.default
    raise Missing(
        f"{name} is not set ({variable.meaning}) Set it in the environment, or start the embedded "
        "stack once with `privatune up --data DIR` and set PRIVATUNE_DATA=DIR."
    )


def read_list(name: str) -> list[str]:
    return [part.strip() for part in read(name).split(",") if part.strip()]


def read_int(name: str) -> int:
    value = read(name)
    try:
        return int(value)
    except ValueError:
        raise Missing(f"{name} must be a whole number, not {value!r}") from None
