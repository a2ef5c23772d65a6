"""What the portal's forms have in common: the look of their fields, and files to choose from."""

from typing import Any

from django import forms
from django.db.models import QuerySet

from privatune.portal.file_rows import label
from tenants.models import StoredFile

TICKED = forms.CheckboxInput | forms.RadioSelect | forms.CheckboxSelectMultiple


def dress(form: forms.Form) -> None:
    for field in form.fields.values():
        widget: Any = field.widget
        kind = "form-select" if isinstance(widget, forms.Select) else "form-control"
        if isinstance(widget, TICKED):
            kind = "form-check-input"
        widget.attrs.setdefault("class", kind)


def offer(form: forms.Form, files: QuerySet[StoredFile], *names: str) -> None:
    """The fields of these names choose among the files, told with their rows."""
    for name in names:
        field: Any = form.fields[name]
        field.queryset = files
        field.label_from_instance = label
