"""Attack from inside: what a process that handles data could read and reach before, it cannot now.

The same program runs through the very launcher of each kind, at each level that this machine gives,
and once without a sandbox as the control: there it must succeed, or the test would prove nothing.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from finetune.records.check import child as check_child
from finetune.records.check.spec import CheckSpec
from finetune.sandbox.levels import Level
from finetune.sandbox.room import Room
from finetune.sandbox.start import start_loaded
from finetune.work import launcher
from tests.conftest import ROOT

PROBE = "tests.finetune.sandbox.probe"
SECRET = "hunter2-in-the-environment"
SANDBOXED = [Level.BUBBLEWRAP, Level.NAMESPACES]
KINDS = ["trainer", "packaging", "check", "machine", "serving"]


@dataclass
class Prey:
    """A machine's secrets, laid out as an embedded stack has them, and this run's own folder."""

    data: Path
    run_dir: Path
    base: Path
    targets: dict[str, Any]

    def seen(self) -> dict[str, Any]:
        return dict(json.loads((self.run_dir / "seen.json").read_bytes()))


@pytest.fixture
def prey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Prey]:
    data, run_dir, base = tmp_path / "data", tmp_path / "work" / "mine-1", tmp_path / "models" / "b"
    secrets = [
        data / "secrets" / "master.json",
        data / "secrets" / "env.json",
        data / "secrets" / "signing.pem",
        data / "queue" / "messages" / "job",
        data / "objects" / "tenant" / "object",
        tmp_path / "work" / "theirs-1" / "rows.jsonl",
        tmp_path / "models" / "other" / "model.safetensors",
        tmp_path / "home" / ".aws" / "credentials",
    ]
    for path in secrets:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("secret")
    run_dir.mkdir(parents=True)
    base.mkdir()
    (base / "model.safetensors").write_text("weights")
    (run_dir / "base").symlink_to(base)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    holder = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    unix, abstract = str(data / "pg.sock"), f"privatune-probe-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as database,
        socket.socket(socket.AF_UNIX) as hidden,
    ):
        for server, address in ((database, unix), (hidden, "\0" + abstract)):
            server.bind(address)
            server.listen()
        ours = ["/etc/shadow"] if os.geteuid() == 0 else ["/etc/passwd"]
        targets = {
            "read": [*map(str, secrets), *ours, *at_home(), f"/proc/{os.getpid()}/environ"],
            "write": [str(data / "planted"), str(base / "planted")],
            "pids": [os.getpid(), holder.pid],
            "unix": unix,
            "abstract": abstract,
            "port": tcp.getsockname()[1],
            "secret": SECRET,
        }
        (run_dir / "targets.json").write_text(json.dumps(targets))
        yield Prey(data, run_dir, base, targets)
    holder.kill()
    holder.wait()


def at_home() -> list[str]:
    """What lies in this user's home; Python itself may."""
    pythons = {*Path(sys.base_prefix).parents, *Path(sys.prefix).parents}
    return [str(path) for path in Path.home().iterdir() if path not in pythons and not empty(path)]


def empty(path: Path) -> bool:
    return path.is_symlink() or (path.is_dir() and not any(path.iterdir()))


@pytest.fixture
def probing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever module a launcher would start, the attacker's starts in its place, in its room."""

    def instead(level: Level, room: Room, module: str, _arguments: list[str], **rest: Any) -> Any:
        seen = Room(
            read=(*room.read, ROOT / "tests"),
            write=room.write,
            memory_mb=room.memory_mb,
            seconds=room.seconds,
        )
        return start_loaded(level, seen, PROBE, [str(rest["cwd"])], **rest)

    monkeypatch.setattr(launcher, "start_loaded", instead)
    monkeypatch.setattr(check_child, "start_loaded", instead)


def launch(kind: str, prey: Prey, level: Level) -> None:
    """By the door that the worker uses for this kind."""
    if kind == "trainer":
        child = launcher.launch_trainer(prey.run_dir, threads=1, level=level)
    elif kind == "packaging":
        child = launcher.launch_packaging(
            prey.run_dir, base_dir=prey.base, key=b"the key", threads=1, level=level
        )
    elif kind == "machine":
        with pytest.raises(IndexError):  # the attacker prints no answer
            launcher.probe_machine(
                "causal_lm", prey.base, prey.run_dir, threads=1, rows=1, level=level
            )
        return
    elif kind == "check":
        (prey.run_dir.parent / "source").write_text("{}")
        spec = CheckSpec(source=prey.run_dir.parent / "source", source_name="x.jsonl")
        with pytest.raises(FileNotFoundError):  # the attacker leaves no report
            check_child.check_in_child(spec, prey.run_dir, seconds=600, level=level)
        return
    else:
        serve(prey, level)
        return
    code = child.process.wait()
    child.kill()
    logs = [path.read_text() for path in prey.run_dir.glob("*.log")]
    assert code == 0, logs


