"""The list of an artifact's files (`manifest.json`): the hash of this list names the artifact."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from finetune.packaging.files import pretty_json, sha256_file, walk

MANIFEST = "manifest.json"
SIGNATURE = "model.sig"
SIGNER_KEY = "signer.pem"


class ListedFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Manifest(BaseModel):
    """Every file but the manifest itself and the signature, which covers the manifest.

    Format 1 did not say what the artifact `needs`: the lowest versions of stock tools that load it,
    {"peft": ">=0.9.0"}.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["privatune-artifact/1", "privatune-artifact/2"] = "privatune-artifact/2"
    files: dict[str, ListedFile]
    needs: dict[str, str] | None = Field(default=None, exclude_if=lambda needs: needs is None)

    @model_validator(mode="after")
    def _as_its_format_says(self) -> "Manifest":
        if (self.needs is None) != (self.format == "privatune-artifact/1"):
            raise ValueError(f"{self.format} and `needs` do not go together")
        return self

    @classmethod
    def of(cls, folder: Path, needs: dict[str, str]) -> "Manifest":
        """The list of what `folder` holds now."""
        return cls(
            files={
                name: ListedFile(sha256=sha256_file(path), bytes=path.stat().st_size)
                for name, path in walk(folder)
                if name not in (MANIFEST, SIGNATURE)
            },
            needs=needs,
        )

    def encoded(self) -> bytes:
        return pretty_json(self.model_dump())
