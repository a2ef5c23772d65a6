"""One sentence, with what to do, for each stable code that a page can meet; a test derives the
codes from the source."""

from typing import Any

from privatune.portal.sentences.asking import ANSWERS, REQUESTS
from privatune.portal.sentences.evaluations import EVALUATIONS
from privatune.portal.sentences.files import FILES
from privatune.portal.sentences.forms import FORMS
from privatune.portal.sentences.jobs import JOBS, STORAGE
from privatune.portal.sentences.people import TENANTS

SENTENCES: dict[str, Any] = {
    **TENANTS, **STORAGE, **FILES, **JOBS, **EVALUATIONS, **FORMS, **ANSWERS, **REQUESTS,
}  # fmt: skip
