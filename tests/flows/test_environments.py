"""The running stack, as /proc shows it: who holds which secret."""

import json
from pathlib import Path

import pytest

from tests.fixtures.stack import Stack

pytestmark = pytest.mark.slow

NAMES = {
    "finetune.serving": "serving",
    "-Qio": "worker",
    "-Qtrain": "trainer",
    "granian": "web",
}


def processes_of(data: Path) -> dict[str, bytes]:
    """What each long-lived process of the stack was started with, by its kind; the children of
    granian and celery count as theirs."""
    found: dict[str, bytes] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"-Q\0", b"-Q").decode()
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue  # it ended while we looked, or is another user's
        kind = next((kind for part, kind in NAMES.items() if part in command), None)
        if kind and (str(data) in command or str(data).encode() in environment):
            found[kind] = found.get(kind, b"") + environment
    return found


def test_no_running_process_was_started_with_a_secret(stack: Stack) -> None:
    values = json.loads((stack.data / "secrets" / "env.json").read_text())
    secret = [name for name in values if name.startswith("DATABASE_") or "SECRET" in name]
    assert len(secret) >= 5
    found = processes_of(stack.data)
    assert set(found) == set(NAMES.values())
    for kind, environment in found.items():
        for name in secret:
            assert values[name].encode() not in environment, (kind, name)
            assert f"{name}=".encode() not in environment, (kind, name)
    assert b"PRIVATUNE_" not in found["serving"]
    assert str(stack.data / "secrets").encode() not in b"".join(found.values())
