#!/usr/bin/env python3
"""Runs a command whose processes are stopped at random and let go again: a machine that is busy.

    scripts/stutter.py [--seed 1] [--longest 4] [--gap 0.3] -- make test

Every `gap` seconds on average, one of the command's processes gets SIGSTOP and, up to `longest`
seconds later, SIGCONT. What passes without and fails with it compares with the clock, or looks at
another process at a moment that may pass. The seed fixes the draws, not what the machine does.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import uuid

import psutil

MARK = "PRIVATUNE_STUTTER"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, usage=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest", type=float, default=4.0, help="seconds of a stop, at most")
    parser.add_argument("--gap", type=float, default=0.3, help="seconds between stops, on average")
    parser.add_argument("command", nargs="+")
    asked = parser.parse_args()
    mark = uuid.uuid4().hex
    process = subprocess.Popen(asked.command, env=os.environ | {MARK: mark})
    ended = threading.Event()
    stopping = threading.Thread(target=stutter, args=(mark, process.pid, asked, ended))
    stopping.start()
    try:
        return process.wait()
    finally:
        ended.set()
        stopping.join()


def stutter(mark: str, parent: int, asked: argparse.Namespace, ended: threading.Event) -> None:
    """Until the command has ended; nothing of it stays stopped."""
    draw = random.Random(asked.seed)  # noqa: S311 - no secret
    releases: list[threading.Timer] = []
    while not ended.wait(draw.expovariate(1 / asked.gap)):
        victims = [each for each in psutil.process_iter() if belongs(each, mark, parent)]
        if victims:
            victim = draw.choice(sorted(victims, key=lambda each: each.pid))
            send(victim, signal.SIGSTOP)
            length = draw.uniform(0, asked.longest)
            release = threading.Timer(length, send, (victim, signal.SIGCONT))
            release.start()
            releases.append(release)
        releases = [release for release in releases if release.is_alive()]
    for release in releases:
        release.join()


def belongs(process: psutil.Process, mark: str, parent: int) -> bool:
    """Also what has another parent by now; not the command itself, whose end is waited for."""
    try:
        return process.pid != parent and process.environ().get(MARK) == mark
    except (psutil.Error, OSError):
        return False


def send(process: psutil.Process, what: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(what)


if __name__ == "__main__":
    sys.exit(main())
