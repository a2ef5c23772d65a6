"""An unprivileged user gets the same isolation, from both levels, on Debian's own Python."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

NOBODY = 65534
FORBIDDEN = {
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1",
    "/proc/sys/kernel/unprivileged_userns_clone": "0",
}


@pytest.fixture
def desk() -> Iterator[Path]:
    """A folder that anybody can reach, with the code and the programs of these tests."""
    with tempfile.TemporaryDirectory(prefix="privatune-somebody-") as place:
        folder = Path(place)
        folder.chmod(0o755)
        (folder / "finetune").mkdir()
        shutil.copy(ROOT / "finetune" / "__init__.py", folder / "finetune" / "__init__.py")
        shutil.copytree(ROOT / "finetune" / "sandbox", folder / "finetune" / "sandbox")
        shutil.copytree(ROOT / "faults", folder / "faults")
        for name in ("probe.py", "as_somebody.py"):
            shutil.copy(Path(__file__).with_name(name), folder / name)
        (folder / "secret").write_text("secret")
        (folder / "run").mkdir(mode=0o700)
        yield folder


def python() -> str:
    """One that the user may run: Python of a root-only home is out."""
    if os.geteuid() != 0:
        return sys.executable
    return "/usr/bin/python3"


def test_an_unprivileged_user_gets_the_same(desk: Path) -> None:
    for path, value in FORBIDDEN.items():
        if Path(path).exists() and Path(path).read_text().strip() == value:
            pytest.skip(f"this machine's {path} forbids user namespaces to users")
    unreadable = "/etc/hostname"  # the one readable file of the machine that anybody has
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        targets = {
            "read": [unreadable, "/etc/passwd", f"/proc/{os.getpid()}/status"],
            "write": ["/var/tmp/planted"],
            "pids": [],
            "unix": "/nowhere",
            "abstract": "nowhere",
            "port": tcp.getsockname()[1],
            "secret": "nobody has this",
        }
        (desk / "run" / "targets.json").write_text(json.dumps(targets))
        command = [python(), "-P", "-m", "as_somebody", str(desk / "run")]
        if os.geteuid() == 0:
            for path in (desk / "run", desk / "run" / "targets.json"):
                os.chown(path, NOBODY, NOBODY)
            to = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            command = [*to, *command]
        done = subprocess.run(
            command,
            env={"PYTHONPATH": str(desk), "PATH": "/usr/bin:/bin"},
            cwd=desk,
            capture_output=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr.decode()
    for level, told in json.loads(done.stdout).items():
        assert told["uid"] != 0
        assert told["attempt"] == "", level
        assert [name for name, worked in told["got"].items() if worked] == [], level
        # The first process and the parent count, too
        assert 0 < told["forks"] < 50, level
