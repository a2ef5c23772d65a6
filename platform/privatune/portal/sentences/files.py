"""Profiles of files, and versions without personal data."""

from typing import Any

from django.utils.translation import gettext_lazy as _

from privatune.portal.sentences.common import ASK_AGAIN

FILES: dict[str, Any] = {
    "no_findings": _("The rows have not been seen through yet. Wait until that is done."),
    "no_changes": _(
        "What was changed cannot be shown: the version is not made yet, or one of the two files "
        "was deleted or is read otherwise now."
    ),
    "too_many_profiles": _(
        "Many of your organisation's files are being seen through already. Wait until some of "
        "them are done."
    ),
    "too_many_scrubs": _(
        "Many versions of your organisation's files are being made already. Wait until some of "
        "them are done."
    ),
    "profile_crashed": ASK_AGAIN,
}
