"""The form of a new job: presets for most people, every setting for the rest."""

from typing import Any

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from faults import Fault
from finetune.grading.criteria import rewarding
from finetune.records.check.spec import LONGEST_DEFAULT
from finetune.services.jobs.lifecycle import JobRequest
from finetune.services.jobs.objections import objections
from finetune.services.jobs.request import (
    MAX_NOISE,
    MAX_WEIGHT,
    MICRO_BATCH_TOKENS,
    MIN_WEIGHT,
    WeightedFile,
)
from finetune.trainer.objectives import METHODS
from privatune.portal import method_fields
from privatune.portal.dressing import (
    dress,
    epochs,
    grader_written,
    offer,
    own_grader,
    refuse_kinds,
    result_name,
    share,
    take_all,
)
from privatune.portal.method_settings import MethodSettings
from privatune.portal.on_offer import OnOffer
from privatune.portal.words import METHODS_TOLD

# Epochs, adapter rank and alpha of each preset; "custom" uses the fields.
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"n_epochs": 1, "adapter": {"r": 8, "alpha": 16}},
    "balanced": {"n_epochs": "auto", "adapter": {"r": 16, "alpha": 32}},
    "thorough": {"n_epochs": 5, "adapter": {"r": 32, "alpha": 64}},
}

GRADED = "reinforcement"
OVERFLOW = [
    ("", _("By the method: refuse, or chunks")),
    ("refuse", _("Refuse the file and say which")),
    ("drop", _("Leave them out, and count them")),
    ("cut", _("Cut them, and count them")),
    ("chunk", _("Read documents in chunks")),
]
THINKING = [
    ("auto", _("Where the data has reasoning")),
    ("on", _("Always")),
    ("off", _("Never: reasoning in the data is left out")),
]

SWITCH: dict[str, bool | str] = {"auto": "auto", "on": True, "off": False}


# A request's fields that are called otherwise here
FIELDS = {"training_files": "further_file"}


