"""Files from the command line: small ones in one request, large ones in parts that are resent."""

import hashlib
import json
from pathlib import Path

import pytest

from privatune.cli import upload
from privatune.cli.exits import Exit
from tests.privatune.cli.conftest import Run, Scripted

FILE = {
    "id": "file-1", "filename": "rows.jsonl", "bytes": 12, "purpose": "fine-tune",
    "status": "processed", "created_at": 1_760_000_000,
}  # fmt: skip


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text":"a"}')
    return path


def test_a_small_file_goes_in_one_request(run: Run, server: Scripted, rows: Path) -> None:
    server.on("POST /v1/files", (200, FILE | {"status": "uploaded"}))
    server.on("GET /v1/files/file-1", (200, FILE | {"status": "uploaded"}), (200, FILE))
    done = run("files", "upload", str(rows), "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["status"] == "processed"
    _, headers, body = server.seen[0]
    assert headers["Authorization"] == "Bearer key-of-the-test"
    assert headers["Idempotency-Key"]
    assert b'name="purpose"\r\n\r\nfine-tune' in body
    assert b'filename="rows.jsonl"' in body
    assert b'{"text":"a"}' in body


def test_a_file_that_fails_its_check_ends_with_64(run: Run, server: Scripted, rows: Path) -> None:
    bad = FILE | {"status": "error", "status_details": "line 1: no messages"}
    server.on("POST /v1/files", (200, bad))
    done = run("files", "upload", str(rows))
    assert done.exit_code == Exit.DATA
    assert "line 1: no messages" in done.stderr
    told = run("files", "upload", str(rows), "--json")
    assert told.exit_code == Exit.DATA
    assert json.loads(told.stdout) == bad


def test_a_large_file_goes_in_parts_in_order(
    run: Run, server: Scripted, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "IN_PARTS_ABOVE", 10)
    monkeypatch.setattr(upload, "PART_BYTES", 5)
    server.on("POST /v1/uploads", (200, {"id": "upload-1"}))
    server.on(
        "POST /v1/uploads/upload-1/parts",
        (200, {"id": "part-a"}), (200, {"id": "part-b"}), (200, {"id": "part-c"}),
    )  # fmt: skip
    server.on("POST /v1/uploads/upload-1/complete", (200, {"id": "upload-1", "file": FILE}))
    done = run("files", "upload", str(rows), "--expires-after", "3600", "--json")
    assert done.exit_code == 0, done.output
    assert server.bodies("POST /v1/uploads") == [
        {
            "purpose": "fine-tune", "filename": "rows.jsonl", "bytes": 12,
            "mime_type": "application/octet-stream",
            "expires_after": {"anchor": "created_at", "seconds": 3600},
        }
    ]  # fmt: skip
    assert server.bodies("POST /v1/uploads/upload-1/complete") == [
        {
            "part_ids": ["part-a", "part-b", "part-c"],
            "md5": hashlib.md5(rows.read_bytes(), usedforsecurity=False).hexdigest(),
        }
    ]


def test_a_part_is_sent_again_when_the_server_stumbles(
    run: Run, server: Scripted, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "IN_PARTS_ABOVE", 10)
    monkeypatch.setattr(upload, "RESEND_SECONDS", 0)
    server.on("POST /v1/uploads", (200, {"id": "upload-1"}))
    broken = (503, {"error": {"message": "Storage is down."}})
    server.on("POST /v1/uploads/upload-1/parts", broken, broken, (200, {"id": "part-a"}))
    server.on("POST /v1/uploads/upload-1/complete", (200, {"id": "upload-1", "file": FILE}))
    done = run("files", "upload", str(rows))
    assert done.exit_code == 0, done.output
    assert server.bodies("POST /v1/uploads/upload-1/complete")[0]["part_ids"] == ["part-a"]


def test_a_refused_part_is_not_sent_again(
    run: Run, server: Scripted, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "IN_PARTS_ABOVE", 10)
    server.on("POST /v1/uploads", (200, {"id": "upload-1"}))
    server.on("POST /v1/uploads/upload-1/parts", (403, {"error": {"message": "No scope."}}))
    done = run("files", "upload", str(rows))
    assert done.exit_code == Exit.REFUSED
    assert [name for name, _, _ in server.seen].count("POST /v1/uploads/upload-1/parts") == 1


def test_the_list_follows_the_pages(run: Run, server: Scripted) -> None:
    server.on(
        "GET /v1/files",
        (200, {"data": [FILE], "has_more": True}),
        (200, {"data": [FILE | {"id": "file-2"}], "has_more": False}),
    )
    done = run("files", "list", "--json")
    assert [file["id"] for file in json.loads(done.stdout)["data"]] == ["file-1", "file-2"]


def test_a_table_is_for_people(run: Run, server: Scripted) -> None:
    server.on("GET /v1/files", (200, {"data": [FILE], "has_more": False}))
    done = run("files", "list", env={"COLUMNS": "200"})
    assert "rows.jsonl" in done.stdout
    assert "12 B" in done.stdout


def test_content_is_written_where_asked(run: Run, server: Scripted, tmp_path: Path) -> None:
    server.on("GET /v1/files/file-1", (200, FILE))
    server.on("GET /v1/files/file-1/content", (200, b"the bytes"))
    done = run("files", "get", "file-1", "--content", str(tmp_path / "copy"), "--json")
    assert json.loads(done.stdout) == FILE
    assert (tmp_path / "copy").read_bytes() == b"the bytes"


def test_delete_says_what_it_deleted(run: Run, server: Scripted) -> None:
    server.on("DELETE /v1/files/file-1", (200, {"id": "file-1", "deleted": True}))
    assert json.loads(run("files", "delete", "file-1", "--json").stdout)["deleted"] is True
