"""Artifacts from the command line: fetched whole, verified offline against the operator's key."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from finetune.packaging.bundle import tar
from finetune.packaging.signing import Signer, generate_key, load_signer
from privatune.cli.exits import Exit
from tests.finetune.packaging.conftest import (  # noqa: F401  fixtures
    adapter,
    artifact,
    built,
    passport,
    signer,
)
from tests.privatune.cli.conftest import Run, Scripted

ID = "artifact-00000000000000000000000000000001"
FORM_ID = "form-00000000000000000000000000000002"
ROW: dict[str, Any] = {
    "id": ID, "job": "ftjob-1", "model": "ft:tiny:acme::1", "bytes": 4096,
    "digest": "sha256:0a", "created_at": "2026-01-02T03:04:05Z",
    "withheld": False, "sha256": "0" * 64,
}  # fmt: skip


@pytest.fixture
def packed(artifact: Path, tmp_path: Path) -> Path:  # noqa: F811
    path = tmp_path / "packed.tar"
    tar(artifact, path)
    return path


@pytest.fixture
def key(signer: Signer, tmp_path: Path) -> Path:  # noqa: F811
    path = tmp_path / "operator.pem"
    path.write_text(signer.public_pem)
    return path


def test_a_whole_artifact_is_verified_folder_and_tar(
    run: Run,
    artifact: Path,  # noqa: F811
    packed: Path,
    key: Path,
) -> None:
    for path in (artifact, packed):
        done = run("verify", str(path), "--key", str(key), "--json")
        assert done.exit_code == 0, done.output
        report = json.loads(done.stdout)
        assert (report["ok"], report["trust"], report["problems"]) == (True, "key", [])


def test_without_a_key_it_says_that_the_signer_is_not_known(run: Run, packed: Path) -> None:
    done = run("artifacts", "verify", str(packed), env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert "give --key to know who signed it" in done.stdout


def test_another_operators_key_fails(run: Run, packed: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_text(load_signer(generate_key()).public_pem)
    done = run("verify", str(packed), "--key", str(other))
    assert done.exit_code == Exit.FAILED
    assert "not by the expected" in done.output


def test_a_changed_file_fails_and_is_named(
    run: Run,
    artifact: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(artifact, copy)
    (copy / "model-card.md").write_text("Better than it is.")
    done = run("verify", str(copy))
    assert done.exit_code == Exit.FAILED
    assert "model-card.md: was changed" in done.stdout
    told = run("verify", str(copy), "--json")
    assert (told.exit_code, json.loads(told.stdout)["ok"]) == (Exit.FAILED, False)


def test_pull_fetches_and_verifies_with_the_operators_key(
    run: Run, server: Scripted, packed: Path, key: Path, tmp_path: Path
) -> None:
    told = facts(packed)
    server.on("GET /api/v1/artifacts/artifact-00000000000000000000000000000001", (200, ROW | told))
    server.on(
        "GET /api/v1/artifacts/artifact-00000000000000000000000000000001/content",
        (200, packed.read_bytes()),
    )
    server.on("GET /api/v1/signing-key", (200, {"public_key_pem": key.read_text()}))
    done = run(
        "artifacts",
        "pull",
        "artifact-00000000000000000000000000000001",
        "-o",
        str(tmp_path / "out"),
        "--json",
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["trust"] == "key"
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["artifact-00000000000000000000000000000001.tar", "signing-key.pem"]
    again = run("artifacts", "pull", ID, "-o", str(tmp_path / "another"), env={"COLUMNS": "200"})
    assert "the key that the server gave with it" in again.stdout
    assert "you gave" not in again.stdout


def facts(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


FORM: dict[str, Any] = {"id": FORM_ID, "artifact": ID, "form": "merged", "waits_for": "",
        "bytes_done": 0, "bytes_total": 9, "bytes": 0, "error": None}  # fmt: skip


def test_export_waits_for_the_form_and_goes_on_where_an_earlier_call_ended(
    run: Run,
    server: Scripted,
    packed: Path,
    key: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("privatune.cli.forms.POLL_SECONDS", 0.0)
    told, whole, out = facts(packed), packed.read_bytes(), tmp_path / "out"
    server.on(
        "POST /api/v1/artifacts/artifact-00000000000000000000000000000001/forms",
        (200, FORM | {"state": "waiting"}),
    )
    server.on(
        "GET /api/v1/forms/form-00000000000000000000000000000002",
        (200, FORM | {"state": "leased", "bytes_done": 4}),
        (200, FORM | told | {"state": "succeeded"}),
    )
    content = "GET /api/v1/forms/form-00000000000000000000000000000002/content"
    server.on(content, (206, whole[1000:3000]), (206, whole[3000:]))
    server.on("GET /api/v1/signing-key", (200, {"public_key_pem": key.read_text()}))
    out.mkdir()
    (out / f".{FORM_ID}.tar.{told['sha256'][:12]}.part").write_bytes(whole[:1000])
    layout = tmp_path / "layout"
    done = run(
        "artifacts", "export", ID, "--form", "gguf-f16", "-o", str(out), "--json",
        "--oci", str(layout),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    [manifest] = json.loads((layout / "index.json").read_text())["manifests"]
    assert manifest["digest"] in done.stderr.replace("\n", "")
    assert server.bodies(f"POST /api/v1/artifacts/{ID}/forms") == [{"form": "gguf-f16"}]
    assert json.loads(done.stdout)["trust"] == "key"
    assert "4 B of 9 B" in done.stderr
    assert (out / "form-00000000000000000000000000000002.tar").read_bytes() == whole
    asked = [headers for name, headers, _ in server.seen if name == content]
    assert [each["Range"] for each in asked] == ["bytes=1000-", "bytes=3000-"]
    assert {each["If-Range"] for each in asked} == {f'"{told["sha256"]}"'}
    assert sorted(path.name for path in out.iterdir()) == [
        "form-00000000000000000000000000000002.tar",
        "signing-key.pem",
    ]


def test_what_is_not_what_was_told_of_is_not_kept_and_a_failed_form_says_why(
    run: Run, server: Scripted, packed: Path, key: Path, tmp_path: Path
) -> None:
    told, out = facts(packed), tmp_path / "out"
    asked = "POST /api/v1/artifacts/artifact-00000000000000000000000000000001/forms"
    server.on(asked, (200, FORM | told | {"state": "succeeded"}))
    server.on(
        "GET /api/v1/forms/form-00000000000000000000000000000002/content",
        (200, bytes(told["bytes"])),
    )
    server.on("GET /api/v1/signing-key", (200, {"public_key_pem": key.read_text()}))
    done = run("artifacts", "export", "artifact-00000000000000000000000000000001", "-o", str(out))
    assert (done.exit_code, "its SHA-256 is another" in done.stderr) == (Exit.FAILED, True)
    assert [path.name for path in out.iterdir()] == ["signing-key.pem"]
    error = {
        "code": "form_rounded_away",
        "message": "Too much is lost.",
        "fix": "Take the adapter.",
    }
    server.on(asked, (200, FORM | {"state": "failed", "error": error}))
    done = run("artifacts", "export", "artifact-00000000000000000000000000000001", "-o", str(out))
    assert (done.exit_code, "Too much is lost." in done.stderr) == (Exit.FAILED, True)


def test_a_refused_pull_leaves_no_half_file(run: Run, server: Scripted, tmp_path: Path) -> None:
    server.on("GET /api/v1/artifacts/artifact-00000000000000000000000000000001", (200, ROW))
    server.on("GET /api/v1/signing-key", (200, {"public_key_pem": "pem"}))
    server.on(
        "GET /api/v1/artifacts/artifact-00000000000000000000000000000001/content",
        (403, {"detail": "No right to export."}),
    )
    done = run(
        "artifacts",
        "pull",
        "artifact-00000000000000000000000000000001",
        "-o",
        str(tmp_path / "out"),
    )
    assert done.exit_code == Exit.REFUSED
    assert "No right to export." in done.stderr
    assert not list((tmp_path / "out").glob("*.tar")) + list((tmp_path / "out").glob(".*"))


def test_the_list_shows_each_artifact(run: Run, server: Scripted) -> None:
    server.on("GET /api/v1/artifacts", (200, {"data": [ROW], "has_more": False}))
    assert json.loads(run("artifacts", "list", "--json").stdout)["data"] == [ROW]
    assert "ft:tiny:acme::1" in run("artifacts", "list", env={"COLUMNS": "200"}).stdout


def test_the_chain_shows_each_training_with_its_losses(run: Run, server: Scripted) -> None:
    links = [
        {"model": "ft:tiny:acme::1", "method": "supervised", "step": 20, "deleted": True,
         "start_valid_loss": 2.5, "valid_loss": 1.25, "created_at": "2026-01-02T03:04:05Z"},
        {"model": "ft:tiny:acme::2", "method": "dpo", "step": None, "deleted": False,
         "start_valid_loss": 0.6931, "valid_loss": None, "created_at": "2026-01-02T03:04:06Z"},
    ]  # fmt: skip
    server.on(
        "GET /api/v1/artifacts/artifact-00000000000000000000000000000001/chain",
        (200, {"data": links}),
    )
    shown = run(
        "artifacts", "chain", "artifact-00000000000000000000000000000001", env={"COLUMNS": "200"}
    )
    assert shown.exit_code == 0, shown.output
    first, second = (line for line in shown.stdout.splitlines() if "ft:tiny" in line)
    assert all(each in first for each in ("supervised", "20", "2.5000", "1.2500", "deleted"))
    assert "0.6931" in second
    assert (
        json.loads(
            run("artifacts", "chain", "artifact-00000000000000000000000000000001", "--json").stdout
        )["data"]
        == links
    )


def test_a_server_does_not_choose_where_files_lie_nor_how_much_is_written(
    run: Run, server: Scripted, packed: Path, key: Path, tmp_path: Path
) -> None:
    told, whole, out = facts(packed), packed.read_bytes(), tmp_path / "out"
    server.on("GET /api/v1/signing-key", (200, {"public_key_pem": key.read_text()}))
    content = f"GET /api/v1/artifacts/{ID}/content"

    def pull(answer: dict[str, Any], *parts: tuple[int, bytes]) -> str:
        server.on(f"GET /api/v1/artifacts/{ID}", (200, answer))
        server.on(content, *(parts or ((200, whole),)))
        done = run("artifacts", "pull", ID, "-o", str(out), "--json")
        assert done.exit_code in (Exit.UNAVAILABLE, Exit.FAILED), done.output
        assert {path.name for path in tmp_path.rglob("*") if path.suffix == ".tar"} == {packed.name}
        return done.output

    for strange in (str(tmp_path / "elsewhere"), "../elsewhere", f"{ID}/../x", 7, None):
        assert "an id that is none" in pull(ROW | told | {"id": strange})
    for odd in ({"sha256": "/../../x"}, {"sha256": None}, {"bytes": "x"}, {"bytes": True}):
        assert "without its size" in pull(ROW | told | odd)
    assert "its SHA-256 is another" in pull(ROW | told | {"bytes": 1000})
    assert "ended what it sent at 3000 of" in pull(ROW | told, (200, whole[:3000]), (206, b""))
    assert len([name for name, _, _ in server.seen if name == content]) < 12
