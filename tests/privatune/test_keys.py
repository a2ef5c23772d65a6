"""Keys are made by one command; a process with another installation's keys does not start.

The processes are the real ones, by the documented commands.
"""

import ast
import json
import os
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from django.conf import settings

from finetune.packaging.signing import generate_key, load_signer
from privatune.cli.exits import Exit
from privatune.env import Process, embedded_file
from privatune.keys import KeysExist, make_keys
from tenants.models import KeyPrint
from tenants.vault.keys import MasterKey
from tests.fixtures.ports import own_port
from tests.fixtures.waiting import is_alive, until
from tests.privatune.cli.conftest import Run, run  # noqa: F401  a fixture

ROOT = Path(__file__).resolve().parents[2]
MAKERS = {"make_file", "generate_key", "new_keyset_handle", "generate_private_key", "make_keys"}


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    paths = {
        "PRIVATUNE_MASTER_KEY": tmp_path / "keys" / "master.json",
        "PRIVATUNE_SIGNING_KEY": tmp_path / "keys" / "signing.pem",
        "PRIVATUNE_SIGNING_PUBLIC_KEY": tmp_path / "keys" / "signing.pub.pem",
    }
    for name, path in paths.items():
        monkeypatch.setenv(name, f"file:{path}" if "MASTER" in name else str(path))
    return paths


def test_init_makes_both_keys_once_and_prints_their_fingerprints(
    run: Run,  # noqa: F811
    paths: dict[str, Path],
) -> None:
    done = run("keys", "init", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    master, signing, public = paths.values()
    assert told["master_key"]["fingerprint"] == MasterKey.from_file(master).fingerprint
    assert told["signing_key"]["fingerprint"] == load_signer(signing.read_bytes()).fingerprint
    assert public.read_text() == load_signer(signing.read_bytes()).public_pem
    assert {path.stat().st_mode & 0o777 for path in (master, signing)} == {0o600}
    before = {path: path.read_bytes() for path in paths.values()}
    again = run("keys", "init", env={"COLUMNS": "300"})
    assert again.exit_code == Exit.FAILED
    assert str(master) in again.output
    assert {path: path.read_bytes() for path in paths.values()} == before


def test_init_makes_nothing_beside_half_of_an_installations_keys(paths: dict[str, Path]) -> None:
    master, signing, public = paths.values()
    signing.parent.mkdir()
    signing.write_bytes(generate_key())
    with pytest.raises(KeysExist, match=r"signing\.pem"):
        make_keys(master_uri=f"file:{master}", signing=signing, public=public)
    assert not master.exists()


def test_no_other_code_makes_a_key() -> None:
    """Who calls what makes one, in the whole product."""
    callers: set[tuple[str, str]] = set()
    for package in ("tenants", "finetune", "platform"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                    if name in MAKERS:
                        callers.add((path.relative_to(ROOT).as_posix(), name))
    assert callers == {
        ("platform/privatune/cli/operator/keys.py", "make_keys"),
        ("platform/privatune/keys.py", "make_file"),
        ("platform/privatune/keys.py", "generate_key"),
        ("finetune/packaging/signing.py", "generate_private_key"),
        ("tenants/vault/keys.py", "new_keyset_handle"),  # make_file, and a tenant's own key
        ("tenants/vault/vault.py", "new_keyset_handle"),  # an object's own key
        ("tenants/vault/spool.py", "generate_key"),  # a spool's, gone with its process
    }


@pytest.fixture
def house(committed: None, tmp_path: Path) -> Path:
    """A data folder whose processes use the tests' database, with copies of its keys."""
    data = tmp_path / "data"
    (data / "secrets").mkdir(parents=True)
    for kind in Process:
        values = json.loads(embedded_file(settings.DATA, kind).read_text())
        for name, value in values.items():
            if name in ("PRIVATUNE_MASTER_KEY", "PRIVATUNE_SIGNING_KEY"):
                copy = data / "secrets" / Path(value).name
                copy.write_bytes(Path(value.removeprefix("file:")).read_bytes())
                copy.chmod(0o600)
                values[name] = f"file:{copy}" if "MASTER" in name else str(copy)
            elif name == "PRIVATUNE_SIGNING_PUBLIC_KEY":
                copy = data / "secrets" / "signing.pub.pem"
                copy.write_bytes(Path(value).read_bytes())
                values[name] = str(copy)
            elif name == "BROKER_URL":
                values[name] = f"filesystem://{data / 'queue'}"
        embedded_file(data, kind).write_text(json.dumps(values))
    return data


FAULTS = ("missing", "other")
CELERY = ["celery", "-A", "privatune.celery_app", "worker", "--pool", "threads"]
COMMANDS: dict[Process, list[str]] = {
    Process.WEB: ["granian", "--interface", "asgi", "privatune.asgi:application"],
    Process.WORKER: [*CELERY, "-Q", "io"],
    Process.TRAINER: [*CELERY, "-Q", "train"],
}


def environment(kind: Process, data: Path) -> dict[str, str]:
    clean = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("PRIVATUNE_", "DATABASE_")) and k != "BROKER_URL"
    }
    return clean | {
        "PRIVATUNE_PROCESS": kind.value,
        "PRIVATUNE_DATA": str(data),
        "DJANGO_SETTINGS_MODULE": "privatune.settings",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}",
    }


