"""What goes wrong ends in a message, a fix and the documented exit code, never in a traceback."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from privatune.cli import watch
from privatune.cli.client import server_root
from privatune.cli.exits import MEANING, Exit, Stop
from tests.privatune.cli.conftest import Run, Scripted


@pytest.mark.parametrize(
    ("status", "exit_code"),
    [
        (400, Exit.DATA),
        (401, Exit.REFUSED),
        (403, Exit.REFUSED),
        (404, Exit.NOT_FOUND),
        (409, Exit.DATA),
        (422, Exit.DATA),
        (429, Exit.UNAVAILABLE),
        (500, Exit.UNAVAILABLE),
        (503, Exit.UNAVAILABLE),
    ],
)
def test_each_status_has_its_exit_code(
    run: Run, server: Scripted, status: int, exit_code: Exit
) -> None:
    server.on("GET /v1/fine_tuning/jobs/ftjob-1", (status, {"error": {"message": "Not today."}}))
    done = run("jobs", "get", "ftjob-1")
    assert done.exit_code == exit_code
    assert "Not today." in done.stderr
    assert "Traceback" not in done.output
    assert done.stdout == ""


def test_an_error_of_the_openai_face_shows_message_and_fix(run: Run, server: Scripted) -> None:
    error = {"message": "n_epochs is 99.", "code": "out_of_range", "param": "n_epochs"}
    server.on(
        "POST /v1/fine_tuning/jobs",
        (400, {"error": error | {"fix": "Choose 1 to 50.", "type": "x"}}),
    )
    done = run("jobs", "create", "--model", "m", "--file", "file-1", "--n-epochs", "99")
    assert done.exit_code == Exit.DATA
    assert "--n-epochs is 99." in done.stderr
    assert "Fix: Choose 1 to 50." in done.stderr


def test_what_to_do_is_said_once(run: Run, server: Scripted) -> None:
    problem = {"detail": "No licence. (line 3) Ask for one.", "code": "no", "where": "line 3"}
    server.on("GET /api/v1/artifacts", (403, problem | {"fix": "Ask for one."}))
    said = run("artifacts", "list").stderr
    assert said.split() == ["No", "licence.", "(line", "3)", "Fix:", "Ask", "for", "one."]


def test_a_reader_that_has_read_enough_is_no_fault(
    run: Run, server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object, **__: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    server.on("GET /api/v1/artifacts", (200, {"data": [], "has_more": False}))
    monkeypatch.setattr("privatune.cli.artifacts.show_list", closed)
    assert "Broken pipe" not in run("artifacts", "list").output


def test_an_rfc9457_problem_shows_its_detail(run: Run, server: Scripted) -> None:
    problem = {"type": "about:blank", "title": "Refused", "detail": "No licence.", "code": "no"}
    server.on("GET /api/v1/artifacts", (403, problem))
    done = run("artifacts", "list")
    assert (done.exit_code, "No licence." in done.stderr) == (Exit.REFUSED, True)


def test_with_json_an_error_is_json_on_standard_output(run: Run, server: Scripted) -> None:
    error = {"message": "There is no such file.", "code": "not_found", "param": "id"}
    server.on("GET /v1/files/file-9", (404, {"error": error}))
    done = run("files", "get", "file-9", "--json")
    assert done.exit_code == Exit.NOT_FOUND
    assert json.loads(done.stdout)["error"]["code"] == "not_found"
    assert "There is no such file." in done.stderr


def test_no_server_says_so_and_how_to_start_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRIVATUNE_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("PRIVATUNE_API_KEY", "key")
    done = run("files", "list")
    assert done.exit_code == Exit.UNAVAILABLE
    assert "No answer from http://127.0.0.1:9" in done.stderr
    assert "privatune up" in done.stderr


def test_a_missing_key_is_a_usage_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRIVATUNE_API_KEY", raising=False)
    done = run("files", "list")
    assert done.exit_code == Exit.USAGE
    assert "PRIVATUNE_API_KEY is not set" in done.stderr


def test_an_answer_that_is_not_json_is_named(run: Run, server: Scripted) -> None:
    server.on("GET /v1/files", (200, b"<html>some proxy</html>"))
    done = run("files", "list")
    assert done.exit_code == Exit.UNAVAILABLE
    assert "check PRIVATUNE_BASE_URL" in done.stderr


def test_an_unknown_option_is_a_usage_error(run: Run) -> None:
    assert run("files", "list", "--colour").exit_code == Exit.USAGE


@pytest.mark.parametrize(
    "base_url", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"]
)
def test_the_base_url_may_end_in_v1_or_not(base_url: str) -> None:
    assert server_root(base_url) == "http://h:1"


def test_a_base_url_that_is_no_address_is_refused() -> None:
    with pytest.raises(Stop, match="not an address"):
        server_root("localhost:8000")


def test_every_exit_code_is_documented() -> None:
    assert set(MEANING) == set(Exit)


@pytest.mark.parametrize("key", ["pt-\u2026", "pt-a\nb", "pt-a b"])
def test_a_key_that_was_copied_badly_is_told_before_anything_is_sent(
    run: Run, server: Scripted, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("PRIVATUNE_API_KEY", key)
    done = run("files", "list")
    assert (done.exit_code, server.seen) == (Exit.USAGE, [])
    assert "PRIVATUNE_API_KEY has" in done.stderr


@pytest.mark.parametrize(
    "base_url", ["127.0.0.1:8000", "http://localhost:80o0", "http://[::1", "http://"]
)
def test_a_wrong_address_is_one_line_with_its_fix(
    run: Run, server: Scripted, monkeypatch: pytest.MonkeyPatch, base_url: str
) -> None:
    monkeypatch.setenv("PRIVATUNE_BASE_URL", base_url)
    done = run("files", "list")
    assert done.exit_code == Exit.USAGE
    assert "PRIVATUNE_BASE_URL is not an address" in done.stderr


@pytest.mark.parametrize("answer", [(200, {"hello": 1}), (200, b"<html>"), (404, b"nothing here")])
@pytest.mark.parametrize(
    "words", [("files", "list"), ("jobs", "watch", "ftjob-1"), ("chat", "m", "-m", "a")]
)
def test_some_other_programs_server_is_named(
    run: Run,
    server: Scripted,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    answer: tuple[int, object],
) -> None:
    monkeypatch.setattr(watch, "PATIENCE_SECONDS", 0)  # it could be a proxy of one that restarts
    server.foreign = True
    for path in ("GET /v1/files", "GET /v1/fine_tuning/jobs/ftjob-1", "POST /v1/chat/completions"):
        server.on(path, answer)
    done = run(*words)
    assert done.exit_code == Exit.UNAVAILABLE
    assert "is a Privatune server there?" in done.stderr


def test_an_operators_command_on_a_folder_without_a_stack_says_so(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "privatune.cli", "tenant", "create", "x", "--data", str(tmp_path)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == Exit.USAGE
    assert f"{tmp_path} is not the data folder of an installation." in done.stderr
    assert "Fix: start `privatune up" in done.stderr


def test_a_path_with_a_slip_in_it_is_no_file_id(run: Run, server: Scripted) -> None:
    done = run("jobs", "create", "--model", "m", "--file", "trian.jsonl")
    assert (done.exit_code, server.seen) == (Exit.USAGE, [])
    assert "There is no file trian.jsonl here" in done.stderr


@pytest.mark.parametrize(
    "command", [["models", "list"], ["files", "list"], ["jobs", "list"], ["chat", "m"]], ids=str
)
def test_without_a_key_one_is_told_how_to_give_one_and_the_address(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    for name in ("PRIVATUNE_API_KEY", "PRIVATUNE_DATA", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    told = run(*command)
    assert told.exit_code == 2
    assert "PRIVATUNE_API_KEY is not set" in told.stderr
    assert "PRIVATUNE_BASE_URL=" in told.stderr
    assert "DATABASE_URL" not in told.stderr


@pytest.mark.parametrize("job", ["a/../../keys", "..", "a?b", "x\x1b]0;owned\x07", "a\nb", "a#b"])
def test_what_is_no_id_is_asked_nowhere(run: Run, server: Scripted, job: str) -> None:
    """It reached another address, or ended in a traceback."""
    done = run("jobs", "samples", job)
    assert (done.exit_code, server.seen) == (Exit.USAGE, [])
    assert "as a list shows it" in done.stderr
