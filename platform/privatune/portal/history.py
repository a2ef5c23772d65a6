"""A job's history in the person's language: each message by its code. In English, and where this
version does not know the code, it is the message that the API gives as well."""

from collections.abc import Iterable, Mapping

from django.utils.translation import get_language, gettext

from finetune import events
from finetune.events import Choice, JobWaits
from finetune.models import Event
from privatune.portal import waits


def told(event: Event) -> str:
    message = events.read(event.code, event.data)
    if message is None or get_language() == "en":
        return str(event.message)
    if isinstance(message, JobWaits):
        reason = waits.told(message.waits_for, message.about)
        if reason is None:
            return gettext("Waiting for something that the operator must mend.")
        message = message.model_copy(update={"reason": reason})
    told = message.told(gettext(message.words))
    return f"{message.setting}: {told}" if isinstance(message, Choice) else told


def reasons(kept: Mapping[str, str], chosen: Iterable[Event]) -> list[tuple[str, str]]:
    """(setting, why it is so) of what was left to us: as the job keeps it, and where the history
    has it by code, in the person's language."""
    found = dict(kept)
    for event in chosen:
        message = events.read(event.code, event.data)
        if isinstance(message, Choice):
            found[message.setting] = message.told(gettext(message.words))
    return sorted(found.items())
