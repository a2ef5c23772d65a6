"""Starts the stack's processes, restarts one that dies, and stops all of them in order."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from privatune.env import Process
from privatune.stack.environments import environment_of

PR_SET_PDEATHSIG = 1
# Whoever opens connections and says nothing holds one for ten seconds, of thousands. HTTP/2 without
# TLS is spoken by nobody we know, and has no such deadline.
# A worker that is told to end and still serves a stream, or did not hear it while it was loading,
# is waited for no longer than that.
CONNECTIONS = [
    *("--http", "1", "--http1-header-read-timeout", "10000", "--backpressure", "8192"),
    *("--workers-kill-timeout", "8"),
]
_LIBC = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    """In the child: SIGTERM when the supervisor is gone, even after kill -9."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = 16384 if most == resource.RLIM_INFINITY else min(most, 16384)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))  # a connection is a file
    os.setpgid(0, 0)  # Ctrl-C in the terminal reaches the supervisor only, which stops in order


@dataclass
class Service:
    """One long-running process and how long it may take to stop in good order."""

    name: str
    command: list[str]
    stop_seconds: float = 10
    environment: dict[str, str] = field(default_factory=dict)  # all of it, nothing is inherited
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    failures: int = 0
    ends: int = 0  # unasked, since the stack was started
    retry_at: float = 0.0


class Supervisor:
    """Order of the list is the order of starting; stopping is the reverse."""

    def __init__(self, services: list[Service], logs: Path) -> None:
        self.services = services
        self.logs = logs
        logs.mkdir(parents=True, exist_ok=True, mode=0o700)

    def start(self) -> None:
        for service in self.services:
            self._spawn(service)

    def _spawn(self, service: Service) -> None:
        with (self.logs / f"{service.name}.log").open("ab") as log:
            service.process = subprocess.Popen(
                service.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=service.environment,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  the supervisor has one thread
            )
        service.started = time.monotonic()

    def tend(self) -> list[str]:
        """Restarts what has died, waiting longer each time. Returns lines worth showing."""
        said = []
        for service in self.services:
            if service.process is None:
                if time.monotonic() >= service.retry_at:
                    self._spawn(service)
            elif service.process.poll() is not None:
                code = service.process.returncode
                lived = time.monotonic() - service.started
                service.failures = service.failures + 1 if lived < 30 else 1
                delay = min(30.0, 0.5 * 2**service.failures)
                service.retry_at = time.monotonic() + delay
                service.process = None
                service.ends += 1
                said.append(
                    f"{service.name} ended with {code}; starting it again in {delay:.0f} s. "
                    f"Its log: {self.logs / (service.name + '.log')}"
                )
        return said

    def stop(self) -> None:
        for service in reversed(self.services):
            if service.process is not None and service.process.poll() is None:
                service.process.terminate()
        for service in reversed(self.services):
            if service.process is not None:
                _wait_or_kill(service.process, service.stop_seconds)


def _wait_or_kill(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def services_for(
    *, host: str, port: int, data: Path, serving_socket: str, models: str
) -> list[Service]:
    """The processes of an all-in-one stack, each with its own environment; the same commands run
    alone in production."""
    python = sys.executable
    celery = [python, "-m", "celery", "-A", "privatune.celery_app", "worker", "--loglevel=INFO"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return [
        Service(
            "serving",
            [python, "-m", "finetune.sandbox", "--read", models]
            + ["--write", str(Path(serving_socket).parent)]
            + ["finetune.serving", "--socket", serving_socket],
            environment=environment_of(Process.SERVING, data),
        ),
        Service(
            "worker",
            [*celery, *quiet, "-Q", "io", "--pool", "threads", "-c", "4", "-n", "io@%h"]
            + ["-B", "-s", str(data / "run" / "beat")],
            stop_seconds=20,
            environment=environment_of(Process.WORKER, data),
        ),
        Service(
            "trainer",
            [*celery, *quiet, "-Q", "train", "--pool", "threads", "-c", "1", "-n", "train@%h"],
            stop_seconds=60,  # a run in progress writes its checkpoint first
            environment=environment_of(Process.TRAINER, data),
        ),
        Service(
            "web",
            [python, "-m", "granian", "--interface", "asgi", "--host", host, "--port", str(port)]
            + [*CONNECTIONS, "--no-ws", "--workers", "1", "privatune.asgi:application"],
            environment=environment_of(Process.WEB, data),
        ),
    ]
