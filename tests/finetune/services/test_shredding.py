"""A tenant destroyed: nobody is let in, nothing is left to read, neighbours keep everything, and
whatever cut it off, the same call goes on."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.test import Client

from finetune.models import Event, Job, StepSample
from finetune.services import shredding
from finetune.services.files import datasets
from finetune.services.files.checking import CHECK
from finetune.services.jobs.validation import VALIDATE
from finetune.services.runs.training import TRAIN
from finetune.signing import public_key_pem
from finetune.states import JobState
from finetune.work import leases
from finetune.work.perform import perform
from finetune.work.signals import Wishes
from tenants.access import authenticate_key
from tenants.actor import Actor
from tenants.database.scope import tenant_scope
from tenants.errors import TenantGone
from tenants.models import IdempotencyRecord, StoredFile, Tenant
from tenants.roles import Role
from tenants.services.tenants import add_member, create_key
from tenants.services.vaults import object_store, open_vault, vault_for
from tenants.trail.certificates import check_certificate
from tenants.vault.errors import KeyDestroyed
from tests.fixtures.jobs import Bench, chat_rows, jsonl, new_bench
from tests.fixtures.principals import somebody

pytestmark = pytest.mark.usefixtures("committed")

OPERATOR = Actor.operator("test")
SECRET = "canary4711"


class Cut(Exception):
    """In the place of kill -9: nothing after it runs."""


@pytest.fixture
def settled(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A tenant with a checked file, a queued job, and words that people typed."""
    monkeypatch.setattr(shredding, "evict", lambda **_: True)
    bench = new_bench(tiny_base)
    bench.file = bench.add_file(jsonl(chat_rows(4)))  # type: ignore[attr-defined]
    bench.queued = bench.create(  # type: ignore[attr-defined]
        file=bench.file,
        metadata={"about": SECRET},
        suffix=SECRET,  # type: ignore[attr-defined]
    )
    perform(VALIDATE, tenant_id=bench.tenant.id, key=bench.queued.id)  # type: ignore[attr-defined]
    with tenant_scope(bench.tenant.id):
        StoredFile.objects.update(filename=f"{SECRET}.jsonl")
        IdempotencyRecord.objects.create(key="k", route="r", body_sha256="x", sealed=b"noise")
        open_vault().put_bytes("runs/r/1/samples/1.jsonl", b"{}")
        StepSample.objects.create(
            job=bench.queued,  # type: ignore[attr-defined]
            step=1, object_name="runs/r/1/samples/1.jsonl", completions=1, bytes=2,
        )  # fmt: skip
    return bench


def shred(bench: Bench) -> dict[str, Any]:
    return shredding.shred(tenant_id=bench.tenant.id, actor=OPERATOR)


def objects_of(bench: Bench) -> list[str]:
    return list(object_store().list(f"{bench.tenant.id}/"))


def quoting(bench: Bench) -> list[str]:
    from tests.finetune.services.test_words import quoted

    return [table for table in quoted(bench, SECRET) if table != "tenants_auditentry"]


def test_looking_first_changes_nothing_and_says_what_would_go(settled: Bench) -> None:
    before = objects_of(settled)
    found = shredding.find(tenant_id=settled.tenant.id)
    assert (found["files"], found["jobs"], found["live_jobs"]) == (1, 1, 1)
    assert (found["objects"], found["bytes"] > 500) == (len(before), True)
    assert objects_of(settled) == before
    with tenant_scope(settled.tenant.id):
        assert open_vault()


def test_a_shredded_tenant_is_gone_for_everybody_and_the_operator_signs_it(
    settled: Bench, settings: Any
) -> None:
    settings.BACKUP_DAYS = 30
    _, secret = create_key(tenant_id=settled.tenant.id, name="k", actor="test")
    user = get_user_model().objects.create_user(f"{uuid.uuid4().hex}@x.example", "p" * 14)
    add_member(tenant_id=settled.tenant.id, user=user, role=Role.OWNER, actor="test")
    browser = Client()
    browser.force_login(user)
    with tenant_scope(settled.tenant.id):
        key_row = Tenant.objects.get(id=settled.tenant.id).wrapped_key
        ciphertext = objects_of(settled)
    assert ciphertext
    assert key_row

    certificate = shred(settled)

    with pytest.raises(TenantGone):
        authenticate_key(secret)
    with tenant_scope(settled.tenant.id), pytest.raises(KeyDestroyed):
        vault_for(settled.tenant.id)
    with pytest.raises(TenantGone):
        create_key(tenant_id=settled.tenant.id, name="again", actor="test")
    assert Session.objects.filter(session_key=browser.cookies["sessionid"].value).count() == 0
    browser.force_login(user)
    assert browser.get(f"/t/{settled.tenant.slug}/files/").status_code == 410
    assert objects_of(settled) == []
    assert quoting(settled) == []
    with tenant_scope(settled.tenant.id):
        assert Job.objects.get().state == JobState.CANCELLED
        assert not Event.objects.exists()
        assert not StepSample.objects.exists()

    assert check_certificate(certificate, public=public_key_pem()).problem is None
    assert certificate["destroyed"]["objects"] == len(ciphertext)
    assert certificate["key_fingerprint"].startswith("sha256:")
    assert certificate["backups"]["may_hold_the_wrapped_key_until"]
    assert shred(settled) == certificate
    forged = certificate | {"tenant": str(uuid.uuid4())}
    assert "does not fit" in str(check_certificate(forged, public=public_key_pem()).problem)
    assert "not by the expected" in str(
        check_certificate(certificate, trusted_fingerprint="sha256:" + "0" * 64).problem
    )


