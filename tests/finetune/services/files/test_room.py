"""A tenant's storage has an end: for archives that unpack to much, for what jobs will write, and
for two who ask at once."""

import gzip
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from faults import UserFault
from finetune import events
from finetune.models import Checkpoint, Dataset, Job, Run
from finetune.services import sweeping
from finetune.services.files import intake
from finetune.services.files.checking import CHECK
from finetune.services.files.room import StorageUsedUp, require_room, storage
from finetune.services.jobs import lifecycle
from finetune.services.jobs.steps import step
from finetune.states import JobState
from finetune.tasks import tidy_tenant
from finetune.work.perform import perform
from tenants.database.scope import release_connection, tenant_scope
from tenants.models import StoredFile
from tenants.services.limits import change_limits
from tenants.services.vaults import open_vault
from tests.finetune.api.customers import Customer, new_customer
from tests.fixtures.jobs import Bench, chat_rows, jsonl, new_bench

MB = 1 << 20


def receive(customer: Customer, content: bytes, purpose: str = "fine-tune") -> StoredFile:
    with tenant_scope(customer.tenant_id):
        vault = intake.vault_of(customer.tenant_id)
        kept = intake.keep_bytes(vault=vault, source=[content])
        return intake.receive_file(filename="a.jsonl.gz", purpose=purpose, kept=kept, actor="test")


@pytest.mark.django_db
def test_a_small_archive_that_unpacks_to_much_is_refused(settings: Any) -> None:
    settings.TENANT_STORAGE_MB = 2
    customer = new_customer()
    row = {"prompt": "a" * 9000, "completion": "b"}
    bomb = gzip.compress((json.dumps(row) + "\n").encode() * 500)
    assert len(bomb) < 100_000
    receive(customer, bomb)
    with tenant_scope(customer.tenant_id):
        reading = Dataset.objects.get()
    perform(CHECK, tenant_id=customer.tenant_id, key=reading.id)
    with tenant_scope(customer.tenant_id):
        reading.refresh_from_db()
        assert reading.error["code"] == "storage_used_up"
        assert reading.rows_object == ""
        assert storage().used == storage().files == len(bomb)


@pytest.mark.django_db
def test_unpacked_rows_count_as_they_lie_and_the_last_file_does_not_fit(settings: Any) -> None:
    settings.TENANT_STORAGE_MB = 6
    customer = new_customer()
    row = {"prompt": "a" * 9000, "completion": "b"}
    receive(customer, gzip.compress((json.dumps(row) + "\n").encode() * 500))
    customer.check_files()
    with tenant_scope(customer.tenant_id):
        assert storage().rows > 4 * MB
    with pytest.raises(UserFault, match="no room"):
        receive(customer, bytes(2 * MB), "user_data")
    receive(new_customer(), bytes(2 * MB), "user_data")


def allow(bench: Bench, megabytes: int) -> None:
    change_limits(tenant_id=bench.tenant.id, changes={"storage_mb": megabytes}, actor="test")


def test_a_job_is_asked_for_all_that_it_may_write_and_refused_with_the_numbers(
    bench: Bench,
) -> None:
    allow(bench, 1)
    with pytest.raises(UserFault) as refused:
        bench.create(hyperparameters={"n_epochs": 4})
    assert refused.value.code == "storage_used_up"
    assert "7 checkpoints of 1." in refused.value.message
    assert "storage of 1.0 MB has 1.0 MB left" in refused.value.message
    allow(bench, 100)
    watched = bench.create(hyperparameters={"n_epochs": 4})
    with tenant_scope(bench.tenant.id):
        lifecycle.cancel_job(job_id=watched.id, actor="test")
    job = bench.create(hyperparameters={"n_epochs": 4}, stability="off")
    # What a blow-up is rolled back to stands in each checkpoint once more
    assert watched.room_bytes > job.room_bytes
    with tenant_scope(bench.tenant.id):
        now = storage()
        assert 7 << 20 < now.reserved == job.room_bytes < 10 << 20
        assert now.files > 0
    allow(bench, 9)
    with pytest.raises(UserFault, match="no room"), tenant_scope(bench.tenant.id):
        require_room(3 * MB)
    with tenant_scope(bench.tenant.id):
        lifecycle.cancel_job(job_id=job.id, actor="test")
        assert storage().reserved == 0
        require_room(3 * MB)


def test_what_a_job_writes_comes_out_of_its_reserve_and_goes_when_it_ends_without_a_model(
    bench: Bench, django_capture_on_commit_callbacks: Any
) -> None:
    job = bench.create()
    with tenant_scope(bench.tenant.id):
        reserved = storage().reserved
        step(job, JobState.QUEUED, events.JobQueued())
        run = Run.objects.create(job=job)
        open_vault().put_bytes("runs/x/weights", bytes(MB))
        Checkpoint.objects.create(
            job=job, run=run, epoch=1, step=2, prefix="runs/x/",
            files={"weights": {"sha256": "x", "bytes": MB}},
        )  # fmt: skip
        now = storage()
        assert (now.checkpoints, now.reserved) == (MB, reserved - MB)
        Checkpoint.objects.update(files={"weights": {"sha256": "x", "bytes": 99 * MB}})
        assert storage().reserved == 0, "and never less, and nothing is refused to it"
        step(Job.objects.get(id=job.id), JobState.CANCELLED, events.JobCancelled())
    due = (bench.tenant.id, "tidy", bench.tenant.id)
    assert due in sweeping.due()
    with django_capture_on_commit_callbacks(execute=True):
        tidy_tenant(str(bench.tenant.id), str(bench.tenant.id))
    assert due not in sweeping.due()
    with tenant_scope(bench.tenant.id):
        assert storage().checkpoints == 0
        assert list(open_vault().list("runs/x/")) == []
        assert Checkpoint.objects.filter(job=job).exists(), "it stays in the job's history"


@pytest.mark.usefixtures("committed")
def test_of_two_jobs_or_files_that_ask_at_once_for_the_last_room_one_gets_it(
    tiny_base: Path,
) -> None:
    bench = new_bench(tiny_base)
    requests = [
        bench.request(file=bench.add_file(jsonl(chat_rows(4))), hyperparameters={"n_epochs": 4})
        for _ in range(4)
    ]
    allow(bench, 12)

    def make(request: Any) -> Callable[[], Any]:
        return lambda: lifecycle.create_job(request=request, actor="test")

    assert at_once(bench, [make(request) for request in requests]) == 1
    allow(bench, 14)

    def file(number: int) -> Callable[[], Any]:
        kept = intake.keep_bytes(vault=intake.vault_of(bench.tenant.id), source=[bytes(2 * MB)])
        return lambda: intake.receive_file(
            filename=f"{number}", purpose="user_data", kept=kept, actor="test"
        )

    assert 1 <= at_once(bench, [file(number) for number in range(4)]) <= 2
    with tenant_scope(bench.tenant.id):
        assert storage().used <= storage().limit


def at_once(bench: Bench, makers: list[Callable[[], Any]]) -> int:
    """How many of them were let through."""
    start = threading.Barrier(len(makers))

    def work(make: Callable[[], Any]) -> bool:
        start.wait()
        try:
            with tenant_scope(bench.tenant.id):
                make()
        except StorageUsedUp:
            return False
        finally:
            release_connection()
        return True

    with ThreadPoolExecutor(len(makers)) as pool:
        return sum(pool.map(work, makers))
