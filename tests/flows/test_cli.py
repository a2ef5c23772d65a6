"""The command line on a running stack: from a file to a verified artifact and an answer."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from privatune.cli.app import app
from privatune.cli.exits import Exit
from tests.fixtures.stack import Stack

pytestmark = pytest.mark.slow


def command(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def answer(*words: str) -> Any:
    done = command(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1])


def test_the_main_job_from_the_command_line(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = stack.new_tenant("shell")
    monkeypatch.setenv("PRIVATUNE_BASE_URL", stack.url)
    monkeypatch.setenv("PRIVATUNE_API_KEY", tenant.api_key)
    path = tmp_path / "rows.jsonl"
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    path.write_text("".join(json.dumps(row | {"id": i}) + "\n" for i in range(12)))

    file = answer("files", "upload", str(path))
    assert file["status"] == "processed"
    assert answer("files", "list")["data"][0]["id"] == file["id"]
    copy = tmp_path / "copy.jsonl"
    assert answer("files", "get", file["id"], "--content", str(copy)) == file
    assert copy.read_bytes() == path.read_bytes()

    job = answer(
        "jobs", "create", "--model", "tiny", "--file", file["id"], "--n-epochs", "1",
        "--r", "4", "--metadata", "from=shell",
    )  # fmt: skip
    job = answer("jobs", "watch", job["id"])
    assert job["status"] == "succeeded"
    assert answer("jobs", "list", "--metadata", "from=shell")["data"][0]["id"] == job["id"]

    [artifact] = answer("artifacts", "list")["data"]
    report = answer("artifacts", "pull", artifact["id"], "-o", str(tmp_path / "out"))
    assert (report["ok"], report["trust"], report["digest"]) == (True, "key", artifact["digest"])

    said = answer("chat", job["fine_tuned_model"], "-m", "a", "--max-tokens", "4")
    assert said["model"] == job["fine_tuned_model"]
    assert command("chat", job["fine_tuned_model"], "-m", "a", "--max-tokens", "4").exit_code == 0

    other = stack.new_tenant("stranger")
    monkeypatch.setenv("PRIVATUNE_API_KEY", other.api_key)
    assert command("files", "get", file["id"]).exit_code == Exit.NOT_FOUND
    assert command("artifacts", "pull", artifact["id"]).exit_code == Exit.NOT_FOUND
    assert command("chat", job["fine_tuned_model"], "-m", "a").exit_code == Exit.NOT_FOUND
    monkeypatch.setenv("PRIVATUNE_API_KEY", "pt-nobody")
    assert command("files", "list").exit_code == Exit.REFUSED
