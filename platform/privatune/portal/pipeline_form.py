"""The form of a new pipeline: a model, and stages in a row, as many as are filled in."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from faults import Fault
from finetune.grading.criteria import judging, rewarding
from finetune.services.jobs.judges import made_by, stage_named
from finetune.services.jobs.objections import objections
from finetune.services.jobs.request import Hyperparameters, JobRequest
from finetune.services.jobs.rewarding import checked_grader
from finetune.services.models.graders import Judge
from finetune.services.pipelines.request import (
    FEWEST,
    MOST,
    PipelineRequest,
    StageRequest,
    placed,
    wrong_stages,
)
from finetune.trainer.objectives import METHODS
from privatune.portal.dressing import (
    dress,
    epochs,
    grader_written,
    longest_answer,
    offer,
    own_grader,
    refuse_kinds,
    result_name,
    share,
    take_all,
)
from privatune.portal.job_form import GRADED, PRESETS
from privatune.portal.on_offer import OnOffer
from privatune.portal.pipeline_stages import judge_told
from privatune.portal.words import GATES, METHODS_TOLD

GRADERS = ("reward_model", "judge_model", "grader")  # of which one rewards a stage
QUESTION = _(
    "How good is this answer, from 0 (useless) to 1 (perfect)?\n\nConversation: {{ item.messages "
    "}}\n\nAnswer: {{ sample.output_text }}"
)


class WholeForm(forms.Form):
    """What is asked once, for all stages."""

    model = forms.ChoiceField(label=_("Model"))
    name = forms.CharField(required=False, max_length=200, label=_("Name of the pipeline"))
    adapter = forms.ChoiceField(
        label=_("Adapter"),
        initial="balanced",
        help_text=_("Of a base model. A model that is trained on keeps its own."),
        choices=[
            ("quick", _("Small: rank 8")),
            ("balanced", _("Middle: rank 16")),
            ("thorough", _("Large: rank 32")),
        ],
    )
    suffix = result_name()


class StageForm(forms.Form):
    """One stage; without training data it is none."""

    method = forms.ChoiceField(
        label=_("What to learn from"),
        choices=[*METHODS_TOLD.items()],
        required=False,
    )
    training_file: Any = forms.ModelChoiceField(
        queryset=None, required=False, label=_("Training data"), empty_label=_("Choose a file")
    )
    validation_file: Any = forms.ModelChoiceField(
        queryset=None, required=False, label=_("Validation data"), empty_label=_("none")
    )
    validation_split = share()
    n_epochs = epochs()
    reward_model = forms.ChoiceField(
        required=False,
        label=_("Rewarded by a reward model"),
        help_text=_("Its score of the whole conversation as a number from 0 to 1."),
    )
    judge_model = forms.ChoiceField(
        required=False,
        label=_("or judged by a model that writes"),
        help_text=_("A base model, a tuned model, or what an earlier stage makes."),
    )
    question = forms.CharField(
        required=False,
        max_length=1 << 15,
        label=_("What the judging model is asked"),
        initial=QUESTION,
        help_text=_(
            "It answers with a number from 0 to 1. {{ sample.output_text }} stands for the answer, "
            "{{ item.messages }} for the conversation before it, {{ item.name }} for a field of "
            "the row."
        ),
        widget=forms.Textarea(attrs={"rows": 5}),
    )
    grader = own_grader()
    max_completion_tokens = longest_answer()
    gate = forms.ChoiceField(
        required=False, label=_("Before the next stage"), choices=[*GATES.items()]
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        method = data.get("method") or "supervised"
        refuse_kinds(self, method, "training_file", "validation_file")
        given = [name for name in GRADERS if (data.get(name) or "").strip()]
        if data.get("training_file") and not self.errors.keys() & {*GRADERS}:
            self._require_one(method, given)
        if data.get("training_file") and given and not self.errors.keys() & {*GRADERS}:
            self._read_grader(given[0])
        return data

    def _require_one(self, method: str, given: list[str]) -> None:
        """What rewards, of the method that learns from it, and of no other."""
        if method == GRADED and not given:
            self.add_error(
                "reward_model", gettext("Choose what rewards the answers: one of these three.")
            )
        elif method != GRADED and given:
            self.add_error(
                given[0],
                gettext("Only the method that learns from rewards has its answers graded."),
            )
        elif len(given) > 1:
            self.add_error(given[1], gettext("One thing rewards a stage: leave the others empty."))

    def _read_grader(self, name: str) -> None:
        """Makes `grader` of what was given under the name."""
        data = self.cleaned_data
        if name == "reward_model":
            data["grader"] = rewarding(data["reward_model"])
            return
        if name == "judge_model":
            self._read_question()
            return
        try:
            data["grader"] = grader_written(data["grader"])
        except forms.ValidationError as error:
            self.add_error("grader", error)

    def _read_question(self) -> None:
        data = self.cleaned_data
        data["grader"] = judging(data["judge_model"], data["question"])
        if not data["question"].strip():
            self.add_error("question", gettext("Write what the judging model is asked."))
            return
        try:
            checked_grader(data["grader"])
        except Fault:
            said = gettext("A place in double braces begins with item or sample.")
            self.add_error("question", said)

    def request(self, whole: dict[str, Any]) -> StageRequest:
        data = self.cleaned_data
        method, validation = data["method"] or "supervised", data["validation_file"]
        job = JobRequest(
            model=whole["model"],
            method=method,
            training_file=data["training_file"].id,
            validation_file=validation.id if validation else None,
            validation_split=data["validation_split"],
            hyperparameters=Hyperparameters(n_epochs=data["n_epochs"] or "auto"),
            overflow=METHODS[method].overflow,
            grader=data["grader"] if method == GRADED else None,
            settings=_longest(data["max_completion_tokens"]) if method == GRADED else {},
            suffix=whole["suffix"] or None,
            adapter=whole["adapter"],
        )
        return StageRequest(job=job, gate=data["gate"] or "none")


def _longest(tokens: int | None) -> dict[str, float]:
    return {} if tokens is None else {"max_completion_tokens": tokens}


def _is_given(stage: StageForm) -> bool:
    """Whether a file was chosen, of whatever kind."""
    return bool(stage["training_file"].value())


def _of_stage(initial: Mapping[str, Any], number: int) -> dict[str, Any]:
    own = f"{number}-"
    return {name[len(own) :]: value for name, value in initial.items() if name.startswith(own)}


def _moved(value: Any, gone: int) -> Any:
    """What names a stage, once that of the number `gone`, from 1, is taken away."""
    number = stage_named(str(value))
    if number is None or number < gone:
        return value
    return "" if number == gone else made_by(number - 1)


def without(data: QueryDict, gone: str) -> dict[str, Any]:
    """What was filled in, less the stage of that number, from 0: those behind it move up by one."""
    left: dict[str, Any] = {}
    for name, value in data.items():
        place, dash, field = name.partition("-")
        if not (dash and place.isdecimal() and gone.isdecimal()) or int(place) < int(gone):
            left[name] = value
        elif int(place) > int(gone):
            left[f"{int(place) - 1}-{field}"] = _moved(value, int(gone) + 1)
    shown = str(left.get("stages", ""))
    if shown.isdecimal():
        left["stages"] = str(max(FEWEST, int(shown) - 1))
    return left


def _judges(own: list[str], earlier: int, *, scores: bool) -> list[tuple[str, Any]]:
    """The organisation's, and last one that each of so many earlier stages may make."""
    made = map(made_by, range(1, earlier + 1))
    named = (Judge(name, scores) for name in (*own, *made))
    return [("", _("none")), *((each.model, judge_told(each)) for each in named)]


