"""Home, and the licences the tenant holds."""

from django.db.models import Sum
from django.http import HttpResponse
from django.shortcuts import render

from finetune import selectors
from finetune.models import CatalogModel, Job
from finetune.purposes import OF_ROWS
from finetune.states import JobState
from privatune.portal.access import RoomRequest, room
from privatune.portal.pipeline_stages import with_stage
from tenants.models import License, LicenseState
from tenants.roles import Scope
from tenants.services.licences import tokens_left
from tenants.states import FileStatus


@room(Scope.JOBS_READ)
def home(request: RoomRequest) -> HttpResponse:
    return render(
        request,
        "portal/home.html",
        {
            "jobs": with_stage(selectors.jobs().order_by("-created_at"))[:5],
            "to_approve": selectors.stages_to_approve().order_by("created_at"),
            "running": Job.objects.filter(state=JobState.RUNNING).count(),
            "files": selectors.files()
            .filter(purpose__in=OF_ROWS, status=FileStatus.PROCESSED)
            .count(),
            "models": selectors.artifacts().count(),
            "licences": License.objects.filter(state=LicenseState.ACTIVE).count(),
        },
    )


@room(Scope.TENANT_READ)
def licences(request: RoomRequest) -> HttpResponse:
    held = License.objects.annotate(used=Sum("usage__tokens")).order_by("model", "-created_at")
    catalogue = {model.name: model for model in CatalogModel.objects.all()}
    rows = [
        {"licence": licence, "model": catalogue.get(licence.model), "left": tokens_left(licence)}
        for licence in held
    ]
    return render(request, "portal/licences.html", {"rows": rows})
