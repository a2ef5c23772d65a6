"""/v1/files, by the unmodified openai client."""

import hashlib
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from openai import BadRequestError, NotFoundError

from finetune.records.check.child import check_in_child
from tenants.database.scope import tenant_scope
from tenants.models import StoredFile
from tenants.services.vaults import object_store
from tests.finetune.api.customers import Customer, chat_rows, new_customer, strict
from tests.fixtures.waiting import until


def test_a_file_comes_back_byte_for_byte_and_goes_when_it_is_deleted(customer: Customer) -> None:
    client = customer.client()
    data = chat_rows(50)
    sent = client.files.create(file=("rows.jsonl", data), purpose="fine-tune")
    strict(sent)
    assert (sent.bytes, sent.filename, sent.status) == (len(data), "rows.jsonl", "uploaded")
    assert client.files.content(sent.id).content == data
    customer.check_files()
    checked = client.files.wait_for_processing(sent.id, poll_interval=0.1)
    assert checked.status == "processed"
    with tenant_scope(customer.tenant_id):
        stored = StoredFile.objects.get(filename="rows.jsonl")
    assert stored.sha256 == hashlib.sha256(data).hexdigest()
    deleted = client.files.delete(sent.id)
    strict(deleted)
    with pytest.raises(NotFoundError):
        client.files.content(sent.id)
    assert sent.id not in [each.id for each in client.files.list()]
    held = object_store().list(f"{customer.tenant_id}/objects/{stored.object_name[8:]}")
    assert list(held) == []


def test_the_store_holds_ciphertext_only(customer: Customer) -> None:
    secret = b"the colour of the vault is mauve"
    customer.client().files.create(file=("a.txt", secret * 9), purpose="user_data")
    for key in object_store().list(f"{customer.tenant_id}/"):
        with object_store().open(key) as stored:
            assert b"mauve" not in stored.read()


def test_pages_follow_one_another_in_both_orders(customer: Customer) -> None:
    client = customer.client()
    sent = [client.files.create(file=(f"{i}.txt", b"x"), purpose="user_data").id for i in range(5)]
    client.files.create(file=("other.jsonl", chat_rows()), purpose="fine-tune")
    newest = client.files.list(limit=2, purpose="user_data")
    assert newest.has_more is True
    for each in newest.data:
        strict(each)
    assert [each.id for each in newest] == sent[::-1]  # the SDK walks on over all pages
    assert [
        each.id for each in client.files.list(limit=2, order="asc", purpose="user_data")
    ] == sent
    with pytest.raises(NotFoundError):
        client.files.list(after="file-" + "0" * 32)
    with pytest.raises(BadRequestError) as refused:
        client.files.list(limit=0)
    assert refused.value.param == "limit"


def test_a_file_expires_when_it_was_asked_to(customer: Customer) -> None:
    client, before = customer.client(), int(time.time())
    sent = client.files.create(
        file=("a.txt", b"x"),
        purpose="user_data",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert sent.expires_at is not None
    assert before + 3600 <= sent.expires_at <= time.time() + 3600
    for seconds in (3599, 2592001):
        with pytest.raises(BadRequestError) as refused:
            client.files.create(
                file=("a.txt", b"x"),
                purpose="user_data",
                expires_after={"anchor": "created_at", "seconds": seconds},
            )
        assert refused.value.param == "expires_after.seconds"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\data\\rows.csv", "rows.csv"),
        ("表\u202efdp.exe", "表fdp.exe"),
        ("rows.pdf", "rows.pdf"),
        ("...", "..."),
    ],
)
def test_a_file_name_is_a_label_and_never_a_path(
    customer: Customer, given: str, shown: str
) -> None:
    sent = customer.client().files.create(file=(given, chat_rows()), purpose="fine-tune")
    assert sent.filename == shown


