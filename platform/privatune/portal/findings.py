"""What a check found, in the person's language: the code's title and fix, translated, and where the
finding says more (numbers, names, lines), a sentence with that.

In English it is the check's own message, which the API gives as well.
"""

from collections.abc import Iterable
from typing import Any

from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_lazy as _

from finetune.models import Dataset
from finetune.records.check.codes import CODES
from finetune.states import DatasetState
from privatune.portal.refusals import kept
from tenants.models import StoredFile

# Used where the finding has every value that the sentence names.
DETAILED: dict[str, Any] = {
    "too_long": _("The row has %(tokens)s tokens; at most %(limit)s are allowed."),
    "too_long_dropped": _(
        "The row has %(tokens)s tokens; at most %(limit)s are allowed. It is left out."
    ),
    "too_long_cut": _(
        "The row has %(tokens)s tokens; at most %(limit)s are allowed. Its end is cut off."
    ),
    "chunked": _("The document has %(tokens)s tokens; it is read in %(chunks)s chunks."),
    "control_token": _("The text holds the base's control token %(token)s."),
    "role_spelling": _("The role %(role)s was read as %(meant)s."),
    "secret_in_code": _("What looks like a secret: %(kinds)s."),
    "licence_named": _("Its header names the licence %(licence)s."),
    "minified_code": _(
        "Lines: %(lines)s, the longest of %(longest)s characters: minified, or data."
    ),
    "duplicate_row": _("The same row stands in line %(first)s."),
    "bad_csv": _("The row has %(fields)s fields, the header %(header)s."),
    "invalid_json": _("The line is not JSON from column %(column)s on."),
    "cell_not_json": _("The cell is not JSON from its character %(at)s on."),
    "same_column": _("The columns %(one)s and %(other)s are called the same but for capitals."),
    "mapped_unused": _(
        "The column %(column)s is mapped to %(field)s, which rows of the format %(format)s do not "
        "have."
    ),
    "name_disagrees": _("The name ends in %(ending)s, but the content is %(content)s."),
    "json_as_text": _(
        "The name ends in %(ending)s, so that the file is read as plain text, but its lines are "
        "JSON."
    ),
    "invalid_utf8": _("The line is not UTF-8 from byte %(byte)s on."),
    "unknown_role": _("The role %(role)s is not known."),
    "wrong_type": _("This must be %(wanted)s, not %(found)s."),
    "missing_field": _("The field %(field)s is missing."),
    "unknown_field": _("The field %(field)s is not known and is ignored."),
    "empty_content": _("The field %(field)s is empty."),
    "uneven_turns": _("prompt has %(prompts)s turns, output has %(outputs)s."),
    "unsupported_content": _("A content part of the type %(kind)s, which is not text."),
    "bad_weight": _("The weight is %(weight)s, not 0 or 1."),
    "other_encoding": _("The file is not UTF-8, first in line %(first)s."),
    "unnamed_column": _("Columns without a name: %(columns)s. What stands in them is ignored."),
    "field_spelling": _("The column %(column)s was read as %(meant)s."),
    "missing_column": _("The mapping names the column %(column)s, which the file does not have."),
    "one_score": _("All pairs have the score %(score)s."),
    "bad_score": _("A score must be a number, not %(found)s."),
    "one_sided": _("All %(rows)s answers have the label %(label)s."),
    "uneven_labels": _("Answers with the label true: %(good)s; false: %(bad)s."),
    "unknown_format": _("The format cannot be told from the fields %(fields)s."),
}
# What nothing in the file can answer: whether it is the right one.
ASKED = frozenset({"name_disagrees"})
# The values `wanted` and `found` are words of the check's own.
TYPES: dict[str, Any] = {
    "a string": _("a string"),
    "a list": _("a list"),
    "an object": _("an object"),
    "true or false": _("true or false"),
    "a number": _("a number"),
    "null": "null",
    "JSON lines": _("JSON lines"),
    "a table (CSV)": _("a table (CSV)"),
    "plain text": _("plain text"),
    "a string or a list of text parts": _("a string or a list of text parts"),
}


def told(problem: dict[str, Any]) -> dict[str, Any]:
    """A listed problem of a report, with `message` and `fix` in the person's language."""
    code = str(problem["code"])
    if get_language() == "en" or code not in CODES:
        return problem
    return problem | {"message": _message(code, problem), "fix": _fix(code, problem)}


def title(code: str) -> str:
    return gettext(CODES[code].title) if code in CODES else code


def colour(code: str) -> str:
    """Of its badge, as Tabler names it: what cannot be used is red, what is worth a look yellow."""
    return "yellow" if code in CODES and CODES[code].severity == "warning" else "red"


def summary(reading: Dataset) -> str | None:
    """Why a reading was refused, in one sentence; None if it was not, or says nothing."""
    if reading.error:
        return str((kept(reading.error) or {})["said"])
    first = (reading.report or {}).get("first_error")
    if not first:
        return None
    what = title(str(first["code"]))
    if not first.get("line"):
        return what
    return gettext("Line %(line)s: %(what)s") % {"line": first["line"], "what": what}


def refusal(file: StoredFile, readings: Iterable[Dataset]) -> str | None:
    """Why the file cannot be used; its own words are the API's, in English."""
    if not file.status_details:
        return None
    said = (summary(each) for each in readings if each.state == DatasetState.REFUSED)
    return next((each for each in said if each), file.status_details)


def _fix(code: str, problem: dict[str, Any]) -> str:
    fix, proposal = gettext(CODES[code].fix), problem.get("values", {}).get("proposal")
    if proposal is None:
        return fix
    read_so = gettext("If that is what they are, have the columns read so: %(proposal)s. Else:")
    return f"{read_so % {'proposal': proposal}} {fix}"


def _message(code: str, problem: dict[str, Any]) -> str:
    values = {key: TYPES.get(value, value) for key, value in problem.get("values", {}).items()}
    if problem.get("field"):
        values["field"] = problem["field"]
    try:
        return str(DETAILED[code]) % values
    except KeyError:  # a finding that says less, or one of an older version
        return title(code)
