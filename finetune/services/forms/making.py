"""The kind of work that makes a form: the bundle out of the vault, merged and signed in a process
of its own, and into the vault again."""

import shutil
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings

from finetune.events.waits import FormNeedsDisk, Wait
from finetune.models import Form
from finetune.packaging.archive import unpack_tar
from finetune.packaging.forms import room
from finetune.packaging.request import BuiltForm, FormRequest
from finetune.services.forms.leaving import require_form, require_may_leave
from finetune.services.runs.packing import pack
from finetune.storage import delete_prefix, fetch_file, form_object, form_prefix, store_file
from finetune.trainer.cores import available_cores
from finetune.work import fitness, leases
from finetune.work.kinds import Lease, OperationKind
from finetune.work.perform import shutdown
from finetune.work.pulse import Pulse
from finetune.work.signals import LeaseLost, Stopped, Wishes
from finetune.workspace import private_folder
from tenants.actor import Actor
from tenants.database.scope import tenant_scope
from tenants.models import Tenant
from tenants.rights import Right
from tenants.services import audit
from tenants.services.licences import require_license, terms_of
from tenants.services.vaults import vault_for
from tenants.vault.vault import Vault

ACTOR = Actor.system("worker")
MB = 1024 * 1024
TELL_SECONDS = 1.0


class Making(OperationKind):
    """One at a time of each tenant."""

    model = Form
    lost = "The worker that made the form was lost."
    fix = "Ask for the form again; if it fails again, tell the operator its id."

    def at_once(self) -> int:
        return 1

    def lack(self, *, tenant_id: UUID, key: UUID) -> Wait | None:
        return fitness.lack()

    def on_claim(self, subject: Form, lease: Lease) -> None:
        """Licence and gates are asked again here."""
        require_may_leave(subject.artifact)
        require_form(subject.artifact, subject.form)

    def run(self, lease: Lease, pulse: "Pulse[Wishes]") -> None:
        _make(lease, pulse)


MAKE_FORM = Making()


def _make(lease: Lease, pulse: "Pulse[Wishes]") -> None:
    with tenant_scope(lease.tenant_id):
        form = Form.objects.select_related("artifact__base").get(id=lease.row_id)
        vault = vault_for(lease.tenant_id)
        terms = _terms(form)
    lacking = fitness.lack_of(form.artifact.base) or _lack_of_disk(form)
    if lacking is not None:
        leases.wait(lease, reason=lacking, seconds=lease.kind.wait_seconds)
        return
    with private_folder(settings.WORK_DIR, f"{lease.row_id}-{lease.epoch}") as folder:
        asked: dict[str, Any] = {"form": form.form}  # which the request looks at itself
        request = FormRequest(
            **asked,
            bundle=_unpacked(form, vault, folder),
            artifact=form.artifact.digest,
            base_dir=settings.MODEL_STORE / form.artifact.base.path,
            license_terms=terms,
        )
        told = pack(folder, request, threads=available_cores(), look=Watched(lease, pulse, folder))
        built = BuiltForm.model_validate_json(told)
        _keep(lease, form, built, terms["granted"], folder / "form.tar", vault)


class Watched:
    """Called again and again while the form is made: ends it where nobody wants it any more, and
    tells how far it is."""

    def __init__(self, lease: Lease, pulse: "Pulse[Wishes]", folder: Path) -> None:
        self.lease, self.pulse, self.folder = lease, pulse, folder
        with tenant_scope(lease.tenant_id):
            self.total = Form.objects.values_list("total", flat=True).get(id=lease.row_id)
        self.told = time.monotonic()

    def __call__(self) -> None:
        if self.pulse.lost:
            raise LeaseLost(self.lease)
        if shutdown.asked or self.pulse.seen.cancel:
            raise Stopped
        if time.monotonic() - self.told >= TELL_SECONDS:
            leases.tell_progress(self.lease, done=_written(self.folder), total=self.total)
            self.told = time.monotonic()


def _written(folder: Path) -> int:
    """Bytes of the form so far: its folder, under whichever name, and its .tar."""
    sizes = []
    for path in folder.rglob("*"):
        if "form" in path.relative_to(folder).parts[0]:
            try:
                sizes.append(path.stat().st_size if path.is_file() else 0)
            except FileNotFoundError:  # renamed meanwhile
                continue
    return sum(sizes)


def _lack_of_disk(form: Form) -> Wait | None:
    artifact = form.artifact
    needed = room(form.form, artifact.base.bytes + artifact.bundle_bytes)
    needed += fitness.LEAST_FREE_BYTES
    if shutil.disk_usage(settings.WORK_DIR).free >= needed:
        return None
    return FormNeedsDisk(needed=needed // MB)


def _unpacked(form: Form, vault: Vault, folder: Path) -> Path:
    artifact, packed = form.artifact, folder / "bundle.tar"
    fetch_file(vault, artifact.bundle_object, packed, sha256=artifact.bundle_sha256)
    unpack_tar(packed, bundle := folder / "bundle")
    packed.unlink()
    return bundle


def _terms(form: Form) -> dict[str, Any]:
    """In the open scope: as they are now. Raises Refused where the right has ended meanwhile."""
    base = form.artifact.base
    return {
        "licence": base.licence,
        "model": base.name,
        "terms": base.terms,
        "holder": Tenant.objects.get(id=form.tenant_id).name,
        "granted": terms_of(require_license(model=base.name, right=Right.MERGE)),
    }


def _keep(
    lease: Lease,
    form: Form,
    built: BuiltForm,
    granted: dict[str, object],
    tar: Path,
    vault: Vault,
) -> None:
    name = form_object(lease.row_id, lease.epoch)
    ended = False
    try:
        store_file(vault, name, tar)
        with leases.fenced(lease) as row:
            if not leases.grant_wishes(lease, row):
                leases.finish(
                    lease,
                    object_name=name,
                    bytes=built.bytes,
                    sha256=built.sha256,
                    digest=built.digest,
                    info=built.info.model_dump(mode="json"),
                    granted=granted,
                    done=row.total,
                )
                audit.record(
                    actor=ACTOR,
                    action="form.publish",
                    target=form.artifact.model_name,
                    data={"form": form.form, "id": form.public_id, "digest": built.digest},
                )
                ended = True
    finally:
        if not ended:  # cancelled meanwhile, or the lease lost
            vault.delete(name)
    delete_prefix(vault, form_prefix(lease.row_id), keep=frozenset([name]))
