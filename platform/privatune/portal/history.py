"""A job's history in the person's language: each message by its code. In English, and where this
version does not know the code, it is the message that the API gives as well."""

from collections.abc import Iterable, Mapping

from django.utils.translation import get_language, gettext

from finetune import events
from finetune.events import Choice
from finetune.models import Event


def told(event: Event) -> str:
    message = events.read(event.code, event.data)
    if message is None or get_language() == "en":
        return str(event.message)
    return message.told(gettext(message.words))


def reasons(kept: Mapping[str, str], chosen: Iterable[Event]) -> list[tuple[str, str]]:
    """(setting, why it is so) of what was left to us: as the job keeps it, and where the history
    has it by code, in the person's language."""
    found = dict(kept)
    for event in chosen:
        message = events.read(event.code, event.data)
        if isinstance(message, Choice):
            found[message.setting] = message.told(gettext(message.words))
    return sorted(found.items())
