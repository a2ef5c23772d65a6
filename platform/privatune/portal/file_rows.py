"""Files as lists and choices show them, with the rows that their check counted."""

from django.db.models import OuterRef, QuerySet, Subquery
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.translation import gettext, ngettext

from finetune.models import Dataset
from finetune.states import DatasetState
from privatune.portal.kinds import SHORT
from privatune.portal.words import FILE_STATUSES
from privatune.templatetags.figures import grouped
from tenants.models import StoredFile
from tenants.states import FileStatus


def with_rows(files: QuerySet[StoredFile]) -> QuerySet[StoredFile]:
    """`rows` of each, the usable ones of its structure, and the `format` of these; None until that
    is read."""
    structure = Dataset.objects.filter(
        file=OuterRef("pk"), base=None, state=DatasetState.READY
    ).order_by("-created_at")
    return files.annotate(
        rows=Subquery(structure.values("rows")[:1]), format=Subquery(structure.values("format")[:1])
    )


def label(file: StoredFile) -> str:
    """Of a file of `with_rows`: what tells it from others of the same name."""
    parts = [file.filename]
    rows = getattr(file, "rows", None)
    if rows is not None:
        told = ngettext("%(rows)s row", "%(rows)s rows", rows)
        parts.append(told % {"rows": grouped(rows)})
    if kind := SHORT.get(getattr(file, "format", None) or ""):
        parts.append(str(kind))
    made = timezone.localtime(file.created_at)
    parts += [filesizeformat(file.bytes).replace("\xa0", " "), f"{made:%Y-%m-%d %H:%M}"]
    if file.status != FileStatus.PROCESSED:
        parts.append(gettext(str(FILE_STATUSES[file.status].word)))
    return " · ".join(parts)
