"""Each process is given what it uses and nothing else: by the stack, compose and privatune.env."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
import yaml

from privatune.env import LONG_LIVED, Process, embedded_file, misplaced
from privatune.stack.environments import environment_of
from privatune.stack.processes import services_for
from privatune.stack.secrets import ensure_secrets, reach_database

ROOT = Path(__file__).resolve().parents[2]

# What each kind holds of the values that open something.
OPENING = {
    "PRIVATUNE_SECRET_KEY", "DATABASE_SUPERUSER_PASSWORD", "DATABASE_OWNER_URL", "DATABASE_URL",
    "DATABASE_OPERATOR_URL", "BROKER_URL", "PRIVATUNE_MASTER_KEY", "PRIVATUNE_SIGNING_KEY",
}  # fmt: skip
APP = {"DATABASE_URL", "BROKER_URL", "PRIVATUNE_MASTER_KEY"}
HELD = {
    Process.WEB: APP | {"PRIVATUNE_SECRET_KEY", "DATABASE_OPERATOR_URL"},
    Process.WORKER: APP | {"PRIVATUNE_SIGNING_KEY"},
    Process.TRAINER: APP | {"PRIVATUNE_SIGNING_KEY"},
    Process.SERVING: set(),
    Process.MIGRATE: {"DATABASE_URL", "DATABASE_OWNER_URL"},
    Process.OPERATOR: APP | {"PRIVATUNE_SIGNING_KEY"},
}


@pytest.mark.parametrize("kind", Process)
def test_the_data_folder_keeps_one_private_file_for_each_kind(
    kind: Process, tmp_path: Path
) -> None:
    ensure_secrets(tmp_path)
    path = embedded_file(tmp_path, kind)
    assert path.stat().st_mode & 0o777 == 0o600
    assert OPENING & set(json.loads(path.read_text())) == HELD[kind]


def test_a_folder_of_an_older_version_is_split_and_keeps_its_values(tmp_path: Path) -> None:
    values = ensure_secrets(tmp_path)
    for kind in Process:
        embedded_file(tmp_path, kind).unlink()
    assert ensure_secrets(tmp_path) == values
    web = json.loads(embedded_file(tmp_path, Process.WEB).read_text())
    assert web["DATABASE_URL"] == values["DATABASE_URL"]


def test_the_services_environments_hold_no_value_that_opens_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when whoever starts the stack has all of them in the shell."""
    values = ensure_secrets(tmp_path)
    for name in OPENING:
        monkeypatch.setenv(name, f"leaked-{name}")
    monkeypatch.setenv("DATABASE_OWNER_URL_FILE", "/secrets/owner")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "leaked-s3")
    services = services_for(host="h", port=1, data=tmp_path, serving_socket="s", models="m")
    assert {service.name for service in services} == {kind.value for kind in LONG_LIVED}
    for service in services:
        kind = Process(service.name)
        assert OPENING & set(service.environment) <= HELD[kind]
        assert misplaced(service.environment, kind) == []
        opening = {values[name] for name in OPENING}
        assert not opening & set(service.environment.values())
    serving = next(service for service in services if service.name == "serving")
    assert "leaked" not in json.dumps(serving.environment)
    assert not any(
        name.startswith(("PRIVATUNE_", "DATABASE_", "AWS_")) for name in serving.environment
    )


def ask(kind: Process, data: Path, code: str, **extra: str) -> "subprocess.CompletedProcess[str]":
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PRIVATUNE_", "DATABASE_"))}
    clean.pop("BROKER_URL", None)
    return subprocess.run(
        [sys.executable, "-c", f"from privatune.env import read\n{code}"],
        env=clean
        | {"PRIVATUNE_PROCESS": kind.value, "PRIVATUNE_DATA": str(data)}
        | {"PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}"}
        | extra,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_process_reads_its_own_and_is_refused_anothers(tmp_path: Path) -> None:
    values = ensure_secrets(tmp_path)
    done = ask(Process.WORKER, tmp_path, "print(read('DATABASE_URL'))")
    assert done.stdout.strip() == values["DATABASE_URL"]
    done = ask(Process.WORKER, tmp_path, "read('DATABASE_OWNER_URL')")
    assert "must not know DATABASE_OWNER_URL" in done.stderr
    assert values["DATABASE_OWNER_URL"] not in done.stderr


@pytest.mark.parametrize("name", ["DATABASE_OWNER_URL", "DATABASE_OWNER_URL_FILE"])
def test_a_web_that_is_given_the_owners_address_does_not_start(tmp_path: Path, name: str) -> None:
    ensure_secrets(tmp_path)
    done = ask(Process.WEB, tmp_path, "", **{name: "/somewhere"})
    assert done.returncode != 0
    assert f"`web` was given {name}" in done.stderr


def test_an_unknown_kind_is_refused_by_name(tmp_path: Path) -> None:
    done = ask(Process.WEB, tmp_path, "", PRIVATUNE_PROCESS="wbe")
    assert "PRIVATUNE_PROCESS is 'wbe'" in done.stderr


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text()))


