"""What files hold and methods want, in the words of whoever chooses between them."""

from collections.abc import Iterable

from django.utils.translation import gettext, gettext_lazy, pgettext

from finetune.services.jobs.files import formats_of

_ = gettext_lazy

KINDS: dict[str, object] = {
    "chat": _("conversations (messages)"),
    "sharegpt": _("conversations (ShareGPT)"),
    "alpaca": _("instructions with answers (Alpaca)"),
    "completion": _("prompts with completions"),
    "fengshenbang": _("prompts with outputs"),
    "text": _("documents (text)"),
    "preference": _("pairs (preferred and other output)"),
    "chosen": _("pairs (chosen and rejected)"),
    "rated": _("rated answers (label)"),
    "prompt": _("prompts to be answered and graded"),
    "retrieval": _("queries with their passages (retrieval)"),
    "scored": _("pairs of texts with a score"),
}
# As a list of many files tells them, in a word
SHORT: dict[str, object] = {
    "chat": _("conversations"),
    "sharegpt": _("conversations"),
    "alpaca": _("instructions"),
    "completion": _("prompts with completions"),
    "fengshenbang": _("prompts with outputs"),
    "text": _("documents"),
    "preference": _("pairs"),
    "chosen": _("pairs"),
    "rated": _("rated answers"),
    "prompt": _("prompts"),
    "retrieval": _("queries"),
    "scored": _("scored pairs"),
}


def refusal(method: str, found: str) -> str:
    """Why a file is none for the method."""
    wanted = joined(str(KINDS[each]) for each in formats_of(method))
    told = gettext(
        "This file holds %(found)s. The method %(method)s learns from %(wanted)s. Choose another "
        "file or another method."
    )
    return told % {"found": KINDS[found], "method": method, "wanted": wanted}


def joined(words: Iterable[str]) -> str:
    return pgettext("between things in a list", ", ").join(words)
