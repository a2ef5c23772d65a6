"""Build the artifact: adapter, passport, licence, card, bill of software, manifest, signature."""

import hashlib
import json
import shutil
import uuid
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from faults import OurFault
from finetune.families.layers import foreign_tensors
from finetune.packaging.archive import write_tar
from finetune.packaging.card import model_card
from finetune.packaging.files import pretty_json, publish_folder, sha256_file, walk
from finetune.packaging.manifest import MANIFEST, SIGNATURE, SIGNER_KEY, Manifest
from finetune.packaging.needs import lowest_peft
from finetune.packaging.passport import Parity, Passport, RankingUsed, RecipeUsed
from finetune.packaging.sbom import software_bill
from finetune.packaging.serve import serve_files
from finetune.packaging.signing import Signer

ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
TOKENIZER = "tokenizer"
EMBEDDER = "embedder"
RERANKER = "reranker"
# how training went, for whoever judges the result
TRAINING_FILES = ("metrics.csv", "report.json", "validation_rows.csv", "retrieval.csv")


class BundleInfo(BaseModel):
    """`digest` is `sha256:<hex>` of manifest.json and names the artifact; `bytes` of all files."""

    model_config = ConfigDict(frozen=True)

    digest: str
    files: dict[str, str]
    bytes: int
    adapter_sha256: str
    signer: str
    passport: Passport


def build(
    out_dir: Path,
    *,
    adapter_dir: Path,
    passport: Passport,
    license_terms: dict[str, Any],
    signer: Signer,
    base_dir: Path,
) -> BundleInfo:
    """Write the signed artifact to `out_dir`, which must not exist; it appears whole or not at all.

    The packed adapter is loaded again on the base and compared with what training said when it left
    `adapter_dir`, before anything is signed; the passport records the difference.
    OurFault: `adapter_missing`, `adapter_broken`, `foreign_tensor`, `parity_failed`,
    `artifact_exists`. UserFault: `adapter_unchanged`.
    """
    staging = out_dir.parent / f".{out_dir.name}-{uuid.uuid4().hex}"
    staging.mkdir(parents=True)
    try:
        _copy_adapter(adapter_dir, staging)
        _require_adapter_alone(
            staging / "adapter" / ADAPTER_FILES[0], base_dir, scores=passport.family == "scoring"
        )
        if passport.family == "embedding":
            passport, switch = _add_embedder(base_dir, staging, passport), ""
        elif passport.family == "reranking":
            passport, switch = _add_reranker(base_dir, staging, passport), ""
        else:
            switch = _add_answering(base_dir, staging / TOKENIZER)
        parity = _compare(passport, base_dir, adapter_dir, staging / "adapter")
        passport = passport.model_copy(update={"parity": passport.parity | parity})
        _write_documents(staging, passport, license_terms, signer, switch)
        info = _seal(staging, passport, signer)
        if not publish_folder(staging, out_dir):
            raise OurFault(
                "artifact_exists", "The place of the artifact is taken.", where=str(out_dir)
            )
        return info
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def tar(out_dir: Path, tar_path: Path) -> str:
    """Pack an artifact's folder; the bytes follow from its files alone. Returns their SHA-256."""
    partial = tar_path.with_name(f".{tar_path.name}-{uuid.uuid4().hex}")
    try:
        with partial.open("xb") as out:
            write_tar(out_dir, out)
        partial.replace(tar_path)
    finally:
        partial.unlink(missing_ok=True)
    return sha256_file(tar_path)


def _copy_adapter(adapter_dir: Path, staging: Path) -> None:
    missing = [name for name in ADAPTER_FILES if not (adapter_dir / name).is_file()]
    if missing:
        raise OurFault("adapter_missing", f"Training left no {missing[0]}.", where=str(adapter_dir))
    _require_finite(adapter_dir / ADAPTER_FILES[0])
    for place, names in (("adapter", ADAPTER_FILES), ("training", TRAINING_FILES)):
        (staging / place).mkdir()
        for name in names:
            if (adapter_dir / name).is_file():
                shutil.copyfile(adapter_dir / name, staging / place / name)
    if not any((staging / "training").iterdir()):
        (staging / "training").rmdir()


def _require_finite(path: Path) -> None:
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a mapping
                if not bool(torch.isfinite(tensors.get_tensor(name)).all()):
                    raise OurFault("adapter_broken", f"{name} holds NaN or infinity.")
    except SafetensorError as error:
        raise OurFault("adapter_broken", f"The adapter cannot be read: {error}") from error


