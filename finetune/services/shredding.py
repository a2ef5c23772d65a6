"""Destroys a tenant: its key at once, then all that is left of it, and signs that it was done.

The key goes first and in one commit, so whatever interrupts the rest, the data is already noise;
the same call again goes on. What stays is the tenant's row, its audit trail, its licences and use:
the operator's own books.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.utils import timezone

from faults import OurFault
from finetune.models import (
    Artifact,
    Checkpoint,
    Dataset,
    Estimate,
    Evaluation,
    Form,
    Job,
    Mining,
    Pipeline,
    Profile,
    Scrub,
    Stage,
    StepSample,
    Suite,
)
from finetune.services.estimates.rehearsing import REHEARSE
from finetune.services.evaluations.evaluating import EVALUATE
from finetune.services.files.profiling import PROFILE
from finetune.services.files.scrubbing import SCRUB
from finetune.services.forms.making import MAKE_FORM
from finetune.services.jobs import lifecycle
from finetune.services.kinds import KINDS
from finetune.services.mining.making import MINE
from finetune.services.models.eviction import evict
from finetune.services.pipelines.advancing import ADVANCE
from finetune.signing import signing_key
from finetune.states import FINAL_JOB_STATES, LIVE_LEASES
from finetune.work import leases
from finetune.work.leases import held
from tenants.actor import Actor
from tenants.database.scope import tenant_scope
from tenants.models import (
    ApiKey,
    IdempotencyRecord,
    Invitation,
    Membership,
    StoredFile,
    Tenant,
    Upload,
    UploadPart,
)
from tenants.services import audit
from tenants.services.tenants import destroy_key
from tenants.services.vaults import object_store
from tenants.trail.certificates import TYPE, sign_certificate

LOOK_SECONDS = 0.5
Say = Callable[[str], None]


def find(*, tenant_id: UUID) -> dict[str, int]:
    """What a shredding would destroy. `bytes`: of ciphertext in the store."""
    store = object_store()
    sizes = [store.size(key) for key in store.list(f"{tenant_id}/")]
    with tenant_scope(tenant_id):
        return {
            "objects": len(sizes),
            "bytes": sum(sizes),
            "files": StoredFile.objects.filter(deleted_at=None).count(),
            "readings": Dataset.objects.count(),
            "models": Artifact.objects.filter(deleted_at=None).count(),
            "checkpoints": Checkpoint.objects.count(),
            "jobs": Job.objects.count(),
            "live_jobs": Job.objects.exclude(state__in=FINAL_JOB_STATES).count(),
            "api_keys": ApiKey.objects.filter(revoked_at=None).count(),
            "members": Membership.objects.count(),
        }


def shred(*, tenant_id: UUID, actor: Actor, say: Say = lambda line: None) -> dict[str, Any]:
    """The signed certificate. Outside any scope; safe to repeat after it was cut off anywhere.

    Raises OurFault `trainer_still_runs` when a worker does not let go of a run in time.
    """
    with tenant_scope(tenant_id):
        tenant = Tenant.objects.get(id=tenant_id)
    if (tenant.certificate or {}).get("type") == TYPE:
        return dict(tenant.certificate or {})
    key = signing_key()  # before anything goes: a certificate must be possible
    found = {} if tenant.shredding_at else find(tenant_id=tenant_id)
    tenant = destroy_key(tenant_id=tenant_id, actor=actor, found=found)
    say("The key is destroyed and nobody is let in any more.")
    evict(tenant_id=tenant_id)
    _stop_jobs(tenant_id, actor)
    _stop_operations(tenant_id)
    _await_workers(tenant_id, say)
    _end_sessions(tenant_id)
    say(f"{_delete_objects(tenant_id)} objects deleted.")
    _empty_rows(tenant_id)
    evict(tenant_id=tenant_id)  # what a request that was under way had loaded meanwhile
    return _certify(tenant_id, key, actor)


def _stop_jobs(tenant_id: UUID, actor: Actor) -> None:
    """Through the columns that every worker's heartbeat reads; it then kills the training."""
    with tenant_scope(tenant_id):
        for pipeline_id in list(Pipeline.objects.values_list("id", flat=True)):
            leases.cancel(ADVANCE, key=pipeline_id)
        live = Job.objects.exclude(state__in=FINAL_JOB_STATES).filter(cancel_requested_at=None)
        for job_id in list(live.values_list("id", flat=True)):
            lifecycle.cancel_job(job_id=job_id, actor=actor)
        for estimate_id in list(Estimate.objects.values_list("id", flat=True)):
            leases.cancel(REHEARSE, key=estimate_id)


def _stop_operations(tenant_id: UUID) -> None:
    with tenant_scope(tenant_id):
        for kind in (EVALUATE, PROFILE, SCRUB, MINE, MAKE_FORM):
            live = kind.rows().filter(state__in=LIVE_LEASES)
            for row_id in list(live.values_list("id", flat=True)):
                leases.cancel(kind, key=row_id)


