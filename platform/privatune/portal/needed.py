"""Why a file cannot go yet: what still needs it, with its address."""

from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from finetune.models import Evaluation, Job, Pipeline
from finetune.services.files.needs import StillNeeded
from privatune.portal.access import RoomRequest, address_of

SAID: dict[type, tuple[str, Any]] = {
    Job: ("job", _("A job still needs this file. Wait until it has ended, or cancel it:")),
    Evaluation: (
        "evaluation",
        _("An evaluation still needs this file. Wait until it has ended, or cancel it:"),
    ),
    Pipeline: (
        "pipeline",
        _("A pipeline still needs this file. Wait until it has ended, or cancel it:"),
    ),
}


def said(request: RoomRequest, error: StillNeeded) -> SafeString:
    row = error.row
    room, words = SAID[type(row)]
    name = (row.suffix if isinstance(row, Job) else row.name) or row.public_id
    return format_html('{} <a href="{}">{}</a>', words, address_of(request, room, row.id), name)
