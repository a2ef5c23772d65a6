"""What this worker lacks: its own fault and its operator's to mend, so it costs no job an attempt.

Another worker may be whole, so what is lacking here holds nobody else up either.
"""

import logging
import os
from uuid import UUID

from django.conf import settings

from faults import Fault
from faults.disk import DiskFull
from finetune.models import CatalogModel, Job
from finetune.packaging.base import damaged_files, read_base
from finetune.packaging.files import digest_of
from finetune.sandbox.levels import SandboxMissing
from finetune.signing import signing_key
from finetune.work.isolation import isolation
from tenants.database.scope import tenant_scope

log = logging.getLogger(__name__)

LEAST_FREE_BYTES = 256 * 1024 * 1024


def lack() -> str:
    """What any training needs; empty when nothing is missing. Asks no database."""
    settings.WORK_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
    usage = os.statvfs(settings.WORK_DIR)
    if usage.f_bavail * usage.f_frsize < LEAST_FREE_BYTES:
        return DiskFull().reason
    try:
        isolation()
        signing_key()
    except SandboxMissing as error:
        return str(error)
    except Fault as error:
        log.error("this worker cannot sign: %s", error)
        return "the worker cannot sign; the operator should look at its signing key."
    if not any(settings.MODEL_STORE.glob("[!.]*/base.json")):
        return "the worker's model store is empty; the operator should import the models there."
    return ""


def lack_for(tenant_id: UUID, job_id: UUID) -> str:
    """What this job's training needs beyond that: its base, whole."""
    with tenant_scope(tenant_id):
        base = Job.objects.select_related("base").get(id=job_id).base
    return lack_of(base)


def lack_of(base: CatalogModel, *, weights: bool = True) -> str:
    """Whether the store holds the base as catalogued, byte for byte; without `weights` those are
    compared by size alone. A file is hashed again only when it has changed."""
    folder = settings.MODEL_STORE / base.path
    try:
        info = read_base(folder)
        if digest_of({name: file.sha256 for name, file in info.files.items()}) != base.digest:
            return _told(base, "lacks", "the model as catalogued")
        damaged = damaged_files(folder, info, weights=weights)
    except FileNotFoundError:
        return _told(base, "lacks", "the model")
    except (ValueError, OSError) as error:
        log.error("the base in %s cannot be read: %s", folder, error)
        return _told(base, "cannot read", "the model")
    if damaged:
        return _told(base, "has a damaged copy of", "the model", f" ({', '.join(damaged[:3])})")
    return ""


def _told(base: CatalogModel, how: str, what: str, more: str = "") -> str:
    log.error("this worker's model store %s %s %s %s%s",
              settings.MODEL_STORE, how, what, base.name, more)  # fmt: skip
    return f"the worker {how} {what} `{base.name}`{more}; the operator should import it there."
