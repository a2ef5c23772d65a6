"""Hard negatives of a file of pairs, as its page asks for them and shows what came of it."""

from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from finetune import selectors
from finetune.mining.negatives import MiningOptions
from finetune.models import Dataset, Mining
from finetune.purposes import OF_ROWS
from finetune.states import LIVE_LEASES, DatasetState
from privatune.portal.file_rows import with_rows
from privatune.portal.on_offer import embedders
from privatune.portal.refusals import kept
from tenants.models import StoredFile
from tenants.states import FileStatus

MOST_SHOWN = 10
MOST_CORPORA = 200  # files to choose from
FALSE_NEGATIVES = ("absolute_margin", "relative_margin", "max_score")


@dataclass(frozen=True)
class Minings:
    """`models`: choices in groups, none: no model here makes vectors."""

    models: list[Any]
    corpora: list[StoredFile]
    defaults: MiningOptions
    made: list[dict[str, Any]]

    @property
    def is_live(self) -> bool:
        return any(each["live"] for each in self.made)


def shown(file: StoredFile) -> Minings | None:
    """In the open scope; None for a file of other rows."""
    pairs = Dataset.objects.filter(file=file, base=None, state=DatasetState.READY)
    if not pairs.filter(format="retrieval").exists():
        return None
    texts = with_rows(selectors.files().filter(purpose__in=OF_ROWS, status=FileStatus.PROCESSED))
    found = Mining.objects.filter(file=file).select_related("file", "result", "corpus")
    return Minings(
        models=embedders(),
        corpora=list(texts.filter(Q(format="text")).order_by("-created_at")[:MOST_CORPORA]),
        defaults=MiningOptions(),
        made=[_shown(each) for each in found.order_by("-created_at")[:MOST_SHOWN]],
    )


def _shown(mining: Mining) -> dict[str, Any]:
    report = mining.report or {}
    skipped = report.get("skipped", {})
    given = report.get("rows_by_negatives", {})
    return {
        "mining": mining,
        "live": mining.state in LIVE_LEASES,
        "stopping": mining.cancel_requested_at is not None,
        "percent": 100 * mining.done // mining.total if mining.total else 0,
        "error": kept(mining.error),
        "report": report,
        "given": sorted((int(number), rows) for number, rows in given.items()),
        "likely_answers": sum(skipped.get(name, 0) for name in FALSE_NEGATIVES),
        "too_easy": skipped.get("min_score", 0),
    }
