"""Models: what the tenant has made, its passport, the download, and a chat beside the base."""

import json
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_POST

from faults import UserFault
from finetune import selectors
from finetune.api.streams import download as download_stream
from finetune.models import Artifact
from finetune.services.evaluations.abilities import abilities_of
from finetune.services.models import artifacts, prompting, withholding
from privatune import problem_pages
from privatune.portal import learning
from privatune.portal.access import RoomRequest, go, room
from privatune.portal.model_forms import forms_of
from privatune.portal.outcome import outcome
from privatune.portal.preferred import preferred
from privatune.portal.searched import searched
from privatune.portal.stages import stages
from privatune.portal.verdicts import ability_lines, verdict
from privatune.portal.watching import may_look
from tenants.access import Principal
from tenants.database.scope import tenant_scope
from tenants.roles import Scope

EVALUATIONS_SHOWN = 10


@room(Scope.MODELS_READ)
def index(request: RoomRequest) -> HttpResponse:
    made = selectors.artifacts()
    return render(request, "portal/models.html", {"models": made.order_by("-created_at")})


@room(Scope.MODELS_READ)
def detail(request: RoomRequest, artifact_id: UUID) -> HttpResponse:
    artifact = _artifact(artifact_id)
    report: dict[str, Any] = artifact.report or {}
    return render(
        request,
        "portal/model.html",
        {
            "artifact": artifact,
            "report": report,
            "withheld_by": withholding.withholding(artifact),
            "takes": Scope.ARTIFACTS_READ in request.principal.scopes,
            "releases": Scope.MODELS_WRITE in request.principal.scopes,
            "forms": forms_of(artifact, request.principal),
            "outcome": outcome(report, artifact.passport.get("method", "sft")),
            "searched": searched(report),
            "preferred": preferred(report),
            "curve": learning.drawn(report),
            "stages": stages(artifact),
            "evaluations": [
                {"row": each, "verdict": verdict(each.report)}
                for each in selectors.evaluations()
                .filter(artifact=artifact)
                .order_by("-created_at", "-id")[:EVALUATIONS_SHOWN]
            ],
            "abilities": _abilities(artifact, request.principal),
            "system": prompting.trained_system_message(artifact=artifact, by=request.principal),
            "passport": json.dumps(artifact.passport, indent=2, ensure_ascii=False),
        },
    )


def _abilities(artifact: Artifact, by: Principal) -> dict[str, Any] | None:
    """Of the newest evaluation whose questions have tags; those are words of files."""
    if Scope.FILES_READ not in by.scopes:
        return None
    done = selectors.evaluations().filter(artifact=artifact).exclude(tags_object="")
    newest = done.order_by("-created_at").first()
    if newest is None:
        return None
    found = abilities_of(evaluation=newest, by=by)
    return {"found": found, "lines": ability_lines(found.abilities)} if found.abilities else None


@require_POST
@room(Scope.MODELS_WRITE)
def release(request: RoomRequest, artifact_id: UUID) -> HttpResponse:
    withholding.release(artifact=_artifact(artifact_id), by=request.principal)
    return go(request, "model", artifact_id)


@room(Scope.ARTIFACTS_READ, own_scope=True)
def download(request: RoomRequest, artifact_id: UUID) -> HttpResponseBase:
    with tenant_scope(request.belonging.tenant_id):
        artifact = _artifact(artifact_id)
        try:
            stream = artifacts.open_bundle(artifact=artifact, by=request.principal)
        except UserFault as error:
            return problem_pages.refused(request, error)

    def still() -> bool:
        return may_look(request, Scope.ARTIFACTS_READ) and artifacts.may_export(artifact=artifact)

    return download_stream(
        stream,
        still=still,
        filename=artifact.model_name.replace(":", "_") + ".tar",
        size=artifact.bundle_bytes,
        content_type="application/x-tar",
    )


def _artifact(artifact_id: UUID) -> Artifact:
    return get_object_or_404(selectors.artifacts(), id=artifact_id)
