"""Signals, exit codes, limits and endings pass through the sandbox, at every level."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import psutil
import pytest

from finetune.sandbox import keeper
from finetune.sandbox.levels import Level
from finetune.sandbox.room import Room
from finetune.sandbox.start import Child, start, start_loaded
from finetune.sandbox.warm import Forked
from finetune.states import ExitCode
from tests.conftest import ROOT
from tests.fixtures.waiting import is_alive, until

# (level, what is loaded before it is forked: nothing, and it is executed)
WAYS = [(level, ()) for level in Level]
WAYS += [(level, ("json",)) for level in Level if level is not Level.BUBBLEWRAP]


@dataclass
class Started:
    child: Child
    says: IO[bytes]

    @property
    def process(self) -> subprocess.Popen[bytes] | Forked:
        return self.child.process


Run = Callable[..., Started]
MODULE = "task_at_hand"


@pytest.fixture(params=WAYS, ids=lambda way: "-".join([way[0], *(["forked"] if way[1] else [])]))
def way(request: pytest.FixtureRequest) -> tuple[Level, tuple[str, ...]]:
    level, loaded = request.param
    return level, loaded


@pytest.fixture
def level(way: tuple[Level, tuple[str, ...]]) -> Level:
    return way[0]


@pytest.fixture
def run(way: tuple[Level, tuple[str, ...]], tmp_path: Path) -> Iterator[Run]:
    """Runs a text as a module in a room of `tmp_path`; what it prints can be read."""
    level, loaded = way
    started = []

    def run(code: str, **limits: float) -> Started:
        (tmp_path / "task_at_hand.py").write_text(code)
        environment = {"PYTHONPATH": f"{ROOT}:{tmp_path}", "PATH": os.environ["PATH"]}
        reads, writes = os.pipe()
        room = Room(write=(tmp_path,), **limits)  # type: ignore[arg-type]
        begin = partial(start_loaded, loaded=loaded) if loaded else start
        with os.fdopen(writes, "wb") as told:
            child = begin(
                level, room, MODULE, ["a", "b"], cwd=tmp_path, environment=environment, stdout=told
            )
        assert isinstance(child.process, Forked) == bool(loaded)
        started.append(Started(child, os.fdopen(reads, "rb")))
        return started[-1]

    yield run
    for each in started:
        each.child.kill()
        each.says.close()


def line(started: Started) -> str:
    return started.says.readline().decode().strip()


@pytest.mark.parametrize("code", [0, 1, 64, 70, 75])
def test_exit_codes_come_out_as_they_are(run: Run, code: int) -> None:
    started = run(f"import sys; print(sys.argv[1:], __name__); sys.exit({code})")
    assert line(started) == "['a', 'b'] __main__"
    assert started.process.wait() == code


def test_of_our_code_a_sandboxed_process_sees_what_it_imports(level: Level, run: Run) -> None:
    if level is Level.NONE:
        pytest.skip("a process without a sandbox sees all of it")
    started = run(
        "from importlib.util import find_spec\n"
        "import finetune.states, faults.disk\n"
        "print(find_spec('tenants'), find_spec('privatune'))"
    )
    assert line(started) == "None None"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_death_by_a_signal_comes_out_as_that_signal(run: Run, number: int) -> None:
    assert run(f"import os; os.kill(os.getpid(), {number})").process.wait() == -number


LISTENS = """
import signal, sys, time
{before}
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
signal.pthread_sigmask(signal.SIG_UNBLOCK, {{signal.SIGTERM}})
print("ready", flush=True)
for _ in range(60_000):  # a signal that comes as one sleep begins is heard behind it
    time.sleep(0.01)
"""


def test_sigterm_reaches_the_process_and_nothing_between_ends_it(run: Run) -> None:
    started = run(LISTENS.format(before=""))
    assert line(started) == "ready"
    started.child.ask_to_yield()
    assert started.process.wait() == 75


def test_sigterm_that_comes_before_anybody_listens_waits(run: Run) -> None:
    started = run(LISTENS.format(before="time.sleep(0.3)"))
    started.child.ask_to_yield()  # its keeper is not even up
    assert started.process.wait() == 75


MOMENTS = (0, 1, 2, 5, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300)  # ms after the start


def test_a_stop_asked_at_any_moment_of_a_launch_is_heard(run: Run) -> None:
    """Once it stayed with the wrapper, blocked, when it came before the wrapper had forked."""
    code = LISTENS.format(before="")
    for wait in MOMENTS:
        started = run(code)
        time.sleep(wait / 1000)
        started.child.ask_to_yield()
        assert started.process.wait() == 75, f"asked {wait} ms after the start"
        started.child.kill()


FAMILY = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep({mark})"], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep({mark})"])
    os._exit(0)
print("ready", flush=True)
time.sleep(600)
"""


def alive(mark: str) -> list[int]:
    return [p.pid for p in psutil.process_iter(["cmdline"]) if mark in str(p.info["cmdline"])]


def test_killing_ends_all_that_it_started_before_it_returns(run: Run) -> None:
    mark = f"4{time.monotonic_ns() % 10**9}"
    started = run(FAMILY.format(mark=mark))
    assert line(started) == "ready"
    until(lambda: len(alive(mark)) == 2, "its family did not come up", of=started.process)
    started.child.stop(grace=0.2)
    assert started.process.returncode == -9
    assert alive(mark) == []
    started.child.kill()  # again: nothing


