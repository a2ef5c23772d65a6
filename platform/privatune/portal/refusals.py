"""What a refusal tells the person at a page, in their language, by its stable code.

The API and the command line tell errors in the services' own English.
"""

import re
from collections.abc import Mapping
from typing import Any, Protocol

from django.utils.translation import gettext

from finetune.services.jobs.base_files import UnknownLayer
from finetune.services.jobs.files import WrongKind
from privatune.portal import kinds, waits
from privatune.portal.sentences import SENTENCES

# Told in the person's language already: by Django's own rules for passwords.
IN_THEIR_LANGUAGE = frozenset({"weak_password"})


class Told(Protocol):
    """Any error of ours, or a problem that was made of one."""

    @property
    def code(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def fix(self) -> str | None: ...


def said(error: Told) -> str:
    """What a refusal tells the person, in their language. An UnknownLayer's sentence has
    names, a WrongKind's what was found and what is wanted."""
    if isinstance(error, WrongKind):
        return kinds.refusal(**error.values)
    told = said_of(error.code, error.message, error.fix)
    return told % error.values if isinstance(error, UnknownLayer) else told


def said_of(code: str, message: str, fix: str | None = None) -> str:
    """The same for an error that was kept as a row: the code's sentence, or its own words when an
    older version wrote a code that is not known any more."""
    known = SENTENCES.get(code)
    return str(known) if known else f"{message} {fix or ''}".strip()


def kept(error: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """An error as a job or a reading keeps it, with what the page says of it under `said`."""
    if not error:
        return None
    told = said_of(str(error.get("code")), str(error.get("message") or ""), error.get("fix"))
    if error.get("code") == "wrong_kind_of_record" and error.get("values"):
        told = kinds.refusal(**error["values"])
    if reason := waits.told(str(error.get("waits_for")), error.get("about") or {}):
        told = gettext("Waiting: %(reason)s The check goes on by itself.") % {"reason": reason}
    if attempts := error.get("attempts"):
        given_up = gettext("Given up; attempts without progress: %(attempts)s.")
        told = f"{told} {given_up % {'attempts': attempts}}"
    return {**error, "said": told, "where": _where(error.get("where"))}


def _where(told: Any) -> Any:
    if line := re.fullmatch(r"line (\d+)", str(told)):
        return gettext("line %(line)s") % {"line": line[1]}
    if row := re.fullmatch(r"row (\d+)", str(told)):
        return gettext("row %(row)s") % {"row": row[1]}
    return told
