"""Jobs from the command line: what is sent, and how watching ends."""

import json
from pathlib import Path
from typing import Any

import pytest

from privatune.cli import watch
from privatune.cli.exits import Exit
from privatune.cli.progress import duration, figures
from tests.privatune.cli.conftest import Run, Scripted

JOB = {
    "id": "ftjob-1", "status": "queued", "model": "tiny", "created_at": 1_760_000_000,
    "fine_tuned_model": None, "finished_at": None, "error": None,
}  # fmt: skip
DONE = JOB | {"status": "succeeded", "fine_tuned_model": "ft:tiny:acme::1"}


def event(number: int, kind: str = "message", **data: Any) -> dict[str, Any]:
    return {"id": f"ftevent-{number}", "type": kind, "message": f"said {number}", "data": data}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.01)


def test_create_sends_openais_fields_and_ours(run: Run, server: Scripted) -> None:
    server.on("POST /v1/fine_tuning/jobs", (200, JOB))
    done = run(
        "jobs", "create", "--model", "tiny", "--file", "file-1", "--validation-file", "file-2",
        "--suffix", "kitchen", "--seed", "3", "--n-epochs", "2", "--batch-size", "auto",
        "--learning-rate-multiplier", "5", "--r", "8", "--target", "q_proj",
        "--target", "v_proj", "--packing", "--no-gradient-checkpointing",
        "--micro-batch-tokens", "4096", "--stability", "off",
        "--learning-rate", "1e-4", "--schedule", "linear", "--warmup-ratio", "0.1",
        "--weight-decay", "0.01", "--max-grad-norm", "0.5", "--metadata", "team=home",
        "--loraplus-lr-ratio", "16", "--neftune-noise-alpha", "5", "--use-rslora",
        "--init-lora-weights", "pissa_niter_16", "--validation-split", "0.1",
        "--also", "file-3=0.1", "--also", "file-4", "--learning-curve",
        "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == JOB
    assert server.bodies("POST /v1/fine_tuning/jobs") == [
        {
            "model": "tiny", "training_file": "file-1", "validation_file": "file-2",
            "suffix": "kitchen", "seed": 3, "packing": True,
            "gradient_checkpointing": False, "micro_batch_tokens": 4096,
            "stability": "off",
            "optimizer": {
                "learning_rate": 1e-4, "schedule": "linear", "warmup_ratio": 0.1,
                "weight_decay": 0.01, "max_grad_norm": 0.5, "loraplus_lr_ratio": 16,
            },
            "neftune_noise_alpha": 5, "validation_split": 0.1, "learning_curve": True,
            "training_files": [
                {"file": "file-3", "weight": 0.1}, {"file": "file-4", "weight": 1.0},
            ],
            "adapter": {
                "r": 8, "targets": ["q_proj", "v_proj"], "use_rslora": True,
                "init_lora_weights": "pissa_niter_16",
            },
            "metadata": {"team": "home"},
            "method": {
                "type": "supervised",
                "supervised": {
                    "hyperparameters": {
                        "n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": 5,
                    }
                },
            },
        }
    ]  # fmt: skip


def test_a_path_is_uploaded_first(run: Run, server: Scripted, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}")
    server.on("POST /v1/files", (200, {"id": "file-7", "status": "processed"}))
    server.on("POST /v1/fine_tuning/jobs", (200, JOB))
    done = run("jobs", "create", "--model", "tiny", "--file", str(rows))
    assert done.exit_code == 0, done.output
    assert server.bodies("POST /v1/fine_tuning/jobs")[0]["training_file"] == "file-7"


def test_a_job_that_is_held_is_not_watched(run: Run, server: Scripted) -> None:
    server.on("POST /v1/fine_tuning/jobs", (200, JOB))
    asked = ("jobs", "create", "--model", "tiny", "--file", "file-1")
    assert run(*asked, "--hold").exit_code == 0
    assert server.bodies("POST /v1/fine_tuning/jobs")[0]["auto_start"] is False
    assert run(*asked, "--hold", "--watch").exit_code == Exit.USAGE
    assert len(server.bodies("POST /v1/fine_tuning/jobs")) == 1


@pytest.mark.parametrize("said", [("--n-epochs", "many"), ("--metadata", "nothing")])
def test_a_word_where_a_number_belongs_is_a_usage_error(
    run: Run, server: Scripted, said: tuple[str, str]
) -> None:
    done = run("jobs", "create", "--model", "tiny", "--file", "file-1", *said)
    assert (done.exit_code, server.seen) == (Exit.USAGE, [])


def test_list_filters_by_metadata(run: Run, server: Scripted) -> None:
    server.on("GET /v1/fine_tuning/jobs", (200, {"data": [JOB], "has_more": False}))
    done = run("jobs", "list", "--metadata", "team=home", "--json")
    assert json.loads(done.stdout)["data"] == [JOB]


def test_watching_tells_each_event_once_and_ends_with_the_job(run: Run, server: Scripted) -> None:
    server.on("GET /v1/fine_tuning/jobs/ftjob-1", (200, JOB), (200, JOB), (200, DONE))
    first, second = event(1), event(2, "metrics", step=1, total_steps=4, train_loss=2.5)
    server.on(
        "GET /v1/fine_tuning/jobs/ftjob-1/events",
        (200, {"data": [first], "has_more": False}),
        (200, {"data": [second, first], "has_more": False}),
        (200, {"data": [event(3), second, first], "has_more": False}),
    )
    done = run("jobs", "watch", "ftjob-1", "--json")
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines == [first, second, event(3), DONE]


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_job_that_fails_ends_with_1(run: Run, server: Scripted, status: str) -> None:
    error = {"code": "licence_expired", "message": "The licence ended.", "param": None}
    server.on("GET /v1/fine_tuning/jobs/ftjob-1", (200, JOB | {"status": status, "error": error}))
    server.on("GET /v1/fine_tuning/jobs/ftjob-1/events", (200, {"data": [], "has_more": False}))
    done = run("jobs", "watch", "ftjob-1")
    assert done.exit_code == Exit.FAILED
    assert "The licence ended." in done.stderr


def test_watching_outlives_a_server_that_restarts(run: Run, server: Scripted) -> None:
    down = (503, {"error": {"message": "Starting."}})
    server.on("GET /v1/fine_tuning/jobs/ftjob-1", down, down, (200, DONE))
    server.on(
        "GET /v1/fine_tuning/jobs/ftjob-1/events", down, (200, {"data": [], "has_more": False})
    )
    assert run("jobs", "watch", "ftjob-1").exit_code == 0


def test_watching_gives_up_on_a_server_that_stays_away(
    run: Run, server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "PATIENCE_SECONDS", 0.1)
    server.on("GET /v1/fine_tuning/jobs/ftjob-1", (503, {"error": {"message": "Down."}}))
    assert run("jobs", "watch", "ftjob-1").exit_code == Exit.UNAVAILABLE


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume"])
def test_steering_shows_the_job(run: Run, server: Scripted, verb: str) -> None:
    server.on(f"POST /v1/fine_tuning/jobs/ftjob-1/{verb}", (200, JOB))
    assert json.loads(run("jobs", verb, "ftjob-1", "--json").stdout) == JOB


def test_a_result_that_is_no_good_is_told_with_its_job(run: Run, server: Scripted) -> None:
    warned = [{"code": "loss_rose", "message": "The training loss rose from 2 to 6."}]
    server.on("GET /v1/fine_tuning/jobs/ftjob-1", (200, DONE | {"warnings": warned}))
    done = run("jobs", "get", "ftjob-1")
    assert done.exit_code == 0
    assert "The training loss rose from 2 to 6." in done.stdout


def test_figures_leave_out_what_is_unknown() -> None:
    assert figures({"step": 1}) == ""
    shown = figures({"train_loss": 0.41234, "tokens_per_second": 239.4, "seconds_left": 80})
    assert shown == "loss 0.412 · 239 tokens/s · 1 min 20 s left"
    assert [duration(45), duration(7500)] == ["45 s", "2 h 5 min"]


REFUSED = (403, {"error": {"message": "No licence.", "code": "no_license"}})
UPLOADED = (200, {"id": "file-7", "status": "processed"})


def test_a_refused_job_leaves_no_upload_behind(run: Run, server: Scripted, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}")
    server.on("POST /v1/files", UPLOADED, (200, {"id": "file-8", "status": "processed"}))
    server.on("POST /v1/fine_tuning/jobs", REFUSED)
    for file_id in ("file-7", "file-8"):
        server.on(f"DELETE /v1/files/{file_id}", (200, {"id": file_id, "deleted": True}))
    both = ("--file", str(rows), "--validation-file", str(rows))
    done = run("jobs", "create", "--model", "tiny", *both)
    assert done.exit_code == Exit.REFUSED
    assert [name for name, _, _ in server.seen if name.startswith("DELETE")] == [
        "DELETE /v1/files/file-7", "DELETE /v1/files/file-8",
    ]  # fmt: skip
    assert "The upload file-7 is deleted again." in done.stderr


def test_a_file_of_ones_own_stays_when_its_job_is_refused(run: Run, server: Scripted) -> None:
    server.on("POST /v1/fine_tuning/jobs", REFUSED)
    assert run("jobs", "create", "--model", "m", "--file", "file-1").exit_code == Exit.REFUSED
    assert not [name for name, _, _ in server.seen if name.startswith("DELETE")]


def test_events_are_shown_oldest_first_and_followed_to_the_end(run: Run, server: Scripted) -> None:
    first, second = (event(n) | {"level": "info", "created_at": 1_760_000_000} for n in (1, 2))
    server.on("GET /v1/fine_tuning/jobs/ftjob-1", (200, JOB), (200, DONE))
    server.on(
        "GET /v1/fine_tuning/jobs/ftjob-1/events",
        (200, {"data": [first], "has_more": False}),
        (200, {"data": [second, first], "has_more": False}),
    )
    done = run("jobs", "events", "ftjob-1", "--follow")
    assert done.exit_code == 0, done.output
    assert [line[-6:] for line in done.stdout.splitlines()] == ["said 1", "said 2"]


@pytest.mark.parametrize("words", [("watch",), ("events", "--follow")])
def test_ctrl_c_says_that_the_job_goes_on(
    run: Run, server: Scripted, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watch.time, "sleep", interrupted)
    server.on("GET /v1/fine_tuning/jobs/ftjob-1", (200, JOB))
    server.on("GET /v1/fine_tuning/jobs/ftjob-1/events", (200, {"data": [], "has_more": False}))
    done = run("jobs", *words, "ftjob-1")
    assert done.exit_code == Exit.INTERRUPTED
    assert "ftjob-1 goes on in the server." in done.stderr
    assert "privatune jobs cancel ftjob-1" in done.stderr


def test_samples_are_a_line_each_in_which_nothing_steers_a_terminal(
    run: Run, server: Scripted
) -> None:
    sample = {
        "id": "12-1", "step": 12, "row": 3, "text": "a\x1b[2J\nb" + "c" * 200, "reward": 1.0,
        "advantage": -0.5, "tokens": 9, "truncated": True, "scores": {"place": 0.25},
    }  # fmt: skip
    server.on("GET /api/v1/jobs/ftjob-1/samples", (200, {"data": [sample], "has_more": False}))
    told = run("jobs", "samples", "ftjob-1", "--step", "12").stdout
    line = told.splitlines()[1]
    assert line.split("\t")[:6] == ["12-1", "3", "1.000", "-0.500", "9, cut off", "place 0.250"]
    assert "\x1b" not in told
    assert line.endswith("c…")
    assert len(line) < 140
    assert json.loads(run("jobs", "samples", "ftjob-1", "--json").stdout) == {"data": [sample]}


def test_a_learning_curve_is_told_with_the_rows_that_a_loss_takes(
    run: Run, server: Scripted
) -> None:
    address = "GET /api/v1/jobs/ftjob-1/learning-curve"
    ahead = {"factor": 2, "rows": 64, "loss": 0.8, "interval": [0.7, 0.9]}
    needed = {"loss": 0.5, "rows": 900, "interval": [300, None]}
    points = [{"rows": 32, "loss": 1.0}]
    told = {"job": "ftjob-1", "asked": True, "message": "More is better.", "outlook": "falls",
            "points": points, "ahead": [ahead], "needed": [needed]}  # fmt: skip
    server.on(address, (200, told))
    shown = run("jobs", "learning-curve", "ftjob-1", "--loss", "0.5").stdout
    for line in ("loss 1.0000", "loss 0.8000, 95%: 0.7000 to 0.9000", "More is better.",
                 "900 rows, 95%: 300 to more than can be told"):  # fmt: skip
        assert line in shown
    server.on(address, (200, told | {"asked": False, "message": None, "points": []}))
    assert "not asked for" in run("jobs", "learning-curve", "ftjob-1").stdout


@pytest.mark.parametrize(
    ("param", "message", "told"),
    [
        (
            "optimizer.learning_rate",
            "optimizer.learning_rate: Input should be less than or equal to 1.",
            "--learning-rate: Input should be less than or equal to 1.",
        ),
        ("hyperparameters.n_epochs", "Too many.", "--n-epochs: Too many."),
        ("adapter.targets", "No such layer.", "--target: No such layer."),
        ("training_file", "The file did not pass.", "--file: The file did not pass."),
        ("integrations", "Not offered.", "Not offered."),
    ],
)
@pytest.mark.parametrize("command", [["jobs", "create"], ["estimate"]], ids=str)
def test_what_is_refused_is_told_by_the_option_that_was_typed(
    run: Run, server: Scripted, command: list[str], param: str, message: str, told: str
) -> None:
    error = {"message": message, "code": "invalid_value", "param": param}
    for address in ("/v1/fine_tuning/jobs", "/api/v1/estimates"):
        server.on(f"POST {address}", (400, {"error": error}))
    done = run(*command, "--model", "tiny", "--file", "file-1", "--json")
    assert done.exit_code == 64
    said = json.loads(done.stdout)["error"]
    assert (said["message"], said["param"]) == (told, param)


def test_a_job_tells_its_method_its_parent_and_its_stage(run: Run, server: Scripted) -> None:
    told = JOB | {
        "model": "ft:tiny:acme::1",
        "method": {"type": "dpo", "dpo": {}},
        "pipeline": {"id": "pipe-1", "stage": 2, "stages": 3},
    }
    server.on("GET /v1/fine_tuning/jobs/ftjob-1", (200, told))
    shown = " ".join(run("jobs", "get", "ftjob-1").stdout.split())
    for each in ("method dpo", "trained on from ft:tiny:acme::1", "stage 2 of 3 of pipe-1"):
        assert each in shown
