"""Profiles of files, and versions of them: without personal data, or with hard negatives."""

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
    "too_many_minings": _(
        "Hard negatives are being mined for many of your organisation's files already. Wait until "
        "some of them are done."
    ),
    "wrong_format": _(
        "The rows have another format than is needed here: of a file of pairs, a query and what "
        "answers it; of further documents, texts."
    ),
    "too_many_texts": _(
        "The queries and documents are more than can be compared with one another at once. Split "
        "the file, or name fewer further documents."
    ),
    "text_too_long": _(
        "A text is longer than the embedding model reads. Shorten it, or choose a model that reads "
        "longer texts."
    ),
    "profile_crashed": ASK_AGAIN,
    "mining_crashed": ASK_AGAIN,
}
