"""What people read of an answer, in the language of its request: errors, events, findings.

Each has a code, and the pages know a sentence in other languages for it. The pages stand above this
layer: the setting API_SENTENCES names what knows theirs. In English, and where they know none, the
services' own words are told.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from django.conf import settings
from django.utils.module_loading import import_string
from django.utils.translation import get_language, get_supported_language_variant
from django.utils.translation.trans_real import parse_accept_lang_header

if TYPE_CHECKING:
    from finetune.models import Event, Job
    from tenants.models import StoredFile


class Sentences(Protocol):
    """In the active language."""

    def error(self, code: str, about: Mapping[str, Any]) -> str | None: ...
    def event(self, event: "Event") -> str: ...
    def phase(self, job: "Job") -> str: ...
    def finding(self, found: dict[str, Any]) -> dict[str, Any]: ...
    def refusals(self, files: "Sequence[StoredFile]") -> Mapping[Any, str]: ...


@cache
def _sentences() -> Sentences:
    made: Sentences = import_string(settings.API_SENTENCES)()
    return made


def language_of(accepted: str) -> str:
    """The first of `Accept-Language` that is spoken here; else the services' own."""
    for wanted, quality in parse_accept_lang_header(accepted.lower()):
        if not quality:  # it is what they do not want
            continue
        try:
            return get_supported_language_variant(wanted)
        except LookupError:
            continue
    return settings.LANGUAGE_CODE


def _others() -> Sentences | None:
    return None if get_language() in (None, settings.LANGUAGE_CODE) else _sentences()


def error(code: str, own: str, about: Mapping[str, Any] | None = None) -> str:
    """The sentence of the code, and after it the service's own words: in those stand the figures
    and names. `about`: the error as its row keeps it."""
    sentences = _others()
    said = sentences.error(code, about or {}) if sentences else None
    return f"{said} ({own})" if said else own


def kept(error_: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """An error as a row keeps it."""
    if not error_:
        return None
    own = str(error_.get("message") or "")
    return {**error_, "message": error(str(error_.get("code")), own, error_)}


def event(event_: "Event") -> str:
    sentences = _others()
    return sentences.event(event_) if sentences else str(event_.message)


def phase(job: "Job", own: str) -> str:
    sentences = _others()
    return sentences.phase(job) if sentences else own


def report(told: dict[str, Any] | None) -> dict[str, Any] | None:
    """A check's, with each problem that it lists."""
    sentences = _others()
    if not told or sentences is None or not told.get("problems"):
        return told
    return told | {"problems": [sentences.finding(each) for each in told["problems"]]}


def refusals(files: "Sequence[StoredFile]") -> Mapping[Any, str]:
    """Why files were refused, by their ids; those not named have their own words."""
    sentences = _others()
    return sentences.refusals(files) if sentences else {}
