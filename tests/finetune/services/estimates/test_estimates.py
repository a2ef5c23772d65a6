"""What a job would take, through the real checks, rehearsals and trainings, and what it took."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from finetune.grading.grade import Errors, Graded
from finetune.models import Estimate, Job, Machine, Pace
from finetune.sandbox.start import Child
from finetune.services.estimates import asking, figures, rehearsing
from finetune.services.estimates.rehearsing import REHEARSE
from finetune.services.files.checking import CHECK
from finetune.services.jobs import lifecycle
from finetune.services.jobs.validation import VALIDATE
from finetune.services.runs import judging, memory, pace, shape
from finetune.services.runs.training import TRAIN
from finetune.states import JobState, LeaseState
from finetune.work.perform import perform
from tenants.database.scope import tenant_scope
from tenants.models import StoredFile
from tests.finetune.services.jobs.test_starting import made
from tests.fixtures.jobs import Bench, chat_rows, jsonl, new_bench
from tests.fixtures.principals import somebody

SMALL = {"n_epochs": 2, "batch_size": 4}
MACHINE = {
    "device": "cpu", "precision": "fp32", "threads": 1, "lanes": 1,
    "gradient_checkpointing": False, "micro_batch_tokens": 2048,
}  # fmt: skip
PYTHON = "def grade(sample, item):\n    return len(sample['output_text'])\n"
JUDGE: Any = {
    "type": "score_model", "name": "judge", "model": "tiny",
    "input": [{"role": "user", "content": "{{ sample.output_text }}"}],
}  # fmt: skip
BOTH: Any = {
    "type": "multi", "name": "both", "calculate_output": "p + j",
    "graders": {"j": JUDGE, "p": {"type": "python", "name": "p", "source": PYTHON}},
}  # fmt: skip
ALIKE: Any = {
    "type": "string_check", "name": "e", "operation": "like",
    "input": "{{ sample.output_text }}", "reference": "e",
}  # fmt: skip


def prompts(bench: Bench, count: int) -> StoredFile:
    rows = [
        {"messages": [{"role": "user", "content": f"lamp {n}"}], "letter": "e"}
        for n in range(count)
    ]
    return bench.add_file(jsonl(rows))


@pytest.fixture(autouse=True)
def unmeasured(request: pytest.FixtureRequest) -> None:
    """Trainings of other tests are measured, too, and what is committed stays."""
    request.getfixturevalue("committed_bench" if "slow" in request.keywords else "bench")
    Pace.objects.all().delete()
    Machine.objects.all().delete()


@pytest.fixture
def committed_bench(committed: None, tiny_base: Path) -> Bench:
    """A rehearsal's heartbeat has a connection of its own, which must see the rows."""
    return new_bench(tiny_base)


def ask(bench: Bench, **changes: Any) -> Estimate:
    request = bench.request(**changes)
    with tenant_scope(bench.tenant.id):
        return asking.ask(request=request, by=somebody(bench.tenant.id))


def told(bench: Bench, estimate: Estimate) -> dict[str, Any]:
    with tenant_scope(bench.tenant.id):
        return figures.told(Estimate.objects.get(id=estimate.id))


def read(bench: Bench, estimate: Estimate) -> None:
    with tenant_scope(bench.tenant.id):
        readings = asking.readings_of(asking.job_of(estimate))
    for data in readings:
        perform(CHECK, tenant_id=bench.tenant.id, key=data.id)


def rehearse(bench: Bench, estimate: Estimate) -> None:
    perform(REHEARSE, tenant_id=bench.tenant.id, key=estimate.id)


