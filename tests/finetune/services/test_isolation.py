"""The gate: without isolation nothing of a customer is touched, unless the operator allows it;
then the event, the run and the passport say so. No attempt is spent on a machine's shortcoming."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings

from finetune.events import NotIsolated
from finetune.models import Dataset, Event, Job, Run
from finetune.sandbox import levels
from finetune.sandbox.levels import Level, SandboxMissing, require
from finetune.services.files.checking import CHECK
from finetune.services.runs import attempt, publishing, training
from finetune.services.runs.training import TRAIN
from finetune.states import DatasetState, JobState, RunState
from finetune.work import perform as work
from finetune.workspace import in_use
from tenants.database.scope import tenant_scope
from tests.conftest import ROOT
from tests.finetune.services.runs.test_runs import queued
from tests.fixtures.jobs import Bench, chat_rows, jsonl


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that gives no namespaces."""
    monkeypatch.setattr(levels, "_found", levels._Found())
    monkeypatch.setattr(levels, "attempt", lambda level: f"{level} is forbidden here")


def perform(bench: Bench, job: Job) -> None:
    work.perform(TRAIN, tenant_id=bench.tenant.id, key=job.id)


def run_of(bench: Bench, job: Job) -> Run:
    with tenant_scope(bench.tenant.id):
        return Run.objects.get(job=job)


@pytest.mark.usefixtures("bare")
def test_a_worker_without_isolation_refuses_and_the_job_waits_and_says_why(bench: Bench) -> None:
    job = queued(bench)
    for _ in range(2):
        perform(bench, job)
        with tenant_scope(bench.tenant.id):
            Run.objects.update(not_before=None)
    run = run_of(bench, job)
    assert (run.state, run.epoch, run.attempts) == (RunState.WAITING, 0, 0)
    assert "gives no sandbox" in run.wait_reason
    assert sum("gives no sandbox" in message for message in bench.messages(job)) == 1
    assert bench.job(job).state == JobState.QUEUED
    assert in_use(django_settings.WORK_DIR) == []


@pytest.mark.usefixtures("bare")
def test_without_isolation_no_file_is_checked_and_the_check_waits(bench: Bench) -> None:
    file = bench.add_file(jsonl(chat_rows(3)))
    with tenant_scope(bench.tenant.id):
        dataset = Dataset.objects.create(file=file, max_length=None, overflow="refuse")
    work.perform(CHECK, tenant_id=bench.tenant.id, key=dataset.id)
    with tenant_scope(bench.tenant.id):
        dataset.refresh_from_db()
    assert dataset.state == DatasetState.PENDING
    assert "gives no sandbox" in dataset.error["message"]


@pytest.mark.usefixtures("bare")
def test_an_operator_may_allow_it_and_then_event_run_and_passport_say_so(
    bench: Bench, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SANDBOX = "allow-none"
    monkeypatch.setattr(attempt.preparation, "prepare", _stop)
    job = queued(bench)
    perform(bench, job)
    assert run_of(bench, job).isolation == "none"
    assert NotIsolated.words in bench.messages(job)
    assert started(bench, job)["isolation"] == "none"
    with tenant_scope(bench.tenant.id):
        assert publishing._isolation(Job.objects.get(id=job.id)) == "none"


def test_the_level_had_is_told_by_event_and_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt.preparation, "prepare", _stop)
    job = queued(bench)
    perform(bench, job)
    had = require("require")
    assert had in (Level.BUBBLEWRAP, Level.NAMESPACES)
    assert run_of(bench, job).isolation == started(bench, job)["isolation"] == had
    assert NotIsolated.words not in bench.messages(job)


def test_the_weakest_of_all_attempts_is_what_stays(
    bench: Bench, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt.preparation, "prepare", _stop)
    job = queued(bench)
    for level in (Level.BUBBLEWRAP, Level.NONE, Level.BUBBLEWRAP):
        monkeypatch.setattr(training, "isolation", lambda level=level: level)
        with tenant_scope(bench.tenant.id):
            Run.objects.update(not_before=None, attempts=0)
        perform(bench, job)
    assert run_of(bench, job).isolation == "none"


def test_a_machine_that_gave_none_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Level] = []

    def attempt_of(level: Level) -> str:
        asked.append(level)
        return "" if len(asked) > 2 else "not yet"

    monkeypatch.setattr(levels, "_found", levels._Found())
    monkeypatch.setattr(levels, "attempt", attempt_of)
    for _ in range(2):
        with pytest.raises(SandboxMissing):
            require("require")
    assert len(asked) == 2, "at most once a minute"
    levels._found.asked_at -= levels.FORGET_SECONDS + 1
    assert require("require") is Level.NAMESPACES
    assert require("require") is Level.NAMESPACES
    assert len(asked) == 3


def test_the_kernels_namespaces_are_used_unless_it_must_be_bubblewrap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(levels, "_found", levels._Found())
    assert require("require") is Level.NAMESPACES
    monkeypatch.setattr(levels, "_found", levels._Found())
    assert require("bubblewrap") is Level.BUBBLEWRAP
    monkeypatch.setattr(levels, "_found", levels._Found())
    monkeypatch.setattr("finetune.sandbox.bubblewrap.program", lambda: None)
    with pytest.raises(SandboxMissing, match="bwrap is not installed"):
        require("bubblewrap")


def test_where_the_kernel_gives_no_namespaces_of_ours_bubblewrap_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(levels, "_found", levels._Found())
    monkeypatch.setattr(levels, "attempt", lambda level: "" if level is Level.BUBBLEWRAP else "no")
    assert require("require") is Level.BUBBLEWRAP


def test_a_level_that_is_only_claimed_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `bwrap` that runs the command and isolates nothing is found out from inside."""
    monkeypatch.setattr("finetune.sandbox.bubblewrap.prefix", lambda *_: ["env"])
    assert "namespace is the machine's own" in levels.attempt(Level.BUBBLEWRAP)


def test_serving_refuses_to_start_without_isolation(tmp_path: Path) -> None:
    script = (
        "import sys; from finetune.sandbox import __main__ as door, levels;"
        "levels.attempt = lambda level: 'forbidden';"
        "sys.exit(door.main(sys.argv[1:]))"
    )
    module = ["--write", str(tmp_path / "socket"), "json.tool", "--help"]
    for setting, code in (("require", 70), ("allow-none", 0)):
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", script, *module],
            env=environment | {"PRIVATUNE_SANDBOX": setting},
            capture_output=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert (b"usage" in done.stdout) is (code == 0)
    assert b"isolation: none" in done.stderr


def started(bench: Bench, job: Job) -> dict[str, Any]:
    with tenant_scope(bench.tenant.id):
        event = Event.objects.filter(job=job, message__contains="job started").get()
    return dict(json.loads(json.dumps(event.data)))


def _stop(*_: Any) -> None:
    raise ZeroDivisionError
