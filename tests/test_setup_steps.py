"""The set-up says how far it is: real commands, real files, and the test's own clock."""

import importlib.util
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.fixture(scope="module")
def narrate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("narrate", SCRIPTS / "narrate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("code", "seen"), [("sys.exit(0)", 0), ("sys.exit(7)", 7)])
@pytest.mark.parametrize("kind", ["venv", "npm", "apt"])
def test_a_step_ends_with_its_commands_exit_code(
    narrate: ModuleType, kind: str, code: str, seen: int
) -> None:
    # What apt is given besides lands in sys.argv
    step = narrate.KINDS[kind]([sys.executable, "-c", f"import sys; {code}"])
    assert narrate.run(step, io.StringIO(), live=False) == seen


def test_a_command_that_was_killed_ends_as_a_shell_says_it(narrate: ModuleType) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    step = narrate.Venv([sys.executable, "-c", code])
    assert narrate.run(step, io.StringIO(), live=False) == 128 + 15


def test_no_step_is_silent_for_15_seconds(narrate: ModuleType, tmp_path: Path) -> None:
    clock, out = Clock(), io.StringIO()
    (tmp_path / "pyvenv.cfg").touch()
    teller = narrate.Teller(narrate.Venv(["-m", str(tmp_path)]), out, clock=clock)
    for _ in range(40):
        clock.now += 1
        teller.look()
    assert out.getvalue().splitlines() == [
        f"making {tmp_path}: 1 files ({seconds} s)" for seconds in (12, 24, 36)
    ]


@pytest.fixture
def pip(narrate: ModuleType, tmp_path: Path) -> object:
    """In a venv in which two packages stand, one of them since before."""
    library = tmp_path / "lib" / "python3.11" / "site-packages"
    for name in ("pip-23.0", "numpy-2.4", "torch-2.13"):
        (library / f"{name}.dist-info").mkdir(parents=True)
    (library / "pip-23.0.dist-info" / "RECORD").touch()
    step = narrate.Pip([str(tmp_path / "bin" / "pip"), "install", "torch"])
    (tmp_path / "work").mkdir()
    step.watch(tmp_path / "work")
    (library / "numpy-2.4.dist-info" / "RECORD").touch()  # torch is still being written
    return step


LOG = """\
2026-11-26T18:00:00,000 Collecting numpy
2026-11-26T18:00:00,100   Downloading numpy-2.4-cp311-cp311-manylinux.whl.metadata (60 kB)
2026-11-26T18:00:00,200   Using cached numpy-2.4-cp311-cp311-manylinux.whl (16.6 MB)
2026-11-26T18:00:01,000 Collecting torch==2.13.0
2026-11-26T18:00:01,100   Downloading https://example/torch-2.13.0%2Bcpu-cp311.whl (190.3 MB)
"""


def write(tmp_path: Path, text: str) -> None:
    with (tmp_path / "work" / "pip.log").open("a") as log:
        log.write(text)


def test_a_download_is_followed_by_its_bytes(pip: object, tmp_path: Path) -> None:
    write(tmp_path, "2026-11-26T18:00:00,000 Collecting numpy\n2026-11-26T18:00:00,0")
    assert pip.figure() == "looking for packages: 1 found so far"  # type: ignore[attr-defined]
    write(tmp_path, "00\n" + LOG)
    unpack = tmp_path / "work" / "pip-unpack-1"
    unpack.mkdir()
    (unpack / "torch.whl").write_bytes(b"x" * 2_000_000)
    said = pip.figure()  # type: ignore[attr-defined]
    assert said == "fetching packages: 2 so far, now torch (190.3 MB), 2 MB of it are here"


def test_installing_counts_packages_that_are_whole(pip: object, tmp_path: Path) -> None:
    """And what is installed to build one of them with is not the end of it."""
    installing = "2026-11-26T18:00:02,000 Installing collected packages: "
    write(tmp_path, f"{installing}hatchling, pluggy\n")
    assert pip.figure().startswith("installing 2")  # type: ignore[attr-defined]
    write(tmp_path, LOG)
    assert pip.figure().startswith("fetching packages: 2")  # type: ignore[attr-defined]
    write(tmp_path, f"{installing}numpy, torch, peft\n")
    said = pip.figure()  # type: ignore[attr-defined]
    assert said == "installing 3 packages: 1 of 3, torch"


@pytest.mark.parametrize("gpu", [True, False])
def test_cuda_libraries_without_a_gpu_are_told_once(
    narrate: ModuleType, pip: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gpu: bool
) -> None:
    monkeypatch.setattr(narrate, "GPU", tmp_path if gpu else tmp_path / "none")
    cuda = "2026-11-26T18:00:02,0   Downloading nvidia_cublas-13.0-py3-none-any.whl (423.1 MB)\n"
    write(tmp_path, LOG + cuda)
    first, second = pip.hints(), pip.hints()  # type: ignore[attr-defined]
    assert (len(first), second) == (0 if gpu else 1, [])
    assert gpu or '"Which PyTorch"' in first[0]


def test_apts_own_percentages_are_read(narrate: ModuleType) -> None:
    step = narrate.Apt(["apt-get", "install"])
    for line in ("dlstatus:1:12.5:Retrieving file 1 of 7", "pmstatus:chromium:40.2:Unpacking it"):
        step.read(line + "\n")
        step.read("something else\n")
    assert step.figure() == "apt: Unpacking it (40%)"


def test_front_end_packages_are_counted(
    narrate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "package-lock.json").write_text(
        '{"packages": {"": {}, "node_modules/uplot": {}, "node_modules/@tabler/core": {}}}'
    )
    (tmp_path / "node_modules" / "uplot").mkdir(parents=True)
    (tmp_path / "node_modules" / "uplot" / "package.json").touch()
    assert narrate.Npm(["npm", "ci"]).figure() == "installing 2 front-end packages: 1 of 2"


def test_the_set_up_goes_through_these_steps_and_names_no_index() -> None:
    for name in ("setup", "system-packages"):
        script = (SCRIPTS / name).read_text("utf-8")
        assert "narrate.py" in script
        assert "://" not in script
    assert "://" not in (SCRIPTS.parent / "constraints.txt").read_text("utf-8")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout whose set-up has run, of nothing but what the set-up looks at."""
    (tmp_path / "scripts").mkdir()
    for name in ("setup", "system-packages"):
        shutil.copy(SCRIPTS / name, tmp_path / "scripts")
    (tmp_path / "scripts" / "messages.py").write_text("print('compiled')\n")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    for name in ("pyproject.toml", "constraints.txt", "package-lock.json"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000, 1000))
    return tmp_path


def set_up(tree: Path, what: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.environ["PATH"], "PYTHON": sys.executable}
    command = ["sh", "scripts/setup", what]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("ready", "what"),
    [("test", "run"), ("retrieval", "run"), ("test", "retrieval"), ("clients", "test")],
)
def test_what_was_set_up_for_more_installs_nothing_again(tree: Path, ready: str, what: str) -> None:
    """The demo after the tests, as in CI."""
    (tree / ".venv" / f".ready-{ready}").touch()
    done = set_up(tree, what)
    assert (done.returncode, done.stdout, done.stderr) == (0, "compiled\n", "")


@pytest.mark.parametrize(
    ("ready", "what"), [("run", "retrieval"), ("retrieval", "test"), ("test", "clients")]
)
def test_what_was_set_up_for_less_is_set_up_again(tree: Path, ready: str, what: str) -> None:
    (tree / ".venv" / f".ready-{ready}").touch()
    assert "Installing Python packages" in set_up(tree, what).stderr


def test_what_is_older_than_the_pins_is_set_up_again(tree: Path) -> None:
    (tree / ".venv" / ".ready-test").touch()
    os.utime(tree / ".venv" / ".ready-test", (2000, 2000))
    os.utime(tree / "constraints.txt", (3000, 3000))
    assert "Installing Python packages" in set_up(tree, "run").stderr
