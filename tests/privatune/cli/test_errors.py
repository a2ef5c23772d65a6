"""What goes wrong ends in a message, a fix and the documented exit code, never in a traceback."""

import json

import pytest

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
    assert "n_epochs is 99." in done.stderr
    assert "Fix: Choose 1 to 50." in done.stderr


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
