"""What a training of the organisation's may begin with, as its forms offer it."""

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from finetune import selectors
from finetune.models import Artifact, CatalogModel
from finetune.purposes import OF_ROWS
from privatune.portal.file_rows import with_rows
from tenants.models import StoredFile
from tenants.states import FileStatus

MODELS_SHOWN = 100


@dataclass(frozen=True)
class OnOffer:
    """`models`: one's own, to train on from; `files`: of rows, told with how many."""

    bases: QuerySet[CatalogModel]
    models: QuerySet[Artifact]
    files: QuerySet[StoredFile]

    def choices(self, asked: str | None) -> list[Any]:
        """Bases, and models to train on from: the newest, and the one, or the checkpoint, that the
        page's address asks for."""
        newest = self.models.order_by("-created_at").values_list("model_name", flat=True)
        own = list(newest[:MODELS_SHOWN])
        if asked and asked.startswith("ft:") and asked not in own:
            own.insert(0, asked)
        listed: list[Any] = [(name, name) for name in self.bases.values_list("name", flat=True)]
        return [*listed, (_("Train on from"), [(name, name) for name in own])] if own else listed


def on_offer() -> OnOffer:
    bases = selectors.trainable()
    usable = selectors.files().filter(purpose__in=OF_ROWS).exclude(status=FileStatus.ERROR)
    return OnOffer(
        bases=bases,
        models=selectors.artifacts().filter(base__in=bases),
        files=with_rows(usable).order_by("-created_at"),
    )
