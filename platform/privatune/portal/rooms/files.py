"""Files: bring data in, and see line by line what its check found."""

import json
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import (
    Http404,
    HttpResponse,
    JsonResponse,
)
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from faults import Fault, UserFault
from finetune import selectors
from finetune.api.streams import download
from finetune.models import Dataset
from finetune.purposes import OF_ROWS, Purpose
from finetune.records.check.columns import as_written, parse_columns
from finetune.services.files import intake
from finetune.services.files.columns import map_columns
from finetune.services.files.datasets import full_report, open_errors
from finetune.services.files.needs import StillNeeded
from finetune.states import LIVE_DATASET_STATES
from privatune.portal import file_minings, file_profile, findings, needed
from privatune.portal.access import RoomRequest, address_of, go, room
from privatune.portal.file_rows import with_rows
from privatune.portal.refusals import kept, said
from privatune.portal.watching import may_look
from tenants.access import Principal
from tenants.database.scope import tenant_scope
from tenants.models import StoredFile
from tenants.roles import Scope
from tenants.states import FileStatus

PAGE = 20
EVALS = Purpose.EVALS


@room(Scope.FILES_READ)
def index(request: RoomRequest) -> HttpResponse:
    """What one trains on; `?kind=other`: results of jobs and whatever else is kept."""
    other = request.GET.get("kind") == "other"
    found = selectors.files().order_by("-created_at", "-id")
    others = found.exclude(purpose__in=OF_ROWS)
    shown = others if other else with_rows(found.filter(purpose__in=OF_ROWS))
    page = Paginator(shown, PAGE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "other": other,
        "others": others.count(),
        "waiting": any(each.status == FileStatus.UPLOADED for each in page),
        "limit_mb": settings.MAX_FILE_BYTES // (1024 * 1024),
    }
    return render(request, "portal/files.html", context)


@require_POST
@room(Scope.FILES_WRITE, own_scope=True)
def upload(request: RoomRequest) -> HttpResponse:
    """Answers JSON to the upload script: where to go next, or what is wrong and how to mend it."""
    sent = request.FILES.get("file")
    if sent is None:
        return JsonResponse({"message": _("No file was chosen.")}, status=400)
    tenant_id = request.belonging.tenant_id
    vault, kept = intake.vault_of(tenant_id), None
    try:
        # Streamed into the vault first, outside any transaction; the row comes after.
        kept = intake.keep_bytes(vault=vault, source=sent)
        with tenant_scope(tenant_id):
            file = intake.receive_file(
                filename=sent.name or "file",
                purpose=EVALS if request.POST.get("purpose") == EVALS else Purpose.TRAINING,
                kept=kept,
                actor=request.principal.actor,
            )
    except Fault as error:
        if kept is not None:
            vault.delete(kept.object_name)  # refused: leave nothing that no row names
        return JsonResponse({"message": said(error)}, status=error.status)
    return JsonResponse({"next": address_of(request, "file", file.id)})


@room(Scope.FILES_READ)
def detail(request: RoomRequest, file_id: UUID) -> HttpResponse:
    """The file and its readings; the part with the report asks again while a check goes on."""
    file = _file(file_id)
    readings = list(file.datasets.select_related("base", "file").order_by("created_at"))
    shown = _each_once([_shown(reading, request.principal) for reading in readings])
    trainable = file.purpose in OF_ROWS and file.status == FileStatus.PROCESSED
    profiles = file_profile.shown_profiles(file) if trainable else []
    versions = file_profile.shown_versions(file)
    mining = file_minings.shown(file) if trainable else None
    context = {
        "file": file,
        "readings": shown,
        "asked": [problem for each in shown for problem in each["asked"]],
        "one_row": any(each["report"].get("rows_usable") == 1 for each in shown),
        "trainable": trainable,
        "profiles": profiles,
        "versions": versions,
        "mining": mining,
        "others": file_profile.others(file) if trainable else [],
        "refused": findings.refusal(file, readings),
        "waiting": any(each["live"] for each in (*profiles, *versions))
        or (mining is not None and mining.is_live)
        or (
            file.purpose in OF_ROWS
            and (
                file.status == FileStatus.UPLOADED
                or any(each.state in LIVE_DATASET_STATES for each in readings)
            )
        ),
    }
    part = "portal/parts/readings.html" if request.headers.get("HX-Request") else "portal/file.html"
    return render(request, part, context)


