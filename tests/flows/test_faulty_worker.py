"""A real worker whose model store is empty takes no work: not a job of two tenants fails, and a
worker that is whole goes on with them later."""

from pathlib import Path

import pytest

from finetune.models import Job, Run
from finetune.services.jobs import lifecycle
from finetune.services.jobs.validation import VALIDATE
from finetune.states import JobState
from finetune.work.perform import perform
from tenants.database.scope import tenant_scope
from tenants.models import StoredFile
from tests.fixtures.jobs import Bench, chat_rows, jsonl, new_bench
from tests.flows.floor import Crew, Floor, tidy_up

pytestmark = pytest.mark.slow

JOBS = 9  # of the two tenants together: more than the worker holds at a time


def queued(bench: Bench, file: StoredFile) -> Job:
    made = bench.create(file=file, hyperparameters={"n_epochs": 1, "batch_size": 4})
    perform(VALIDATE, tenant_id=bench.tenant.id, key=made.id)
    with tenant_scope(bench.tenant.id):
        job = Job.objects.get(id=made.id)
        assert job.state == JobState.QUEUED, job.error
        job.resolved["machine"] = {"precision": "fp32", "device": "cpu", "threads": 1}
        job.save(update_fields=["resolved"])
    return job


def nudge(floor: Floor, made: list[tuple[Bench, Job]]) -> None:
    for bench, job in made:
        ids = [str(bench.tenant.id), str(job.id)]
        floor.crew.app.send_task("finetune.tasks.run_job", args=ids, queue="train")


def end(bench: Bench, job: Job) -> None:
    """What waits would be swept up by other tests."""
    if bench.job(job).state != JobState.SUCCEEDED:
        with tenant_scope(bench.tenant.id):
            lifecycle.cancel_job(job_id=job.id, actor="test")


def states(benches: list[Bench]) -> set[str]:
    """Of all jobs of the tenants: one question for each, however often it is asked."""
    found: set[str] = set()
    for bench in benches:
        with tenant_scope(bench.tenant.id):
            found.update(Job.objects.values_list("state", flat=True))
    return found


def test_a_worker_with_an_empty_model_store_fails_no_job_and_leaves_the_queue_to_others(
    committed: None, tiny_base: Path, tmp_path: Path
) -> None:
    benches = [new_bench(tiny_base), new_bench(tiny_base)]
    crew = Crew(tmp_path)
    floor = Floor(benches[0], crew)
    files = [bench.add_file(jsonl(chat_rows(8))) for bench in benches]
    made = [(benches[n % 2], queued(benches[n % 2], files[n % 2])) for n in range(JOBS)]
    messages = tmp_path / "queue" / "messages"
    try:
        nudge(floor, made)
        crew.start(PRIVATUNE_MODELS=str(tmp_path / "empty"))
        floor.until(lambda: "Canceling queue train" in crew.log.read_text(), "leaving the queue")
        left = len(list(messages.iterdir()))
        nudge(floor, made)
        floor.until(lambda: len(list(messages.iterdir())) == left + JOBS, "messages left alone")
        tidy_up(crew)
        assert states(benches) == {JobState.QUEUED}
        for bench, job in made:
            with tenant_scope(bench.tenant.id):
                run = Run.objects.get(job=job)
            assert (run.attempts, run.epoch, run.not_before) == (0, 0, None)
        crew.start()
        floor.until(lambda: JobState.SUCCEEDED in states(benches), "success")
        assert JobState.FAILED not in states(benches)
    finally:
        tidy_up(crew)
        for bench, job in made:
            end(bench, job)
