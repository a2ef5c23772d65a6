"""The list of an artifact's files (`manifest.json`): the hash of this list names the artifact."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from finetune.packaging.files import pretty_json, sha256_file, walk

MANIFEST = "manifest.json"
SIGNATURE = "model.sig"
SIGNER_KEY = "signer.pem"


class ListedFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Manifest(BaseModel):
    """Every file but the manifest itself and the signature, which covers the manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["privatune-artifact/1"] = "privatune-artifact/1"
    files: dict[str, ListedFile]

    @classmethod
    def of(cls, folder: Path) -> "Manifest":
        """The list of what `folder` holds now."""
        return cls(
            files={
                name: ListedFile(sha256=sha256_file(path), bytes=path.stat().st_size)
                for name, path in walk(folder)
                if name not in (MANIFEST, SIGNATURE)
            }
        )

    def encoded(self) -> bytes:
        return pretty_json(self.model_dump())
