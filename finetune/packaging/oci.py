"""A verified artifact or form as an OCI image layout, after the CNCF ModelPack specification: what
registries, `oras` and container runtimes take.

Each file is a layer of its own, uncompressed, under its path in the artifact: whoever pulls all of
them has the signed folder again, byte for byte.
"""

import hashlib
import json
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults import UserFault
from finetune.packaging.archive import BadArchive, unpack_tar
from finetune.packaging.files import sha256_file, walk
from finetune.packaging.passport import Passport

TAG = "latest"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
_LAYER = "application/vnd.cncf.model.{}.v1.raw"
_PATH = "org.cncf.model.filepath"
_TITLE = "org.opencontainers.image.title"  # by which oras names the file
_WEIGHTS = (".safetensors", ".gguf")
_BESIDE_WEIGHTS = ("adapter", "model", "tokenizer", "embedder", "reranker")
_GIVES = {"embedding": "embedding", "reranking": "other"}
_PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64"}
_SCALES = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))


@dataclass(frozen=True)
class Blob:
    digest: str
    size: int

    def told(self, media_type: str, **more: Any) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": self.digest, "size": self.size} | more


def write_layout(tar: Path, out_dir: Path) -> str:
    """Of a .tar that was verified into the new folder `out_dir`, whole or not at all; the digest of
    its manifest. Raises UserFault `layout_exists`, `not_an_artifact`."""
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise UserFault(
            "layout_exists",
            f"{out_dir} is there already.",
            fix="Name a folder that does not exist.",
            param="oci",
        )
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    staging = out_dir.parent / f".{out_dir.name}-{uuid.uuid4().hex}"
    blobs = staging / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    try:
        digest = _fill(tar, staging, blobs)
        if out_dir.exists():
            out_dir.rmdir()
        os.rename(staging, out_dir)
        return digest
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _fill(tar: Path, staging: Path, blobs: Path) -> str:
    folder = staging / "unpacked"
    folder.mkdir()
    try:
        unpack_tar(tar, folder)
        passport = Passport.model_validate_json((folder / "passport.json").read_bytes())
    except (BadArchive, FileNotFoundError, ValueError) as error:
        raise UserFault("not_an_artifact", f"{tar} is no artifact: {error}") from error
    form = folder / "form.json"
    info = json.loads(form.read_bytes()) if form.is_file() else {}
    layers = [_layer(name, path, blobs) for name, path in list(walk(folder))]
    shutil.rmtree(folder)
    config = _put(_config(passport, info, [each["digest"] for each in layers]), blobs)
    manifest = _put(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": ARTIFACT_TYPE,
            "config": config.told(CONFIG_TYPE),
            "layers": layers,
            "annotations": {
                "org.opencontainers.image.created": _moment(passport),
                "org.opencontainers.image.title": passport.name,
                "org.opencontainers.image.licenses": passport.base.licence,
            },
        },
        blobs,
    )
    named = {"org.opencontainers.image.ref.name": TAG}
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": [manifest.told(MANIFEST_TYPE, artifactType=ARTIFACT_TYPE, annotations=named)],
    }
    (staging / "index.json").write_bytes(_encoded(index))
    (staging / "oci-layout").write_bytes(_encoded({"imageLayoutVersion": "1.0.0"}))
    return manifest.digest


def _layer(name: str, path: Path, blobs: Path) -> dict[str, Any]:
    """The file, moved to where blobs lie."""
    sha256, size = sha256_file(path), path.stat().st_size
    os.replace(path, blobs / sha256)
    return Blob(f"sha256:{sha256}", size).told(
        _LAYER.format(_kind(name)), annotations={_PATH: name, _TITLE: name}
    )


def _kind(name: str) -> str:
    if name.endswith(_WEIGHTS):
        return "weight"
    beside = name.split("/", maxsplit=1)[0] in _BESIDE_WEIGHTS and "/" in name
    return "weight.config" if beside or name == "Modelfile" else "doc"


def _put(content: dict[str, Any], blobs: Path) -> Blob:
    encoded = _encoded(content)
    sha256 = hashlib.sha256(encoded).hexdigest()
    (blobs / sha256).write_bytes(encoded)
    return Blob(f"sha256:{sha256}", len(encoded))


def _encoded(content: dict[str, Any]) -> bytes:
    """One spelling: the digest follows from what it says."""
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _moment(passport: Passport) -> str:
    return passport.created.isoformat().replace("+00:00", "Z")


def _config(passport: Passport, info: dict[str, Any], layers: list[str]) -> dict[str, Any]:
    """Of raw layers the hash of what is in them is their own digest."""
    return {
        "descriptor": {
            "createdAt": _moment(passport),
            "vendor": passport.tenant,
            "family": passport.base.name,
            "name": passport.name,
            "licenses": [passport.base.licence],
        },
        "config": {
            "architecture": "transformer",
            "paramSize": _scaled(passport.base.parameters),
            **_numbers(info),
            "capabilities": {
                "inputTypes": ["text"],
                "outputTypes": [_GIVES.get(passport.family, "text")],
                "reward": passport.family == "scoring",
            },
        },
        "modelfs": {"type": "layers", "diffIds": layers},
    }


def _numbers(info: dict[str, Any]) -> dict[str, str]:
    """An adapter's tensors are in float32, a merged form's as it says."""
    form = info.get("form", "")
    if not form:
        return {"format": "safetensors", "precision": "fp32"}
    if form == "merged":
        types = info["types"]
        precision = _PRECISIONS.get(types[0], types[0]) if len(types) == 1 else "mixed"
        return {"format": "safetensors", "precision": precision}
    kind = form.removeprefix("gguf-")
    if kind == "f16":
        return {"format": "gguf", "precision": "fp16"}
    return {"format": "gguf", "quantization": kind}


def _scaled(parameters: int) -> str:
    """With one digit behind the point, and a letter for the order of magnitude."""
    for scale, letter in _SCALES:
        if parameters >= scale:
            return f"{parameters / scale:.1f}".removesuffix(".0") + letter
    return f"{parameters / 1000:.1f}K"
