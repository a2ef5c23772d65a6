"""What work waits for, in the person's language."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext

from finetune.events import waits


def told(code: str, about: Mapping[str, Any]) -> str | None:
    """None for a reason that this version does not know: another one wrote it."""
    wait = waits.read(code, about)
    return wait.told(gettext(wait.words)) if wait is not None else None
