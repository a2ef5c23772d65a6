"""What the packaging process is told (request.json) and what it answers (info.json)."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from finetune.packaging.bundle import BundleInfo
from finetune.packaging.merged import FormInfo
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


class FormRequest(BaseModel):
    """`bundle`: unpacked; `artifact`: its digest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    form: Literal["merged"]
    bundle: Path
    artifact: str
    base_dir: Path
    license_terms: dict[str, Any]


class BuiltForm(BaseModel):
    """`sha256` and `bytes` are of form.tar, `digest` of its manifest."""

    model_config = ConfigDict(frozen=True)

    info: FormInfo
    digest: str
    sha256: str
    bytes: int


REQUESTS: TypeAdapter[BuildRequest | FormRequest] = TypeAdapter(BuildRequest | FormRequest)
