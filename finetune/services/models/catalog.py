"""The operator's verbs on the catalogue: bring a base in, say what it is, take it off the shelf."""

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from faults import UserFault
from finetune.catalogue import Edition, ModelTask
from finetune.models import CatalogModel
from tenants.errors import NotFound
from tenants.limits import MB

if TYPE_CHECKING:
    from finetune.packaging.base import BaseModelInfo

log = logging.getLogger(__name__)


def import_model(
    *,
    source: str,
    name: str,
    licence: str,
    edition: Edition = Edition.OPEN,
    task: ModelTask = ModelTask.DIALOGUE,
    terms: str = "",
    chat_template: Path | None = None,
    infilling: str | None = None,
    head: bool = False,
    actor: str,
    progress: Callable[[str], None] | None = None,
) -> CatalogModel:
    """Brings a folder, a .gguf file or a hub id into the model store and the catalogue.

    Importing the same bytes under the same name again changes nothing (`describe_model` does).
    Raises UserFault when the source is refused (it says why) or the name already means other bytes.
    """
    from finetune.packaging.base import import_base  # torch and transformers

    say = progress or (lambda _line: None)
    path, label = _local(source, say)
    info = import_base(
        path,
        settings.MODEL_STORE,
        name=name,
        licence=licence,
        source_label=label,
        chat_template=chat_template,
        infilling=infilling,
        head=head,
        progress=_Phases(say),
    )
    for notice in info.notices:
        say(notice)
    with transaction.atomic():
        existing = CatalogModel.objects.select_for_update().filter(name=name).first()
        if existing is not None and existing.digest != info.digest:
            raise UserFault(
                "model_name_taken",
                f"The catalogue has other weights under the name {name!r}.",
                fix="Choose another name: jobs and licences refer to it.",
                param="name",
            )
        model = existing or _catalogue(info, edition=edition, task=task, terms=terms)
    log.info("%s imported the model %s (%s)", actor, model.name, model.digest)
    return model


def describe_model(
    name: str,
    *,
    licence: str | None = None,
    edition: Edition | None = None,
    task: ModelTask | None = None,
    terms: str | None = None,
    actor: str,
) -> CatalogModel:
    """Says anew what is given; artifacts of before keep what they were made under."""
    given = {"licence": licence, "edition": edition, "task": task, "terms": terms}
    return _change(name, actor, {key: value for key, value in given.items() if value is not None})


def retire_model(name: str, *, actor: str) -> CatalogModel:
    """Off the shelf: no new job and no question to the base itself. Jobs that are under way, and
    the models made from it, go on."""
    return _change(name, actor, {"retired_at": timezone.now()})


def restore_model(name: str, *, actor: str) -> CatalogModel:
    """The inverse of `retire_model`."""
    return _change(name, actor, {"retired_at": None})


def _change(name: str, actor: str, fields: dict[str, str | datetime | None]) -> CatalogModel:
    with transaction.atomic():
        model = CatalogModel.objects.select_for_update().filter(name=name).first()
        if model is None:
            raise NotFound(
                "model_not_found",
                f"The catalogue has no model {name!r}.",
                fix="`privatune models list` shows what it has.",
                param="name",
            )
        for field, value in fields.items():
            setattr(model, field, value)
        model.save(update_fields=list(fields))
    log.info("%s changed %s of the model %s", actor, ", ".join(fields), name)
    return model


def _local(source: str, say: Callable[[str], None]) -> tuple[Path, str]:
    """The folder or file itself, or the hub id downloaded; and what the catalogue calls it."""
    from finetune.packaging.base import download_base

    path = Path(source)
    if path.exists():
        return path, source
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
            self._say(f"{phase} ({total / MB:.0f} MB)")


def _catalogue(
    info: "BaseModelInfo", *, edition: Edition, task: ModelTask, terms: str
) -> CatalogModel:
    return CatalogModel.objects.create(
        name=info.name,
        family=info.family,
        edition=edition,
        task=task,
        terms=terms,
        digest=info.digest,
        path=info.path,
        architecture=info.architecture,
        parameters=info.parameters,
        context_length=info.context_length,
        infilling=info.infilling,
        bytes=info.bytes,
        licence=info.licence,
        source=info.source,
    )
