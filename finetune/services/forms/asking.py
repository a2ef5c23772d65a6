"""Forms of a model: asked for, cancelled and deleted."""

from finetune.models import Artifact, Form
from finetune.packaging.forms import room
from finetune.services.files.room import require_room
from finetune.services.forms.leaving import is_granted_by, require_form, require_may_leave
from finetune.services.forms.making import MAKE_FORM
from finetune.states import LIVE_LEASES, LeaseState
from finetune.work import leases, nudges
from finetune.work.turns import require_turn
from tenants.access import Principal
from tenants.database.locks import lock
from tenants.database.scope import current_tenant_id
from tenants.roles import Scope
from tenants.services import audit
from tenants.services.vaults import drop_when_committed, open_vault

MOST_WAITING = 4  # forms of a tenant that have not ended: each is as large as its base


def request_form(*, artifact: Artifact, form: str, by: Principal) -> Form:
    """The same wish again gives the same form, unless it failed, was cancelled (or is being), or
    was made under a licence that has changed since: then it is made anew. In the open scope.

    Raises Refused without the scope to take weights away or the rights, and for a model that is
    withheld; UserFault `form_unsupported`; StorageUsedUp, TooManyLive.
    """
    by.require_of(Scope.ARTIFACTS_READ, artifact)
    licence = require_may_leave(artifact)
    require_form(artifact, form)
    lock(f"forms:{current_tenant_id()}")
    earlier = Form.objects.filter(artifact=artifact, form=form).first()
    if earlier is not None:
        wanted = earlier.state in LIVE_LEASES and earlier.cancel_requested_at is None
        if wanted or (earlier.state == LeaseState.SUCCEEDED and is_granted_by(earlier, licence)):
            return earlier
        _drop(earlier)
    require_turn(
        Form,
        MOST_WAITING,
        code="too_many_forms",
        said=f"{MOST_WAITING} forms of your organisation's models are being made already.",
        retry_after=60,
    )
    require_room(artifact.base.bytes + artifact.bundle_bytes)
    made = Form.objects.create(artifact=artifact, form=form, total=room(form, artifact.base.bytes))
    nudges.wake(Form, made.tenant_id, made.id)
    audit.record(
        actor=by.actor,
        action="form.create",
        target=artifact.model_name,
        data={"form": form, "id": made.public_id},
    )
    return made


def cancel_form(*, form: Form, by: Principal) -> Form:
    """One that has ended stays as it is."""
    by.require_of(Scope.ARTIFACTS_READ, form)
    if form.state in LIVE_LEASES and form.cancel_requested_at is None:
        audit.record(
            actor=by.actor,
            action="form.cancel",
            target=form.artifact.model_name,
            data={"form": form.form, "id": form.public_id},
        )
        leases.cancel(MAKE_FORM, key=form.id)
        form.refresh_from_db()
    return form


def delete_form(*, form: Form, by: Principal) -> None:
    """With its bytes; a worker that is at it loses its lease. Raises Refused."""
    by.require_of(Scope.MODELS_WRITE, form)
    audit.record(
        actor=by.actor,
        action="form.delete",
        target=form.artifact.model_name,
        data={"form": form.form, "id": form.public_id},
    )
    _drop(form)


def _drop(form: Form) -> None:
    drop_when_committed(open_vault(), [form.object_name] if form.object_name else [])
    form.delete()
