#!/usr/bin/env python3
"""Runs one step of the set-up and says how far it is; ends with the command's own exit code.

    scripts/narrate.py venv|pip|npm|apt COMMAND…

In a terminal the command shows its own progress. Elsewhere it is quiet, and a line is printed at
least every 15 seconds, with figures read from what it has done so far. Standard library only: it
runs before anything is installed.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

QUIET_SECONDS = 12.0  # between two lines; looked at every second, it stays below 15
LOOK_SECONDS = 1.0
GPU = Path("/proc/driver/nvidia/version")


class Step:
    """A command, and what can be seen of its progress from outside."""

    quietly: tuple[str, ...] = ()  # words that keep it quiet where there is no terminal

    def __init__(self, command: list[str]) -> None:
        self.command = command

    def begin(self, *, live: bool) -> "subprocess.Popen[bytes]":
        words = self.command if live else [*self.command, *self.quietly]
        return subprocess.Popen(words, stdout=None if live else subprocess.DEVNULL)

    def figure(self) -> str:
        raise NotImplementedError

    def hints(self) -> list[str]:
        """What is worth saying now, each once."""
        return []

    def end(self) -> None:
        """Takes away what `begin` made."""


class Venv(Step):
    def figure(self) -> str:
        count = sum(len(files) for _, _, files in os.walk(self.command[-1]))
        return f"making {self.command[-1]}: {count} files"


class Npm(Step):
    quietly = ("--silent",)

    def figure(self) -> str:
        lock = json.loads(Path("package-lock.json").read_text("utf-8"))
        wanted = [name for name in lock["packages"] if name]  # the empty one is ourselves
        here = sum(Path(name, "package.json").exists() for name in wanted)
        return f"installing {len(wanted)} front-end packages: {here} of {len(wanted)}"


class Apt(Step):
    """apt writes its progress, a line each, to a file descriptor that it is given."""

    quietly = ("-qq",)
    _at = "starting"

    def begin(self, *, live: bool) -> "subprocess.Popen[bytes]":
        if live:
            return super().begin(live=live)
        ours, theirs = os.pipe()
        words = [*self.command, *self.quietly, "-o", f"APT::Status-Fd={theirs}"]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, pass_fds=(theirs,))
        os.close(theirs)
        threading.Thread(target=self._listen, args=(ours,), daemon=True).start()
        return process

    def _listen(self, status: int) -> None:
        with open(status, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                self.read(line)

    def read(self, line: str) -> None:
        """Like dlstatus:1:12.5:Retrieving file 1 of 7, or pmstatus:chromium:40:Unpacking …"""
        kind, _, rest = line.strip().partition(":")
        if kind in {"dlstatus", "pmstatus"} and rest.count(":") >= 2:
            _, percent, text = rest.split(":", 2)
            self._at = f"{text} ({float(percent):.0f}%)"

    def figure(self) -> str:
        return f"apt: {self._at}"


class PipLog:
    """What pip's log told so far. Read on from where it was read last: where an index has many
    links it grows to tens of megabytes. What our own package is built with is installed in
    between, by a pip that writes into the same log, so the last word counts."""

    _line = re.compile(
        r"^[\d-]+T[\d:,]+ +(?:"
        r"(?P<collect>Collecting) \S|"
        r"(?:Downloading|Using cached|Processing) (?P<file>\S+)(?: \((?P<size>[\d.]+ [kMG]?B)\))?|"
        r"Installing collected packages: (?P<install>.+))",
        re.MULTILINE,
    )

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self.found = 0
        self.fetched: list[tuple[str, str | None]] = []  # file's name, its size
        self.installing: list[str] = []

    def follow(self) -> None:
        try:
            with self._path.open("rb") as log:
                log.seek(self._read)
                whole, newline, _ = log.read().rpartition(b"\n")
        except FileNotFoundError:
            return
        self._read += len(whole) + len(newline)
        self._take(whole.decode("utf-8", errors="replace"))

    def _take(self, text: str) -> None:
        for match in self._line.finditer(text):
            if names := match["install"]:
                self.installing = names.split(", ")
                continue
            self.installing = []
            if match["collect"]:
                self.found += 1
            elif not match["file"].endswith(".metadata"):
                self.fetched.append((match["file"].rpartition("/")[2], match["size"]))


class Pip(Step):
    """Follows pip's log, its growing download, and the packages that stand in site-packages."""

    quietly = ("-q", "--progress-bar", "off")

    def begin(self, *, live: bool) -> "subprocess.Popen[bytes]":
        self.watch(Path(tempfile.mkdtemp(prefix="privatune-setup-")))
        words = [*self.command, *(() if live else self.quietly)]
        words += ["--log", str(self._folder / "pip.log")]
        environment = os.environ | {"TMPDIR": str(self._folder)}
        return subprocess.Popen(words, env=environment)

    def watch(self, folder: Path) -> None:
        self._folder = folder
        self._log = PipLog(folder / "pip.log")
        self._standing = self._installed()
        self._hinted = False

    def end(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def figure(self) -> str:
        self._log.follow()
        if names := self._log.installing:
            done = min(self._installed() - self._standing, len(names))
            now = f", {names[done]}" if done < len(names) else ""
            return f"installing {len(names)} packages: {done} of {len(names)}{now}"
        fetched = self._log.fetched
        if not fetched:
            return f"looking for packages: {self._log.found} found so far"
        name, size = fetched[-1]
        whole = f" ({size})" if size else ""
        return (
            f"fetching packages: {len(fetched)} so far, now {name.partition('-')[0]}{whole}, "
            f"{self._arrived() / 1e6:.0f} MB of it are here"
        )

    def hints(self) -> list[str]:
        if self._hinted or GPU.exists():
            return []
        self._log.follow()
        if not any(name.startswith("nvidia_") for name, _ in self._log.fetched):
            return []
        self._hinted = True
        return [
            "This PyTorch brings CUDA's libraries (gigabytes), and no NVIDIA GPU is seen here: "
            'README, "Which PyTorch", names the small one.'
        ]

    def _arrived(self) -> int:
        """Bytes of the file that pip is writing, in a folder of its own."""
        files = [path for path in self._folder.glob("pip-unpack-*/*") if path.is_file()]
        return max(files, key=lambda path: path.stat().st_mtime).stat().st_size if files else 0

    def _installed(self) -> int:
        """Packages that are whole: RECORD is written last."""
        library = Path(self.command[0]).parent.parent / "lib"
        return len(list(library.glob("python3*/site-packages/*.dist-info/RECORD")))


KINDS: dict[str, type[Step]] = {"venv": Venv, "pip": Pip, "npm": Npm, "apt": Apt}


class Teller:
    """Prints a step's figure when nothing was said for long."""

    def __init__(
        self, step: Step, out: TextIO, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._step, self._out, self._clock = step, out, clock
        self._began = self._last = clock()

    def look(self) -> None:
        for hint in self._step.hints():
            self._print(hint)
        if self._clock() - self._last >= QUIET_SECONDS:
            self._print(f"{self._step.figure()} ({self._clock() - self._began:.0f} s)")

    def _print(self, line: str) -> None:
        print(line, file=self._out, flush=True)
        self._last = self._clock()


def run(step: Step, out: TextIO, *, live: bool) -> int:
    """The command's exit code, as a shell gives it."""
    try:
        process = step.begin(live=live)
        teller = Teller(step, out)
        while True:
            try:
                code = process.wait(LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                if not live:
                    teller.look()
                continue
            except KeyboardInterrupt:  # the command got it too, and ends in its own way
                process.wait()
                return 130
            return code if code >= 0 else 128 - code
    finally:
        step.end()


def main() -> int:
    if len(sys.argv) < 3 or sys.argv[1] not in KINDS:
        print(__doc__, file=sys.stderr)
        return 2
    return run(KINDS[sys.argv[1]](sys.argv[2:]), sys.stderr, live=sys.stderr.isatty())


if __name__ == "__main__":
    sys.exit(main())
