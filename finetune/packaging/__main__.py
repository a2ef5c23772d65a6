"""`python -m finetune.packaging FOLDER`: builds an artifact in a process of its own.

Asking the packed adapter loads the base: that memory goes back when the process ends, and a worker
that supervises many runs stays small. FOLDER/request.json says what to build; the signing key comes
on standard input, so that it stands in no file and no environment. Leaves FOLDER/bundle,
FOLDER/bundle.tar and FOLDER/info.json, or of a form FOLDER/form.tar and info.json; else error.json
and exit code 70; 74 for a full disk.
"""

import json
import sys
import traceback
from pathlib import Path
from typing import Any

from faults import Fault, OurFault
from faults.disk import is_full
from finetune.families.libraries import importing
from finetune.lifeline import die_with_parent
from finetune.packaging.bundle import build, tar
from finetune.packaging.llama_cpp.build import build_gguf
from finetune.packaging.merged import build_merged
from finetune.packaging.request import REQUESTS, BuildRequest, BuiltBundle, BuiltForm, FormRequest
from finetune.packaging.signing import Signer, load_signer
from finetune.states import ExitCode


def main(folder: Path) -> int:
    die_with_parent()  # it holds the signing key
    try:
        _build(folder)
    except Exception as error:
        if is_full(error):
            return ExitCode.FULL
        fault = _fault(error)
        (folder / "error.json").write_text(json.dumps(fault.as_dict()), encoding="utf-8")
        return ExitCode.OURS
    return ExitCode.DONE


def _build(folder: Path) -> None:
    signer = load_signer(sys.stdin.read())
    request = REQUESTS.validate_json((folder / "request.json").read_bytes())
    built = (
        _bundle(folder, request, signer)
        if isinstance(request, BuildRequest)
        else _form(folder, request, signer)
    )
    (folder / "info.json").write_text(built.model_dump_json(), encoding="utf-8")


def _bundle(folder: Path, request: BuildRequest, signer: Signer) -> BuiltBundle:
    with importing("finetune.packaging.parity"):  # which the built is held to
        import finetune.packaging.parity  # noqa: F401
    info = build(
        folder / "bundle",
        adapter_dir=request.adapter_dir,
        passport=request.passport,
        license_terms=request.license_terms,
        signer=signer,
        base_dir=request.base_dir,
    )
    sha256 = tar(folder / "bundle", folder / "bundle.tar")
    size = (folder / "bundle.tar").stat().st_size
    return BuiltBundle(bundle=info, sha256=sha256, bytes=size)


def _form(folder: Path, request: FormRequest, signer: Signer) -> BuiltForm:
    how: Any = {
        "bundle": request.bundle,
        "artifact": request.artifact,
        "license_terms": request.license_terms,
        "signer": signer,
        "base_dir": request.base_dir,
    }
    info, digest = (
        build_merged(folder / "form", **how)
        if request.form == "merged"
        else build_gguf(folder / "form", form=request.form, **how)
    )
    sha256 = tar(folder / "form", folder / "form.tar")
    size = (folder / "form.tar").stat().st_size
    return BuiltForm(info=info, digest=digest, sha256=sha256, bytes=size)


def _fault(error: Exception) -> Fault:
    if isinstance(error, Fault):
        return error
    traceback.print_exception(error)
    if isinstance(error, OSError) and error.errno is not None:
        return OurFault("packaging_io", f"The artifact could not be written: {error.strerror}.")
    return OurFault("packaging_failed", f"The artifact could not be built: {type(error).__name__}.")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
