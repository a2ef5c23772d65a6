"""How much a tenant may store, and what it stores: files, parts of uploads, unpacked rows, reports,
checkpoints, models and their forms, and what its jobs under way have yet to write."""

from dataclasses import dataclass
from typing import Any

from django.db import connection

from faults import UserFault
from finetune.states import LIVE_JOB_STATES, LIVE_LEASES
from tenants.database.locks import lock
from tenants.database.scope import current_tenant_id
from tenants.limits import MB, limits_of
from tenants.models import Tenant

# Bytes by kind. A job is asked at its creation for all that it may write (`room_bytes`): until it
# has ended, what it has not yet written counts as reserved, and nothing that it writes is refused.
STORED = """
WITH kept AS (
    SELECT c.job_id, SUM((file.value->>'bytes')::bigint) AS bytes
    FROM finetune_checkpoint c, jsonb_each(c.files) AS file GROUP BY c.job_id
), sampled AS (
    SELECT job_id, SUM(bytes) AS bytes FROM finetune_stepsample GROUP BY job_id
)
SELECT (SELECT COALESCE(SUM(bytes), 0) FROM tenants_storedfile WHERE deleted_at IS NULL),
       (SELECT COALESCE(SUM(bytes), 0) FROM tenants_uploadpart),
       (SELECT COALESCE(SUM((report->>'rows_bytes')::bigint
                            + COALESCE((report->>'tokens_bytes')::bigint, 0)), 0)
        FROM finetune_dataset WHERE rows_object <> ''),
       (SELECT COALESCE(SUM(errors_bytes), 0) FROM finetune_dataset WHERE errors_object <> '')
       + (SELECT COALESCE(SUM((part.value->>'bytes')::bigint), 0)
          FROM finetune_evaluation e, jsonb_array_elements(e.parts) AS part)
       + (SELECT COALESCE(SUM(findings_bytes), 0) FROM finetune_profile)
       + (SELECT COALESCE(SUM(findings_bytes), 0) FROM finetune_scrub)
       + (SELECT COALESCE(SUM((part.value->>'bytes')::bigint), 0)
          FROM finetune_mining m, jsonb_array_elements(m.parts) AS part
          WHERE m.state = ANY(%s))
       + (SELECT COALESCE(SUM(bytes), 0) FROM sampled),
       (SELECT COALESCE(SUM(bytes), 0) FROM kept),
       (SELECT COALESCE(SUM(bundle_bytes + adapter_bytes), 0) FROM finetune_artifact
        WHERE deleted_at IS NULL) + (SELECT COALESCE(SUM(bytes), 0) FROM finetune_form),
       (SELECT COALESCE(SUM(GREATEST(
            0, j.room_bytes - COALESCE(k.bytes, 0) - COALESCE(s.bytes, 0))), 0)
        FROM finetune_job j LEFT JOIN kept k ON k.job_id = j.id LEFT JOIN sampled s
        ON s.job_id = j.id WHERE j.state = ANY(%s))
       + (SELECT COALESCE(SUM(m.bytes + a.bundle_bytes), 0) FROM finetune_form f
          JOIN finetune_artifact a ON a.id = f.artifact_id
          JOIN finetune_catalogmodel m ON m.id = a.base_id WHERE f.state = ANY(%s))
"""


class StorageUsedUp(UserFault):
    status = 403


@dataclass(frozen=True)
class Storage:
    """Bytes. `limit` of all kinds together; `reserved` is for jobs that have not ended, and
    forms that are being made."""

    limit: int
    files: int
    uploads: int
    rows: int
    reports: int
    checkpoints: int
    models: int
    reserved: int

    @property
    def by_kind(self) -> dict[str, int]:
        names = ("files", "uploads", "rows", "reports", "checkpoints", "models", "reserved")
        return {name: getattr(self, name) for name in names}

    @property
    def used(self) -> int:
        return sum(self.by_kind.values())

    @property
    def left(self) -> int:
        return max(0, self.limit - self.used)


def storage() -> Storage:
    """Of the open scope's tenant, unpacked rows counted as they lie."""
    limit = limits_of(Tenant.objects.get(id=current_tenant_id())).storage_bytes
    with connection.cursor() as cursor:
        leases = sorted(LIVE_LEASES)
        cursor.execute(STORED, [leases, sorted(LIVE_JOB_STATES), leases])
        row: Any = cursor.fetchone()
    return Storage(limit, *(int(each) for each in row))


def require_room(size: int) -> None:
    """In the open scope. Raises StorageUsedUp when `size` more bytes exceed the tenant's budget.

    Of two that ask at once one waits for the other's transaction, so that both see the sum.
    """
    if (now := _short_of(size)) is not None:
        raise StorageUsedUp(
            "storage_used_up",
            f"Your organisation's storage of {megabytes(now.limit)} has no room for "
            f"{megabytes(size)} more: {megabytes(now.used)} are used. Compressed files are counted "
            "unpacked.",
            fix="Delete files or models you no longer need, or ask the operator for more storage.",
        )


def require_room_for_job(*, checkpoints: int, checkpoint: int, model: int, samples: int) -> int:
    """The bytes that a job may write, in the open scope: so many checkpoints of a size, a model,
    and samples of what it writes while it is trained. Raises StorageUsedUp with these numbers."""
    size = checkpoints * checkpoint + model + samples
    sampled = f", {megabytes(samples)} of samples" if samples else ""
    if (now := _short_of(size)) is not None:
        raise StorageUsedUp(
            "storage_used_up",
            f"This job may need {megabytes(size)}: {checkpoints} checkpoints of "
            f"{megabytes(checkpoint)}{sampled} and a model of {megabytes(model)}. Your "
            f"organisation's storage of {megabytes(now.limit)} has {megabytes(now.left)} left.",
            fix="Delete files or models you no longer need, ask for fewer epochs or a smaller "
            "`adapter.r`, or ask the operator for more storage.",
        )
    return size


def _short_of(size: int) -> Storage | None:
    lock(f"storage:{current_tenant_id()}")
    now = storage()
    return now if now.used + size > now.limit else None


def megabytes(size: int) -> str:
    return f"{size / MB:,.1f} MB"
