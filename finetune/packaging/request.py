"""What the packaging process is told (request.json) and what it answers (info.json)."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from finetune.packaging.bundle import BundleInfo
from finetune.packaging.forms import FormName
from finetune.packaging.llama_cpp.build import GgufInfo
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

    form: FormName
    bundle: Path
    artifact: str
    base_dir: Path
    license_terms: dict[str, Any]


class BuiltForm(BaseModel):
    """`sha256` and `bytes` are of form.tar, `digest` of its manifest."""

    model_config = ConfigDict(frozen=True)

    info: Annotated[FormInfo | GgufInfo, Field(discriminator="form")]
    digest: str
    sha256: str
    bytes: int


REQUESTS: TypeAdapter[BuildRequest | FormRequest] = TypeAdapter(BuildRequest | FormRequest)
