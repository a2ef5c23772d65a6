"""A file's rows seen through, and versions of it without what is personal."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from faults import Fault
from finetune import selectors
from finetune.api.streams import download
from finetune.models import Profile, Scrub
from finetune.profiling.personal import Kind
from finetune.services.files import profiling, scrubbing
from finetune.states import LeaseState
from privatune.portal import file_profile
from privatune.portal.access import RoomRequest, go, room
from privatune.portal.refusals import said
from privatune.portal.watching import may_look
from tenants.database.scope import tenant_scope
from tenants.models import StoredFile
from tenants.roles import Scope

PAGE = 20
ENDED_BADLY = (LeaseState.FAILED, LeaseState.CANCELLED)
MOST_DIGITS = 12  # of a row's number in an address


@require_POST
@room(Scope.FILES_WRITE)
def ask(request: RoomRequest, file_id: UUID) -> HttpResponse:
    """Of the file alone, where that was not asked before, and against the one that the form
    names."""
    file = _file(file_id)
    try:
        other = request.POST.get("against")
        against = selectors.find(selectors.files(), other, param="against") if other else None
        known = Profile.objects.filter(file=file, against=None).exclude(state__in=ENDED_BADLY)
        if against is None or not known.exists():
            profiling.request_profile(file=file, against=None, by=request.principal)
        if against is not None:
            profiling.request_profile(file=file, against=against, by=request.principal)
    except Fault as error:
        messages.error(request, said(error))
    return go(request, "file", file.id)


@require_POST
@room(Scope.FILES_WRITE)
def scrub(request: RoomRequest, file_id: UUID) -> HttpResponse:
    file = _file(file_id)
    kinds = [kind for kind in Kind if kind.value in request.POST.getlist("kind")]
    if not kinds:
        messages.error(request, _("Choose what is to be masked."))
        return go(request, "file", file.id)
    try:
        scrubbing.request_scrub(file=file, kinds=kinds, by=request.principal)
    except Fault as error:
        messages.error(request, said(error))
    return go(request, "file", file.id)


@room(Scope.FILES_READ, own_scope=True)
def findings(request: RoomRequest, file_id: UUID, profile_id: UUID) -> HttpResponseBase:
    """Every listed finding as JSON lines."""
    with tenant_scope(request.belonging.tenant_id):
        found = Profile.objects.select_related("file").filter(id=profile_id, file_id=file_id)
        profile: Profile = get_object_or_404(found.exclude(findings_object=""))
        stream = profiling.open_findings(profile=profile, by=request.principal)
    return download(
        stream,
        still=lambda: may_look(request, Scope.FILES_READ),
        filename=f"findings-{profile_id.hex[:8]}.jsonl",
        content_type="application/jsonl",
    )


@room(Scope.FILES_READ)
def changes(request: RoomRequest, file_id: UUID, scrub_id: UUID) -> HttpResponse:
    """Rows as they were and as they are, `?after=` a row."""
    scrubs = Scrub.objects.select_related("file", "result")
    made: Scrub = get_object_or_404(scrubs, id=scrub_id, file_id=file_id)
    context = {"scrub": made, "file": made.file}
    try:
        rows = scrubbing.changed_rows(
            scrub=made, after=_row(request), limit=PAGE + 1, by=request.principal
        )
    except Fault as error:
        context["refused"] = said(error)
    else:
        context["rows"] = [_shown(each) for each in rows[:PAGE]]
        context["next"] = rows[PAGE - 1].row if len(rows) > PAGE else None
    return render(request, "portal/changes.html", context)


def _row(request: RoomRequest) -> int:
    asked = request.GET.get("after", "")
    return int(asked) if asked.isascii() and asked.isdecimal() and len(asked) <= MOST_DIGITS else 0


def _shown(changed: scrubbing.ChangedRow) -> dict[str, object]:
    told = changed.changes
    return {
        "row": changed.row,
        "changes": None
        if told is None
        else [
            {
                "field": each.field,
                "before": file_profile.before(each),
                "after": file_profile.after(each),
            }
            for each in told
        ],
    }


def _file(file_id: UUID) -> StoredFile:
    return get_object_or_404(selectors.files(), id=file_id)