@pytest.mark.slow
def test_what_nobody_measured_is_rehearsed_and_what_a_job_took_stands_beside_the_next_estimate(
    committed_bench: Bench,
) -> None:
    bench = committed_bench
    valid = bench.add_file(jsonl(chat_rows(6, start=100)))
    wish = {"hyperparameters": SMALL, "validation_file": valid.id}
    estimate = ask(bench, **wish)
    assert told(bench, estimate)["status"] == "reading"
    read(bench, estimate)
    counted = told(bench, estimate)
    assert (counted["status"], counted["seconds"], counted["measured"]) == ("measuring", None, None)
    assert counted["trained_tokens"] == 2 * counted["trained_tokens_per_epoch"] > 0
    assert [(file["use"], file["rows"]) for file in counted["files"]] == [
        ("training", 24),
        ("validation", 6),
    ]
    assert counted["steps"] == 12

    rehearse(bench, estimate)
    ready = told(bench, estimate)
    assert (ready["status"], ready["measured"]["jobs"]) == ("ready", 0)
    assert 0 < ready["training_seconds"] < ready["seconds"]
    assert ready["peak_memory_mb"] > 50
    assert Machine.objects.get().place == Pace.objects.get().place

    job = bench.create(**wish)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    perform(TRAIN, tenant_id=bench.tenant.id, key=job.id)
    done = bench.job(job)
    assert done.state == JobState.SUCCEEDED, done.error
    receipt = done.receipt
    assert receipt["expected"]["trained_tokens"] == receipt["took"]["trained_tokens"]
    assert receipt["expected"]["steps"] == receipt["took"]["steps"] == 12
    assert receipt["expected"]["measured"]
    assert receipt["took"]["charged_tokens"] == counted["trained_tokens"]
    assert receipt["errors"]["trained_tokens"] == receipt["errors"]["steps"] == 0
    assert abs(receipt["errors"]["peak_memory_mb"]) < 0.25

    again = ask(bench, **wish)
    read(bench, again)
    measured = told(bench, again)["measured"]
    assert measured["jobs"] == 1
    took = abs(receipt["errors"]["peak_memory_mb"])
    assert measured["off_by"]["peak_memory_mb"] == {"median": took, "p90": took}
    rehearse(bench, again)
    with tenant_scope(bench.tenant.id):
        assert Estimate.objects.get(id=again.id).state == LeaseState.SUCCEEDED
    assert Pace.objects.get().outturns == [receipt["errors"]]


def test_a_job_that_nobody_measured_leaves_a_receipt_without_seconds_expected(
    bench: Bench,
) -> None:
    job = bench.create(hyperparameters=SMALL)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    with tenant_scope(bench.tenant.id):
        job = Job.objects.select_related("base", "training_data").get(id=job.id)
        expected = pace.expected(job, MACHINE)
    assert expected["seconds"] is expected["training_seconds"] is None
    assert not expected["measured"]
    assert expected["peak_memory_mb"] > 512, "the formula's, with Python and torch"


def test_the_reason_for_a_setting_tells_the_memory_that_the_estimate_does(bench: Bench) -> None:
    """Steps of few rows fill no micro-batch: one place had told what a full one would take."""
    job = bench.create(hyperparameters=SMALL)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    machine = {"device": "cpu", "precision": "fp32", "threads": 1, "lanes": 1}
    with tenant_scope(bench.tenant.id):
        job = Job.objects.select_related("base", "training_data").get(id=job.id)
        chosen, said = memory.choose(job, machine, gpu_free=64 << 30)
        expected = pace.figures(job, None, machine | chosen)["peak_memory_mb"]
    assert {each.params["need_mb"] for each in said} == {expected}


def test_a_held_job_has_an_estimate_and_its_own_tokens_are_not_promised_twice(
    bench: Bench,
) -> None:
    job = bench.create(hyperparameters=SMALL, auto_start=False)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    with tenant_scope(bench.tenant.id):
        estimate = Estimate.objects.get(job=job)
    found = told(bench, estimate)
    assert found["status"] == "measuring"
    assert found["licence"] == {
        "tokens_left": None, "promised": 0, "tokens_left_after": None, "enough": True,
    }  # fmt: skip
    with tenant_scope(bench.tenant.id):
        lifecycle.cancel_job(job_id=job.id, actor="test")
    rehearse(bench, estimate)
    with tenant_scope(bench.tenant.id):
        assert Estimate.objects.get(id=estimate.id).state == LeaseState.SUCCEEDED
    left = told(bench, estimate)
    assert (left["status"], left["error"]["code"]) == ("failed", "not_measured")
    assert left["trained_tokens"] == found["trained_tokens"]
    assert not Pace.objects.exists(), "nothing is measured for a job that nobody waits for"


