"""What the portal's forms have in common: the look of their fields, and files to choose from."""

from collections.abc import Callable, Iterable
from typing import Any

from django import forms
from django.db.models import QuerySet
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from faults import Fault
from finetune.api.json_bodies import json_of
from finetune.records.splitting import LARGEST_SHARE
from finetune.services.jobs.files import require_kind
from finetune.services.jobs.rewarding import checked_grader
from privatune.portal.file_rows import label
from privatune.portal.refusals import said
from tenants.models import StoredFile

TICKED = forms.CheckboxInput | forms.RadioSelect | forms.CheckboxSelectMultiple


# Fields that several forms ask


class FileSelect(forms.Select):
    """Each file is told with the format of its rows, as far as that is known."""

    def create_option(self, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        option: dict[str, Any] = super().create_option(name, value, *args, **kwargs)
        if kind := getattr(getattr(value, "instance", None), "format", None):
            option["attrs"]["data-format"] = kind
        return option


def share() -> forms.FloatField:
    return forms.FloatField(
        required=False,
        min_value=0.001,
        max_value=LARGEST_SHARE,
        label=_("Or keep a share of the training data for validation"),
        help_text=_(
            "0.001 to 0.5, such as 0.1. Rows that say nearly the same, or have the same “group”, "
            "stay together."
        ),
    )


def epochs() -> forms.IntegerField:
    return forms.IntegerField(
        required=False,
        min_value=1,
        max_value=50,
        label=_("Passes over the data (epochs)"),
        help_text=_("1 to 50. Empty: by the number of rows; few rows are seen more often."),
    )


def longest_answer() -> forms.IntegerField:
    return forms.IntegerField(
        required=False,
        min_value=1,
        max_value=32_768,
        label=_("Rewards: longest answer, in tokens"),
        help_text=_("Empty: 512. With the longest prompt it has to fit what the model can read."),
    )


def own_grader() -> forms.CharField:
    return forms.CharField(
        required=False,
        max_length=1 << 15,
        label=_("or a grader of the model's own answers"),
        help_text=_("As JSON, in the form of OpenAI's graders."),
        widget=forms.Textarea(attrs={"rows": 5, "spellcheck": "false"}),
    )


def grader_written(text: str) -> dict[str, Any]:
    """A grader that rewards a training, from what was typed. Raises ValidationError."""
    try:
        found = json_of(text)
    except Fault:
        raise forms.ValidationError(gettext("This is no grader in JSON.")) from None
    try:
        return checked_grader(found)
    except Fault:
        raise forms.ValidationError(
            gettext(
                "This grader cannot reward a training. POST "
                "/v1/fine_tuning/alpha/graders/validate tells what is wrong with it."
            )
        ) from None


def result_name() -> forms.CharField:
    return forms.CharField(
        max_length=64,
        required=False,
        label=_("Name of the result"),
        help_text=_("Becomes part of the model's name."),
    )


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
        field.widget = FileSelect()
        field.queryset = files
        field.label_from_instance = label


def refuse_kinds(form: forms.Form, method: str, *names: str) -> None:
    """Says beside each chosen file that the method does not train on what it holds."""
    for name in names:
        file = form.cleaned_data.get(name)
        try:
            if file is not None:
                require_kind(file, method, name)
        except Fault as error:
            form.add_error(name, said(error))


def take_all(
    error: Fault, others: Iterable[Fault], place: Callable[[str | None, str], None]
) -> None:
    """Places a refusal, and once each whatever else speaks against the same request."""
    told = dict.fromkeys((each.param, said(each)) for each in (error, *others))
    for param, words in told:
        place(param, words)
