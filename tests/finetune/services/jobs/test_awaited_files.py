"""A job that was asked for before its files were checked: it waits for them, and for no clock."""

from dataclasses import replace

import pytest

from finetune.models import Dataset, Event, Run, Validation
from finetune.records.kinds import RecordKind
from finetune.services.files import checking
from finetune.services.files.checking import CHECK
from finetune.services.files.datasets import request_check
from finetune.services.files.intake import delete_file
from finetune.services.jobs import lifecycle
from finetune.services.jobs.validation import VALIDATE
from finetune.states import DatasetState, JobState, LeaseState
from finetune.trainer.objectives import METHODS
from finetune.work import leases, nudges
from finetune.work.perform import perform
from tenants.database.scope import tenant_scope
from tenants.errors import Conflict, Refused
from tenants.models import LicenseState, StoredFile
from tenants.services.licences import change_license
from tests.fixtures.jobs import Bench, chat_rows, jsonl

GOOD = jsonl(chat_rows(12))
BAD = jsonl(chat_rows(2)) + b'{"messages": []}\n'


def upload(bench: Bench, data: bytes = GOOD) -> StoredFile:
    """As it stands right after its upload: a check waits for a worker."""
    file = bench.add_file(data, status="uploaded")
    with tenant_scope(bench.tenant.id):
        request_check(file=file)
    return file


def structure_of(bench: Bench, file: StoredFile) -> Dataset:
    with tenant_scope(bench.tenant.id):
        return Dataset.objects.get(file=file, base=None)


def test_the_jobs_worker_does_the_check_that_nobody_has_begun(bench: Bench) -> None:
    file = upload(bench)
    job = bench.create(file=file)
    assert f"{file.public_id} is still being checked" in bench.messages(job)[-1]
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    assert bench.job(job).state == JobState.QUEUED
    with tenant_scope(bench.tenant.id):
        assert StoredFile.objects.get(id=file.id).status == "processed"
        assert Run.objects.filter(job=job).count() == 1


def test_a_check_that_another_worker_is_at_is_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = upload(bench)
    job = bench.create(file=file)
    structure = structure_of(bench, file)
    theirs = leases.claim(CHECK, tenant_id=bench.tenant.id, key=structure.id, worker="other")
    assert theirs is not None
    for _ in range(2):
        perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    assert bench.job(job).state == JobState.VALIDATING_FILES
    with tenant_scope(bench.tenant.id):
        waiting = Validation.objects.get(job=job)
        assert (waiting.state, waiting.attempts) == (LeaseState.WAITING, 0)
        assert not Dataset.objects.filter(file=file).exclude(base=None).exists()
    woken = []
    monkeypatch.setattr(nudges, "wake", lambda model, tenant, key: woken.append((model, key)))
    leases.give_back(theirs)
    perform(CHECK, tenant_id=bench.tenant.id, key=structure.id)
    assert (Validation, job.id) in woken
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    assert bench.job(job).state == JobState.QUEUED


@pytest.mark.parametrize("param", ["training_file", "validation_file"])
def test_a_file_that_turns_out_bad_fails_the_job_with_its_first_finding(
    bench: Bench, param: str
) -> None:
    bad, good = upload(bench, BAD), upload(bench)
    job = bench.create(**{"training_file": good.id, "validation_file": good.id} | {param: bad.id})
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    job = bench.job(job)
    assert job.state == JobState.FAILED
    assert (job.error["code"], job.error["param"]) == (f"invalid_{param}", param)
    assert (job.error["where"], bool(job.error["fix"])) == ("line 3", True)
    assert bad.public_id in job.error["message"]
    with tenant_scope(bench.tenant.id):
        assert StoredFile.objects.get(id=bad.id).status == "error"
        assert not Run.objects.exists()


def test_records_of_another_kind_fail_the_job_when_they_are_seen(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = RecordKind("pair", lambda record, encode: encode(record))
    monkeypatch.setitem(METHODS, "preference", replace(METHODS["supervised"], records=pairs))
    job = bench.create(file=upload(bench), method="preference")
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    job = bench.job(job)
    assert (job.state, job.error["code"]) == (JobState.FAILED, "wrong_kind_of_record")


def test_a_file_that_is_waited_for_stays_and_cancelling_lets_it_go(bench: Bench) -> None:
    file = upload(bench)
    job = bench.create(file=file)
    with tenant_scope(bench.tenant.id):
        with pytest.raises(Conflict, match=job.public_id):
            delete_file(file_id=file.id, actor="test")
        lifecycle.cancel_job(job_id=job.id, actor="test")
        delete_file(file_id=file.id, actor="test")
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    assert bench.job(job).state == JobState.CANCELLED


def test_a_check_that_was_ended_with_its_file_does_not_pass_for_good(bench: Bench) -> None:
    """The row says why: nobody waits for ever."""
    file = upload(bench)
    job = bench.create(file=file)
    error = {"family": "user", "code": "file_deleted", "message": "It is gone.", "fix": "Again."}
    with tenant_scope(bench.tenant.id):
        Dataset.objects.filter(file=file).update(state=DatasetState.REFUSED, error=error)
        StoredFile.objects.filter(id=file.id).update(status="error", status_details="It is gone.")
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    job = bench.job(job)
    assert (job.state, job.error["code"]) == (JobState.FAILED, "invalid_training_file")
    assert "It is gone." in job.error["message"]


def test_the_licence_is_asked_when_the_job_is_created(bench: Bench) -> None:
    change_license(
        tenant_id=bench.tenant.id,
        license_id=bench.license.id,
        actor="test",
        state=LicenseState.SUSPENDED,
    )
    with pytest.raises(Refused, match="is suspended"):
        bench.create(file=upload(bench))


def test_who_waits_is_told_how_far_each_pass_over_the_file_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "TELL_SECONDS", 0)
    file = upload(bench)
    waiting, cancelled = bench.create(file=file), bench.create(file=file)
    with tenant_scope(bench.tenant.id):
        lifecycle.cancel_job(job_id=cancelled.id, actor="test")
    perform(VALIDATE, tenant_id=bench.tenant.id, key=waiting.id)
    with tenant_scope(bench.tenant.id):
        said = Event.objects.filter(code__startswith="file_being_").order_by("seq")
        codes = list(dict.fromkeys(said.values_list("code", flat=True)))
        assert codes == ["file_being_checked", "file_being_read"]
        assert {each.job_id for each in said} == {waiting.id}
        assert all(each.data["file"] == file.public_id for each in said)
        assert said[0].data["percent"] == 100
    assert bench.job(waiting).state == JobState.QUEUED
