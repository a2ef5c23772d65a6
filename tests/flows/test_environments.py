"""The running stack, as /proc shows it: who holds which secret."""

import json
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fixtures.stack import Stack
from tests.fixtures.waiting import until

pytestmark = pytest.mark.slow

NAMES = {
    "finetune.serving": "serving",
    "-Qio": "worker",
    "-Qtrain": "trainer",
    "granian": "web",
}


def processes_of(data: Path) -> list[tuple[str, Path, bytes]]:
    """The long-lived processes of the stack: kind, folder in /proc, and what it was started with;
    the children of granian and celery count as theirs."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"-Q\0", b"-Q").decode()
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue  # it ended while we looked, or is another user's
        kind = next((kind for part, kind in NAMES.items() if part in command), None)
        if kind and (str(data) in command or str(data).encode() in environment):
            found.append((kind, folder, environment))
    return found


def test_no_running_process_was_started_with_a_secret(stack: Stack) -> None:
    values = json.loads((stack.data / "secrets" / "env.json").read_text())
    secret = [name for name in values if name.startswith("DATABASE_") or "SECRET" in name]
    assert len(secret) >= 5
    found = dict.fromkeys(NAMES.values(), b"")
    for kind, _, environment in processes_of(stack.data):
        found[kind] += environment
    assert all(found.values()), found.keys()
    for kind, environment in found.items():
        for name in secret:
            assert values[name].encode() not in environment, (kind, name)
            assert f"{name}=".encode() not in environment, (kind, name)
    assert b"PRIVATUNE_" not in found["serving"]
    assert str(stack.data / "secrets").encode() not in b"".join(found.values())


def test_the_web_and_the_workers_load_no_torch(stack: Stack) -> None:
    """It takes each of them seconds to start and 200 MB, and none of them computes anything: what
    does is a process in the sandbox."""

    def with_torch() -> set[str]:
        found = set()
        for kind, folder, _ in processes_of(stack.data):
            with suppress(OSError):  # it ended while we looked
                if "libtorch" in (folder / "maps").read_text():
                    found.add(kind)
        return found

    until(with_torch, "not even the model server was seen to load it")
    assert with_torch() == {"serving"}
