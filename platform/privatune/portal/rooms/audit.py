"""The audit log: who did what, newest first, and the whole of it to take away and verify."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.db.models import Q, QuerySet
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from finetune.api.streams import attachment
from finetune.services import trail
from privatune.portal.access import RoomRequest, room
from privatune.portal.trail_words import ACTS, KIND_NAMES, told, who
from privatune.portal.watching import may_look
from tenants import public_ids
from tenants.actor import ActorKind
from tenants.models import ApiKey, AuditEntry, Membership, StoredFile
from tenants.roles import Scope
from tenants.services.heads import newest_head

PAGE = 50
LAST_SEQ = 2**63 - 1


class Filter(forms.Form):
    who = forms.CharField(required=False, max_length=50)
    kind = forms.ChoiceField(required=False, choices=[("", ""), *KIND_NAMES.items()])
    first = forms.DateField(required=False, label=gettext_lazy("From"))
    last = forms.DateField(required=False, label=gettext_lazy("To"))
    before = forms.IntegerField(required=False, min_value=1, max_value=LAST_SEQ)

    def clean_who(self) -> Q:
        """Somebody by id, or a kind of actor; a person's entries are those of their keys, too."""
        given: str = self.cleaned_data["who"]
        kind, _colon, text = given.partition(":")
        if given in ("", ActorKind.OPERATOR, ActorKind.SYSTEM):
            return Q(kind=given) if given else Q()
        try:
            column = {"person": "user_id", "key": "key_id"}[kind]
            return Q(**{column: UUID(text)})
        except (KeyError, ValueError):
            raise forms.ValidationError(_("Nobody is known by that id.")) from None

    def entries(self) -> QuerySet[AuditEntry]:
        """Newest first, in days of the current time zone."""
        asked = self.cleaned_data
        found = AuditEntry.objects.filter(asked["who"])
        if asked["kind"]:
            found = found.filter(action__in=[a for a in ACTS if ACTS[a].kind == asked["kind"]])
        if asked["first"]:
            found = found.filter(created_at__gte=_midnight(asked["first"]))
        if asked["last"] and asked["last"] < date.max:  # no day comes after that one
            found = found.filter(created_at__lt=_midnight(asked["last"] + timedelta(days=1)))
        if asked["before"]:
            found = found.filter(seq__lt=asked["before"])
        return found.order_by("-seq")


@dataclass(frozen=True)
class Row:
    entry: AuditEntry
    at: datetime
    who: str
    whose: str  # as the filter names them
    told: str


@room(Scope.TENANT_READ)
def index(request: RoomRequest) -> HttpResponse:
    form = Filter(request.GET)
    found = list(form.entries()[: PAGE + 1]) if form.is_valid() else []
    rows = _rows(found[:PAGE])
    return render(
        request,
        "portal/audit.html",
        {
            "form": form,
            "rows": rows,
            "people": _people(request.GET.get("who", ""), rows),
            "kinds": KIND_NAMES.items(),
            "older": _without_before(request, rows[-1].entry.seq) if found[PAGE:] else "",
            "newest": _without_before(request) if form.data.get("before") else "",
            "zone": timezone.get_current_timezone_name(),
            "head": newest_head(),
        },
        status=200 if form.is_valid() else 400,
    )


@room(Scope.TENANT_READ, own_scope=True)
def export(request: RoomRequest) -> HttpResponseBase:
    return attachment(
        trail.export(by=request.principal),
        filename="audit.jsonl",
        still=lambda: may_look(request, Scope.TENANT_READ),
        content_type="application/jsonl",
    )


def _midnight(day: Any) -> datetime:
    return timezone.make_aware(datetime.combine(day, datetime.min.time()))


def _rows(entries: list[AuditEntry]) -> list[Row]:
    names = _names(entries)
    return [
        Row(each, datetime.fromisoformat(each.at), who(each), _whose(each), told(each, names))
        for each in entries
    ]


def _names(entries: list[AuditEntry]) -> dict[str, str]:
    """What the files that entries speak of are called, while they are there."""
    read = (public_ids.FILE.read(each.target) for each in entries)
    ids = {each for each in read if each is not None}
    files = StoredFile.objects.filter(id__in=ids)
    return {each.public_id: each.filename for each in files if each.filename}


def _whose(entry: AuditEntry) -> str:
    match entry.kind:
        case ActorKind.PERSON:
            return f"person:{entry.user_id}"
        case ActorKind.KEY:
            return f"key:{entry.key_id}"
    return entry.kind


def _people(chosen: str, rows: list[Row]) -> list[tuple[str, str]]:
    """(value, name) of everybody to choose from; whoever is gone is found by their entries."""
    members = Membership.objects.select_related("user").order_by("user__email")
    people = [(f"person:{each.user_id}", each.user.email) for each in members]
    keys = ApiKey.objects.order_by("name", "prefix")
    people += [(f"key:{k.id}", _("Key %(name)s") % {"name": k.name}) for k in keys]
    people += [(ActorKind.OPERATOR.value, _("Operator")), (ActorKind.SYSTEM.value, "Privatune")]
    if chosen and chosen not in dict(people):
        gone = {row.whose: row.who for row in rows}
        people.append((chosen, gone.get(chosen, chosen)))
    return people


def _without_before(request: RoomRequest, before: int | None = None) -> str:
    """The query of this page, of the entries before that one or of the newest."""
    query = request.GET.copy()
    query.pop("before", None)
    if before is not None:
        query["before"] = str(before)
    return f"?{query.urlencode()}"
