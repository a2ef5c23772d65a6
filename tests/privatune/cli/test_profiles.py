"""Profiles and scrubs from the command line: what is sent, waited for and shown."""

import json
from pathlib import Path
from typing import Any

import pytest

from privatune.cli import profiles
from tests.privatune.cli.conftest import Run, Scripted

WAITING: dict[str, Any] = {
    "id": "profile-1", "file": "file-1", "against": "file-2", "state": "waiting", "report": None,
    "error": None,
}  # fmt: skip
REPORT = {
    "rows": 9, "equal": 2, "near": 1, "scripts": {"han": 7, "latin": 2}, "tagged": 3,
    "held_out": {"rows": 4, "equal": 1, "near": 0, "rows_here": 2},
    "length_percentiles": {"p50": 40}, "personal": {"email": {"rows": 1, "places": 2}},
}  # fmt: skip
SCRUBBED: dict[str, Any] = {
    "id": "scrub-1", "file": "file-1", "result": "file-3", "state": "succeeded", "error": None,
    "kinds": ["email"], "finished_at": "2026-11-27T20:00:00Z",
    "report": {"rows": 9, "changed": 1, "masked": {"email": {"rows": 1, "places": 2}}},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "POLL_SECONDS", 0.01)


def test_a_profile_is_waited_for_shown_and_its_findings_written(
    run: Run, server: Scripted, tmp_path: Path
) -> None:
    server.on("POST /api/v1/profiles", (200, WAITING))
    done = WAITING | {"state": "succeeded", "report": REPORT}
    server.on("GET /api/v1/profiles/profile-1", (200, WAITING), (200, done))
    server.on("GET /api/v1/profiles/profile-1/findings", (200, b'{"row": 1}\n'))
    path = tmp_path / "found.jsonl"
    shown = run("files", "profile", "file-1", "--against", "file-2", "--findings", str(path))
    assert shown.exit_code == 0, shown.output
    assert server.bodies("POST /api/v1/profiles") == [{"file": "file-1", "against": "file-2"}]
    assert path.read_bytes() == b'{"row": 1}\n'
    assert "email\t1\t2" in shown.stdout
    assert "han 7, latin 2" in shown.stdout
    assert "of them in the rows      1" in shown.stdout


def test_a_profile_that_fails_ends_the_command_so(run: Run, server: Scripted) -> None:
    error = {"code": "limit_memory", "message": "Too much.", "fix": "Split it."}
    server.on("POST /api/v1/profiles", (200, WAITING | {"state": "failed", "error": error}))
    told = run("files", "profile", "file-1", "--json")
    assert told.exit_code == 1
    assert json.loads(told.stdout)["error"]["code"] == "limit_memory"


def test_a_scrub_names_the_kinds_and_the_new_file(run: Run, server: Scripted) -> None:
    server.on("POST /api/v1/scrubs", (200, SCRUBBED))
    shown = run("files", "scrub", "file-1", "--kind", "email", "--kind", "phone")
    assert shown.exit_code == 0, shown.output
    assert server.bodies("POST /api/v1/scrubs") == [{"file": "file-1", "kinds": ["email", "phone"]}]
    assert "file-3" in shown.stdout


def test_changes_and_versions_are_tables(run: Run, server: Scripted) -> None:
    change = {"field": "text", "before": "a b@c.de", "after": "a [EMAIL]", "masks": []}
    rows = [{"row": 4, "changes": [change]}, {"row": 7, "changes": None}]
    server.on("GET /api/v1/scrubs/scrub-1/changes", (200, {"data": rows, "has_more": True}))
    shown = run("files", "changes", "scrub-1")
    assert "4\ttext\ta b@c.de\ta [EMAIL]" in shown.stdout
    assert "7\t(too large)" in shown.stdout
    assert "--after 7" in shown.stderr
    server.on("GET /api/v1/files/file-3/versions", (200, {"data": [SCRUBBED]}))
    shown = run("files", "versions", "file-3")
    assert "file-1\tfile-3\temail\t1\t\tscrub-1\t2026-11-27 20:00:00 UTC" in shown.stdout


@pytest.mark.parametrize(
    ("row", "purpose"),
    [
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
         b"fine-tune"),
        ({"prompt": "a", "reference": "b"}, b"evals"),
    ],
)  # fmt: skip
def test_what_is_held_out_may_be_a_path_of_rows_or_of_questions(
    run: Run, server: Scripted, tmp_path: Path, row: dict[str, Any], purpose: bytes
) -> None:
    path = tmp_path / "held-out.jsonl"
    path.write_text("\n" + json.dumps(row) + "\n")
    server.on("POST /v1/files", (200, {"id": "file-7", "status": "processed"}))
    server.on("POST /api/v1/profiles", (200, WAITING | {"state": "succeeded", "report": REPORT}))
    shown = run("files", "profile", "file-1", "--against", str(path))
    assert shown.exit_code == 0, shown.output
    assert server.bodies("POST /api/v1/profiles") == [{"file": "file-1", "against": "file-7"}]
    (form,) = [body for name, _, body in server.seen if name == "POST /v1/files"]
    assert b'name="purpose"\r\n\r\n' + purpose + b"\r\n" in form


def test_a_path_with_a_slip_is_told_before_anything_is_asked(run: Run, server: Scripted) -> None:
    told = run("files", "profile", "file-1", "--against", "held-oout.jsonl")
    assert told.exit_code == 2
    assert "There is no file held-oout.jsonl here" in told.stderr
    assert server.seen == []


def test_uploads_of_a_refused_profile_are_taken_back(
    run: Run, server: Scripted, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("prompt,completion\na,b\n")
    server.on("POST /v1/files", (200, {"id": "file-7", "status": "processed"}))
    server.on("POST /api/v1/profiles", (400, {"code": "invalid_value", "detail": "No."}))
    server.on("DELETE /v1/files/file-7", (200, {}))
    told = run("files", "profile", str(path))
    assert told.exit_code == 64
    assert "The upload file-7 is deleted again." in told.stderr
