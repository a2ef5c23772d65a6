"""What `privatune up` says when it cannot start: one clear line, and nothing is touched."""

import shutil
import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from privatune.stack.folder import (
    FolderLock,
    StackError,
    free_port,
    require_port,
    require_usable_path,
)
from privatune.stack.postgres import EmbeddedPostgres
from privatune.stack.prepare import ensure_first_tenant
from privatune.stack.processes import Service, Supervisor
from privatune.stack.secrets import ensure_secrets
from privatune.stack.up import conclusion
from tenants.access import find_key
from tenants.models import User
from tenants.services.tenants import revoke_key
from tests.fixtures.ports import own_port

ROOT = Path(__file__).resolve().parents[2]
UP: Any = import_module("privatune.stack.up")  # whose package gives its name to a function


def up(data: Path, port: int) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "privatune.cli", "up", "--data", str(data)]
    return subprocess.run(
        [*command, "--port", str(port)], capture_output=True, text=True, check=False
    )


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = up(tmp_path / "data", port)
    assert done.returncode != 0
    assert f"Port {port} on 127.0.0.1 cannot be used" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_data_folder_in_use_names_its_process(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path / "data")
    done = up(tmp_path / "data", own_port())
    lock.release()
    assert done.returncode != 0
    assert "is in use by process" in done.stderr
    assert "Traceback" not in done.stderr
    FolderLock(tmp_path / "data").release()


def test_a_data_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(StackError, match="cannot be used"):
        FolderLock(tmp_path / "data")


@pytest.mark.parametrize("odd", ['"', "$", "`", "\\"])
def test_a_path_that_the_databases_start_cannot_take_is_one_clear_line(
    tmp_path: Path, odd: str
) -> None:
    with pytest.raises(StackError, match="pg_ctl"):
        require_usable_path(tmp_path / f"my{odd}data")


def test_a_name_that_is_too_long_is_one_clear_line(tmp_path: Path) -> None:
    done = up(tmp_path / ("n" * 300), own_port())
    assert done.returncode != 0
    assert "File name too long" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_database_starts_in_a_folder_of_any_name(tmp_path: Path) -> None:
    data = tmp_path / "my data, 'mine' 数据 #1 100%"
    server = EmbeddedPostgres(data / "pg", ensure_secrets(data))
    try:
        with server.superuser() as connection:
            [folder] = connection.execute("SHOW data_directory").fetchone() or [""]
        assert folder == str(data / "pg")
    finally:
        server.stop()
        shutil.rmtree(data)


def test_a_folder_for_sockets_that_is_too_long_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("long" * 25)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with pytest.raises(StackError, match="TMPDIR") as caught:
        ensure_secrets(deep / "data")
    assert str(deep) in str(caught.value)


def test_a_database_whose_passwords_are_gone_gets_no_new_ones(tmp_path: Path) -> None:
    (tmp_path / "data" / "pg").mkdir(parents=True)
    (tmp_path / "data" / "pg" / "PG_VERSION").write_text("18\n")
    done = up(tmp_path / "data", own_port())
    assert done.returncode != 0
    assert str(tmp_path / "data" / "secrets" / "env.json") in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data" / "secrets").exists()


def test_damaged_passwords_are_named_and_left_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "data" / "secrets" / "env.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"PRIVATUNE_SECRET_KEY": "cut of')
    done = up(tmp_path / "data", own_port())
    assert done.returncode != 0
    assert str(path) in done.stderr
    assert "backup" in done.stderr
    assert "Traceback" not in done.stderr
    assert path.read_text() == '{"PRIVATUNE_SECRET_KEY": "cut of'


@pytest.mark.usefixtures("committed")
def test_first_passwords_and_key_are_kept_no_longer_than_they_open_something(
    tmp_path: Path,
) -> None:
    path = tmp_path / "first.json"
    made: Any = ensure_first_tenant(path)
    assert ensure_first_tenant(path) == made
    user = User.objects.get(email=made["login"]["email"])
    user.set_password("another one entirely")
    user.save()
    after: Any = ensure_first_tenant(path)
    assert after == made | {"login": {"email": user.email, "password": None}}
    assert made["login"]["password"] not in path.read_text()
    found = find_key(made["api_key"])
    revoke_key(tenant_id=found.tenant_id, key_id=found.key_id, actor="test")
    assert ensure_first_tenant(path)["api_key"] is None
    assert made["api_key"] not in path.read_text()
    assert made["operator"]["password"] in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_database_that_does_not_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "data" / "pg").mkdir(parents=True)
    (tmp_path / "data" / "pg" / "PG_VERSION").write_text("9.6\n")
    ensure_secrets(tmp_path / "data")
    done = up(tmp_path / "data", own_port())
    assert done.returncode != 0
    assert f"PostgreSQL in {tmp_path / 'data' / 'pg'} does not start" in done.stderr
    assert "Traceback" not in done.stderr


def test_of_a_failed_step_only_the_conclusion_is_told() -> None:
    said = 'x\nTraceback (most recent call last):\n  File "a"\n    code\nDown: it is\n\tsure\n'
    assert conclusion(said.strip()) == "Down: it is\n\tsure"
    assert conclusion("The key is missing.") == "The key is missing."


def test_a_free_port_is_accepted() -> None:
    require_port("127.0.0.1", free_port())


def test_an_old_python_is_one_clear_line(tmp_path: Path) -> None:
    """A stand-in for Python 3.10: it fails the version question and says its version."""
    old = tmp_path / "python3.10"
    old.write_text('#!/bin/sh\ncase "$1" in -V) echo Python 3.10.1 ;; *) exit 1 ;; esac\n')
    old.chmod(0o755)
    done = subprocess.run(
        ["sh", str(ROOT / "scripts" / "setup"), "run"],
        env={"PYTHON": str(old), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr
    assert "3.10.1" in done.stderr


def waits(code: str, port: int, logs: Path) -> bool:
    """Whether `up` finds a web ready that is this code."""
    supervisor = Supervisor([Service("web", [sys.executable, "-Sc", code, str(port)])], logs)
    supervisor.start()
    try:
        return bool(
            UP._wait_ready(f"http://127.0.0.1:{port}", supervisor, SimpleNamespace(asked=False))
        )
    finally:
        supervisor.stop()


def test_a_web_that_ends_again_and_again_is_given_up_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"ended 3 times before it answered; see .*web\.log"):
        waits("raise SystemExit('no')", own_port(), tmp_path)
    assert (tmp_path / "web.log").read_text().split() == ["no"] * 3


def test_a_web_that_takes_long_is_waited_for_and_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine on which it took more than two minutes never came up."""
    code = """
import sys, time
from http.server import SimpleHTTPRequestHandler, test
time.sleep(1)
test(SimpleHTTPRequestHandler, port=int(sys.argv[1]))
"""
    monkeypatch.setattr(UP, "TELL_SECONDS", 0.3)
    monkeypatch.chdir(tmp_path)
    assert waits(code, own_port(), tmp_path / "logs")
    assert "has not answered yet, after 0 s. Its log:" in capsys.readouterr().err
