"""Which isolation this machine gives, found by trying it and looking from inside."""

import json
import logging
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from faults import Outage
from finetune.sandbox import bubblewrap
from finetune.sandbox.inside import NAMESPACES
from finetune.sandbox.room import PACKAGE, Room, devices, links

log = logging.getLogger(__name__)

TRY_SECONDS = 30
FORGET_SECONDS = 60  # a machine that gave none is asked again
HERE = Path(__file__).resolve().parent
ALONE = [sys.executable, "-I", "-S"]  # no site, no environment: a script of the standard library
NO_CAPABILITY = "0" * 16


class Level(StrEnum):
    BUBBLEWRAP = "bubblewrap"
    NAMESPACES = "namespaces"
    NONE = "none"


# By itself each gives the same; only in the first can a process be forked that is loaded already.
LEVELS = (Level.NAMESPACES, Level.BUBBLEWRAP)


class SandboxMissing(Outage):
    """This machine gives no isolation and the operator has not allowed to go without."""


@dataclass
class _Found:
    level: Level | None = None
    reason: str = ""
    asked_at: float = 0.0


_found = _Found()


def require(setting: str) -> Level:
    """The isolation to use. `setting` is PRIVATUNE_SANDBOX: `require`, `bubblewrap` (only that one)
    or `allow-none`.

    Tried once per process. Raises SandboxMissing.
    """
    if _found.level is None and time.monotonic() - _found.asked_at > FORGET_SECONDS:
        _look(LEVELS[-1:] if setting == "bubblewrap" else LEVELS)
    if _found.level is not None:
        return _found.level
    if setting == "allow-none":
        return Level.NONE
    raise SandboxMissing(
        "sandbox_missing",
        f"This worker's machine gives no sandbox for processes that handle data: {_found.reason}",
        fix="The operator should install bubblewrap and allow user namespaces, or set "
        "PRIVATUNE_SANDBOX=allow-none (docs/explanation/sandbox.md).",
    )


def _look(levels: tuple[Level, ...]) -> None:
    failed = []
    for level in levels:
        missing = attempt(level)
        if not missing:
            _found.level = level
            log.info("processes that handle data are isolated by %s", level)
            return
        failed.append(f"{level}: {missing}")
    _found.reason, _found.asked_at = "; ".join(failed), time.monotonic()
    log.warning("this machine gives no isolation (%s)", _found.reason)


def attempt(level: Level) -> str:
    """Why the level does not hold here; empty when it does, as seen from inside."""
    if level is Level.BUBBLEWRAP and bubblewrap.program() is None:
        return "bwrap is not installed"
    line = command(level, Room(), "finetune.sandbox.inside", [], cwd=Path("/"))
    environment = {"PYTHONPATH": str(PACKAGE.parent), "PATH": os.environ.get("PATH", os.defpath)}
    try:
        tried = subprocess.run(
            line, env=environment, capture_output=True, timeout=TRY_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if tried.returncode != 0:
        said = tried.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return said or f"exit code {tried.returncode}"
    return _shortfall(json.loads(tried.stdout))


def _shortfall(seen: dict[str, str]) -> str:
    for name in NAMESPACES:
        if seen[name] == os.readlink(f"/proc/self/ns/{name}"):
            return f"the {name} namespace is the machine's own"
    if seen["NoNewPrivs"] != "1":
        return "no_new_privs is not set"
    if seen["CapEff"] != NO_CAPABILITY:
        return f"capabilities are left ({seen['CapEff']})"
    return ""


def command(level: Level, room: Room, module: str, arguments: list[str], *, cwd: Path) -> list[str]:
    """The command line, without its keeper, that runs `python -m module` in the room."""
    inner = [sys.executable, "-P", "-m", "finetune.sandbox.inside", limits(level, room), module]
    inner += arguments
    if level is Level.BUBBLEWRAP:
        bwrap = bubblewrap.program()
        assert bwrap is not None
        return [*bubblewrap.prefix(bwrap, room, cwd), *inner]
    if level is Level.NAMESPACES:
        return [*ALONE, str(HERE / "namespaces.py"), json.dumps(namespaced(room, cwd)), *inner]
    return inner


def limits(level: Level, room: Room) -> str:
    """What `finetune.sandbox.inside` is told."""
    tasks = room.tasks if level is not Level.NONE else 0  # it would count the user's others
    return json.dumps({"memory_mb": room.memory_mb, "tasks": tasks})


def namespaced(room: Room, cwd: Path) -> dict[str, Any]:
    """The room as `namespaces.py` is told of it."""
    return {
        "read": room.readable(),
        "write": room.writable(),
        "devices": devices(),
        "links": links(),
        "chdir": str(cwd),
    }


def kept(line: list[str], room: Room, *, lifeline: int) -> list[str]:
    """The command line under its keeper."""
    bounds = [str(bound) for bound in (lifeline, *room.bounds())]
    return [*ALONE, str(HERE / "keeper.py"), *bounds, *line]