@pytest.mark.slow
def test_a_try_ends_when_its_job_is_cancelled_meanwhile(
    committed_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever holds a job and cancels it would keep the machine from everybody."""
    bench = committed_bench
    job = bench.create(hyperparameters=SMALL, auto_start=False)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    with tenant_scope(bench.tenant.id):
        estimate = Estimate.objects.get(job=job)
    monkeypatch.setattr(rehearsing, "WANTED_SECONDS", 0.1)
    supervised = rehearsing._supervise
    codes: list[int | None] = []

    def cancelled_meanwhile(child: Child, *rest: Any) -> int | None:
        with tenant_scope(bench.tenant.id):
            lifecycle.cancel_job(job_id=job.id, actor="test")
        codes.append(supervised(child, *rest))
        return codes[-1]

    monkeypatch.setattr(rehearsing, "_supervise", cancelled_meanwhile)
    rehearse(bench, estimate)
    assert codes == [None]
    with tenant_scope(bench.tenant.id):
        assert Estimate.objects.get(id=estimate.id).state == LeaseState.SUCCEEDED
    assert not Pace.objects.exists()


@pytest.mark.slow
def test_a_try_that_takes_too_long_fails_the_estimate_once_and_for_all(
    committed_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsing, "MOST_SECONDS", 0.5)
    estimate = ask(committed_bench, hyperparameters=SMALL)
    read(committed_bench, estimate)
    rehearse(committed_bench, estimate)
    found = told(committed_bench, estimate)
    assert (found["status"], found["error"]["code"]) == ("failed", "rehearsal_too_long")
    assert found["steps"] == 12, "what was counted stays"


def test_a_file_that_is_no_good_fails_the_estimate_with_its_line(bench: Bench) -> None:
    file = bench.add_file(jsonl(chat_rows(3)) + b"{broken\n")
    estimate = ask(bench, file=file)
    read(bench, estimate)
    found = told(bench, estimate)
    assert (found["status"], found["error"]["code"]) == ("failed", "invalid_training_file")
    assert found["error"]["where"] == "line 4"


def test_looking_at_an_estimate_locks_neither_files_nor_model(bench: Bench) -> None:
    files = [bench.add_file(jsonl(chat_rows(count))) for count in (3, 4, 5)]
    wish = {"validation_file": files[1].id, "further_files": [{"file": files[2].id}]}
    with CaptureQueriesContext(connection) as asking_queries:
        estimate = ask(bench, model=made(bench).model_name, file=files[0], **wish)
    with CaptureQueriesContext(connection) as queries:
        assert told(bench, estimate)["status"] == "reading"
    read(bench, estimate)
    with CaptureQueriesContext(connection) as queries_when_read:
        assert told(bench, estimate)["status"] == "measuring"
    assert {"tenants_storedfile", "finetune_artifact"} <= locked(asking_queries)
    assert not locked(queries) | locked(queries_when_read)


def locked(queries: CaptureQueriesContext) -> set[str]:
    """The tables whose rows were."""
    taken = [each["sql"] for each in queries.captured_queries if "FOR UPDATE" in each["sql"]]
    return {sql.split(' FROM "')[1].split('"')[0] for sql in taken}


def test_the_base_that_is_asked_of_all_rows_first_is_in_the_time(bench: Bench) -> None:
    rows = [{"prompt": f"lamp {n}?", "chosen": " on", "rejected": " off"} for n in range(12)]
    file = bench.add_file(jsonl(rows))
    measured = pace.Measured(token_seconds=0.3, peak_memory_mb=99, valid_token_seconds=0.1,
                             save_seconds=0.0, start_seconds=0.0, publish_seconds=0.0)  # fmt: skip
    seconds = {}
    for method in ("dpo", "orpo"):
        job = bench.create(file=file, hyperparameters=SMALL, method=method)
        perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
        with tenant_scope(bench.tenant.id):
            job = Job.objects.get(id=job.id)
            found = pace.figures(job, pace.learn(job, MACHINE, measured), MACHINE)
            assert job.training_data is not None
            tokens = (job.training_data.report or {})["tokens_total"]
        assert found["training_seconds"] == pytest.approx(2 * tokens * 0.3)
        seconds[method] = found["seconds"]
    assert seconds["dpo"] - seconds["orpo"] == pytest.approx(tokens * 0.1)


def test_the_smaller_trainings_of_a_learning_curve_are_in_tokens_and_time(bench: Bench) -> None:
    valid = bench.add_file(jsonl(chat_rows(6, start=100)))
    measured = pace.Measured(token_seconds=0.3, peak_memory_mb=99, valid_token_seconds=0.0,
                             save_seconds=0.0, start_seconds=0.0, publish_seconds=0.0)  # fmt: skip
    wish = {"hyperparameters": {"n_epochs": 2, "batch_size": 1}, "validation_file": valid.id}
    estimate = ask(bench, learning_curve=True, **wish)
    read(bench, estimate)
    with tenant_scope(bench.tenant.id):
        pace.learn(figures.resolved(asking.job_of(estimate)), MACHINE, measured)
    found = told(bench, estimate)
    curve = found["learning_curve"]
    assert curve["rows"] == [2, 3, 6, 12]  # of 24
    own = found["trained_tokens"] - curve["trained_tokens"]
    assert own == 2 * found["trained_tokens_per_epoch"]
    assert curve["trained_tokens"] == pytest.approx(own * 23 / 24, rel=0.02)
    assert curve["seconds"] == pytest.approx(found["training_seconds"] * 23 / 24, rel=0.02)
    assert found["seconds"] == pytest.approx(found["training_seconds"] + curve["seconds"], rel=0.01)
    few = ask(bench, learning_curve=True, **wish | {"hyperparameters": {"batch_size": 8}})
    read(bench, few)
    error = told(bench, few)["error"]
    assert (error["code"], error["param"]) == ("curve_impossible", "learning_curve")


def test_the_time_of_graders_beside_the_training_is_counted_by_answers(bench: Bench) -> None:
    measured = pace.Measured(token_seconds=0.3, peak_memory_mb=99, valid_token_seconds=0.1,
                             save_seconds=0.0, start_seconds=0.0, publish_seconds=0.0)  # fmt: skip
    wish = {
        "file": prompts(bench, 8), "validation_file": prompts(bench, 3).id,
        "method": "reinforcement", "hyperparameters": SMALL, "max_length": 64,
        "settings": {"max_completion_tokens": 8, "num_generations": 2, "num_generations_eval": 2},
    }  # fmt: skip
    found = {}
    for name, grader, seconds in (
        ("none", ALIKE, None), ("measured", JUDGE, 0.5), ("assumed", JUDGE, None)
    ):  # fmt: skip
        Pace.objects.all().delete()
        estimate = ask(bench, **wish, grader=grader)
        read(bench, estimate)
        with tenant_scope(bench.tenant.id):
            job = figures.resolved(asking.job_of(estimate))
            pace.learn(job, MACHINE, replace(measured, answer_seconds=seconds))
            row = shape.settings_of(job)["row_tokens"]
        found[name] = told(bench, estimate)
    assert found["none"]["grading"] is None
    of_steps, of_evaluations = 8 * 2 * 2, 3 * 3 * 2  # rows, epochs, answers; before, two epochs
    counted = {"judges": ["tiny"], "answers": of_steps + of_evaluations}
    assert found["measured"]["grading"] == counted | {"seconds": 25.0, "assumed": False}
    longer = {
        name: found["measured"][name] - found["none"][name]
        for name in ("training_seconds", "seconds")
    }
    assert longer == pytest.approx({"training_seconds": of_steps * 0.5, "seconds": 25.0})
    looked = pytest.approx((of_steps + of_evaluations) * (row + 8) * 0.1)
    assert found["assumed"]["grading"] == counted | {"seconds": looked, "assumed": True}


@pytest.mark.slow
def test_a_try_has_some_answers_graded_to_know_how_long_that_takes(
    committed_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, asked = committed_bench, []

    async def judged(**given: Any) -> Graded:
        asked.append(given["sample"]["output_text"])
        return Graded(0.5, 0.5, Errors(), {}, {})

    monkeypatch.setattr(judging, "run_grader", judged)
    estimate = ask(
        bench, file=prompts(bench, 8), method="reinforcement", grader=BOTH, max_length=64,
        hyperparameters=SMALL, settings={"max_completion_tokens": 8, "num_generations": 2},
    )  # fmt: skip
    read(bench, estimate)
    rehearse(bench, estimate)
    found = told(bench, estimate)
    assert found["status"] == "ready", found["error"]
    assert len(asked) == 1 + 8, "one that is not counted, and a step's"
    answer = Pace.objects.get().answer_seconds
    assert answer is not None
    assert found["grading"] == {
        "judges": ["tiny"], "answers": 32, "seconds": pytest.approx(32 * answer, abs=0.01),
        "assumed": False,
    }  # fmt: skip
    assert found["training_seconds"] > found["grading"]["seconds"] > 0