STEPS = (
    "_stop_jobs",
    "_await_workers",
    "_end_sessions",
    "_delete_objects",
    "_empty_rows",
    "_certify",
)


def test_cut_off_at_every_step_the_data_is_noise_already_and_the_same_call_goes_on(
    settled: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shredding.find(tenant_id=settled.tenant.id)

    def cut(*_: Any, **__: Any) -> None:
        raise Cut

    for step in STEPS:
        with monkeypatch.context() as patch:
            patch.setattr(shredding, step, cut)
            with pytest.raises(Cut):
                shred(settled)
        with tenant_scope(settled.tenant.id), pytest.raises(KeyDestroyed):
            vault_for(settled.tenant.id)
    certificate = shred(settled)
    assert certificate["destroyed"] == before  # what there was, not what the last call found
    assert check_certificate(certificate, public=public_key_pem()).problem is None
    assert objects_of(settled) == []
    assert quoting(settled) == []


def test_a_running_training_is_told_to_stop_and_waited_for(
    settled: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job: Job = settled.queued  # type: ignore[attr-defined]
    lease = leases.claim(TRAIN, tenant_id=settled.tenant.id, key=job.id, worker="w")
    assert lease is not None
    seen: list[Wishes] = []

    def heartbeat(_: float) -> None:
        """What the worker does while the shredding sleeps."""
        seen.append(leases.wishes(lease))
        assert objects_of(settled), "objects went while a worker could still write"
        if len(seen) == 2:
            leases.give_back(lease)

    monkeypatch.setattr(shredding.time, "sleep", heartbeat)
    shred(settled)
    assert [wish.cancel for wish in seen] == [True, True]
    assert settled.job(job).state == JobState.CANCELLED


def test_neighbours_read_everything(settled: Bench, tiny_base: Path) -> None:
    neighbour = new_bench(tiny_base)
    data = jsonl(chat_rows(6))
    file = neighbour.add_file(data)
    _, secret = create_key(tenant_id=neighbour.tenant.id, name="k", actor="test")
    with tenant_scope(neighbour.tenant.id):
        reading = datasets.request_check(file=file)
    perform(CHECK, tenant_id=neighbour.tenant.id, key=reading.id)
    before = sorted(objects_of(neighbour))

    shred(settled)

    assert authenticate_key(secret).tenant_id == neighbour.tenant.id
    assert sorted(objects_of(neighbour)) == before
    with tenant_scope(neighbour.tenant.id):
        vault = open_vault()
        assert vault.read_bytes(file.object_name) == data
        for name in vault.list():
            assert vault.read_bytes(name) or name.endswith("errors.jsonl")
        reading.refresh_from_db()
        assert datasets.full_report(reading, by=somebody(reading.tenant_id))


def test_the_history_of_a_living_tenant_cannot_be_emptied(settled: Bench) -> None:
    from django.db import connection

    with tenant_scope(settled.tenant.id), connection.cursor() as cursor:
        before = Event.objects.count()
        cursor.execute("SELECT privatune_forget_history(%s)", [settled.tenant.id])
        assert cursor.fetchone() == (0,)
        assert Event.objects.count() == before > 0


def test_a_session_of_somebody_else_stays(settled: Bench) -> None:
    user = get_user_model().objects.create_user(f"{uuid.uuid4().hex}@x.example", "p" * 14)
    session = SessionStore()
    session["_auth_user_id"] = str(user.pk)
    session.save()
    shred(settled)
    assert Session.objects.filter(session_key=session.session_key).exists()
    assert json.dumps(session.load())
