"""What this worker lacks: its own fault and its operator's to mend, so it costs no job an attempt.

Another worker may be whole, so what is lacking here holds nobody else up either.
"""

import logging
import os
from uuid import UUID

from django.conf import settings

from faults import Fault
from finetune.events import waits
from finetune.events.waits import Wait
from finetune.models import CatalogModel, Job
from finetune.packaging.base import damaged_files, read_base
from finetune.packaging.files import digest_of
from finetune.sandbox.levels import SandboxMissing
from finetune.signing import signing_key
from finetune.work.isolation import isolation
from finetune.work.waiting import reason_of
from tenants.database.scope import tenant_scope

log = logging.getLogger(__name__)

MB = 1024 * 1024
LEAST_FREE_BYTES = 256 * MB


def lack() -> Wait | None:
    """What this worker lacks of what any training needs. Asks no database."""
    settings.WORK_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
    usage = os.statvfs(settings.WORK_DIR)
    free, needed = usage.f_bavail * usage.f_frsize // MB, LEAST_FREE_BYTES // MB
    if free < needed:
        log.error("%s: %d MB free, %d MB needed", settings.WORK_DIR, free, needed)
        return waits.DiskLow(needed=needed)
    try:
        isolation()
        signing_key()
    except SandboxMissing as error:
        return reason_of(error)
    except Fault as error:
        log.error("this worker cannot sign: %s", error)
        return waits.CannotSign()
    if not any(settings.MODEL_STORE.glob("[!.]*/base.json")):
        return waits.ModelStoreEmpty()
    return None


def lack_for(tenant_id: UUID, job_id: UUID) -> Wait | None:
    """What it lacks of what this job's training needs beyond that: its base, whole."""
    with tenant_scope(tenant_id):
        base = Job.objects.select_related("base").get(id=job_id).base
    return lack_of(base)


def lack_of(base: CatalogModel, *, weights: bool = True) -> Wait | None:
    """Whether the store holds the base as catalogued, byte for byte; without `weights` those are
    compared by size alone. A file is hashed again only when it has changed."""
    folder = settings.MODEL_STORE / base.path
    try:
        info = read_base(folder)
        if digest_of({name: file.sha256 for name, file in info.files.items()}) != base.digest:
            return _told(waits.BaseDiffers(base=base.name))
        damaged = damaged_files(folder, info, weights=weights)
    except FileNotFoundError:
        return _told(waits.BaseMissing(base=base.name))
    except (ValueError, OSError) as error:
        log.error("the base in %s cannot be read: %s", folder, error)
        return _told(waits.BaseUnreadable(base=base.name))
    if damaged:
        return _told(waits.BaseDamaged(base=base.name, files=", ".join(damaged[:3])))
    return None


def _told(wait: Wait) -> Wait:
    log.error("model store %s: %s", settings.MODEL_STORE, wait.text)
    return wait
