"""What one process was given is nowhere in the next that is forked from the same, nor in what forks
them; and what forks them may die or never come up."""

import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from finetune.sandbox import warm
from finetune.sandbox.levels import Level
from finetune.sandbox.room import Room
from finetune.sandbox.start import Child, start_loaded
from finetune.sandbox.warm import Forked, Zygotes
from tests.conftest import ROOT
from tests.fixtures.waiting import until

HOLDS = """
import os, sys, time
given = sys.stdin.buffer.read()
open("up", "w").close()
time.sleep(600)
"""
Begin = Callable[..., Child]


@pytest.fixture
def zygotes(monkeypatch: pytest.MonkeyPatch) -> Zygotes:
    """None that other tests have had processes forked from."""
    monkeypatch.setattr(warm, "ZYGOTES", Zygotes())
    return warm.ZYGOTES


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    begun = []

    def begin(
        name: str, code: str, *, given: bytes = b"", loaded: tuple[str, ...] = ("json",)
    ) -> Child:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "task_at_hand.py").write_text(f"import sys; sys.path.append('.')\n{code}")
        reads, writes = os.pipe()
        with os.fdopen(writes, "wb") as pipe:
            pipe.write(given)
        with os.fdopen(reads, "rb") as pipe, (folder / "log").open("ab") as log:
            child = start_loaded(
                Level.NAMESPACES,
                Room(write=(folder,), read=(tmp_path / "modules",)),
                "task_at_hand",
                [],
                loaded=loaded,
                cwd=folder,
                environment={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": f"{ROOT}:{tmp_path / 'modules'}",
                    "HOME": str(folder),
                },
                stdin=pipe.fileno(),
                stdout=log,
            )
        begun.append(child)
        return child

    (tmp_path / "modules").mkdir()
    # It is the same module for all, as the trainer is; what it does stands in its own folder
    (tmp_path / "modules" / "task_at_hand.py").write_text(
        "import pathlib; exec(pathlib.Path('task_at_hand.py').read_text())"
    )
    yield begin
    for child in begun:
        child.kill()


def remembers(pid: int, word: bytes) -> bool:
    """Whether it stands anywhere in that process's memory, or in its environment."""
    with (
        open(f"/proc/{pid}/maps") as maps,
        open(f"/proc/{pid}/mem", "rb", buffering=0) as memory,
    ):
        for line in maps:
            place, access, *_ = line.split()
            start, end = (int(part, 16) for part in place.split("-"))
            if "r" not in access or end >= 1 << 63:
                continue
            memory.seek(start)
            try:
                if word in memory.read(end - start):
                    return True
            except OSError:  # the kernel's own pages
                continue
    return False


def innermost(child: Child) -> int:
    return psutil.Process(child.process.pid).children(recursive=True)[-1].pid


def test_what_one_is_given_is_in_no_other_and_not_in_what_forks_them(
    zygotes: Zygotes, begin: Begin, tmp_path: Path
) -> None:
    one = begin("folder-of-one", HOLDS, given=b"the signing key of one")
    until((tmp_path / "folder-of-one" / "up").exists, "it did not come up", of=one.process)
    other = begin("folder-of-other", HOLDS, given=b"quite another key")
    until((tmp_path / "folder-of-other" / "up").exists, "it did not come up", of=other.process)

    zygote = psutil.Process(one.process.pid).ppid()
    assert psutil.Process(other.process.pid).ppid() == zygote, "or it would show nothing"
    for word in (b"the signing key of one", b"folder-of-one"):
        assert remembers(innermost(one), word)
        assert not remembers(innermost(other), word)
        assert not remembers(other.process.pid, word)
        assert not remembers(zygote, word)