def start(kind: Process, data: Path) -> "subprocess.CompletedProcess[str]":
    """Hangs when the process does start."""
    extra = ["--port", str(own_port())] if kind is Process.WEB else ["-n", f"{kind}@%h"]
    return subprocess.run(
        [sys.executable, "-m", *COMMANDS[kind], *extra],
        env=environment(kind, data),
        capture_output=True,
        text=True,
        check=False,
    )


def others_signing_key(path: Path) -> None:
    """What a second host did by itself: a fresh key under the same name."""
    private = generate_key()
    path.write_bytes(private)
    path.with_name("signing.pub.pem").write_text(load_signer(private).public_pem)


@pytest.mark.parametrize(
    ("key", "fault", "kind"),
    [
        # Each process looks at its keys by one function: here every way that one may be wrong,
        *[(key, fault, Process.WEB) for key in ("master", "signing") for fault in FAULTS],
        # and that the others ask it too, of a private key as well.
        ("master", "other", Process.WORKER),
        ("signing", "missing", Process.WORKER),
        ("signing", "other", Process.TRAINER),
    ],
)
def test_a_process_with_a_missing_or_another_key_does_not_start(
    house: Path, key: str, fault: str, kind: Process
) -> None:
    folder = house / "secrets"
    named = {"master": "master.json", "signing": "signing.pem"}[key]
    if kind is Process.WEB and key == "signing":
        named = "signing.pub.pem"  # all it knows
    (folder / named).unlink()
    if fault == "other" and key == "master":
        MasterKey.make_file(folder / "master.json")
    elif fault == "other":
        others_signing_key(folder / "signing.pem")
    done = start(kind, house)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "privatune does not start" in said
    assert str(folder / named) in said
    expected = {each.name: each for each in KeyPrint.objects.all()}[key]
    assert expected.fingerprint in said
    assert (folder / named).exists() == (fault == "other"), "no key appears by itself"


def test_the_stack_changes_no_database_with_another_key(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It migrated first, and only then compared."""
    master = house / "secrets" / "master.json"
    master.unlink()
    MasterKey.make_file(master)
    up: Any = import_module("privatune.stack.up")  # whose package gives its name to a function
    ran, once = [], up._once

    def noted(module: list[str], environment: dict[str, str]) -> bytes:
        ran.append(module[:2])
        return once(module, environment)

    monkeypatch.setattr(up, "_once", noted)
    monkeypatch.setattr(up, "environment_of", environment)  # none of this process's own
    with pytest.raises(up.StackError, match="registered from"):
        up._prepare(house, fresh=False)
    assert ran == [["privatune.stack.prepare", "keys"]]


@pytest.mark.parametrize("kind", [Process.WEB, Process.WORKER])
def test_after_kill_9_of_the_parent_its_children_go_too(house: Path, kind: Process) -> None:
    """granian's worker and Celery's embedded beat lived on, serving and nudging with old code."""
    extra = ["--port", str(own_port())] if kind is Process.WEB else ["-n", "io@%h", "-B"]
    extra += [] if kind is Process.WEB else ["-s", str(house / "beat")]
    with (house / "log").open("wb") as log:
        parent = subprocess.Popen(
            [sys.executable, "-m", *COMMANDS[kind], *extra],
            env=environment(kind, house),
            stdout=log,
            stderr=log,
        )
    said = "Started worker" if kind is Process.WEB else "beat: Starting"
    log_of = (house / "log").read_text
    until(lambda: said in log_of(), f"it did not say {said!r}", of=parent, said=log_of)
    if kind is Process.WEB:  # granian says so before its worker has loaded the application
        until(lambda: answers(extra[1]), "it does not answer", of=parent, said=log_of)
    children = psutil.Process(parent.pid).children(recursive=True)
    assert children
    parent.kill()
    parent.wait()
    try:
        until(lambda: not any(is_alive(child.pid) for child in children), "they live on")
    finally:
        for process in children:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def answers(port: str) -> bool:
    """Well or not: somebody is there."""
    try:
        return bool(httpx.get(f"http://127.0.0.1:{port}/healthz").status_code)
    except httpx.TransportError:
        return False


def test_a_worker_whose_beat_has_died_stops_to_be_started_again(house: Path) -> None:
    """It worked on without: nothing forgotten was looked for any more, and nobody was told."""
    command = [*COMMANDS[Process.WORKER], "-n", "io@%h", "-B", "-s", str(house / "beat")]
    with (house / "log").open("wb") as log:
        parent = subprocess.Popen(
            [sys.executable, "-m", *command],
            env=environment(Process.WORKER, house),
            stdout=log,
            stderr=log,
        )
    try:
        log_of = (house / "log").read_text
        for words in ("beat: Starting", "ready"):
            until(lambda said=words: said in log_of(), words, of=parent, said=log_of)  # type: ignore[misc]
        for beat in psutil.Process(parent.pid).children():
            beat.kill()
        assert parent.wait() == 0
    finally:
        parent.kill()
        parent.wait()
    assert "beat has died" in (house / "log").read_text()