def _await_workers(tenant_id: UUID, say: Say) -> None:
    """Until no live lease is left: a lease lives on only while its worker does."""
    ends = time.monotonic() + 3 * settings.LEASE_SECONDS + 60
    told = False
    while _is_worked_on(tenant_id):
        if not told:
            say("Waiting for the workers to let go of its runs and checks ...")
            told = True
        if time.monotonic() > ends:
            raise OurFault(
                "trainer_still_runs",
                "A worker still holds a run of this tenant.",
                fix="The key is destroyed already. Stop that worker, then give the same command.",
            )
        time.sleep(LOOK_SECONDS)


def _is_worked_on(tenant_id: UUID) -> bool:
    with tenant_scope(tenant_id):
        return any(held(kind) for kind in KINDS)


def _end_sessions(tenant_id: UUID) -> None:
    """Of everybody who belongs to it; who belongs elsewhere too signs in again."""
    with tenant_scope(tenant_id):
        members = {str(user) for user in Membership.objects.values_list("user_id", flat=True)}
    with transaction.atomic():  # behind PgBouncer a cursor lives only as long as its transaction
        for session in Session.objects.iterator(chunk_size=500):
            if session.get_decoded().get("_auth_user_id") in members:
                session.delete()


def _delete_objects(tenant_id: UUID) -> int:
    """By the store's own keys: there is no vault any more that would name them."""
    store, count = object_store(), 0
    for key in list(store.list(f"{tenant_id}/")):
        store.delete(key)
        count += 1
    return count


def _empty_rows(tenant_id: UUID) -> None:
    """Names, metadata and settings that people typed, and every answer that was kept."""
    now = timezone.now()
    with tenant_scope(tenant_id):
        IdempotencyRecord.objects.all().delete()
        Invitation.objects.all().delete()  # addresses of people who never came
        ApiKey.objects.update(name="", allowed_addresses=[], seen_from=[])
        UploadPart.objects.all().delete()
        Upload.objects.update(filename="")
        StoredFile.objects.update(filename="", status_details=None, expires_at=None)
        StoredFile.objects.filter(deleted_at=None).update(deleted_at=now)
        no_objects = dict.fromkeys(("rows_object", "tokens_object", "errors_object"), "")
        Dataset.objects.update(report=None, error=None, **no_objects)
        Checkpoint.objects.all().delete()
        StepSample.objects.all().delete()
        nothing_told: dict[str, Any] = {
            "requested": {},
            "metadata": {},
            "report": None,
            "error": None,
        }
        Evaluation.objects.update(name="", parts=[], tags_object="", marks={}, **nothing_told)
        Profile.objects.all().delete()
        Scrub.objects.all().delete()
        Mining.objects.all().delete()
        Form.objects.all().delete()
        Suite.objects.update(name="", criteria=[], source_config={}, metadata={})
        cleared: dict[str, Any] = {"requested": {}, "metadata": {}, "error": None}
        Job.objects.update(resolved=None, receipt=None, start=None, suffix="", **cleared)
        Stage.objects.update(request={}, approved_by="")
        Pipeline.objects.update(name="", model="", metadata={}, error=None)
        Estimate.objects.all().delete()
        nothing: dict[str, Any] = {"adapter_config": {}, "passport": {}, "report": {}}
        for artifact in Artifact.objects.all():
            name = f"deleted:{artifact.id.hex}"
            Artifact.objects.filter(id=artifact.id).update(model_name=name, **nothing)
        Artifact.objects.filter(deleted_at=None).update(deleted_at=now)
        with connection.cursor() as cursor:
            cursor.execute("SELECT privatune_forget_history(%s)", [tenant_id])


def _certify(tenant_id: UUID, key: bytes, actor: Actor) -> dict[str, Any]:
    with tenant_scope(tenant_id):
        tenant = Tenant.objects.select_for_update().get(id=tenant_id)
        assert tenant.shredding_at is not None
        if (tenant.certificate or {}).get("type") != TYPE:
            facts = {
                "tenant": str(tenant.id),
                "slug": tenant.slug,
                "key_destroyed_at": tenant.shredding_at.isoformat(timespec="seconds"),
                "finished_at": timezone.now().isoformat(timespec="seconds"),
                **(tenant.certificate or {}),  # what `destroy_key` noted
                "kept": ["tenant row", "audit trail", "licences and use", "memberships"],
                "backups": _backups(tenant),
            }
            tenant.certificate = sign_certificate(key, facts)
            tenant.save(update_fields=["certificate"])
            audit.record(actor=actor, action="tenant.shredded", target=tenant.slug,
                         data={"signature": tenant.certificate["signature"]})  # fmt: skip
    return dict(tenant.certificate or {})


def _backups(tenant: Tenant) -> dict[str, Any]:
    """A backup of the database holds the wrapped key until it expires; with it, one of the objects
    could be opened by who also has the master key."""
    days = settings.BACKUP_DAYS
    assert tenant.shredding_at is not None
    until = None if days is None else tenant.shredding_at + timedelta(days=days)
    return {
        "days": days,
        "may_hold_the_wrapped_key_until": until and until.isoformat(timespec="seconds"),
    }
