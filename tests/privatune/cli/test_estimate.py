"""`privatune estimate`, `jobs estimate`, and the receipt of a job."""

import json
from typing import Any

import pytest

from privatune.cli import estimate
from privatune.cli.exits import Exit
from tests.privatune.cli.test_jobs import DONE, JOB, Run, Scripted

WISH = ("estimate", "--model", "tiny", "--file", "file-1")
AT = "GET /api/v1/estimates/estimate-1"
SPREAD = {"median": 0.031, "p90": 0.08}
READY: dict[str, Any] = {
    "id": "estimate-1", "job": None, "status": "ready", "error": None,
    "files": [{"use": "training", "file": "file-1", "rows": 9, "tokens": 90,
               "trained_tokens": 40}],
    "hyperparameters": {"n_epochs": 2, "batch_size": 3, "learning_rate_multiplier": 1.0},
    "trained_tokens_per_epoch": 40, "trained_tokens": 80, "steps": 6,
    "training_seconds": 70.0, "seconds": 95.5, "peak_memory_mb": 812,
    "measured": {"place": "cpu: X, 2 threads", "at": "2026-01-01T00:00:00Z", "jobs": 4,
                 "off_by": {"seconds": SPREAD, "training_seconds": None,
                            "peak_memory_mb": SPREAD}},
    "licence": {"tokens_left": 1000, "promised": 20, "tokens_left_after": 900, "enough": True},
}  # fmt: skip
NOTHING = dict.fromkeys(READY) | {"files": []}
MEASURING = READY | {"status": "measuring", "seconds": None, "training_seconds": None,
                     "peak_memory_mb": None, "measured": None}  # fmt: skip


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "POLL_SECONDS", 0)


def test_an_estimate_is_waited_for_and_told_with_how_far_off_the_like_were(
    run: Run, server: Scripted
) -> None:
    server.on("POST /api/v1/estimates", (200, NOTHING | {"id": "estimate-1"}))
    server.on(AT, (200, NOTHING | {"status": "reading"}), (200, MEASURING), (200, READY))
    done = run(*WISH, "--n-epochs", "2", "--r", "8")
    assert done.exit_code == 0, done.output
    sent = server.bodies("POST /api/v1/estimates")[0]
    assert sent["adapter"] == {"r": 8}
    assert sent["method"]["supervised"]["hyperparameters"] == {"n_epochs": 2}
    assert "1 min 36 s (off by 3%, 9 of 10 by at most 8%)" in done.stdout
    assert "812 MB (off by 3%" in done.stdout
    assert "1000 tokens left, 20 promised to other jobs, 900 left after this" in done.stdout
    assert "a worker tries a few steps" in done.stderr


@pytest.mark.parametrize(
    ("seconds", "assumed", "told"),
    [
        (70.4, False, "1 min 10 s, 320 answers by tiny"),
        (70.4, True, "1 min 10 s, 320 answers by tiny, assumed: not measured"),
        (None, False, "320 answers by tiny"),
    ],
)
def test_what_judging_models_take_is_told(
    run: Run, server: Scripted, seconds: float | None, assumed: bool, told: str
) -> None:
    grading = {"judges": ["tiny"], "answers": 320, "seconds": seconds, "assumed": assumed}
    server.on("GET /api/v1/jobs/ftjob-1/estimate", (200, READY | {"grading": grading}))
    (line,) = [
        line
        for line in run("jobs", "estimate", "ftjob-1").stdout.splitlines()
        if "of it grading" in line
    ]
    assert line.partition("of it grading")[2].strip() == told


def test_what_is_known_now_is_told_without_waiting(run: Run, server: Scripted) -> None:
    server.on("GET /api/v1/jobs/ftjob-1/estimate", (200, MEASURING))
    done = run("jobs", "estimate", "ftjob-1", "--now", "--json")
    assert json.loads(done.stdout) == MEASURING


@pytest.mark.parametrize("as_json", [True, False])
def test_a_job_that_would_fail_ends_with_1(run: Run, server: Scripted, as_json: bool) -> None:
    error = {"code": "job_too_large", "message": "Too large.", "fix": "`adapter.r` 8 would fit."}
    server.on("POST /api/v1/estimates", (200, NOTHING | {"id": "estimate-1"}))
    server.on(AT, (200, READY | {"status": "failed", "error": error}))
    done = run(*WISH, *(["--json"] if as_json else []))
    assert done.exit_code == Exit.FAILED
    assert ("`adapter.r` 8 would fit." in done.stderr) == (not as_json)


def test_a_job_that_ended_tells_what_it_took_beside_what_was_expected(
    run: Run, server: Scripted
) -> None:
    took = {
        "seconds": 61.2, "training_seconds": 40, "grading_seconds": 9, "peak_memory_mb": 700,
    }  # fmt: skip
    expected = {"seconds": 59, "training_seconds": None, "peak_memory_mb": 690}
    receipt = {"took": took, "expected": expected, "errors": {}}
    server.on("GET /v1/fine_tuning/jobs/ftjob-1", (200, DONE | {"receipt": receipt}))
    shown = run("jobs", "get", "ftjob-1").stdout
    assert "1 min 1 s (59 s expected)" in shown
    assert "700 MB (690 MB expected)" in shown
    assert "9 s" in shown.partition("grading took")[2].partition("\n")[0]
    assert JOB["id"] in shown