def _require_adapter_alone(path: Path, base_dir: Path, *, scores: bool) -> None:
    """The base is licensed, and none of its weights leave with an adapter: an allow-list, not a
    list of what peft is known to add."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as tensors:
        if foreign := foreign_tensors(tensors.keys(), base_dir, scores=scores):
            raise OurFault(
                "foreign_tensor", f"The adapter holds {foreign[0]}, which is no part of one."
            )


def _add_answering(base_dir: Path, folder: Path) -> str:
    from finetune.packaging.answering import write_answering  # transformers

    return write_answering(base_dir, folder)


def _add_embedder(base_dir: Path, staging: Path, passport: Passport) -> Passport:
    """The passport with how a text becomes a vector."""
    from finetune.packaging.embedder import write_embedder  # transformers

    recipe = write_embedder(base_dir, staging)
    told = recipe.model_dump(exclude={"lower_case"})
    return passport.model_copy(update={"recipe": RecipeUsed.model_validate(told)})


def _add_reranker(base_dir: Path, staging: Path, passport: Passport) -> Passport:
    """The passport with how a query and a document become a score."""
    from finetune.packaging.embedder import write_reranker  # transformers

    told = write_reranker(base_dir, staging).model_dump()
    return passport.model_copy(update={"ranking": RankingUsed.model_validate(told)})


def _compare(passport: Passport, base_dir: Path, trained: Path, packed: Path) -> dict[str, Parity]:
    from finetune.packaging.parity import compare_adapters  # torch and peft

    found = compare_adapters(passport.family, base_dir, trained, packed, passport.precision)
    return {"adapter": found}


def _write_documents(
    staging: Path, passport: Passport, license_terms: dict[str, Any], signer: Signer, switch: str
) -> None:
    adapter = staging / "adapter"
    config = json.loads((adapter / "adapter_config.json").read_bytes())
    adapter_sha256 = sha256_file(adapter / "adapter_model.safetensors")
    whole = RERANKER if passport.ranking else EMBEDDER if passport.recipe else TOKENIZER
    handed_on = _hashes(staging / whole)
    licence = str(license_terms.get("licence", passport.base.licence))
    texts = {
        "passport.json": pretty_json(_told(passport)),
        "license.json": pretty_json(license_terms),
        "model-card.md": model_card(passport, licence).encode(),
        "sbom.cdx.json": pretty_json(software_bill(passport, adapter_sha256, handed_on)),
        SIGNER_KEY: signer.public_pem.encode(),
        **{name: text.encode() for name, text in serve_files(passport, config, switch).items()},
    }
    for name, content in texts.items():
        (staging / name).parent.mkdir(exist_ok=True)
        (staging / name).write_bytes(content)


def _told(passport: Passport) -> dict[str, Any]:
    """As the file has it: only of a base that makes vectors is there a recipe, only of one that
    ranks a ranking, only of a reward model are there preferences, and a learning curve only where
    one was asked for."""
    left_out: dict[str, Any] = {
        name: True for name in ("recipe", "ranking") if getattr(passport, name) is None
    }
    found = passport.evaluation
    optional = ("preferences", "learning_curve")
    left_out["evaluation"] = {name for name in optional if getattr(found, name) is None}
    return passport.model_dump(mode="json", exclude=left_out)


def _hashes(folder: Path) -> dict[str, str]:
    return {f"{folder.name}/{name}": sha256_file(path) for name, path in walk(folder)}


def seal(staging: Path, signer: Signer, *, needs: dict[str, str]) -> str:
    """List and sign what is there; nothing may be written afterwards. Returns the digest."""
    listed = Manifest.of(staging, needs=needs).encoded()
    (staging / MANIFEST).write_bytes(listed)
    signer.sign(staging, staging / SIGNATURE)
    return "sha256:" + hashlib.sha256(listed).hexdigest()


def _seal(staging: Path, passport: Passport, signer: Signer) -> BundleInfo:
    config = json.loads((staging / "adapter" / "adapter_config.json").read_bytes())
    digest = seal(staging, signer, needs={"peft": f">={lowest_peft(config)}"})
    manifest = Manifest.model_validate_json((staging / MANIFEST).read_bytes())
    sealed = (staging / MANIFEST, staging / SIGNATURE)
    return BundleInfo(
        digest=digest,
        files={name: file.sha256 for name, file in manifest.files.items()},
        bytes=sum(file.bytes for file in manifest.files.values())
        + sum(path.stat().st_size for path in sealed),
        adapter_sha256=manifest.files["adapter/adapter_model.safetensors"].sha256,
        signer=signer.fingerprint,
        passport=passport,
    )