class JobForm(MethodSettings):
    model = forms.ChoiceField(label=_("Model"))
    training_file: Any = forms.ModelChoiceField(
        queryset=None, label=_("Training data"), empty_label=_("Choose a file")
    )
    method = forms.ChoiceField(
        label=_("What to learn from"),
        choices=[*METHODS_TOLD.items()],
        required=False,
        initial="supervised",
    )
    reward_model = forms.ChoiceField(
        required=False,
        label=_("Rewarded by a reward model"),
        help_text=_("Its score of the whole conversation as a number from 0 to 1."),
    )
    grader = own_grader()
    validation_file: Any = forms.ModelChoiceField(
        queryset=None,
        required=False,
        empty_label=_("none"),
        label=_("Validation data"),
        help_text=_("Rows kept apart, to see whether what is learned holds for unseen data."),
    )
    validation_split = share()
    learning_curve = forms.BooleanField(
        required=False,
        label=_("Tell what more rows would bring (learning curve)"),
        help_text=_(
            "Trains on a half, a quarter and less of the rows as well: almost twice the time and "
            "trained tokens. Needs validation rows."
        ),
    )
    further_file: Any = forms.ModelChoiceField(
        queryset=None,
        required=False,
        empty_label=_("none"),
        label=_("Further training data"),
        help_text=_("Trained beside the first, such as general rows against forgetting."),
    )
    further_weight = forms.FloatField(
        required=False,
        min_value=MIN_WEIGHT,
        max_value=MAX_WEIGHT,
        label=_("How much of the further data"),
        help_text=_("0.001 to 100. Empty: 1, all of it in each pass. 0.1: a tenth of it."),
    )
    suffix = result_name()
    preset = forms.ChoiceField(
        label=_("Settings"),
        initial="balanced",
        widget=forms.RadioSelect,
        choices=[
            ("quick", _("Quick: one pass, to see whether the data works")),
            ("balanced", _("Balanced: passes chosen by the amount of data")),
            ("thorough", _("Thorough: five passes and a larger adapter")),
            ("custom", _("My own settings")),
        ],
    )
    n_epochs = epochs()
    batch_size = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=256,
        label=_("Rows per step"),
        help_text=_("1 to 256. Empty: by the number of rows. More: fewer, steadier steps."),
    )
    learning_rate_multiplier = forms.FloatField(
        required=False,
        min_value=0.0001,
        max_value=1000,
        label=_("Learning rate multiplier"),
        help_text=_("0.0001 to 1000. Empty: 1, the rate that suits the model's size."),
    )
    r = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=512,
        label=_("Adapter rank (r)"),
        help_text=_("1 to 512. Empty: 16. Higher: more is learned, and the file is larger."),
    )
    alpha = forms.FloatField(
        required=False,
        min_value=0.1,
        label=_("Adapter scale (alpha)"),
        help_text=_("From 0.1. Empty: 32. How strongly the adapter works; usually twice the rank."),
    )
    targets = forms.CharField(
        required=False,
        max_length=500,
        label=_("Layers to adapt"),
        help_text=_("Names with commas between, such as q_proj, v_proj; empty means all."),
    )
    max_length = forms.IntegerField(
        required=False,
        min_value=8,
        label=_("Longest row, in tokens"),
        help_text=format_lazy(
            _("From 8 to what the model can read. Empty: {default}, or what it can read if less."),
            default=LONGEST_DEFAULT,
        ),
    )
    overflow = forms.ChoiceField(
        label=_("Rows that are longer"),
        help_text=_("What becomes of rows above that length."),
        required=False,
        choices=OVERFLOW,
    )
    thinking = forms.ChoiceField(
        label=_("Thinking before the answer"),
        help_text=_("Only for models that know how to think first."),
        required=False,
        choices=THINKING,
    )
    gradient_checkpointing = forms.ChoiceField(
        label=_("Gradient checkpointing"),
        help_text=_("Changes memory and time, not the result."),
        required=False,
        choices=[
            ("auto", _("By the memory of the machine")),
            ("on", _("On: less memory, about a third more time")),
            ("off", _("Off")),
        ],
    )
    micro_batch_tokens = forms.IntegerField(
        required=False,
        min_value=MICRO_BATCH_TOKENS[0],
        max_value=MICRO_BATCH_TOKENS[1],
        label=_("Tokens in memory at once"),
        help_text=_(
            "64 to 131072. Empty: by the memory of the machine. Changes the speed, not the result."
        ),
    )
    learning_rate = forms.FloatField(
        required=False,
        min_value=1e-9,
        max_value=1,
        label=_("Learning rate"),
        help_text=_("Up to 1, in the place of the multiplier. Empty: the multiplier's."),
    )
    schedule = forms.ChoiceField(
        label=_("Learning rate over time"),
        help_text=_("What it does after its warm-up."),
        required=False,
        choices=[
            ("cosine", _("Falls to zero, along a cosine")),
            ("linear", _("Falls to zero, along a line")),
            ("constant", _("Stays")),
        ],
    )
    warmup_ratio = forms.FloatField(
        required=False,
        min_value=0,
        max_value=1,
        label=_("Warm-up"),
        help_text=_("0 to 1, the part of the steps in which the rate rises. Empty: 0.03."),
    )
    weight_decay = forms.FloatField(
        required=False,
        min_value=0,
        max_value=1,
        label=_("Weight decay"),
        help_text=_("0 to 1. Empty: 0. Pulls the adapter's weights to zero."),
    )
    max_grad_norm = forms.FloatField(
        required=False,
        min_value=1e-6,
        max_value=1000,
        label=_("Longest gradient"),
        help_text=_("Up to 1000. Empty: 1. A longer one is clipped to it."),
    )
    dropout = forms.FloatField(
        required=False,
        min_value=0,
        max_value=0.99,
        label=_("Adapter dropout"),
        help_text=_("0 to 0.99. Empty: 0. May help where rows are few; slower."),
    )
    init_lora_weights = forms.ChoiceField(
        required=False,
        label=_("How the adapter begins"),
        help_text=_(
            "From the base's own weights it often learns faster; its file is twice as large."
        ),
        choices=[
            ("", _("At random, changing nothing")),
            ("gaussian", _("At random, by a normal distribution")),
            ("pissa_niter_16", _("In the base's largest directions, found quickly (PiSSA)")),
            ("pissa", _("In the base's largest directions, found exactly (PiSSA): slow to begin")),
            ("olora", _("In the base's first directions (OLoRA)")),
        ],
    )
    use_rslora = forms.BooleanField(
        required=False,
        label=_("Scale by the root of the rank (rsLoRA)"),
        help_text=_("For high ranks: the adapter works as strongly as with a low one."),
    )
    use_dora = forms.BooleanField(
        required=False,
        label=_("Train lengths and directions apart (DoRA)"),
        help_text=_("Often better at low ranks; slower, and not every server takes such adapters."),
    )
    loraplus_lr_ratio = forms.FloatField(
        required=False,
        min_value=1,
        max_value=1000,
        label=_("Faster second half (LoRA+)"),
        help_text=_("1 to 1000. Empty: 1. The adapter's B learns so many times as fast; often 16."),
    )
    neftune_noise_alpha = forms.FloatField(
        required=False,
        min_value=0,
        max_value=MAX_NOISE,
        label=_("Noise on training rows (NEFTune)"),
        help_text=_("0 to 1000. Empty: 0. Often 5; may help answers to open questions; slower."),
    )
    stability = forms.ChoiceField(
        label=_("When the training blows up"),
        help_text=_(
            "One garbage row can ruin a model. A training that goes well is not changed by this."
        ),
        required=False,
        choices=[
            ("auto", _("Go back, and go on without the rows that did it")),
            ("off", _("Only pass over steps that are no numbers")),
        ],
    )
    packing = forms.BooleanField(
        required=False,
        label=_("Pack short rows together"),
        help_text=_("A step then counts packs of rows; faster where rows are short."),
    )
    seed = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=2**31 - 1,
        label=_("Seed"),
        help_text=_("0 to 2147483647. Empty: drawn by lot. The same seed gives the same model."),
    )

    OWN = ("n_epochs", "batch_size", "learning_rate_multiplier", "learning_rate",
           "schedule", "warmup_ratio", "weight_decay", "max_grad_norm",
           "loraplus_lr_ratio", *method_fields.OF_METHODS, "r", "alpha", "dropout",
           "init_lora_weights", "use_rslora", "use_dora", "neftune_noise_alpha", "targets",
           "max_length", "overflow",
           "thinking", "packing", "stability", "gradient_checkpointing", "micro_batch_tokens",
           "seed")  # fmt: skip

    def __init__(self, data: Any, *, offered: OnOffer, initial: dict[str, Any]) -> None:
        super().__init__(data, initial=initial)
        self.fields["model"].choices = offered.choices(initial.get("model"))  # type: ignore[attr-defined]
        rewarders = [(name, name) for name in offered.reward_models]
        self.fields["reward_model"].choices = [("", _("none")), *rewarders]  # type: ignore[attr-defined]
        offer(self, offered.files, "training_file", "validation_file", "further_file")
        dress(self)

    def main_fields(self) -> list[dict[str, Any]]:
        """The fields before the presets, each with the methods that have it."""
        main = [field for field in self if field.name not in (*self.OWN, "preset")]
        return [method_fields.shown(field, self._method) for field in main]

    def own_fields(self) -> list[dict[str, Any]]:
        """The fields that "My own settings" opens."""
        return [method_fields.shown(self[name], self._method) for name in self.OWN]

    @property
    def _method(self) -> str:
        """That is chosen at this moment."""
        chosen = self["method"].value()
        return chosen if chosen in METHODS else "supervised"

    def clean(self) -> dict[str, Any]:
        """What files hold is looked at beside the other fields, so that all is said at once."""
        data = super().clean() or {}
        method = data.get("method") or "supervised"
        for name in self.fields:
            if not method_fields.has(method, name):  # typed for another one, and hidden by now
                self.errors.pop(name, None)
                data[name] = None
        self.cleaned_data = data
        self.refuse_contradictions(data)
        refuse_kinds(self, method, "training_file", "validation_file", "further_file")
        return data

    def clean_grader(self) -> dict[str, Any] | None:
        if not method_fields.has(self.cleaned_data.get("method") or "supervised", "grader"):
            return None
        chosen, written = self.cleaned_data.get("reward_model"), self.cleaned_data["grader"]
        if chosen and written.strip():
            raise forms.ValidationError(
                gettext("Choose a reward model or write a grader, not both.")
            )
        if chosen:
            return rewarding(chosen)
        return grader_written(written)

    def job_request(self) -> JobRequest:
        data = self.cleaned_data
        preset = PRESETS.get(data["preset"])
        validation = data.get("validation_file")
        method = data["method"] or "supervised"
        settings = self._preset(preset) if preset else self._own()
        if preset and data["model"].startswith("ft:"):
            del settings["adapter"]  # it goes on with its own
        return JobRequest(
            model=data["model"],
            method=method,
            training_file=data["training_file"].id,
            validation_file=validation.id if validation else None,
            validation_split=data["validation_split"],
            learning_curve=bool(data["learning_curve"]),
            further_files=self._further(),
            suffix=data["suffix"] or None,
            grader=data["grader"],
            **({"overflow": METHODS[method].overflow} | settings),
        )

    def _further(self) -> tuple[WeightedFile, ...]:
        file, weight = self.cleaned_data["further_file"], self.cleaned_data["further_weight"]
        return (WeightedFile(file=file.id, weight=weight or 1.0),) if file else ()

    @staticmethod
    def _preset(preset: dict[str, Any]) -> dict[str, Any]:
        return {
            "hyperparameters": {"n_epochs": preset["n_epochs"]},
            "adapter": preset["adapter"],
        }

    def _own(self) -> dict[str, Any]:
        data = self.cleaned_data
        numbers = ("n_epochs", "batch_size", "learning_rate_multiplier")
        of_adapter = ("r", "alpha", "dropout", "init_lora_weights", "use_rslora", "use_dora")
        adapter = {n: data[n] for n in of_adapter if data[n] not in (None, "")}
        adapter = {n: value for n, value in adapter.items() if value is not False}  # 0 stays
        if targets := [name for part in data["targets"].split(",") if (name := part.strip())]:
            adapter["targets"] = targets
        of_optimizer = (
            "learning_rate", "schedule", "warmup_ratio", "weight_decay", "max_grad_norm",
            "loraplus_lr_ratio",
        )  # fmt: skip
        optimizer = {name: data[name] for name in of_optimizer if data[name] not in (None, "")}
        return {
            "optimizer": optimizer or None,
            "hyperparameters": {n: data[n] for n in numbers if data[n] is not None},
            "settings": method_fields.settings(data),
            "adapter": adapter or None,
            "max_length": data["max_length"],
            **({"overflow": data["overflow"]} if data["overflow"] else {}),
            "thinking": data["thinking"] or "auto",
            "packing": bool(data["packing"]),
            "neftune_noise_alpha": data["neftune_noise_alpha"] or 0.0,
            "stability": data["stability"] or "auto",
            "gradient_checkpointing": SWITCH[data["gradient_checkpointing"] or "auto"],
            "micro_batch_tokens": data["micro_batch_tokens"] or "auto",
            "seed": data["seed"],
        }

    def take(self, error: Fault) -> None:
        """Puts a refusal of the service beside the field it is about, and whatever else speaks
        against the request beside its own."""
        take_all(error, objections(self.job_request()), self._place)

    def _place(self, param: str | None, said: str) -> None:
        field = (param or "").rsplit(".", 1)[-1]
        method = self.cleaned_data.get("method") or "supervised"
        field = method_fields.of_setting(method, FIELDS.get(field, field))
        self.add_error(field if field in self.fields else None, said)
