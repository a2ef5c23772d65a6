"""A bundle, or a merged form, as it is served: verified, and its base found to be the one."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from faults import UserFault
from finetune.packaging.archive import BadArchive, unpack_tar
from finetune.packaging.base.info import INFO_NAME, check_base
from finetune.packaging.manifest import MANIFEST, Manifest
from finetune.packaging.passport import Passport
from finetune.packaging.verify import check_archive, verify
from privatune.alone.terms import Terms


class NotVerified(UserFault):
    status = 403


@dataclass(frozen=True)
class Adapter:
    safetensors: bytes
    config: dict[str, Any]
    sha256: str


@dataclass(frozen=True)
class Opened:
    """`adapter` None: the base is the whole model. `signed_at`: the time cannot be before."""

    name: str
    digest: str
    base_dir: Path
    base_digest: str
    adapter: Adapter | None
    terms: Terms
    signed_at: datetime
    gives: Literal["text", "vectors", "scores"]  # one alone of these


def unpacked(path: Path, folder: Path) -> Path:
    """The artifact's own folder, or its .tar in the empty `folder`."""
    if path.is_dir():
        return path
    try:
        unpack_tar(path, folder)
    except BadArchive as error:
        raise NotVerified("not_verified", f"The .tar is not whole: {error}.") from error
    if problems := check_archive(path, folder):
        raise NotVerified("not_verified", f"This artifact is not what was signed: {problems[0]}.")
    return folder


def opened(
    folder: Path, *, base: Path | None, store: Path, key: str | None, fingerprint: str | None
) -> Opened:
    """Raises UserFault `not_verified`, `base_needed`, `other_base`, `unnecessary_base`,
    `bundle_scores`, `form_not_served`, `license_unreadable`, and what the import of a base
    raises."""
    report = verify(folder, key, trusted_fingerprint=fingerprint)
    if not report.ok or report.digest is None:
        problem = report.problems[0] if report.problems else "it has no manifest"
        raise NotVerified("not_verified", f"This artifact is not what was signed: {problem}.")
    read = _Read(folder)
    passport = Passport.model_validate_json(read("passport.json"))
    if passport.family == "scoring":
        raise UserFault(
            "bundle_scores",
            "This is a reward model: it scores answers and writes nothing that could be served.",
            fix="serve/README.md in it says how stock transformers and peft load it.",
        )
    terms = Terms.of(json.loads(read("license.json")))
    if "form.json" in read.manifest.files:
        if base is not None:
            raise UserFault("unnecessary_base", "A merged form has its base in it.", param="base")
        require_merged(json.loads(read("form.json"))["form"])
        where, digest, adapter = folder / "model", f"{report.digest}", None
    else:
        where, digest = _base(base, store, passport), passport.base.digest
        adapter = _adapter(read)
    return Opened(
        name=passport.name,
        digest=report.digest,
        base_dir=where,
        base_digest=digest,
        adapter=adapter,
        terms=terms,
        signed_at=passport.created,
        gives=_given_by(passport),
    )


def _given_by(passport: Passport) -> Literal["text", "vectors", "scores"]:
    if passport.ranking is not None:
        return "scores"
    return "text" if passport.recipe is None else "vectors"


def require_merged(form: str) -> None:
    if form != "merged":
        raise UserFault(
            "form_not_served",
            f"This is the form {form}, which other programs serve.",
            fix="README.md in it says how llama.cpp and Ollama do; or take the merged form.",
        )


class _Read:
    """Files of a verified folder, held to its manifest once more as they are read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())

    def __call__(self, name: str) -> bytes:
        content = (self.folder / name).read_bytes()
        listed = self.manifest.files.get(name)
        if listed is None or listed.sha256 != hashlib.sha256(content).hexdigest():
            raise NotVerified("not_verified", f"{name} was changed.", where=name)
        return content


def _adapter(read: _Read) -> Adapter:
    weights = read("adapter/adapter_model.safetensors")
    config = json.loads(read("adapter/adapter_config.json"))
    return Adapter(weights, config, hashlib.sha256(weights).hexdigest())


def _base(given: Path | None, store: Path, passport: Passport) -> Path:
    """The base's folder, every byte as the passport names it: one of a model store as it is, any
    other brought into `store` as an import would."""
    wanted = passport.base
    kept = store / wanted.digest.removeprefix("sha256:")
    if kept.is_dir():
        check_base(kept)
        return kept
    if given is None:
        place = f" ({wanted.hub_id} at {wanted.revision})" if wanted.hub_id else ""
        raise UserFault(
            "base_needed",
            f"The adapter needs its base {wanted.name}{place}.",
            fix="Name its folder: --base PATH.",
            param="base",
        )
    if (given / INFO_NAME).is_file():
        found, where = check_base(given).digest, given
    else:
        from finetune.packaging.base import import_base  # transformers

        made = import_base(
            given, store, name=wanted.name, licence=wanted.licence, source_label=given.name
        )
        found, where = made.digest, store / made.path
    if found != wanted.digest:
        raise UserFault(
            "other_base",
            f"The folder holds {found}, and the adapter was trained on {wanted.digest}.",
            where=str(given),
            fix=f"Name a folder of {wanted.name}, the very release.",
            param="base",
        )
    return where
