"""A child ends with its parent, also with one that died before the child began to watch."""

import os
import signal
import subprocess
import sys

WAITS = "import sys, time; from finetune.lifeline import end_with_parent; "


def child(code: str) -> int:
    return subprocess.run([sys.executable, "-c", WAITS + code], check=False).returncode


def test_a_parent_that_was_dead_already_is_missed() -> None:
    """Killed between the fork and the first look: the process that inherits its orphans is none."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert child(f"end_with_parent({gone.pid}); time.sleep(3600)") == -signal.SIGKILL


def test_a_parent_that_lives_is_no_reason_to_end() -> None:
    assert child(f"end_with_parent({os.getpid()}); time.sleep(1.5)") == 0
    assert child("end_with_parent(); time.sleep(1.5)") == 0
