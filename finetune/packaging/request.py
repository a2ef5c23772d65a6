"""What the packaging process is told (request.json) and what it answers (info.json)."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from finetune.packaging.bundle import BundleInfo
from finetune.packaging.passport import Passport


class BuildRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    adapter_dir: Path
    base_dir: Path
    passport: Passport
    license_terms: dict[str, Any]


class BuiltBundle(BaseModel):
    """`sha256` and `bytes` are of bundle.tar."""

    model_config = ConfigDict(frozen=True)

    bundle: BundleInfo
    sha256: str
    bytes: int
