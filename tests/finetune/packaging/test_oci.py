"""An artifact as an OCI image layout: every blob is what it is called, and all of them together are
the signed folder again."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from faults import UserFault
from finetune.packaging.bundle import BundleInfo, tar
from finetune.packaging.oci import _scaled, write_layout
from finetune.packaging.signing import Signer
from finetune.packaging.verify import verify


def blob(layout: Path, told: dict[str, Any]) -> bytes:
    """Its bytes, as the descriptor says."""
    algorithm, _, sha256 = told["digest"].partition(":")
    content = (layout / "blobs" / algorithm / sha256).read_bytes()
    assert hashlib.sha256(content).hexdigest() == sha256
    assert len(content) == told["size"]
    return content


def read(layout: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Manifest and configuration, as a client finds them."""
    assert json.loads((layout / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    [entry] = json.loads((layout / "index.json").read_text())["manifests"]
    assert entry["annotations"] == {"org.opencontainers.image.ref.name": "latest"}
    manifest = json.loads(blob(layout, entry))
    assert (manifest["schemaVersion"], manifest["mediaType"]) == (2, entry["mediaType"])
    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    return manifest, json.loads(blob(layout, manifest["config"]))


def pulled(layout: Path, folder: Path) -> Path:
    """As a client that follows the annotations writes it."""
    for layer in read(layout)[0]["layers"]:
        path = folder / layer["annotations"]["org.cncf.model.filepath"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(blob(layout, layer))
    return folder


def test_a_layout_is_the_signed_bundle_again(
    built: tuple[Path, BundleInfo], signer: Signer, tmp_path: Path
) -> None:
    bundle, info = built
    tar(bundle, tmp_path / "bundle.tar")
    digest = write_layout(tmp_path / "bundle.tar", tmp_path / "out" / "layout")
    layout = tmp_path / "out" / "layout"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["layout"]
    report = verify(pulled(layout, tmp_path / "pulled"), signer.public_pem)
    assert report.ok, report.problems
    assert report.digest == info.digest
    manifest, config = read(layout)
    assert digest == json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    kinds = {
        layer["annotations"]["org.cncf.model.filepath"]: layer["mediaType"].split(".model.")[1]
        for layer in manifest["layers"]
    }
    assert kinds["adapter/adapter_model.safetensors"] == "weight.v1.raw"
    assert kinds["adapter/adapter_config.json"] == "weight.config.v1.raw"
    assert kinds["tokenizer/tokenizer.json"] == "weight.config.v1.raw"
    assert kinds["manifest.json"] == kinds["serve/README.md"] == "doc.v1.raw"
    assert config["modelfs"] == {
        "type": "layers",
        "diffIds": [layer["digest"] for layer in manifest["layers"]],
    }
    assert config["descriptor"]["createdAt"] == "2026-01-02T03:04:05Z"
    assert config["config"] == {
        "architecture": "transformer",
        "capabilities": {"inputTypes": ["text"], "outputTypes": ["text"], "reward": False},
        "format": "safetensors",
        "paramSize": "28.8K",
        "precision": "fp32",
    }
    assert write_layout(tmp_path / "bundle.tar", tmp_path / "again") == digest
    with pytest.raises(UserFault) as taken:
        write_layout(tmp_path / "bundle.tar", layout)
    assert taken.value.code == "layout_exists"


def test_what_is_no_artifact_leaves_no_layout(tmp_path: Path) -> None:
    (tmp_path / "one.tar").write_bytes(b"nothing of the kind")
    with pytest.raises(UserFault) as caught:
        write_layout(tmp_path / "one.tar", tmp_path / "layout")
    assert caught.value.code == "not_an_artifact"
    assert [path.name for path in tmp_path.iterdir()] == ["one.tar"]


def test_parameters_are_told_with_one_digit_and_a_letter() -> None:
    assert [_scaled(each) for each in (28_832, 134_515_008, 7_000_000_000, 6_738_415_616, 90)] == [
        "28.8K", "134.5M", "7B", "6.7B", "0.1K",
    ]  # fmt: skip
