"""What a list shows can be worked with: whole in a terminal of any width, and in a pipe."""

import os
import re
import subprocess
import sys

import pytest

from tests.privatune.cli.conftest import Run, Scripted

MODEL = "ft:smollm2-135m-instruct:" + "a-long-name-" * 4 + ":0123456789ab"
JOB = {
    "id": "ftjob-" + "1" * 32, "status": "succeeded", "model": "smollm2-135m-instruct",
    "fine_tuned_model": MODEL, "created_at": 1_760_000_000,
}  # fmt: skip


@pytest.mark.parametrize("width", ["80", "160"])
def test_a_table_in_a_terminal_cuts_nothing(
    run: Run, server: Scripted, monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", width)
    server.on("GET /v1/fine_tuning/jobs", (200, {"data": [JOB], "has_more": False}))
    said = re.sub(r"\x1b\[[0-9;]*m", "", run("jobs", "list").stdout)
    assert "\t" not in said
    for whole in (JOB["id"], JOB["model"], MODEL):
        assert str(whole) in said


def test_a_pipe_gets_lines_of_values_between_tabs(run: Run, server: Scripted) -> None:
    odd = JOB | {"model": "two\nlines\tand a tab"}
    server.on("GET /v1/fine_tuning/jobs", (200, {"data": [odd], "has_more": False}))
    heading, row = run("jobs", "list").stdout.splitlines()
    assert heading.split("\t")[:2] == ["ID", "STATUS"]
    assert row.split("\t")[:4] == [JOB["id"], "succeeded", "two lines and a tab", MODEL]


def test_result_files_stand_below_those_that_were_uploaded(run: Run, server: Scripted) -> None:
    rows = [
        {"id": f"file-{n}", "filename": "f", "bytes": 1, "purpose": purpose,
         "status": "processed", "created_at": 1}
        for n, purpose in enumerate(("fine-tune-results", "fine-tune", "fine-tune-results"))
    ]  # fmt: skip
    server.on("GET /v1/files", (200, {"data": rows, "has_more": False}))
    listed = run("files", "list").stdout.splitlines()[1:]
    assert [line.split("\t")[0] for line in listed] == ["file-1", "file-0", "file-2"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_offered_the_commands_that_begin_so(shell: str) -> None:
    asked = {
        "_PRIVATUNE_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "privatune jo",  # as bash tells it,
        "COMP_CWORD": "1",
        "_TYPER_COMPLETE_ARGS": "privatune jo",  # and the others
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = subprocess.run(
        [sys.executable, "-m", "privatune.cli"],
        env=os.environ | asked, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "jobs" in done.stdout
    assert "files" not in done.stdout


def test_it_says_which_version_it_is(run: Run) -> None:
    assert re.fullmatch(r"privatune \d+\.\d+\S*\n", run("--version").stdout)
