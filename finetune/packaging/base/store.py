"""`import_base`: check a model folder or GGUF file, copy it, and publish it in the model store."""

import os
import re
import shutil
import uuid
from pathlib import Path

from faults import OurFault, UserFault
from faults.disk import is_full
from finetune.packaging.base.info import INFO_NAME, BaseModelInfo
from finetune.packaging.base.quiet import quiet_transformers
from finetune.packaging.base.staging import Progress, stage
from finetune.packaging.files import pretty_json, publish_folder

# A base's name becomes part of `ft:<base>:<tenant>:<suffix>:<id>`: no slash, no colon.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def import_base(
    source: Path,
    store: Path,
    *,
    name: str,
    licence: str,
    source_label: str,
    chat_template: Path | None = None,
    infilling: str | None = None,
    head: bool = False,
    progress: Progress | None = None,
) -> BaseModelInfo:
    """Bring `source` (folder in safetensors, or .gguf) into `store/<digest-hex>/`.

    `infilling`: whose control tokens for filling in the middle its model knows, of
    `records.infilling.NAMES`, where the tokenizer alone would tell another; `head`: an encoder gets
    one that can learn to rank. Importing the same bytes again changes nothing but the recorded
    name, licence and source.
    Nothing is published before every check has passed on the copied bytes. Raises UserFault for
    whatever the model or the request has wrong; OurFault `store_full` when the disk is full.
    """
    told = progress or (lambda phase, done, total: None)
    _require_request(source, name, licence)
    store.mkdir(parents=True, exist_ok=True)
    staging = store / f".incoming-{uuid.uuid4().hex}"
    staging.mkdir()
    try:
        with quiet_transformers():
            staged = stage(source, staging, chat_template, infilling, told, head=head)
        facts = staged.facts | {"name": name, "licence": licence, "source": source_label}
        return _publish(staged.folder, store, BaseModelInfo.model_validate(facts))
    except OSError as error:
        if not is_full(error):
            raise
        raise OurFault(
            "store_full",
            f"The disk of the model store is full: {error}",
            where=str(store),
            fix="Free space or move the store, then import again.",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _require_request(source: Path, name: str, licence: str) -> None:
    if not _NAME.fullmatch(name):
        raise UserFault(
            "bad_name",
            f"{name!r} cannot name a model.",
            fix="Use letters, digits, dot, dash and underscore; at most 100 of them.",
            param="name",
        )
    if not licence.strip():
        raise UserFault(
            "no_licence",
            "A base cannot be imported without its licence.",
            fix="Name it, best as an SPDX identifier such as Apache-2.0.",
            param="licence",
        )
    if not source.exists():
        raise UserFault(
            "source_missing",
            f"There is no {source}.",
            fix="Give a model folder, a .gguf file or a hub id owner/name.",
            param="source",
        )
    if source.is_file() and source.suffix != ".gguf":
        raise UserFault(
            "source_kind",
            f"{source.name} is neither a folder nor a .gguf file.",
            fix="Point at the folder that holds config.json and the weights.",
            param="source",
        )


def _publish(staged: Path, store: Path, info: BaseModelInfo) -> BaseModelInfo:
    """Rename into place; where the same bytes are there already, renew only `base.json`."""
    target = store / info.path
    content = pretty_json(info.model_dump(mode="json"))
    if target.is_dir() and not _whole(target, info):
        target.rename(store / f".damaged-{uuid.uuid4().hex}")
    (staged / INFO_NAME).write_bytes(content)
    if not publish_folder(staged, target) and (target / INFO_NAME).read_bytes() != content:
        renewed = store / f".{uuid.uuid4().hex}.json"
        renewed.write_bytes(content)
        os.replace(renewed, target / INFO_NAME)
    return info


def _whole(folder: Path, info: BaseModelInfo) -> bool:
    """The folder has every file in the right size (`check_base` compares every byte)."""
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.name != INFO_NAME}
    return sizes == {name: file.bytes for name, file in info.files.items()}
