"""Pipelines from the command line."""

import json
from pathlib import Path
from typing import Any

from privatune.cli.exits import Exit
from tests.privatune.cli.conftest import Run, Scripted

STAGE: dict[str, Any] = {
    "number": 1, "method": "supervised", "gate": "approval", "status": "succeeded",
    "job": "ftjob-1", "fine_tuned_model": "ft:tiny:acme::1", "judges": ["stage:1"],
    "start_valid_loss": 2.5, "valid_loss": 1.25,
}  # fmt: skip
PIPELINE: dict[str, Any] = {
    "id": "pipeline-1", "name": "two", "status": "awaiting_approval", "model": "tiny",
    "fine_tuned_model": None, "created_at": "2026-01-02T03:04:05Z", "error": None,
    "estimate": {"trained_tokens": 90, "seconds": 12.5, "peak_memory_mb": 1700},
    "stages": [STAGE, STAGE | {"number": 2, "method": "dpo", "status": "waiting", "job": None,
                               "fine_tuned_model": None, "valid_loss": None}],
}  # fmt: skip
WIDE = {"COLUMNS": "200"}


def test_a_plan_is_sent_with_its_files_brought(run: Run, server: Scripted, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    second = {"training_file": "file-2", "method": {"type": "dpo"}}
    plan = {"model": "tiny", "stages": [{"training_file": "rows.jsonl"}, second]}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    server.on("POST /v1/files", (200, {"id": "file-1", "status": "processed"}))
    server.on("GET /v1/files/file-1", (200, {"id": "file-1", "status": "processed"}))
    server.on("POST /api/v1/pipelines", (200, PIPELINE))
    done = run("pipelines", "create", str(tmp_path / "plan.json"), "--hold", env=WIDE)
    assert done.exit_code == 0, done.output
    [sent] = server.bodies("POST /api/v1/pipelines")
    assert [stage["training_file"] for stage in sent["stages"]] == ["file-1", "file-2"]
    assert sent["auto_start"] is False
    assert "awaiting_approval" in done.stdout
    assert "1.2500" in done.stdout
    assert "supervised (stage:1)" in done.stdout


def test_what_is_no_plan_is_told_before_anything_is_sent(
    run: Run, server: Scripted, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    for text in ("{", "[]", '{"stages": [1]}'):
        plan.write_text(text)
        done = run("pipelines", "create", str(plan))
        assert done.exit_code == Exit.USAGE
        assert "is no plan of a pipeline" in done.stderr
    assert not server.seen


def test_watching_ends_where_a_yes_is_waited_for_and_at_a_failure(
    run: Run, server: Scripted
) -> None:
    address = "/api/v1/pipelines/pipeline-1"
    server.on(f"GET {address}", (200, PIPELINE))
    assert run("pipelines", "watch", "pipeline-1").exit_code == 0
    server.on(f"POST {address}/approve", (200, PIPELINE | {"status": "running"}))
    assert run("pipelines", "approve", "pipeline-1", "--json").exit_code == 0
    error = {"code": "gate_not_passed", "message": "No better.", "fix": "Try again."}
    server.on(f"GET {address}", (200, PIPELINE | {"status": "failed", "error": error}))
    failed = run("pipelines", "watch", "pipeline-1", env=WIDE)
    assert failed.exit_code == Exit.FAILED
    assert "No better. Try again." in failed.stdout