def test_compose_mounts_to_each_service_only_the_secrets_it_uses() -> None:
    services = compose()["services"]
    ours = {name: services[name] for name in services if name not in {"postgres", "broker"}}
    assert set(ours) == {kind.value for kind in Process} - {"operator"}
    for name, service in ours.items():
        given = service.get("environment", {})
        assert given.get("PRIVATUNE_PROCESS", "serving") == name
        assert misplaced(given, Process(name)) == []
        held = {each.removesuffix("_FILE") for each in given} & OPENING
        assert held == HELD[Process(name)]
        mounted = {f"/run/secrets/{each}" for each in service.get("secrets", [])}
        assert mounted == {v.removeprefix("file:") for v in given.values() if "/run/secrets" in v}
    assert "env_file" not in ours["serving"]


def test_the_serving_environment_is_an_allow_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOMETHING_NEW_AND_SECRET", "x")
    assert "SOMETHING_NEW_AND_SECRET" not in environment_of(Process.SERVING, tmp_path)
    assert environment_of(Process.SERVING, tmp_path)["GOMP_SPINCOUNT"] == "1000"
    assert "SOMETHING_NEW_AND_SECRET" in environment_of(Process.WEB, tmp_path)


def test_a_moved_folder_never_names_the_place_it_was_made_at(tmp_path: Path) -> None:
    """Put back from a backup beside the original it would use the original's database and files."""
    before, after = tmp_path / "d", tmp_path / "elsewhere"
    made = ensure_secrets(before)
    shutil.copytree(before, after)
    for path in after.glob("secrets/*.json"):  # as older versions wrote it
        path.write_text(json.dumps(without(json.loads(path.read_text()), "PRIVATUNE_FOLDER")))
    moved = ensure_secrets(after)
    reach_database(after, moved, str(after / "pg"))
    for path in after.glob("secrets/*.json"):
        told = unquote(path.read_text())
        assert f"{before}/" not in told, path.name
    assert moved["PRIVATUNE_SECRET_KEY"] == made["PRIVATUNE_SECRET_KEY"]
    assert moved["PRIVATUNE_OBJECTS"] == f"file://{after}/objects"
    assert moved["DATABASE_URL"] == made["DATABASE_URL"].replace(
        quote(str(before), safe=""), quote(str(after), safe="")
    )
    assert ensure_secrets(before) == made


def test_what_lies_outside_the_folder_stays_where_it_is(tmp_path: Path) -> None:
    values = ensure_secrets(tmp_path / "d")
    outside = {"PRIVATUNE_WORK": f"{tmp_path}/d-fast/work", "PRIVATUNE_OBJECTS": "s3://bucket/d"}
    path = tmp_path / "d" / "secrets" / "env.json"
    path.write_text(json.dumps(values | outside))
    (tmp_path / "d").rename(tmp_path / "e")
    moved = ensure_secrets(tmp_path / "e")
    assert {name: moved[name] for name in outside} == outside


def test_a_serving_socket_in_a_temp_folder_that_is_gone_gets_another(tmp_path: Path) -> None:
    data = tmp_path / ("long" * 25)
    first = Path(ensure_secrets(data)["PRIVATUNE_SERVING_SOCKET"])
    assert not first.is_relative_to(data)
    assert Path(ensure_secrets(data)["PRIVATUNE_SERVING_SOCKET"]) == first
    first.parent.rmdir()
    second = Path(ensure_secrets(data)["PRIVATUNE_SERVING_SOCKET"])
    assert second.parent.is_dir()
    second.parent.rmdir()


def without(values: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in values.items() if key != name}
