"""`privatune up`: starts everything in one data folder, says when it is ready, stops it cleanly."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from finetune.workspace import remove_older_leftovers
from privatune.env import Process
from privatune.keys import existing
from privatune.stack.banner import announce
from privatune.stack.environments import environment_of
from privatune.stack.folder import FolderLock, StackError, require_port, require_usable_path
from privatune.stack.postgres import EmbeddedPostgres
from privatune.stack.processes import Supervisor, services_for
from privatune.stack.secrets import ensure_secrets, reach_database

WEB_TRIES = 3
TELL_SECONDS = 30.0  # while the web has yet to answer
KEY_VARIABLES = ("PRIVATUNE_MASTER_KEY", "PRIVATUNE_SIGNING_KEY")

__all__ = ["StackError", "up"]


def up(
    *,
    data: Path,
    port: int = 8000,
    host: str = "127.0.0.1",
    samples: bool = True,
    as_json: bool = False,
) -> None:
    """Runs until SIGINT or SIGTERM. Raises StackError with one clear line if it cannot start."""
    data = require_usable_path(data)
    require_port(host, port)
    lock = FolderLock(data)
    stopping = _Stopping()
    _require_secrets(data)
    values = ensure_secrets(data)
    if left := remove_older_leftovers(data / "work"):
        _say(f"Removed {len(left)} private folders that an older version left in {data / 'work'}.")
    fresh = not (data / "pg" / "PG_VERSION").exists()
    if fresh:
        _make_first_keys(data, values)
    _say("Starting PostgreSQL …")
    postgres = EmbeddedPostgres(data / "pg", values)
    try:
        reach_database(data, values, postgres.socket_folder)
        first = _prepare(data, fresh=fresh)
        first["samples"] = _samples(data, first["tenant"]) if samples else None
        _run(postgres, data, host, port, values, first, as_json, stopping)
    finally:
        postgres.stop()
        lock.release()
        _say("Stopped.")


def _require_secrets(data: Path) -> None:
    """Over a database that is there, fresh ones would open nothing."""
    if (data / "pg" / "PG_VERSION").exists() and not (data / "secrets" / "env.json").exists():
        raise StackError(
            f"The data folder {data} has a database, but {data / 'secrets' / 'env.json'}, which "
            "holds its passwords, is gone. Put the folder `secrets` back from its backup."
        )
    first = data / "secrets" / "first.json"
    if (data / "pg" / "PG_VERSION").exists() and not first.exists():
        _say(
            f"{first} is not there: if this folder had its first organisation already, another one "
            "is made now, with an operator and a key. Remove them if you put the file back."
        )


def _make_first_keys(data: Path, values: dict[str, str]) -> None:
    """Only where there is no database yet: over one, a missing key is an accident to be told."""
    given = {name: os.environ.get(name, values[name]) for name in KEY_VARIABLES}
    if existing(given["PRIVATUNE_MASTER_KEY"], Path(given["PRIVATUNE_SIGNING_KEY"])):
        return
    _say("Making this installation's keys (privatune keys init); back up both files:")
    made = _once(["privatune.cli", "keys", "init"], environment_of(Process.OPERATOR, data))
    _say(made.decode().strip())


class _Stopping:
    """Turns SIGINT and SIGTERM into a flag that the loops look at."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, *_: Any) -> None:
        self.asked = True


def _run(
    postgres: EmbeddedPostgres,
    data: Path,
    host: str,
    port: int,
    values: dict[str, str],
    first: dict[str, Any],
    as_json: bool,
    stopping: _Stopping,
) -> None:
    socket = os.environ.get("PRIVATUNE_SERVING_SOCKET", values["PRIVATUNE_SERVING_SOCKET"])
    models = os.environ.get("PRIVATUNE_MODELS", values["PRIVATUNE_MODELS"])
    services = services_for(host=host, port=port, data=data, serving_socket=socket, models=models)
    supervisor = Supervisor(services, data / "logs")
    try:
        _say("Starting web, workers and serving …")
        supervisor.start()
        if not _wait_ready(f"http://{host}:{port}/healthz", supervisor, stopping):
            return
        announce(f"http://{host}:{port}", first, as_json=as_json)
        while not stopping.asked:
            for line in [*postgres.tend(), *supervisor.tend()]:
                _say(line)
            time.sleep(0.5)
        _say("Stopping (a run in progress writes its checkpoint) …")
    finally:
        supervisor.stop()


def _prepare(data: Path, *, fresh: bool) -> dict[str, Any]:
    """Processes of their own, so that what holds the owner's address holds nothing else and is
    gone."""
    if not fresh:
        _once(["privatune.stack.prepare", "keys"], environment_of(Process.OPERATOR, data))
    _say("Applying migrations …")
    _once(
        ["django", "migrate", "--skip-checks", "--verbosity", "0"],
        environment_of(Process.MIGRATE, data),
    )
    made = _once(["privatune.stack.prepare", "tenant"], environment_of(Process.OPERATOR, data))
    return dict(json.loads(made))


def _samples(data: Path, tenant: str) -> dict[str, str] | None:
    """The base and rows to try; None where they cannot be had, and the rest starts all the same."""
    try:
        told = _once(
            ["privatune.demo.samples", tenant], environment_of(Process.OPERATOR, data), aloud=True
        )
    except StackError as error:
        _say(f"{error}\nGoing on without a base and rows to try; --no-samples leaves them out.")
        return None
    found: dict[str, str] | None = json.loads(told)
    return found


def _once(module: list[str], environment: dict[str, str], *, aloud: bool = False) -> bytes:
    """What the module writes. `aloud`: what it says meanwhile is for whoever looks on, too."""
    done = subprocess.run(
        [sys.executable, "-m", *module],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=None if aloud else subprocess.PIPE,
        check=False,
    )
    if done.returncode != 0 and aloud:
        raise StackError(f"`{module[0]}` ended with {done.returncode}.")
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise StackError(f"`{' '.join(module[:2])}` failed:\n{conclusion(said)}")
    return done.stdout


def conclusion(said: str) -> str:
    """Of a traceback what it ends in; other text as it is."""
    _, found, trace = said.rpartition("Traceback (most recent call last):\n")
    if not found:
        return said
    lines = trace.splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith("  ")]
    return "\n".join(lines[frames[-1] + 1 :]) if frames else said


def _wait_ready(url: str, supervisor: Supervisor, stopping: _Stopping) -> bool:
    """True when the web answers, however long that takes on this machine; False when asked to stop
    meanwhile. Raises StackError for a web that ends again and again."""
    web = next(each for each in supervisor.services if each.name == "web")
    log, began, told = supervisor.logs / "web.log", time.monotonic(), time.monotonic()
    while not stopping.asked:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  loopback http
                if answer.status == 200:
                    return True
        except (urllib.error.URLError, OSError):
            pass  # not listening yet
        for line in supervisor.tend():
            _say(line)
        if web.ends >= WEB_TRIES:
            raise StackError(f"The web ended {web.ends} times before it answered; see {log}.")
        if time.monotonic() - told >= TELL_SECONDS:
            told = time.monotonic()
            _say(f"The web has not answered yet, after {told - began:.0f} s. Its log: {log}")
        time.sleep(0.1)
    return False


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