class PipelineForm:
    """Both together, as the page shows and sends them."""

    def __init__(self, data: Any, *, offered: OnOffer, initial: dict[str, Any]) -> None:
        self.whole = WholeForm(data, initial=initial)
        self.whole.fields["model"].choices = offered.choices(initial.get("model"))  # type: ignore[attr-defined]
        dress(self.whole)
        self.shown = initial.get("stages", "") if data is None else data.get("stages", "")
        self.stages = [
            StageForm(data, prefix=str(number), initial=_of_stage(initial, number))
            for number in range(MOST)
        ]
        for number, stage in enumerate(self.stages):
            for name, own in (
                ("reward_model", offered.reward_models), ("judge_model", offered.judges),
            ):  # fmt: skip
                found = _judges(own, number, scores=name == "reward_model")
                stage.fields[name].choices = found  # type: ignore[attr-defined]
            offer(stage, offered.files, "training_file", "validation_file")
            dress(stage)

    def is_valid(self) -> bool:
        right = [form.is_valid() for form in (self.whole, *self.stages)]
        return self._in_a_row() and all(right)

    def _in_a_row(self) -> bool:
        """The first stages are filled in, two at least."""
        filled = [_is_given(stage) for stage in self.stages]
        count = max([FEWEST, *(place for place, given in enumerate(filled, 1) if given)])
        for stage, given in zip(self.stages[:count], filled, strict=False):
            if not given:
                stage.add_error("training_file", gettext("Choose the data of this stage."))
        return all(filled[:count])

    def request(self, *, auto_start: bool) -> PipelineRequest:
        data = dict(self.whole.cleaned_data)
        own = data["model"].startswith("ft:")
        data["adapter"] = None if own else PRESETS[data["adapter"]]["adapter"]
        asked = [stage for stage in self.stages if stage.cleaned_data["training_file"]]
        return PipelineRequest(
            stages=tuple(stage.request(data) for stage in asked),
            name=data["name"],
            auto_start=auto_start,
        )

    def take(self, error: Fault) -> None:
        """Puts a refusal of the service beside the field it is about, and whatever else speaks
        against the request beside its own."""
        request = self.request(auto_start=True)
        others: list[Fault] = [*wrong_stages(request)]
        for number, stage in enumerate(request.stages, 1):
            others += [placed(each, number) for each in objections(stage.job)]
        take_all(error, others, self._place)

    def _place(self, param: str | None, said: str) -> None:
        of, _, rest = (param or "").partition(".")
        place, _, name = rest.partition(".")
        form: forms.Form = self.whole
        if of == "stages" and place.isdecimal():
            form, of = self.stages[int(place)], name
        field = of.rsplit(".", 1)[-1]
        if field == "grader":  # given in one of three ways
            field = next((each for each in GRADERS if form[each].value()), field)
        form.add_error(field if field in form.fields else None, said)