@pytest.mark.parametrize("victim", ["worker", "keeper", "parent"])
def test_a_killed_worker_or_keeper_leaves_nothing_running(
    way: tuple[Level, tuple[str, ...]], victim: str, tmp_path: Path
) -> None:
    """The kernel tells: the lifeline's end of file, or the death of the parent, which is the worker
    or what the worker has processes forked by."""
    level, loaded = way
    begin, more = ("start_loaded", f", loaded={loaded!r}") if loaded else ("start", "")
    (tmp_path / "task_at_hand.py").write_text("import time; time.sleep(600)")
    script = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from finetune.sandbox.levels import Level\n"
        "from finetune.sandbox.room import Room\n"
        f"from finetune.sandbox.start import {begin} as start\n"
        f"here = Path({str(tmp_path)!r})\n"
        f"level = Level({level.value!r})\n"
        "child = start(level, Room(write=(here,)), 'task_at_hand', [], cwd=here,\n"
        "    environment={'PYTHONPATH': os.pathsep.join([sys.argv[1], str(here)])},\n"
        f"    stdout=open(os.devnull, 'w'){more})\n"
        "print(child.process.pid, flush=True)\n"
        "print(child.process.wait(), flush=True)\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", script, str(ROOT)],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
    )
    try:
        assert worker.stdout is not None
        keeper = psutil.Process(int(worker.stdout.readline()))
        until(lambda: any(map(runs, keeper.children(recursive=True))), "nothing ran")
        family = psutil.Process(worker.pid).children(recursive=True)
        dies = {"worker": worker.pid, "keeper": keeper.pid, "parent": keeper.ppid()}[victim]
        os.kill(dies, signal.SIGKILL)
        if dies != worker.pid:
            assert int(worker.stdout.readline()) == -signal.SIGKILL
            worker.wait()
        psutil.wait_procs(family)
        assert [each for each in family if is_alive(each.pid)] == []
    finally:
        worker.kill()
        worker.wait()


def runs(process: psutil.Process) -> bool:
    try:
        words = process.cmdline()[:5]
    except psutil.Error:  # it has ended
        return False
    return "-m" in words and any(word in words for word in ("finetune.sandbox.inside", MODULE))


def test_the_time_limit_ends_it(run: Run) -> None:
    started = run("import time; print('up', flush=True); time.sleep(600)", seconds=1.5)
    assert started.process.wait() == -signal.SIGXCPU


def test_memory_beyond_the_limit_is_refused(run: Run) -> None:
    started = run("try: bytearray(400 << 20)\nexcept MemoryError: print('refused')", memory_mb=200)
    assert line(started) == "refused"
    started.child.kill()


# Doubles as a bomb does, but to 1,024 at most: the tests beside this one need the machine, too.
BOMB = """
import os, time
for _ in range(10):
    try:
        os.fork()
    except OSError:
        time.sleep(0.1)
time.sleep(600)
"""


def test_a_fork_bomb_is_ended_for_root_too(run: Run) -> None:
    """The kernel's limit on processes does not bind root; as anybody else it stops the forks."""
    started = run(BOMB, tasks=100)
    if os.geteuid() != 0 and "--unshare-pid" in getattr(started.process, "args", ()):
        started.child.stop(grace=1)
        return
    said = started.says.read()
    started.process.wait()
    started.child.kill()
    assert started.process.returncode == ExitCode.TASKS == keeper.TOO_MANY_TASKS
    assert b"ended: more than 100 processes and threads are running" in said


HOGS = """
import os, time
held = bytearray(os.urandom(1 << 20) * {before})
for _ in range(4):
    if os.fork() == 0:
        more = bytearray(os.urandom(1 << 20) * {after})
        time.sleep(600)
time.sleep({seconds})
"""


def test_memory_of_many_processes_together_is_bounded(run: Run) -> None:
    """No single one is beyond its own limit."""
    started = run(HOGS.format(before=1, after=50, seconds=600), tree_mb=150, memory_mb=150)
    said = started.says.read()
    started.process.wait()
    started.child.kill()
    assert started.process.returncode == ExitCode.MEMORY == keeper.TOO_MUCH_MEMORY
    assert b"ended: together they hold more than 150 MB of memory" in said


def test_memory_that_processes_share_counts_once(run: Run) -> None:
    started = run(HOGS.format(before=80, after=1, seconds=1.5), tree_mb=220)
    assert started.process.wait() == 0
    started.child.kill()


def test_the_folder_can_be_removed_right_after_killing_a_busy_writer(
    run: Run, tmp_path: Path
) -> None:
    started = run(
        "import os, itertools\n"
        "os.mkdir('deep')\n"
        "print('ready', flush=True)\n"
        "for n in itertools.count(): open(f'deep/{n}', 'w').close()\n"
    )
    assert line(started) == "ready"
    started.child.kill()
    before = len(list((tmp_path / "deep").iterdir()))
    time.sleep(0.2)
    assert len(list((tmp_path / "deep").iterdir())) == before
    mounts = Path("/proc/self/mounts").read_text()
    assert str(tmp_path) not in mounts