@pytest.mark.parametrize("purpose", ["assistants", "batch", "fine-tune-results", "nonsense"])
def test_a_purpose_that_is_not_offered_is_named(customer: Customer, purpose: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        customer.client().files.create(file=("a", b"x"), purpose=purpose)  # type: ignore[arg-type]
    assert (refused.value.param, refused.value.code) == ("purpose", "invalid_purpose")


def test_an_empty_training_file_is_refused_and_leaves_nothing(customer: Customer) -> None:
    with pytest.raises(BadRequestError) as refused:
        customer.client().files.create(file=("a.jsonl", b""), purpose="fine-tune")
    assert refused.value.param == "file"
    assert list(object_store().list(f"{customer.tenant_id}/objects/")) == []


def test_a_file_that_a_live_job_needs_stays(customer: Customer, training_file: str) -> None:
    client = customer.client(max_retries=2)
    job = client.fine_tuning.jobs.create(model="tiny", training_file=training_file)
    with pytest.raises(BadRequestError, match=job.id) as refused:
        client.files.delete(training_file)
    assert refused.value.code == "file_in_use"
    assert refused.value.response.headers["x-should-retry"] == "false"
    client.fine_tuning.jobs.cancel(job.id)
    assert client.files.delete(training_file).deleted
    assert client.fine_tuning.jobs.retrieve(job.id).training_file == training_file


def test_a_file_deleted_while_it_is_checked_leaves_nothing(customer: Customer) -> None:
    client = customer.client()
    sent = client.files.create(file=("a.jsonl", chat_rows()), purpose="fine-tune")
    claimed = threading.Event()
    deleted = threading.Event()

    def slow_check(*args: Any, **options: Any) -> Any:
        claimed.set()
        deleted.wait()
        return check_in_child(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("finetune.services.files.checking.check_in_child", slow_check)
        worker = threading.Thread(target=customer.check_files)
        worker.start()
        until(claimed.is_set, "nobody checks it")
        client.files.delete(sent.id)
        deleted.set()
        worker.join()
    assert list(object_store().list(f"{customer.tenant_id}/")) == []


def test_a_bad_training_file_ends_in_error_with_the_reason(customer: Customer) -> None:
    client = customer.client()
    sent = client.files.create(file=("a.jsonl", b'{"messages": []}\n'), purpose="fine-tune")
    customer.check_files()
    after = client.files.retrieve(sent.id)
    strict(after)
    assert after.status == "error"
    assert after.status_details


def test_uploading_a_large_file_takes_little_memory(
    server: tuple[str, int], committed: None
) -> None:
    customer = new_customer(server[0])
    client = customer.client()
    client.files.create(file=("warm.bin", b"x" * 1000), purpose="user_data")
    before = _from_now_on(server[1])
    sent = client.files.create(file=("large.bin", bytes(90 << 20)), purpose="user_data")
    assert sent.bytes == 90 << 20
    peak = _memory(server[1], peak=True) - before
    # whoever holds the file once has 90 MB more
    assert peak < 75 << 20, f"{peak >> 20} MB more than at rest"
    digest = hashlib.sha256()
    with client.files.with_streaming_response.content(sent.id) as response:
        for piece in response.iter_bytes():
            digest.update(piece)
    assert digest.hexdigest() == hashlib.sha256(bytes(90 << 20)).hexdigest()
    assert _memory(server[1], peak=True) - before < 75 << 20


def _from_now_on(pid: int) -> int:
    """Bytes that the worker holds. Its peak begins anew: other tests have used this server."""
    Path(f"/proc/{_worker(pid).pid}/clear_refs").write_text("5")
    return _memory(pid)


def _worker(pid: int) -> psutil.Process:
    process = psutil.Process(pid)
    return max([process, *process.children(recursive=True)], key=lambda p: p.memory_info().rss)


def _memory(pid: int, *, peak: bool = False) -> int:
    """Bytes of the server's worker process, now or at its highest."""
    worker = _worker(pid)
    if not peak:
        return int(worker.memory_info().rss)
    with open(f"/proc/{worker.pid}/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
