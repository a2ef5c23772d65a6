"""One wish, one job: the SDK's retries, Idempotency-Key, and both at the same time."""

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from openai import APIStatusError, OpenAI

from finetune.models import Job
from tenants.database.scope import tenant_scope
from tenants.models import IdempotencyRecord, StoredFile, UploadPart
from tenants.services.idempotency import Answer, Attempt, once
from tenants.services.vaults import object_store
from tests.finetune.api.conftest import serving_http
from tests.finetune.api.customers import Customer, chat_rows, new_customer


@pytest.fixture(scope="module")
def failing_server(django_db_setup: None) -> Iterator[str]:
    with serving_http("tests.finetune.api.failing:application") as (url, _):
        yield url


@pytest.fixture(params=["503", "drop"])
def flaky(request: Any, failing_server: str, tiny_model: str, committed: None) -> Customer:
    return new_customer(failing_server, models=[tiny_model])


@pytest.fixture
def client(request: Any, flaky: Customer) -> OpenAI:
    fault = request.node.callspec.params["flaky"]
    return flaky.client(max_retries=2, default_headers={"x-test-fault": fault})


def test_a_retry_after_a_lost_answer_gets_the_same_job(flaky: Customer, client: OpenAI) -> None:
    sent = client.files.create(file=("rows.jsonl", chat_rows()), purpose="fine-tune")
    flaky.check_files()
    job = client.fine_tuning.jobs.create(model="tiny", training_file=sent.id)
    with tenant_scope(flaky.tenant_id):
        assert [row.public_id for row in Job.objects.all()] == [job.id]
        assert [row.public_id for row in StoredFile.objects.all()] == [sent.id]
        # the second copy of the bytes was let go
    assert len(list(object_store().list(f"{flaky.tenant_id}/objects/"))) == 1
    cancelled = client.fine_tuning.jobs.cancel(job.id)
    assert cancelled.status == "cancelled"


def test_an_upload_survives_lost_answers_at_every_step(
    flaky: Customer, client: OpenAI, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(chat_rows(400))
    done = client.uploads.upload_file_chunked(
        file=path, mime_type="text/jsonl", purpose="fine-tune", part_size=16 * 1024
    )
    assert done.file is not None
    assert client.files.content(done.file.id).content == path.read_bytes()
    with tenant_scope(flaky.tenant_id):
        assert StoredFile.objects.count() == 1
        assert UploadPart.objects.count() == 0
    assert len(list(object_store().list(f"{flaky.tenant_id}/objects/"))) == 1


def test_an_equal_request_that_is_no_retry_is_a_new_wish(
    customer: Customer, training_file: str
) -> None:
    jobs = customer.client().fine_tuning.jobs
    ids = {jobs.create(model="tiny", training_file=training_file).id for _ in range(2)}
    assert len(ids) == 2
    again = jobs.create(
        model="tiny", training_file=training_file, extra_headers={"x-stainless-retry-count": "1"}
    )
    assert again.id in ids
    other = jobs.create(
        model="tiny",
        training_file=training_file,
        seed=1,
        extra_headers={"x-stainless-retry-count": "1"},
    )
    assert other.id not in ids, "another body is another wish"


def test_a_retry_that_finds_no_first_attempt_is_the_first(
    customer: Customer, training_file: str
) -> None:
    jobs = customer.client().fine_tuning.jobs
    late: dict[str, str] = {"x-stainless-retry-count": "2"}
    first = jobs.create(model="tiny", training_file=training_file, extra_headers=late)
    again = jobs.create(model="tiny", training_file=training_file, extra_headers=late)
    assert again.id == first.id


def test_the_idempotency_key_rules_when_it_is_sent(customer: Customer, training_file: str) -> None:
    jobs = customer.client().fine_tuning.jobs
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    first = jobs.create(model="tiny", training_file=training_file, extra_headers=headers)
    again = jobs.with_raw_response.create(
        model="tiny", training_file=training_file, extra_headers=headers
    )
    assert again.parse().id == first.id
    assert again.headers["idempotent-replayed"] == "true"
    with pytest.raises(APIStatusError) as refused:
        jobs.create(model="tiny", training_file=training_file, seed=3, extra_headers=headers)
    assert refused.value.status_code == 422
    assert refused.value.code == "idempotency_key_reused"
    assert refused.value.response.headers["x-should-retry"] == "false"


def test_a_refused_request_is_not_remembered(customer: Customer, training_file: str) -> None:
    jobs = customer.client().fine_tuning.jobs
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    with pytest.raises(APIStatusError):
        jobs.create(model="nothing", training_file=training_file, extra_headers=headers)
    assert jobs.create(model="tiny", training_file=training_file, extra_headers=headers).id


@pytest.mark.parametrize("key", ["a key", None], ids=["with a key", "by the SDK's count"])
def test_concurrent_repetitions_wait_for_the_first_and_make_one(
    customer: Customer, key: str | None
) -> None:
    """The first attempt is still at work when five repetitions come."""
    made: list[int] = []
    working = threading.Event()

    def make() -> int:
        working.set()
        threading.Event().wait(0.5)
        made.append(1)
        return len(made)

    def attempt(number: int) -> Answer:
        if number:
            working.wait()
        wish = Attempt("caller", "POST /x", "0" * 64, key=key, is_retry=number > 0)
        try:
            with tenant_scope(customer.tenant_id):
                return once(attempt=wish, make=make)
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(attempt, range(6)))
    assert made == [1]
    assert [answer.body for answer in answers] == [1] * 6
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 5


def test_a_retry_after_ten_minutes_is_a_new_wish(customer: Customer) -> None:
    from datetime import timedelta

    from django.utils import timezone

    retry = Attempt("caller", "POST /x", "0" * 64, is_retry=True)
    with tenant_scope(customer.tenant_id):
        first = once(attempt=retry, make=lambda: "first")
        assert once(attempt=retry, make=lambda: "second").body == "first"
        IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(minutes=11))
        assert once(attempt=retry, make=lambda: "second").body == "second"
    assert first.body == "first"
