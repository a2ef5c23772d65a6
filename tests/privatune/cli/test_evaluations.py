"""Evaluations from the command line: what is sent, and what is shown of the answer."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.grading.criteria import CRITERIA, NAMED, rewarding
from privatune.cli import evaluations
from privatune.cli.exits import Exit
from tests.privatune.cli.conftest import Run, Scripted

WAITING: dict[str, Any] = {
    "id": "evalrun_1", "state": "waiting", "model": "ft:tiny", "answers": 0, "answers_total": None,
    "waits_for": "", "error": None, "report": None, "tags": None, "name": "",
    "withholds": False,
    "created_at": "2026-11-27T20:00:00Z",
}  # fmt: skip
SIDE = {"rows": 40, "score": 0.5, "interval": [0.35, 0.65], "passed": 20, "errored": 1}
DONE = WAITING | {
    "state": "succeeded", "answers": 80, "answers_total": 80,
    "tags": {"model": {"lights": SIDE | {"rows": 7}}},
    "report": {
        "sides": {"base": SIDE, "model": SIDE | {"score": 0.75}},
        "changes": {"base": {"difference": 0.25, "interval": [0.1, 0.4], "p_value": 0.002}},
        "advice": {"decision": "more_data", "reason": "x", "message": "Bring more."},
        "wins": [{"name": "r", "rows": 40, "won": 20, "tied": 10, "share": 0.667,
                  "interval": [0.488, 0.808]}],
    },
}  # fmt: skip
URL = "/api/v1/evaluations"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluations, "POLL_SECONDS", 0.01)


def test_abilities_are_a_table_and_lead_to_what_counts_rows(run: Run, server: Scripted) -> None:
    row = {
        "tag": "lights", "asked": 7, "score": 0.5, "interval": [0.3, 0.7], "base": None,
        "rows": None, "gap": "bring_rows",
    }  # fmt: skip
    told = {"evaluation": "evalrun_1", "training_file": "file-1", "profile": None, "data": [row]}
    server.on(f"GET {URL}/evalrun_1/abilities", (200, told))
    shown = run("evaluations", "abilities", "evalrun_1")
    assert "lights\t7\t0.500\t0.300 to 0.700\t\t\tbring rows" in shown.stdout
    assert "privatune files profile file-1" in shown.stderr


def test_evaluate_sends_the_suite_and_shows_sides_tags_and_the_verdict(
    run: Run, server: Scripted, tmp_path: Path
) -> None:
    grader = tmp_path / "mine.json"
    grader.write_text('{"type": "string_check", "name": "mine"}')
    server.on(f"POST {URL}", (200, WAITING))
    server.on(f"GET {URL}/evalrun_1", (200, WAITING), (200, DONE))
    done = run(
        "evaluate", "ft:tiny", "--suite", "file-1", "--grader", "json", "--grader", str(grader),
        "--examples", "2", "--max-tokens", "9", "--name", "mine",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert server.bodies(f"POST {URL}") == [
        {
            "model": "ft:tiny", "file": "file-1", "beside": True, "examples": 2, "name": "mine",
            "criteria": [NAMED["json"], {"type": "string_check", "name": "mine"}],
            "sampling": {"max_tokens": 9, "temperature": 0.0},
        }
    ]  # fmt: skip
    assert "withholds" not in done.stdout
    assert "Cannot be told yet: Bring more." in done.stdout
    assert "r: 20 of 40, 10 tied, 0.667 (0.488 to 0.808) of the others" in done.stdout
    assert "base\t\t40\t0.500\t0.350 to 0.650\t20\t1\t+0.250 (+0.100 to +0.400), p = 0.002" in (
        done.stdout
    )
    assert "model\tlights\t7\t0.500" in done.stdout


@pytest.mark.parametrize(
    ("options", "exit_code", "told"),
    [
        (["--minimum", "0.7"], Exit.OK, ""),
        (["--minimum", "0.8"], Exit.FAILED, "The score, 0.750, is below 0.800."),
        (["--must-deploy"], Exit.FAILED, "The verdict is: Cannot be told yet."),
        (["--must-deploy", "--no-watch"], Exit.USAGE, "a verdict is waited for"),
    ],
)
def test_a_pipeline_stops_at_a_model_that_does_not_reach_what_it_must(
    run: Run, server: Scripted, options: list[str], exit_code: int, told: str
) -> None:
    server.on(f"POST {URL}", (200, WAITING))
    server.on(f"GET {URL}/evalrun_1", (200, DONE))
    done = run("evaluate", "ft:tiny", "--suite", "file-1", *options)
    assert done.exit_code == exit_code, done.output
    assert told in done.stderr


def test_a_verdict_to_deploy_lets_a_pipeline_go_on(run: Run, server: Scripted) -> None:
    advice = {"decision": "deploy", "reason": "x", "message": "Do."}
    server.on(f"POST {URL}", (200, WAITING))
    server.on(f"GET {URL}/evalrun_1", (200, DONE | {"report": DONE["report"] | {"advice": advice}}))
    assert run("evaluate", "m", "--suite", "file-1", "--must-deploy").exit_code == Exit.OK
    tried = [{"k": 1, "value": 0.25, "interval": [0.1, 0.4]}]
    alone = DONE | {"report": {"sides": {"model": SIDE | {"samples": 4, "pass_at": tried}}}}
    server.on(f"GET {URL}/evalrun_1", (200, alone))
    done = run("evaluate", "m", "--suite", "file-1", "--must-deploy", "--samples", "4")
    assert server.bodies(f"POST {URL}")[-1]["samples"] == 4
    assert "model\t1\t0.250\t0.100 to 0.400" in done.stdout
    assert done.exit_code == Exit.FAILED
    assert "nothing stood beside the model" in done.stderr


def test_a_path_is_uploaded_with_its_purpose_and_taken_back_when_refused(
    run: Run, server: Scripted, tmp_path: Path
) -> None:
    suite = tmp_path / "suite.jsonl"
    suite.write_text('{"prompt": "a"}\n')
    file = {"id": "file-9", "status": "processed", "bytes": 1, "filename": "suite.jsonl"}
    server.on("POST /v1/files", (200, file))
    server.on("DELETE /v1/files/file-9", (200, {}))
    server.on(f"POST {URL}", (404, {"detail": "no such model", "code": "model_not_found"}))
    done = run("evaluate", "nobody", "--suite", str(suite))
    assert done.exit_code == Exit.NOT_FOUND
    (form,) = [body for name, _, body in server.seen if name == "POST /v1/files"]
    assert b"\r\n\r\nevals\r\n" in form
    assert "DELETE /v1/files/file-9" in [name for name, *_ in server.seen]


def test_one_that_fails_ends_with_exit_code_1_and_the_line(run: Run, server: Scripted) -> None:
    error = {"code": "bad_suite_row", "message": "It asks nothing.", "where": "line 3", "fix": "x"}
    server.on(f"GET {URL}/evalrun_1", (200, WAITING | {"state": "failed", "error": error}))
    done = run("evaluations", "watch", "evalrun_1")
    assert done.exit_code == Exit.FAILED
    assert "line 3" in done.stderr
    told = run("evaluations", "watch", "evalrun_1", "--json")
    assert told.exit_code == Exit.FAILED
    assert json.loads(told.stdout)["error"] == error


def test_list_compare_items_cancel_and_delete(run: Run, server: Scripted) -> None:
    server.on(f"GET {URL}", (200, {"data": [DONE, WAITING], "has_more": False}))
    listed = run("evaluations", "list")
    assert "evalrun_1\tsucceeded\tft:tiny\t0.750\tCannot be told yet" in listed.stdout
    told = {
        "first": {"id": "a", "model": "tiny"}, "second": {"id": "b", "model": "ft:tiny"},
        "rows": 40, "difference": 0.25, "interval": [0.1, 0.4], "p_value": 0.002,
        "verdict": "better",
    }  # fmt: skip
    server.on(f"GET {URL}/a/compare", (200, told))
    compared = run("evaluations", "compare", "a", "b")
    assert "+0.100 to +0.400" in compared.stdout
    assert "better" in compared.stdout
    server.on(f"GET {URL}/a/items", (200, b'{"row": 1}\n'))
    assert run("evaluations", "items", "a").stdout == '{"row": 1}\n'
    listed = run("evaluations", "items", "a", "--json").stdout
    assert json.loads(listed) == {"data": [{"row": 1}]}
    odd = {"answer": "a\u2028b\x85c"}  # end a line for some, and not in JSON lines
    server.on(f"GET {URL}/o/items", (200, json.dumps(odd, ensure_ascii=False).encode() + b"\n"))
    assert json.loads(run("evaluations", "items", "o", "--json").stdout) == {"data": [odd]}
    server.on(f"POST {URL}/a/cancel", (200, WAITING | {"state": "cancelled"}))
    assert "cancelled" in run("evaluations", "cancel", "a").stdout
    server.on(f"DELETE {URL}/a", (200, {"id": "a", "deleted": True}))
    assert "a is deleted." in run("evaluations", "delete", "a").stderr


def test_the_named_graders_are_criteria_and_another_name_is_a_slip(run: Run) -> None:
    assert len(CRITERIA.validate_python(list(NAMED.values()))) == 6
    done = run("evaluate", "tiny", "--suite", "file-1", "--grader", "essay")
    assert done.exit_code == Exit.USAGE
    assert "no model and no file of JSON" in done.stderr


def test_a_reward_model_is_named_as_it_is(run: Run, server: Scripted) -> None:
    server.on(f"POST {URL}", (200, WAITING))
    run("evaluate", "tiny", "--suite", "file-1", "--grader", "ft:tiny:r", "--no-watch")
    (sent,) = server.bodies(f"POST {URL}")
    assert sent["criteria"] == [rewarding("ft:tiny:r")]
    assert CRITERIA.validate_python([rewarding("ft:tiny:r")])


@pytest.mark.parametrize(
    ("options", "gate"),
    [
        (["--gate", "deploy"], {"verdict": "deploy"}),
        (["--gate", "not-worse"], {"verdict": "not_worse"}),
        (["--gate", "deploy", "--gate-minimum", "0.8"], {"verdict": "deploy", "minimum": 0.8}),
    ],
)
def test_a_gate_is_asked_for_and_told(
    run: Run, server: Scripted, options: list[str], gate: dict[str, Any]
) -> None:
    server.on(f"POST {URL}", (200, WAITING | {"withholds": True}))
    done = run("evaluate", "ftjob-1", "--suite", "file-1", "--no-watch", *options)
    assert done.exit_code == 0, done.output
    (sent,) = server.bodies(f"POST {URL}")
    assert (sent["model"], sent["gate"]) == ("ftjob-1", gate)
    assert "withholds it" in done.stdout


def test_a_model_is_released_by_its_name(run: Run, server: Scripted) -> None:
    model = {"id": "artifact_1", "model": "ft:tiny", "withheld": False}
    server.on("GET /api/v1/artifacts", (200, {"data": [model], "has_more": False}))
    server.on("POST /api/v1/artifacts/artifact_1/release", (200, model))
    done = run("artifacts", "release", "ft:tiny")
    assert done.exit_code == 0, done.output
    assert "ft:tiny is released." in done.output
