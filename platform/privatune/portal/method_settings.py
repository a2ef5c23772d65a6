"""The settings that not every method has, as fields of a form."""

from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from privatune.portal.dressing import longest_answer

CUTS = [("", _("Between any two characters")), ("line", _("With whole lines"))]


class MethodSettings(forms.Form):
    """`method_fields` tells which method has which of them."""

    fim_rate = forms.FloatField(
        required=False,
        min_value=0,
        max_value=1,
        label=_("Code: share of texts with a hole"),
        help_text=_(
            "0 to 1. Empty: 0. With 0.5, half of the texts teach to fill in the middle. Only for a "
            "base model that has the control tokens for it."
        ),
    )
    fim_spm_rate = forms.FloatField(
        required=False,
        min_value=0,
        max_value=1,
        label=_("Code: of those, share with the suffix first"),
        help_text=_("0 to 1. Empty: as the base's own family was trained (mostly 0.5)."),
    )
    fim_cut = forms.ChoiceField(
        required=False,
        label=_("Code: where a hole begins and ends"),
        choices=CUTS,
    )
    beta = forms.FloatField(
        required=False,
        min_value=0.0001,
        max_value=100,
        label=_("Nearness to the base: beta"),
        help_text=_(
            "Up to 100, of rewards 10. Empty: 0.1, of SimPO 2, of GRPO 0, of RLOO 0.05. Higher "
            "stays closer to the base; ORPO and SimPO: weighs the difference of the answers more."
        ),
    )
    gamma = forms.FloatField(
        required=False,
        min_value=0,
        max_value=100,
        label=_("Preferences: gamma, of SimPO"),
        help_text=_("0 to 100. Empty: 0.5. The margin by which the better answer is to lead."),
    )
    desirable_weight = forms.FloatField(
        required=False,
        min_value=0.001,
        max_value=1000,
        label=_("Ratings: weight of good answers"),
        help_text=_("Up to 1000. Empty: 1. Raise it where there are few of them."),
    )
    undesirable_weight = forms.FloatField(
        required=False,
        min_value=0.001,
        max_value=1000,
        label=_("Ratings: weight of the other answers"),
        help_text=_("Up to 1000. Empty: 1. Raise it where there are few of them."),
    )
    loss_type = forms.ChoiceField(
        required=False,
        label=_("Preferences: loss"),
        help_text=_("IPO guards against few or very clear preferences being learned by heart."),
        choices=[("", _("As the method has it")), ("sigmoid", "DPO"), ("ipo", "IPO")],
    )
    label_smoothing = forms.FloatField(
        required=False,
        min_value=0,
        max_value=0.49,
        label=_("Preferences: label smoothing"),
        help_text=_("0 to 0.49. Empty: 0. The share of preferences that may be the wrong way."),
    )
    algorithm = forms.ChoiceField(
        required=False,
        label=_("Rewards: algorithm"),
        help_text=_("RLOO takes an answer as one action, GRPO each of its tokens by itself."),
        choices=[("", "GRPO"), ("rloo", "RLOO")],
    )
    policy_loss = forms.ChoiceField(
        required=False,
        label=_("Rewards: loss, of GRPO"),
        help_text=_("What a step's sum is divided by: whether long answers weigh more."),
        choices=[("", "DAPO"), ("grpo", "GRPO"), ("bnpo", "BNPO"), ("dr_grpo", "Dr. GRPO")],
    )
    temperature = forms.FloatField(
        required=False,
        min_value=0.01,
        max_value=2,
        label=_("Rewards: temperature of the answers"),
        help_text=_("0.01 to 2. Empty: 1. Higher: the answers of a prompt differ more."),
    )
    top_p = forms.FloatField(
        required=False,
        min_value=0.01,
        max_value=1,
        label=_("Rewards: top_p of the answers"),
        help_text=_("0.01 to 1. Empty: 1. Lower: only the likelier tokens are drawn."),
    )
    num_generations = forms.IntegerField(
        required=False,
        min_value=2,
        max_value=64,
        label=_("Rewards: answers of a prompt"),
        help_text=_("2 to 64. Empty: 8. More: steadier, and as much slower."),
    )
    max_completion_tokens = longest_answer()
    num_iterations = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=16,
        label=_("Rewards: steps on the same answers"),
        help_text=_("1 to 16. Empty: 1. More: faster, as answers are used again; less steady."),
    )
    epsilon = forms.FloatField(
        required=False,
        min_value=0.001,
        max_value=0.999,
        label=_("Rewards: how far a token may move (epsilon)"),
        help_text=_("Below 1. Empty: 0.2. Only where several steps use the same answers."),
    )
    epsilon_high = forms.FloatField(
        required=False,
        min_value=0.001,
        max_value=10,
        label=_("Rewards: how far upwards (epsilon_high)"),
        help_text=_("Up to 10. Empty: as epsilon. Higher lets rare tokens rise."),
    )
    scale_rewards = forms.ChoiceField(
        required=False,
        label=_("Rewards: scaled by their spread, of GRPO"),
        help_text=_("Not scaled, an easy or hard prompt weighs no more than the others."),
        choices=[
            ("", _("among the answers of a prompt")),
            ("batch", _("in the whole step")),
            ("none", _("not at all")),
        ],
    )
    num_generations_eval = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=64,
        label=_("Rewards: answers of a validation row"),
        help_text=_("1 to 64. Empty: 1. More: a steadier figure, and as much slower."),
    )
    margin = forms.FloatField(
        required=False,
        min_value=0,
        max_value=100,
        label=_("Reward model: margin"),
        help_text=_("0 to 100. Empty: 0. By how much the better answer is to score higher."),
    )
    center_rewards_coefficient = forms.FloatField(
        required=False,
        min_value=0,
        max_value=100,
        label=_("Reward model: keep scores about zero"),
        help_text=_("0 to 100. Empty: 0. 0.01 is usual; higher holds them nearer."),
    )
    scale = forms.FloatField(
        required=False,
        min_value=0.01,
        max_value=1000,
        label=_("Vectors: scale"),
        help_text=_("0.01 to 1000. Empty: 20. Higher: near misses count more."),
    )
    dimensions = forms.CharField(
        required=False,
        max_length=200,
        label=_("Vectors: dimensions that are of use when cut"),
        help_text=_("Numbers with commas between, such as 384, 128. Empty: only the whole."),
    )
    pos_weight = forms.FloatField(
        required=False,
        min_value=0.01,
        max_value=1000,
        label=_("Reranker: weight of the documents that belong"),
        help_text=_(
            "0.01 to 1000. Empty: 1. As many as there are negatives to a query: both sides weigh "
            "the same."
        ),
    )
    rerank_loss = forms.ChoiceField(
        required=False,
        label=_("Reranker: loss"),
        help_text=_(
            "Listwise has the documents of a query compete; for rows with negatives, and without a "
            "weight."
        ),
        choices=[("", _("each pair by itself (binary)")), ("listwise", _("listwise"))],
    )

    def refuse_contradictions(self, data: dict[str, Any]) -> None:
        """What two fields ask at once, and cannot both have."""
        if data.get("algorithm") == "rloo":
            for name in ("policy_loss", "scale_rewards"):
                if data.get(name):
                    self.add_error(name, gettext("RLOO has a loss of its own: leave this one."))
        if data.get("rerank_loss") and data.get("pos_weight") not in (None, 1):
            self.add_error(
                "rerank_loss", gettext("Listwise takes no weight: leave one of the two out.")
            )
