"""Every environment variable that the server reads, in one list: the docs' table is made from it.

Any secret NAME can also come from a file: NAME_FILE (container secrets). With PRIVATUNE_DATA set
and a variable absent, the data folder's own secrets fill in (the embedded default). Which process
may know which variable stands here too, and nothing else is read.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Process(StrEnum):
    """What runs, told by PRIVATUNE_PROCESS."""

    WEB = "web"
    WORKER = "worker"  # checks files, sweeps, signs the audit trails' heads
    TRAINER = "trainer"  # trains and publishes: signs
    SERVING = "serving"  # answers from a socket; knows nothing
    MIGRATE = "migrate"  # changes the schema, then is gone
    OPERATOR = "operator"  # the operator's command line


LONG_LIVED = frozenset({Process.WEB, Process.WORKER, Process.TRAINER, Process.SERVING})
DJANGO = frozenset(Process) - {Process.SERVING}
SERVICES = DJANGO - {Process.MIGRATE}
SIGNING = frozenset({Process.TRAINER, Process.WORKER, Process.OPERATOR})


@dataclass(frozen=True)
class Variable:
    name: str
    meaning: str
    default: str | None = None
    secret: bool = False
    known_to: frozenset[Process] = DJANGO


VARIABLES = (
    Variable("PRIVATUNE_DATA", "Data folder of the embedded stack; also the run workspace.", "var/data"),
    Variable("PRIVATUNE_PROCESS", "What this process is: web, worker, trainer, migrate or operator.", "operator"),
    Variable("PRIVATUNE_SECRET_KEY", "Django's signing key.", secret=True, known_to=frozenset({Process.WEB})),
    Variable("PRIVATUNE_ALLOWED_HOSTS", "Host names served, comma-separated.", "127.0.0.1,localhost"),
    Variable("PRIVATUNE_TRUSTED_ORIGINS", "Origins for CSRF when behind TLS, comma-separated.", ""),
    Variable("PRIVATUNE_API_ORIGINS", "Origins (https://app.example) whose pages may call the APIs from a browser, comma-separated; `*`: all; empty: none.", ""),
    Variable("PRIVATUNE_HTTPS", "1: cookies are secure, HTTP is redirected, HSTS is sent.", "1"),
    Variable("PRIVATUNE_TRUSTED_PROXIES", "Addresses or networks of proxies whose X-Forwarded-For is believed, comma-separated.", ""),
    Variable("PRIVATUNE_OIDC_HOSTS", "Hosts (host or host:port) of identity providers that organisations may name, comma-separated; empty: none.", ""),
    Variable("PRIVATUNE_MAIL", "Mail server: smtp+tls://user:password@host:587, smtps:// or smtp://; empty: nothing is mailed.", "", secret=True, known_to=frozenset({Process.WEB})),
    Variable("PRIVATUNE_MAIL_FROM", "Sender of mails.", "privatune@localhost"),
    Variable("DATABASE_URL", "PostgreSQL as the app's role (no ownership, no RLS bypass).", secret=True),
    Variable("DATABASE_OWNER_URL", "PostgreSQL as the owner role; give it to migrations only.", "", secret=True, known_to=frozenset({Process.MIGRATE})),
    Variable("DATABASE_OPERATOR_URL", "PostgreSQL as the operator role, which only reads; without it the web serves no `/operator/`.", "", secret=True, known_to=frozenset({Process.WEB})),
    Variable("DATABASE_OPERATOR_ROLE", "Name of the operator role, to which migrations grant what it may read.", "privatune_operator"),
    Variable("BROKER_URL", "Celery broker: amqp://, redis:// or filesystem:///folder.", secret=True, known_to=SERVICES),
    Variable("PRIVATUNE_OBJECTS", "Object store: file:///folder or s3://bucket/prefix?endpoint=…&region=…"),
    Variable("PRIVATUNE_MASTER_KEY", "Key that wraps tenant keys: file:/path (a Tink keyset).", secret=True, known_to=SERVICES),
    Variable("PRIVATUNE_SIGNING_KEY", "PEM file of the P-256 key that signs artifacts and audit heads.", known_to=SIGNING),
    Variable("PRIVATUNE_SIGNING_PUBLIC_KEY", "PEM file of its public half, which the web shows to customers; needed by the web.", ""),
    Variable("PRIVATUNE_MODELS", "Folder of imported base models."),
    Variable("PRIVATUNE_WORK", "Folder for private run folders (fast local disk, never shared)."),
    Variable("PRIVATUNE_SERVING_SOCKET", "Unix socket of the serving process."),
    Variable("PRIVATUNE_LEASE_SECONDS", "How long a worker's claim on a run lives without heartbeat.", "60"),
    Variable("PRIVATUNE_HEARTBEAT_SECONDS", "How often a worker renews its claim.", "10"),
    Variable("PRIVATUNE_SWEEP_SECONDS", "How often forgotten work is looked for.", "15"),
    Variable("PRIVATUNE_RUN_ATTEMPTS", "Claims of a run, check or validation without progress before it is failed.", "3"),
    Variable("PRIVATUNE_TRAINER_THREADS", "CPU threads of a training process.", ""),
    Variable("PRIVATUNE_STRICT_DETERMINISM", "1: jobs that begin here run deterministic algorithms only (slower attention on a GPU); one that needs an operation without fails.", "0"),
    Variable("PRIVATUNE_MAX_ROLLBACKS", "How often a training that blows up is rolled back; once more fails the job and names the rows. For jobs that begin here.", "10"),
    Variable("PRIVATUNE_SANDBOX", "`require`: processes that handle data run in namespaces of their own, or not at all; `bubblewrap`: in those that bubblewrap makes, or not at all; `allow-none`: also without, and every run says so.", "require"),
    Variable("PRIVATUNE_MAX_FILE_MB", "Largest file.", "512"),
    Variable("PRIVATUNE_ADDRESS_REQUESTS", "Requests a minute of one address without a good key.", "6000"),
    Variable("PRIVATUNE_KEY_REQUESTS", "Requests a minute of one API key, unless the operator gave its tenant another limit.", "6000"),
    Variable("PRIVATUNE_TENANT_REQUESTS", "Requests a minute of all API keys of a tenant, unless the operator gave it another limit.", "12000"),
    Variable("PRIVATUNE_TENANT_TOKENS", "Tokens a minute that a tenant may ask its models for: prompt and max_tokens are taken, and what was not needed is given back.", "10000000"),
    Variable("PRIVATUNE_SPOOL_MB", "Request bodies held at once, of all callers together; files count twice.", "8192"),
    Variable("PRIVATUNE_TENANT_SPOOL_MB", "Request bodies held at once of one tenant; files count twice.", "4096"),
    Variable("PRIVATUNE_BODY_IDLE_SECONDS", "How long a request's body may stand still before it is given up.", "10"),
    Variable("PRIVATUNE_PERSON_STREAMS", "Pages that one person may have watching jobs at once.", "12"),
    Variable("PRIVATUNE_TENANT_STREAMS", "Pages that a tenant's people may have watching jobs at once.", "60"),
    Variable("PRIVATUNE_ASK_AGAIN_SECONDS", "How long an answer or a download goes on after the right to it has ended.", "5"),
    Variable("PRIVATUNE_WEB_PROCESSES", "Web processes that serve side by side, on all hosts together: each lets its share of the limits above through.", "1"),
    Variable("PRIVATUNE_TENANT_STORAGE_MB", "What one tenant may store: files, parts of uploads, unpacked rows, reports, checkpoints, models; unless the operator gave it another limit.", "102400"),
    Variable("PRIVATUNE_CHECK_MEMORY_MB", "Memory limit of the data checker's child process.", "4096"),
    Variable("PRIVATUNE_CHECK_SECONDS", "Time limit of one data check.", "1800"),
    Variable(
        "PRIVATUNE_CHECKS_AT_ONCE", "Files of one tenant that are checked at the same time.", "2"
    ),
    Variable("PRIVATUNE_JOBS_READ", "Jobs of one tenant that may wait for their files to be read (`validating_files`).", "100"),
    Variable("PRIVATUNE_BACKUP_DAYS", "Days after which no backup of the database is left; deletion certificates state it.", ""),
    Variable("PRIVATUNE_INFER_MAX_TOKENS", "Most tokens of one request: prompts x n x (prompt + max_tokens).", "131072"),
    Variable("PRIVATUNE_INFER_MAX_LOGPROBS", "Most log-probabilities told in one answer, alternatives included.", "50000"),
    Variable("PRIVATUNE_LOG_LEVEL", "DEBUG, INFO, WARNING or ERROR.", "INFO"),
)  # fmt: skip

_BY_NAME = {variable.name: variable for variable in VARIABLES}


class Missing(RuntimeError):
    """A setting is absent; the message names it and says how to give it."""


class Misplaced(RuntimeError):
    """A process asks for, or was given, what it must not know; the message says who may."""


def data_dir() -> Path:
    return Path(os.environ.get("PRIVATUNE_DATA", "var/data")).resolve()


def process() -> Process:
    """What this process is. Raises Missing for a name that is none."""
    name = os.environ.get("PRIVATUNE_PROCESS") or Process.OPERATOR
    try:
        return Process(name)
    except ValueError:
        known = ", ".join(Process)
        raise Missing(f"PRIVATUNE_PROCESS is {name!r}; it must be one of {known}.") from None


def knows(name: str, kind: Process | None = None) -> bool:
    """Whether a process, this one by default, may know the variable."""
    return (kind or process()) in _BY_NAME[name].known_to


def misplaced(given: Mapping[str, str], kind: Process) -> list[str]:
    """The names in an environment that a process of that kind must not be given."""
    forbidden = {variable.name for variable in VARIABLES if kind not in variable.known_to}
    return sorted(
        name for name, value in given.items() if value and name.removesuffix("_FILE") in forbidden
    )


def embedded_file(data: Path, kind: Process) -> Path:
    """Where `privatune up` keeps what a process of that kind may know of its data folder."""
    return data / "secrets" / f"{kind}.json"


def _embedded() -> dict[str, str]:
    """What `privatune up` wrote for this kind of process, if there is a data folder."""
    try:
        loaded = json.loads(embedded_file(data_dir(), process()).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    return {str(key): str(value) for key, value in loaded.items()}


def _refuse_misplaced() -> None:
    """What runs for months must not hold what it never uses: whoever breaks in would hold it."""
    kind = process()
    found = misplaced(os.environ, kind) if kind in LONG_LIVED else []
    if found:
        may = ", ".join(sorted(_BY_NAME[found[0].removesuffix("_FILE")].known_to))
        raise Misplaced(
            f"The process `{kind}` was given {found[0]}, which it must not know. Take it out of "
            f"this process's environment; only these use it: {may}."
        )


_refuse_misplaced()
_EMBEDDED = _embedded()


def read(name: str) -> str:
    """The variable's value: environment, NAME_FILE, the data folder's own, then the default.

    Raises Misplaced when this process must not know it, and Missing when nothing gives it.
    """
    variable = _BY_NAME[name]
    if not knows(name):
        may = ", ".join(sorted(variable.known_to))
        raise Misplaced(f"The process `{process()}` must not know {name}; only these do: {may}.")
    if name in os.environ:
        return os.environ[name]
    if variable.secret and f"{name}_FILE" in os.environ:
        return Path(os.environ[f"{name}_FILE"]).read_text("utf-8").strip()
    if name in _EMBEDDED:
        return _EMBEDDED[name]
    if variable.default is not None:
        return variable.default
    raise Missing(
        f"{name} is not set: {variable.meaning} Set it in the environment, or start the embedded "
        "stack once with `privatune up --data DIR` and set PRIVATUNE_DATA=DIR."
    )


def read_if_known(name: str) -> str:
    """As `read`, and empty in a process that must not know the variable."""
    return read(name) if knows(name) else ""


def read_list(name: str) -> list[str]:
    return [part.strip() for part in read(name).split(",") if part.strip()]


def read_int(name: str) -> int:
    value = read(name)
    try:
        return int(value)
    except ValueError:
        raise Missing(f"{name} must be a whole number, not {value!r}") from None


def read_choice(name: str, choices: set[str]) -> str:
    value = read(name)
    if value not in choices:
        raise Missing(f"{name} must be one of {', '.join(sorted(choices))}, not {value!r}")
    return value
