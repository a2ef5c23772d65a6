"""A row of a file as a model will see it: token by token, and what is trained of it."""

from typing import Any
from uuid import UUID

from django import forms
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _

from faults import Fault
from finetune import selectors
from finetune.services.jobs.preview import Previewed, Wish, preview_row
from privatune.portal import findings
from privatune.portal.access import RoomRequest, room
from privatune.portal.dressing import dress
from privatune.portal.job_form import OVERFLOW, THINKING
from privatune.portal.method_settings import CUTS
from privatune.portal.refusals import said
from tenants.database.scope import tenant_scope
from tenants.roles import Scope

HOLES = [
    ("", _("no hole")),
    ("psm", _("prefix, suffix, middle")),
    ("spm", _("suffix, prefix, middle")),
]


class PreviewForm(forms.Form):
    model = forms.ChoiceField(label=_("Model"))
    row = forms.IntegerField(label=_("Row"), min_value=1, initial=1)
    max_length = forms.IntegerField(label=_("Longest row, in tokens"), required=False, min_value=8)
    overflow = forms.ChoiceField(label=_("Rows that are longer"), required=False, choices=OVERFLOW)
    thinking = forms.ChoiceField(
        label=_("Thinking before the answer"), required=False, choices=THINKING
    )

    fim = forms.ChoiceField(label=_("Code: with a hole"), required=False, choices=HOLES)
    fim_cut = forms.ChoiceField(
        label=_("Code: where a hole begins and ends"), required=False, choices=CUTS
    )

    def __init__(self, data: dict[str, Any], models: list[str]) -> None:
        super().__init__({"model": models[0] if models else "", "row": 1} | data)
        self.fields["model"].choices = [(name, name) for name in models]  # type: ignore[attr-defined]
        dress(self)

    def wish(self) -> Wish:
        given = {name: value for name, value in self.cleaned_data.items() if value}
        return Wish(**given)


@room(Scope.FILES_READ, own_scope=True)
def preview(request: RoomRequest, file_id: UUID) -> HttpResponse:
    """The service opens the scope for as long as it needs it: the model server may take a while."""
    with tenant_scope(request.belonging.tenant_id):
        file = selectors.files().filter(id=file_id).first()
        models = list(selectors.trainable().values_list("name", flat=True))
    if file is None:
        raise Http404
    form = PreviewForm(request.GET.dict(), models)
    context: dict[str, Any] = {"file": file, "form": form, "models": models}
    if models and form.is_valid():
        wish = form.wish()
        try:
            found = preview_row(file_id=file_id, wish=wish, by=request.principal)
        except Fault as error:
            context["refused"] = said(error)
        else:
            context |= _shown(found)
    with tenant_scope(request.belonging.tenant_id):  # the page's frame asks who is where
        return render(request, "portal/preview.html", context)


def _shown(found: Previewed) -> dict[str, Any]:
    row = found.wish.row
    return {
        "found": found,
        "before": row - 1 if row > 1 else None,
        "after": row + 1 if row < found.rows else None,
        "problems": [findings.told(each.model_dump()) for each in found.preview.problems],
    }
