"""Starts the processes that handle a run: executed fresh, without network, in their own group.

They get a run folder and nothing else: no database handle, no credentials, no open file of ours.
Only the packaging process is handed the signing key, through a pipe.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import finetune
from finetune.errors import OurFault

log = logging.getLogger(__name__)

PROBE_SECONDS = 600
PACKAGE_ROOT = Path(finetune.__file__).resolve().parents[1]
# What the process may inherit: how to find programs and devices. Everything else stays here.
INHERITED = (
    "PATH",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
)


@dataclass
class Child:
    """A running process, leader of its own session and process group."""

    process: "subprocess.Popen[bytes]"
    asked_at: float | None = None  # when it was asked to yield, monotonic seconds

    def poll(self) -> int | None:
        return self.process.poll()

    def ask_to_yield(self) -> None:
        """SIGTERM, once: a training checkpoints and exits with 75 within a step."""
        if self.asked_at is None:
            self.asked_at = time.monotonic()
            self._signal(signal.SIGTERM)

    def asked_for_longer_than(self, seconds: float) -> bool:
        return self.asked_at is not None and time.monotonic() - self.asked_at > seconds

    def kill(self) -> None:
        """Ends the whole group at once and reaps the leader."""
        self._signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, grace: float) -> None:
        """SIGTERM, and SIGKILL when it is not gone after `grace` seconds."""
        self.ask_to_yield()
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            log.warning(
                "process %s ignored SIGTERM for %s s and is killed", self.process.pid, grace
            )
        self.kill()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # the group is gone already
            os.killpg(self.process.pid, number)


def launch_trainer(run_dir: Path, *, threads: int) -> Child:
    """`python -m finetune.trainer run_dir`; what it prints goes to trainer.log in there."""
    return _execute("finetune.trainer", run_dir, threads, run_dir / "trainer.log")


def launch_packaging(folder: Path, *, key: bytes, threads: int) -> Child:
    """`python -m finetune.packaging folder`, with the signing key on its standard input."""
    child = _execute("finetune.packaging", folder, threads, folder / "packaging.log", pipe=True)
    assert child.process.stdin is not None
    with suppress(BrokenPipeError), child.process.stdin as pipe:  # it died; its exit code says so
        pipe.write(key)
    return child


def _execute(
    module: str, folder: Path, threads: int, log_path: Path, *, pipe: bool = False
) -> Child:
    with log_path.open("ab") as output:
        process = subprocess.Popen(
            [*isolation(), sys.executable, "-P", "-m", module, str(folder)],
            cwd=folder,
            env=scrubbed_environment(folder, threads=threads)
            | {"PRIVATUNE_PARENT_PID": str(os.getpid())},
            stdin=subprocess.PIPE if pipe else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            close_fds=True,
        )
    return Child(process)


def scrubbed_environment(home: Path, *, threads: int) -> dict[str, str]:
    """The whole environment of a process that handles a customer's data and needs no secrets."""
    temporary = home / "tmp"
    temporary.mkdir(mode=0o700, exist_ok=True)
    return {name: os.environ[name] for name in INHERITED if name in os.environ} | {
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(PACKAGE_ROOT),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS repeats its bits only with a fixed workspace
    }


@lru_cache(maxsize=1)
def isolation() -> tuple[str, ...]:
    """The command prefix that takes the network away, found by trying; empty where none works."""
    for prefix in (("unshare", "-n", "--"), ("unshare", "-r", "-n", "--")):
        try:
            tried = subprocess.run([*prefix, "true"], capture_output=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if tried.returncode == 0:
            log.info("training processes run without network (%s)", " ".join(prefix[:-1]))
            return prefix
    log.warning(
        "this machine allows no network namespace: training processes could reach the network; "
        "close it for the worker's host or container"
    )
    return ()


def probe_machine(base_dir: Path, home: Path) -> dict[str, str]:
    """`python -m finetune.trainer.machine`: {"precision", "device", "reason"} for this machine.

    Raises OurFault `probe_failed`.
    """
    tried = subprocess.run(
        [*isolation(), sys.executable, "-P", "-m", "finetune.trainer.machine", str(base_dir)],
        cwd=home,
        env=scrubbed_environment(home, threads=len(os.sched_getaffinity(0))),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PROBE_SECONDS,
        check=False,
    )
    if tried.returncode != 0:
        last = tried.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise OurFault("probe_failed", f"The machine could not be probed: {last}")
    told: dict[str, str] = json.loads(tried.stdout.splitlines()[-1])
    return told
