"""Other forms of a model: asked for, stopped, taken away and deleted."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_POST

from faults import Fault, UserFault
from finetune import selectors
from finetune.api.spans import first_of, span_of
from finetune.api.streams import resumable
from finetune.models import Form
from finetune.packaging.forms import FORMS
from finetune.services.forms import asking, leaving
from privatune import problem_pages
from privatune.portal.access import RoomRequest, go, room
from privatune.portal.refusals import said
from privatune.portal.watching import may_look
from tenants.database.scope import tenant_scope
from tenants.roles import Scope


@require_POST
@room(Scope.ARTIFACTS_READ)
def ask(request: RoomRequest, artifact_id: UUID) -> HttpResponse:
    artifact = get_object_or_404(selectors.artifacts(), id=artifact_id)
    try:
        form = request.POST.get("form", "")
        if form not in FORMS:
            raise UserFault("form_unsupported", f"There is no form {form[:40]!r}.", param="form")
        asking.request_form(artifact=artifact, form=form, by=request.principal)
    except Fault as error:
        messages.error(request, said(error))
    return go(request, "model", artifact_id)


@require_POST
@room(Scope.ARTIFACTS_READ)
def cancel(request: RoomRequest, artifact_id: UUID, form_id: UUID) -> HttpResponse:
    asking.cancel_form(form=_form(artifact_id, form_id), by=request.principal)
    return go(request, "model", artifact_id)


@require_POST
@room(Scope.MODELS_WRITE)
def delete(request: RoomRequest, artifact_id: UUID, form_id: UUID) -> HttpResponse:
    asking.delete_form(form=_form(artifact_id, form_id), by=request.principal)
    return go(request, "model", artifact_id)


@room(Scope.ARTIFACTS_READ, own_scope=True)
def download(request: RoomRequest, artifact_id: UUID, form_id: UUID) -> HttpResponseBase:
    with tenant_scope(request.belonging.tenant_id):
        form = _form(artifact_id, form_id)
        try:
            leaving.require_out(form=form, by=request.principal)
            span = span_of(request, size=form.bytes, sha256=form.sha256)
            stream = leaving.open_form(form=form, by=request.principal, at=first_of(span))
        except UserFault as error:
            return problem_pages.refused(request, error)

    def still() -> bool:
        return may_look(request, Scope.ARTIFACTS_READ) and leaving.may_leave(form=form)

    return resumable(
        stream,
        span=span,
        still=still,
        filename=f"{form.artifact.model_name.replace(':', '_')}-{form.form}.tar",
        size=form.bytes,
        sha256=form.sha256,
    )


def _form(artifact_id: UUID, form_id: UUID) -> Form:
    return get_object_or_404(selectors.forms(), id=form_id, artifact_id=artifact_id)
