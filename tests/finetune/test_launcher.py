"""What a launched process can see: no secret, no network, no handle of ours, a group of its own."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from finetune import launcher
from finetune.launcher import Child, isolation, launch_packaging


def test_a_process_has_no_secret_no_network_and_no_open_file_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://hunter2")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    ours = (tmp_path / "ours").open("w")
    os.set_inheritable(ours.fileno(), True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        (tmp_path / "port").write_text(str(server.getsockname()[1]))
        child = launcher._execute("tests.finetune.look", tmp_path, 3, tmp_path / "log")
        assert child.process.wait(60) == 0, (tmp_path / "log").read_text()
    ours.close()
    seen = json.loads((tmp_path / "seen.json").read_bytes())
    assert set(seen["env"]) <= EXPECTED
    assert not any("hunter2" in value for value in seen["env"].values())
    assert seen["env"]["HF_HUB_OFFLINE"] == "1"
    assert seen["env"]["OMP_NUM_THREADS"] == "3"
    assert seen["session"] == seen["pid"] == child.process.pid
    assert str(tmp_path / "ours") not in seen["open"]
    assert seen["network"] is not bool(isolation())


EXPECTED = {
    *launcher.INHERITED,
    *("HOME", "TMPDIR", "LANG", "PYTHONPATH", "PYTHONUNBUFFERED", "OMP_NUM_THREADS"),
    *("TOKENIZERS_PARALLELISM", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"),
    *("CUBLAS_WORKSPACE_CONFIG", "PRIVATUNE_PARENT_PID"),
    "LC_CTYPE",  # Python's own coercion
}


def test_killing_ends_the_whole_group(tmp_path: Path) -> None:
    script = (
        "import subprocess, signal, time, sys;"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print(p.pid, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    grandchild = int(process.stdout.readline())
    Child(process).stop(grace=0.2)
    assert process.returncode == -9
    for _ in range(50):
        if not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == "zombie":
            break
        time.sleep(0.1)
    else:
        pytest.fail("the grandchild lives on")


def test_packaging_that_fails_says_so_by_code_and_file(tmp_path: Path) -> None:
    child = launch_packaging(tmp_path, key=b"no key", threads=1)
    assert child.process.wait(60) == 70
    assert json.loads((tmp_path / "error.json").read_bytes())["code"] == "signing_key"
