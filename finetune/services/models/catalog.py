"""The operator's verb on the catalogue: bring a base model in."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import transaction

from faults import UserFault
from finetune.models import CatalogModel

if TYPE_CHECKING:
    from finetune.packaging.base import BaseModelInfo

log = logging.getLogger(__name__)


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
    from finetune.packaging.base import import_base  # torch and transformers

    say = progress or (lambda _line: None)
    info = import_base(
        _local(source, say),
        settings.MODEL_STORE,
        name=name,
        licence=licence,
        source_label=source,
        chat_template=chat_template,
        progress=_Phases(say),
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
        model = existing or _catalogue(info, edition)
    log.info("%s imported the model %s (%s)", actor, model.name, model.digest)
    return model


def _local(source: str, say: Callable[[str], None]) -> Path:
    """The folder or file itself, or the hub id downloaded."""
    from finetune.packaging.base import download_base

    path = Path(source)
    if path.exists():
        return path
    if source.startswith((".", "/", "~")) or source.endswith(".gguf"):
        raise UserFault(
            "source_not_found",
            f"There is no folder or file {source!r}.",
            fix="Give a folder in safetensors, a .gguf file, or a hub id like Org/Model.",
            param="source",
        )
    say(f"downloading {source}")
    return download_base(source, settings.MODEL_STORE / ".hub")


class _Phases:
    """Says each phase of an import once."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said = ""

    def __call__(self, phase: str, done: int, total: int) -> None:
        if phase != self._said:
            self._said = phase
            self._say(f"{phase} ({total / 1e6:.0f} MB)")


def _catalogue(info: "BaseModelInfo", edition: str) -> CatalogModel:
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