def test_each_has_only_its_own_descriptors_and_no_way_to_what_forked_it(
    zygotes: Zygotes, begin: Begin, tmp_path: Path
) -> None:
    one = begin("one", HOLDS)
    until((tmp_path / "one" / "up").exists, "it did not come up", of=one.process)
    other = begin(
        "other",
        "import os\nprint(*[os.readlink(f'/proc/self/fd/{n}') for n in (0, 1, 2)]"
        "\n, len(os.listdir('/proc/self/fd')))",
    )
    assert other.process.wait() == 0
    log = tmp_path / "other" / "log"
    stdin, stdout, stderr, count = log.read_text().split()
    assert stdin.startswith("pipe:")
    assert (stdout, stderr, count) == (str(log), str(log), "4"), "the fourth is the listing's own"


def test_each_has_the_limits_that_the_worker_has_now(
    zygotes: Zygotes, begin: Begin, tmp_path: Path
) -> None:
    begin("before", "pass").process.wait()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        begin(
            "after", "import resource\nprint(resource.getrlimit(resource.RLIMIT_FSIZE)[0])"
        ).process.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "after" / "log").read_text() == f"{1 << 20}\n"


def test_a_killed_zygote_ends_its_children_and_the_next_start_makes_another(
    zygotes: Zygotes, begin: Begin, tmp_path: Path
) -> None:
    one = begin("one", HOLDS)
    until((tmp_path / "one" / "up").exists, "it did not come up", of=one.process)
    zygote = psutil.Process(one.process.pid).ppid()
    inside = psutil.Process(innermost(one))
    os.kill(zygote, signal.SIGKILL)
    assert one.process.wait() == -signal.SIGKILL
    inside.wait()
    again = begin("again", "pass")
    assert isinstance(again.process, Forked)
    assert again.process.wait() == 0


def test_a_zygote_that_stands_still_holds_up_no_start_and_no_end(
    zygotes: Zygotes, begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "ANSWER_SECONDS", 0.5)
    one = begin("one", HOLDS)
    until((tmp_path / "one" / "up").exists, "it did not come up", of=one.process)
    zygote = psutil.Process(psutil.Process(one.process.pid).ppid())
    zygote.suspend()
    try:
        again = begin("again", "pass")
        assert psutil.Process(again.process.pid).ppid() != zygote.pid
        assert again.process.wait() == 0
        assert one.poll() is None
        one.kill()
        assert one.process.returncode == -signal.SIGKILL
    finally:
        zygote.resume()
    zygote.wait()  # as nobody asks it any more


def test_a_service_manager_that_signals_all_processes_does_not_end_it(
    zygotes: Zygotes, begin: Begin, tmp_path: Path
) -> None:
    """A training writes its checkpoint then, and lives no longer than what forked it."""
    one = begin("one", HOLDS)
    until((tmp_path / "one" / "up").exists, "it did not come up", of=one.process)
    zygote = psutil.Process(one.process.pid).ppid()
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(zygote, number)
    assert begin("other", "pass").process.wait() == 0
    assert one.poll() is None


def test_what_cannot_be_loaded_ahead_is_loaded_by_each(
    zygotes: Zygotes, begin: Begin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    child = begin("one", "print('done')", loaded=("no_such_module",))
    assert not isinstance(child.process, Forked)
    assert child.process.wait() == 0
    assert (tmp_path / "one" / "log").read_text() == "done\n"
    assert "task_at_hand loads for itself" in caplog.text


def test_three_are_kept_and_the_fourth_takes_the_place_of_the_one_unused_longest(
    zygotes: Zygotes, begin: Begin, tmp_path: Path
) -> None:
    one = begin("one", HOLDS, loaded=("json",))
    until((tmp_path / "one" / "up").exists, "it did not come up", of=one.process)
    zygote = psutil.Process(psutil.Process(one.process.pid).ppid())
    for name in ("base64", "csv", "wave"):
        assert begin(name, "pass", loaded=(name,)).process.wait() == 0
    assert one.poll() is None, "it ends after its children only"
    one.kill()
    zygote.wait()


def test_a_fork_of_the_worker_has_its_own(begin: Begin) -> None:
    """As Celery forks: two that asked at one door would take each other's answers."""
    begin("one", "pass").process.wait()
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writes, str(len(warm.ZYGOTES._kept)).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writes)
    with os.fdopen(reads, "rb") as told:
        assert told.read() == b"0"
    assert warm.ZYGOTES._kept
