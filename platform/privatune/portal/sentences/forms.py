"""Other forms of a model."""

from typing import Any

from django.utils.translation import gettext_lazy as _

FORMS: dict[str, Any] = {
    "form_unsupported": _(
        "This model cannot be had in this form. Take another one, or the model as it is: the base "
        "and what was trained, side by side."
    ),
    "form_rounded_away": _(
        "In the precision of this form the weights lose too much of what was trained, so they are "
        "not given out. Take a more precise form, or the model as it is."
    ),
    "form_not_made": _("This form is not made yet, or could not be made. Ask for it again."),
    "form_of_other_terms": _(
        "This form was made under a licence that has changed since. Ask for it again: it is then "
        "made under the licence of today."
    ),
    "merge_incomplete": _(
        "What was trained does not fit the base's weights, so they cannot be merged. Tell the "
        "operator."
    ),
    "llama_cpp_missing": _(
        "This server cannot make GGUF files: llama.cpp, which they are tried with, is not there. "
        "Tell the operator."
    ),
    "too_many_forms": _(
        "Too many forms of your organisation's models are being made already. Wait for one of "
        "them, or cancel it."
    ),
}