@require_POST
@room(Scope.FILES_WRITE)
def columns(request: RoomRequest, file_id: UUID) -> HttpResponse:
    """The mapping of the file's columns, as the form or a proposal says it."""
    file = _file(file_id)
    try:
        given = parse_columns(request.POST.get("columns", ""))
        map_columns(file=file, columns=given, actor=request.principal.actor)
    except UserFault as error:
        messages.error(request, said(error))
    return go(request, "file", file.id)


@require_POST
@room(Scope.FILES_WRITE)
def delete(request: RoomRequest, file_id: UUID) -> HttpResponse:
    file = _file(file_id)
    try:
        intake.delete_file(file_id=file.id, actor=request.principal.actor)
    except StillNeeded as error:
        messages.error(request, needed.said(request, error))
        return go(request, "file", file.id)
    except UserFault as error:
        messages.error(request, said(error))
        return go(request, "file", file.id)
    messages.success(request, _("The file was deleted."))
    return go(request, "files")


@room(Scope.FILES_READ, own_scope=True)
def errors(request: RoomRequest, file_id: UUID, dataset_id: UUID) -> HttpResponseBase:
    """Every listed problem as JSON lines."""
    with tenant_scope(request.belonging.tenant_id):
        reading = Dataset.objects.filter(id=dataset_id, file_id=file_id).first()
        stream = open_errors(reading, by=request.principal) if reading else None
    if stream is None:
        raise Http404
    return download(
        stream,
        still=lambda: may_look(request, Scope.FILES_READ),
        filename=f"problems-{file_id.hex[:8]}.jsonl",
        content_type="application/jsonl",
    )


def _file(file_id: UUID) -> StoredFile:
    return get_object_or_404(selectors.files(), id=file_id)


def _each_once(shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the file's structure has wrong, each reading for a model finds again, and what is asked
    above need not stand below: a problem is told once."""

    def key(problem: dict[str, Any]) -> tuple[Any, ...]:
        return problem["code"], problem.get("line"), problem.get("field")

    told: set[Any] = set()
    for each in sorted(shown, key=lambda each: each["reading"].base is not None):
        structure = each["reading"].base is None
        above = findings.ASKED if structure else frozenset()
        counted = {(code, count) for code, _title, count, _colour in each["counts"]}
        each["asked"] = [one for one in each["problems"] if one["code"] in above]
        each["problems"] = [
            one for one in each["problems"] if key(one) not in told and one["code"] not in above
        ]
        each["counts"] = [
            one for one in each["counts"] if (one[0], one[2]) not in told and one[0] not in above
        ]
        if structure:
            told |= {key(one) for one in (*each["problems"], *each["asked"])} | counted
    return shown


def _shown(reading: Dataset, by: Principal) -> dict[str, Any]:
    """A reading and its report as the template shows them; the lengths for the histogram."""
    report: dict[str, Any] = full_report(reading, by=by) or {}
    counts = sorted((report.get("problem_counts") or {}).items(), key=lambda each: -each[1])
    listed = report.get("problems") or []
    return {
        "reading": reading,
        "waiting": reading.state in LIVE_DATASET_STATES,
        "report": report,
        "problems": [findings.told(each) for each in listed[:100]],
        "counts": [(code, findings.title(code), n, findings.colour(code)) for code, n in counts],
        "error": kept(reading.error),
        "columns": as_written(reading.columns),
        "proposal": next((found for each in listed if (found := _proposal(each))), ""),
        "unnamed": "unknown_format" in dict(counts),
        "histogram": json.dumps(report.get("lengths") or []),
    }


def _proposal(problem: dict[str, Any]) -> str:
    """The mapping that the finding says would mend it; empty: none."""
    return str(problem.get("values", {}).get("proposal", ""))
