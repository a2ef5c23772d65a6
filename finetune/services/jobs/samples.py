"""What a job's model wrote at its steps, out of the vault, for whoever may see jobs and the content
of files. Kept as it trains by services/runs/samples.py."""

from dataclasses import dataclass
from typing import Any

import orjson

from finetune import selectors
from finetune.models import Job
from tenants.access import Principal
from tenants.rights import Right
from tenants.roles import Scope
from tenants.services import audit
from tenants.services.licences import require_license
from tenants.services.vaults import open_vault

MOST = 16  # completions of a step
ALTOGETHER = 32 << 20  # bytes of a job's
LARGEST_STEP = 2**31 - 1


@dataclass(frozen=True, order=True)
class Place:
    """Of a completion: the step, and its number there, from 1."""

    step: int
    number: int


def samples_of(
    *, job: Job, by: Principal, step: int | None = None, after: Place | None = None, limit: int
) -> list[dict[str, Any]]:
    """Up to `limit` completions of one step, or of all from the newest on, those that stand beyond
    `after`. The tenant's log says who saw them.

    Raises Refused without the scopes to read jobs and files, or without the licence to ask the
    model, whose answers these are; ObjectLost, StorageDown.
    """
    by.require_of(Scope.JOBS_READ, job)
    by.require_of(Scope.FILES_READ, job)
    require_license(model=job.base.name, right=Right.SERVE)
    rows = selectors.step_samples(job)
    if step is not None:
        rows = rows.filter(step=step)
    if after is not None:
        rows = rows.filter(step__lte=after.step)
    if not rows.exists():
        return []
    audit.note(actor=by.actor, action="sample.read", target=job.public_id)
    vault, found = open_vault(), list[dict[str, Any]]()
    for row in rows.order_by("-step")[: limit + 1]:  # each but the first has one
        lines = enumerate(vault.read_bytes(row.object_name).splitlines(), 1)
        seen = after.number if after is not None and after.step == row.step else 0
        told = [(number, line) for number, line in lines if number > seen]
        found += [
            {"step": row.step, "number": number} | orjson.loads(line)
            for number, line in told[: limit - len(found)]
        ]
        if len(found) == limit:
            break
    return found
