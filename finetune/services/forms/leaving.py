"""Forms of a model, as they leave. Each door asks for both rights itself: `export` for what was
trained, `merge` for the base that is in it."""

from typing import BinaryIO

from faults import UserFault
from finetune.models import Artifact, Form
from finetune.packaging.forms import forms_of
from finetune.services.models.withholding import is_withheld, require_given_out
from finetune.states import LeaseState
from tenants.access import Principal
from tenants.database.scope import tenant_scope
from tenants.errors import Conflict, Refused
from tenants.models import License
from tenants.rights import Right
from tenants.roles import Scope
from tenants.services import audit
from tenants.services.licences import require_license, terms_of
from tenants.services.vaults import open_vault

BOUNDS = ("id", "rights", "valid_from", "valid_until")  # of a licence, for a form that was taken


def require_may_leave(artifact: Artifact) -> License:
    """The licence that gives the base, in the open scope. Raises Refused without a right, and for a
    model that is withheld."""
    require_license(model=artifact.base.name, right=Right.EXPORT)
    licence = require_license(model=artifact.base.name, right=Right.MERGE)
    require_given_out(artifact)
    return licence


def is_granted_by(form: Form, licence: License) -> bool:
    """Whether this is the licence that was signed into it: whoever has the form keeps to that one,
    wherever it is taken."""
    now, told = terms_of(licence), form.granted or {}
    return all(told.get(name) == now[name] for name in BOUNDS)


def require_form(artifact: Artifact, form: str) -> None:
    """Raises UserFault for a model that cannot be had in it."""
    if artifact.scores:
        raise UserFault(
            "form_unsupported",
            "A reward model has no merged form.",
            fix="Take its bundle: serve/README.md in it says how stock transformers load it.",
        )
    if artifact.base.family != "causal_lm":
        raise UserFault(
            "form_unsupported",
            "A model that makes vectors or ranks has no merged form.",
            fix="Take its bundle: `embedder/` or `reranker/` in it loads as a whole with "
            "sentence-transformers.",
        )
    if form not in forms_of(artifact.base.architecture):
        raise UserFault(
            "form_unsupported",
            f"A model of the architecture {artifact.base.architecture} has no {form}.",
            fix="Have it merged, and convert that with llama.cpp's own tools.",
        )


def open_form(*, form: Form, by: Principal, at: int = 0) -> BinaryIO:
    """The signed .tar from byte `at` on, as a stream that outlives the open scope; the tenant's log
    says who took it.

    Raises Refused without the scope to take weights away or the rights, and for a model that is
    withheld; Conflict until it is made, and once the licence has changed; ObjectMissing,
    ObjectDamaged, StorageDown.
    """
    by.require_of(Scope.ARTIFACTS_READ, form)
    require_license(model=form.artifact.base.name, right=Right.EXPORT)
    licence = require_license(model=form.artifact.base.name, right=Right.MERGE)
    require_given_out(form.artifact)
    _require_made(form, licence)
    stream = open_vault().open(form.object_name, at=at)
    audit.record(
        actor=by.actor,
        action="form.download",
        target=form.artifact.model_name,
        data={"form": form.form, "id": form.public_id, "sha256": form.sha256},
    )
    return stream


def require_out(*, form: Form, by: Principal) -> None:
    """Raises what `open_form` raises but of its bytes: before a part of them is looked for."""
    by.require_of(Scope.ARTIFACTS_READ, form)
    _require_made(form, require_may_leave(form.artifact))


def _require_made(form: Form, licence: License) -> None:
    if form.state != LeaseState.SUCCEEDED:
        raise Conflict(
            "form_not_made",
            f"The form is {form.state} and has no bytes.",
            fix="Wait until it has succeeded, or ask for it again.",
        )
    if not is_granted_by(form, licence):
        raise Conflict(
            "form_of_other_terms",
            "The form was made under a licence that has changed since.",
            fix="Ask for it again: it is then made under the licence of today.",
        )


def may_leave(*, form: Form) -> bool:
    """Whether its bytes may still leave: asked again while they do, in a scope of its own."""
    with tenant_scope(form.tenant_id):
        kept = Form.objects.select_related("artifact__base").filter(id=form.id).first()
        if kept is None or is_withheld(kept.artifact):
            return False
        try:
            return is_granted_by(kept, require_may_leave(kept.artifact))
        except Refused:
            return False
