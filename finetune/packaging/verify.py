"""Is this artifact, folder or .tar, exactly what was signed, and by whom? Needs no network.

Checked: the exact list of files (nothing added, not even an empty folder), every SHA-256, the
signature over all of it, and for a .tar every byte of the archive itself.
"""

import hashlib
import stat
import tempfile
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from faults import UserFault
from finetune.packaging.archive import BadArchive, safe_name, unpack_tar, write_tar
from finetune.packaging.files import sha256_file, walk
from finetune.packaging.manifest import MANIFEST, SIGNATURE, SIGNER_KEY, Manifest
from finetune.packaging.signing import check_signature, fingerprint


class Problem(BaseModel):
    """`code` is one of: not_an_artifact, archive, not_plain, added, missing, changed, manifest,
    signature, wrong_signer, signer_key."""

    code: str
    path: str | None = None
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class VerifyReport(BaseModel):
    """`trust` says what the signer was compared with: a `key` or `fingerprint` that was given, or
    only the key `embedded` in the artifact, which proves wholeness and not origin."""

    ok: bool
    digest: str | None
    signer: str | None
    trust: Literal["key", "fingerprint", "embedded"]
    files: int
    bytes: int
    problems: list[Problem]


def verify(
    path: Path,
    public_key_pem: str | bytes | None = None,
    *,
    trusted_fingerprint: str | None = None,
) -> VerifyReport:
    """Check the artifact at `path`. Never raises for what is wrong with it; it is in the report.

    `public_key_pem` or `trusted_fingerprint` (`sha256:<hex>`) say whose signature is expected;
    UserFault `public_key` when the given key is none.
    """
    given = public_key_pem.decode() if isinstance(public_key_pem, bytes) else public_key_pem
    if given is not None:
        trusted_fingerprint = fingerprint(given)
    trust: Literal["key", "fingerprint", "embedded"] = (
        "key" if given else "fingerprint" if trusted_fingerprint else "embedded"
    )
    path = path.resolve()
    if path.is_dir():
        return _verify_folder(path, trusted_fingerprint, trust, [])
    if not path.is_file():
        return _nothing(trust, Problem(code="not_an_artifact", message=f"{path} is no artifact"))
    with tempfile.TemporaryDirectory(prefix="privatune-verify-") as place:
        folder = Path(place) / "artifact"
        folder.mkdir()
        try:
            unpack_tar(path, folder)
        except BadArchive as error:
            return _nothing(trust, Problem(code="archive", message=str(error)))
        return _verify_folder(folder, trusted_fingerprint, trust, check_archive(path, folder))


def _nothing(trust: Literal["key", "fingerprint", "embedded"], problem: Problem) -> VerifyReport:
    return VerifyReport(
        ok=False, digest=None, signer=None, trust=trust, files=0, bytes=0, problems=[problem]
    )


class _HashingSink:
    """A file object that keeps only the SHA-256 of what is written."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return len(data)


def check_archive(path: Path, folder: Path) -> list[Problem]:
    """What is wrong with the .tar itself, whose files are in `folder`: none of what is signed.

    Packing the files again must give the same bytes: no padding, header or order is free."""
    again = _HashingSink()
    write_tar(folder, again)  # type: ignore[arg-type]
    if again.sha256.hexdigest() == sha256_file(path):
        return []
    return [Problem(code="archive", message="the .tar is not packed as `privatune` packs it")]


def _verify_folder(
    folder: Path,
    trusted: str | None,
    trust: Literal["key", "fingerprint", "embedded"],
    problems: list[Problem],
) -> VerifyReport:
    problems = [*problems, *_odd_entries(folder)]
    manifest, digest = _read_manifest(folder, problems)
    if not problems and manifest is not None:
        problems += _compare(folder, manifest)
    signer = _check_signer(folder, trusted, problems)
    return VerifyReport(
        ok=not problems,
        digest=digest,
        signer=signer,
        trust=trust,
        files=len(manifest.files) if manifest else 0,
        bytes=sum(file.bytes for file in manifest.files.values()) if manifest else 0,
        problems=problems,
    )


def _odd_entries(folder: Path) -> list[Problem]:
    """Links, devices and other things that are not plain files: they are not even opened."""
    return [
        Problem(code="not_plain", path=name, message="is not a plain file")
        for name, path in walk(folder)
        if not stat.S_ISREG(path.lstat().st_mode)
    ]


def _read_manifest(folder: Path, problems: list[Problem]) -> tuple[Manifest | None, str | None]:
    path = folder / MANIFEST
    if path.is_symlink() or not path.is_file():
        problems.append(Problem(code="manifest", path=MANIFEST, message="is missing"))
        return None, None
    content = path.read_bytes()
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        message = f"cannot be read: {error.errors()[0]['msg']}"
        problems.append(Problem(code="manifest", path=MANIFEST, message=message))
        return None, digest
    odd = [name for name in manifest.files if not safe_name(name)]
    if odd or manifest.encoded() != content:
        message = "is not spelled as `privatune` writes it"
        problems.append(Problem(code="manifest", path=MANIFEST, message=message))
        return None, digest
    return manifest, digest


def _compare(folder: Path, manifest: Manifest) -> list[Problem]:
    """The folder against the list: added, missing and changed files, and folders of their own."""
    found = dict(walk(folder))
    expected = {*manifest.files, MANIFEST, SIGNATURE}
    problems = [
        Problem(code="added", path=name, message="is not in the manifest")
        for name in sorted((found.keys() | _empty_folders(folder)) - expected)
    ]
    for name in sorted(expected):
        if name not in found:
            problems.append(Problem(code="missing", path=name, message="is missing"))
        elif name in manifest.files and sha256_file(found[name]) != manifest.files[name].sha256:
            problems.append(Problem(code="changed", path=name, message="was changed"))
    return problems


def _empty_folders(folder: Path) -> set[str]:
    """Folders without files: no manifest can list them, so none may be there."""
    holding = {parent for _, path in walk(folder) for parent in path.parents}
    return {
        path.relative_to(folder).as_posix() + "/"
        for path in folder.rglob("*")
        if path.is_dir() and not path.is_symlink() and path not in holding
    }


def _check_signer(folder: Path, trusted: str | None, problems: list[Problem]) -> str | None:
    """Compare signer and signature; returns the fingerprint of the key in the artifact."""
    path, signature = folder / SIGNER_KEY, folder / SIGNATURE
    if any(entry.is_symlink() or not entry.is_file() for entry in (path, signature)):
        message = f"{SIGNER_KEY} and {SIGNATURE} are needed to check the signature"
        problems.append(Problem(code="signature", message=message))
        return None
    try:
        pem = path.read_text(encoding="utf-8")
        signer = fingerprint(pem)
    except (UserFault, UnicodeDecodeError) as error:
        problems.append(Problem(code="signer_key", path=SIGNER_KEY, message=str(error)))
        return None
    if trusted is not None and trusted != signer:
        message = f"signed by {signer}, not by the expected {trusted}"
        problems.append(Problem(code="wrong_signer", path=SIGNER_KEY, message=message))
    if any(problem.code == "not_plain" for problem in problems):
        return signer  # the signature covers plain files only; opening others could hang
    wrong = check_signature(folder, signature, pem)
    if wrong is not None:
        problems.append(Problem(code="signature", path=SIGNATURE, message=wrong))
    return signer