def serve(prey: Prey, level: Level) -> None:
    """`python -m finetune.sandbox`, which starts serving: as the stack's supervisor starts it."""
    options = [sys.executable, "-m", "finetune.sandbox", "--read", str(prey.base)]
    options += ["--read", str(ROOT / "tests"), "--write", str(prey.run_dir), PROBE]
    script = (
        "import sys; from finetune.sandbox import __main__ as door, levels;"
        f"levels._found.level = levels.Level({level.value!r});"
        "sys.exit(door.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, *options[3:], str(prey.run_dir)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=environment, check=True, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("level", SANDBOXED)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("probing")
def test_nothing_outside_its_folder_can_be_read_reached_or_changed(
    kind: str, level: Level, prey: Prey
) -> None:
    launch(kind, prey, level)
    seen = prey.seen()
    assert [name for name, worked in seen["got"].items() if worked] == []
    assert not list(prey.run_dir.parents[1].rglob("planted"))
    assert max(seen["pids"]) < 10, "the machine's processes can be seen"
    flags = dict(line.split(":\t", 1) for line in seen["status"].splitlines())
    assert flags["NoNewPrivs"] == "1"
    assert flags["Seccomp"] == "2"
    assert int(flags["CapEff"], 16) == int(flags["CapBnd"], 16) == 0


@pytest.mark.usefixtures("probing")
def test_control_the_same_program_gets_it_all_without_a_sandbox(prey: Prey) -> None:
    """As the launcher started processes before: scrubbed environment, nothing more."""
    environment = launcher.scrubbed_environment(prey.run_dir, threads=1)
    command = [sys.executable, "-P", "-m", PROBE, str(prey.run_dir)]
    subprocess.run(command, cwd=prey.run_dir, env=environment, check=True)
    assert (prey.data / "planted").exists()
    failed = {name for name, worked in prey.seen()["got"].items() if not worked}
    as_root = {"write a kernel setting"} if os.geteuid() != 0 else set()
    assert failed <= as_root


@pytest.mark.usefixtures("probing")
def test_without_namespaces_system_calls_are_still_filtered(prey: Prey) -> None:
    launch("trainer", prey, Level.NONE)
    got = prey.seen()["got"]
    assert [name for name, worked in got.items() if worked and name.startswith("call")] == []
    assert got[f"read {prey.data}/secrets/master.json"], "then `none` would claim too little"


@pytest.mark.parametrize("level", [*SANDBOXED, Level.NONE])
@pytest.mark.usefixtures("probing")
def test_a_process_is_given_no_secret_and_no_open_file_of_ours(
    level: Level, prey: Prey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://hunter2")
    ours = (prey.data / "ours").open("w")
    os.set_inheritable(ours.fileno(), True)
    launch("trainer", prey, level)
    ours.close()
    seen = prey.seen()
    assert set(seen["env"]) <= EXPECTED
    assert not any("hunter2" in value for value in seen["env"].values())
    assert (seen["env"]["HF_HUB_OFFLINE"], seen["env"]["OMP_NUM_THREADS"]) == ("1", "1")
    assert seen["env"]["GOMP_SPINCOUNT"] == "1000", "a thread that waits leaves its core to others"
    assert seen["cwd"] == str(prey.run_dir)
    kinds = {path for path in seen["open"] if not path.startswith(("/dev/null", "/proc/"))}
    assert kinds == {str(prey.run_dir / "trainer.log")}


EXPECTED = {
    *launcher.INHERITED,
    *("HOME", "USER", "TMPDIR", "LANG", "PYTHONPATH", "PYTHONUNBUFFERED", "OMP_NUM_THREADS"),
    "GOMP_SPINCOUNT",
    *("TOKENIZERS_PARALLELISM", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"),
    *("CUBLAS_WORKSPACE_CONFIG", "PWD"),
    "LC_CTYPE",  # Python's own coercion
}
