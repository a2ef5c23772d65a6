"""Sentences that several codes share."""

from django.utils.translation import gettext_lazy as _

ASK_AGAIN = _("Something on our side broke. Try again; if it stays, tell the operator the code.")
MODEL_SERVER = _("The model server does not answer now. Try again in a moment.")
BASE_UNUSABLE = _("This base model cannot be used here. Choose another one, or tell the operator.")
TOO_MANY_ANSWERS = _("Too many answers are waiting already. Try again in a moment.")
