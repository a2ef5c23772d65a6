"""The operator's verbs on the catalogue: bring a base model in, and take one off the shelf."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from finetune.errors import UserFault
from finetune.models import CatalogModel


def import_model(
    *,
    source: str,
    name: str,
    licence: str,
    edition: str = "open",
    chat_template: Path | None = None,
    actor: str,
    progress: Callable[[str], None] | None = None,
) -> CatalogModel:
    """Brings a folder, a .gguf file or a hub id into the model store and the catalogue.

    Importing the same bytes under the same name again changes nothing. Raises UserFault when the
    source is refused (it says why) or the name already means other bytes.
    """
    from finetune.packaging.base import download_base, import_base

    say = progress or (lambda _message: None)
    path = Path(source)
    if not path.exists():
        say(f"downloading {source}")
        path = download_base(source, settings.MODEL_STORE / ".hub")
    say(f"importing {path}")
    extra: dict[str, Any] = {"chat_template": chat_template} if chat_template else {}
    info = import_base(
        path, settings.MODEL_STORE, name=name, licence=licence, source_label=source, **extra
    )
    with transaction.atomic():
        existing = CatalogModel.objects.select_for_update().filter(name=name).first()
        if existing is not None and existing.digest != info.digest:
            raise UserFault(
                "model_name_taken",
                f"The catalogue has other weights under the name {name!r}.",
                fix="Choose another name: jobs and licences refer to it.",
                param="name",
            )
        return existing or _catalogue(info, edition)


def _catalogue(info: Any, edition: str) -> CatalogModel:
    return CatalogModel.objects.create(
        name=info.name,
        family=info.family,
        edition=edition,
        digest=info.digest,
        path=info.path,
        architecture=info.architecture,
        parameters=info.parameters,
        context_length=info.context_length,
        bytes=info.bytes,
        licence=info.licence,
        source=info.source,
    )
