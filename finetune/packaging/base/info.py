"""What is known of an imported base (`base.json`), and whether its bytes are still the same."""

from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from faults import OurFault
from finetune.families.contract import FamilyName
from finetune.packaging.files import digest_of, sha256_file, walk

INFO_NAME = "base.json"
TENSORS = ".safetensors"


class StoredFileInfo(BaseModel):
    model_config = ConfigDict(frozen=True)

    sha256: str
    bytes: int


class BaseModelInfo(BaseModel):
    """One base model in the store. `path` is relative to the store; `digest` names the bytes."""

    model_config = ConfigDict(frozen=True)

    name: str
    digest: str = Field(description="sha256:<hex> over the names and SHA-256 of all files")
    architecture: str = Field(description="transformers class, e.g. LlamaForCausalLM")
    family: FamilyName = "causal_lm"  # of a base imported before there was a choice
    model_type: str
    parameters: int
    context_length: int
    vocab_size: int
    tied_head: bool
    dtype: str
    bytes: int
    licence: str
    source: str
    chat_template: bool
    infilling: str | None = Field(
        default=None,
        description="whose control tokens for filling in the middle its tokenizer has; empty: "
        "none; None: imported before they were looked for",
    )
    path: str
    notices: list[str] = []
    files: dict[str, StoredFileInfo] = {}


def read_base(folder: Path) -> BaseModelInfo:
    """The recorded facts of a base in the store."""
    return BaseModelInfo.model_validate_json((folder / INFO_NAME).read_bytes())


def damaged_files(folder: Path, info: BaseModelInfo, *, weights: bool = True) -> list[str]:
    """Names of files that are missing, added or not what `info` says; without `weights` the tensors
    are compared by size alone. Raises OSError."""
    found = {name: path for name, path in walk(folder) if name != INFO_NAME}
    wrong = set(found) ^ set(info.files)
    for name in found.keys() & info.files.keys():
        if not _is(found[name], info.files[name], by_size=not weights and name.endswith(TENSORS)):
            wrong.add(name)
    return sorted(wrong)


def _is(path: Path, file: StoredFileInfo, *, by_size: bool) -> bool:
    now = path.stat()
    if now.st_size != file.bytes or by_size:
        return now.st_size == file.bytes
    return _sha256(path, now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino) == file.sha256


@lru_cache(maxsize=4096)
def _sha256(path: Path, *_changed: int) -> str:
    return sha256_file(path)


def check_base(folder: Path) -> BaseModelInfo:
    """Hash every file of a stored base again; OurFault `base_damaged` names what differs."""
    info = read_base(folder)
    found = {name: sha256_file(path) for name, path in walk(folder) if name != INFO_NAME}
    expected = {name: file.sha256 for name, file in info.files.items()}
    if found == expected and digest_of(found) == info.digest:
        return info
    differing = sorted(
        name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)
    )
    raise OurFault(
        "base_damaged",
        f"The stored base {info.name} differs from what was imported: {', '.join(differing)}",
        where=str(folder),
        fix="Remove the folder and import the model again.",
    )
