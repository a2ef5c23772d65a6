"""The form of a new evaluation: which model, which rows, and when an answer is right."""

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.utils.text import format_lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from pydantic import TypeAdapter, ValidationError

from faults import Fault
from finetune.api.json_bodies import json_of
from finetune.grading.advice import FEWEST_ROWS
from finetune.grading.criteria import NAMED, Criterion, rewarding, shown
from finetune.grading.gate import Gate
from finetune.services.evaluations.request import (
    LONGEST_ANSWER,
    MOST_EXAMPLES,
    MOST_SAMPLES,
    EvaluationRequest,
    Sampling,
)
from privatune.portal.dressing import dress, offer
from privatune.portal.refusals import said
from privatune.portal.verdicts import CRITERIA
from tenants.models import StoredFile

SEVERAL = 0.8  # the temperature of several answers, where none is given
OWN: TypeAdapter[Any] = TypeAdapter(Criterion)


class EvaluationForm(forms.Form):
    model = forms.ChoiceField(label=_("Model"))
    file: Any = forms.ModelChoiceField(
        queryset=None,
        required=False,
        label=_("Questions"),
        empty_label=_("Choose a file"),
        help_text=_("Rows that training has not seen, with the answers that are right."),
    )
    rows = forms.FileField(
        required=False,
        label=_("or bring in a new file"),
        help_text=_("JSON lines: chats as in training data, or a prompt and its reference."),
    )
    graders = forms.MultipleChoiceField(
        label=_("An answer is right when"),
        required=False,
        initial=["exact"],
        widget=forms.CheckboxSelectMultiple,
        choices=[*CRITERIA.items()],
    )
    own = forms.CharField(
        required=False,
        max_length=1 << 15,
        label=_("A grader of your own"),
        help_text=_("As JSON, in the form of OpenAI's graders."),
        widget=forms.Textarea(attrs={"rows": 3}),
    )
    reward_model = forms.ChoiceField(
        required=False,
        label=_("Scored by a reward model"),
        help_text=_(
            "Its score of the whole conversation as a number from 0 to 1, beside the graders "
            "above; an answer is right from 0.5 on."
        ),
    )
    examples = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=MOST_EXAMPLES,
        initial=4,
        label=_("Training rows shown to the base"),
        help_text=_("0 to 16: whether a few examples do as well as training. 0: not asked."),
    )
    max_tokens = forms.IntegerField(
        min_value=1, max_value=LONGEST_ANSWER, initial=256, label=_("Longest answer, in tokens")
    )
    samples = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=MOST_SAMPLES,
        label=_("Answers to each question"),
        help_text=_(
            "1 to 32. Empty: 1. Several tell how often one of k tries is right (pass@k), and take "
            "as much longer."
        ),
    )
    temperature = forms.FloatField(
        required=False,
        min_value=0,
        max_value=2,
        label=_("Temperature of the answers"),
        help_text=_("0 to 2. Empty: 0, and 0.8 for several answers, which have to differ."),
    )
    gate = forms.ChoiceField(
        required=False,
        label=_("Withhold the model until"),
        help_text=format_lazy(
            _(
                "Until then nobody may ask it or download it. For tuned models; a gate needs "
                "{rows} rows or more that training has not seen."
            ),
            rows=FEWEST_ROWS,
        ),
        choices=[
            ("", _("nothing: it is not withheld")),
            ("deploy", _("the verdict is to put it to work")),
            ("not_worse", _("it is not shown to be worse than its base")),
        ],
    )
    name = forms.CharField(required=False, max_length=200, label=_("Name of the evaluation"))

    def __init__(
        self,
        data: Any,
        sent: Any,
        *,
        models: list[Any],
        reward_models: list[str],
        bases: list[str],
        files: QuerySet[StoredFile],
        initial: dict[str, Any],
    ) -> None:
        super().__init__(data, sent, initial=initial)
        self.fields["model"].choices = models  # type: ignore[attr-defined]
        self.fields["reward_model"].choices = [  # type: ignore[attr-defined]
            ("", _("none")),
            *((name, name) for name in reward_models),
        ]
        self.bases = bases
        offer(self, files, "file")
        dress(self)

    def clean_own(self) -> dict[str, Any] | None:
        text = self.cleaned_data["own"].strip()
        if not text:
            return None
        try:
            return shown(OWN.validate_python(json_of(text)))
        except (ValidationError, Fault):
            raise forms.ValidationError(gettext("This is no grader in JSON.")) from None

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not (data.get("file") or data.get("rows")) and "file" not in self.errors:
            self.add_error("file", gettext("Choose a file, or bring in a new one."))
        named = any(data.get(name) for name in ("graders", "own", "reward_model"))
        if not named and not {"own", "reward_model"} & self.errors.keys():
            self.add_error("graders", gettext("Choose at least one."))
        if (data.get("samples") or 1) > 1 and data.get("temperature") == 0:
            self.add_error(
                "temperature",
                gettext("At 0 several answers are one and the same. Give more, 0.8 for instance."),
            )
        return data

    def criteria(self) -> list[dict[str, Any]]:
        data = self.cleaned_data
        own = [data["own"]] if data["own"] else []
        if data["reward_model"]:
            own.append(rewarding(data["reward_model"]))
        return [NAMED[name] for name in data["graders"]] + own

    def request(self) -> EvaluationRequest:
        data = self.cleaned_data
        samples = data["samples"] or 1
        temperature = data["temperature"]
        if temperature is None:
            temperature = SEVERAL if samples > 1 else 0.0
        return EvaluationRequest(
            model=data["model"],
            sampling=Sampling(max_tokens=data["max_tokens"], temperature=temperature),
            samples=samples,
            beside=True,
            examples=data["examples"] or 0,
            gate=Gate(verdict=data["gate"]) if data["gate"] else None,
            name=data["name"],
        )

    def take(self, error: Fault) -> None:
        """Puts a refusal of the service beside the field it is about."""
        self.add_error(error.param if error.param in self.fields else None, said(error))
