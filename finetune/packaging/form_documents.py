"""What every form has beside its weights, and how it is sealed and put in its place."""

import json
import shutil
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from faults import OurFault
from finetune.packaging.bundle import seal
from finetune.packaging.files import pretty_json, publish_folder
from finetune.packaging.manifest import SIGNER_KEY
from finetune.packaging.signing import Signer


def publish_form(
    staging: Path,
    out_dir: Path,
    *,
    bundle: Path,
    info: BaseModel,
    readme: str,
    license_terms: dict[str, Any],
    signer: Signer,
    needs: dict[str, str],
) -> str:
    """Its digest. OurFault `artifact_exists`."""
    shutil.copyfile(bundle / "passport.json", staging / "passport.json")
    (staging / "README.md").write_text(readme, encoding="utf-8")
    (staging / "form.json").write_bytes(pretty_json(json.loads(info.model_dump_json())))
    (staging / "license.json").write_bytes(pretty_json(license_terms))
    (staging / SIGNER_KEY).write_text(signer.public_pem, encoding="utf-8")
    digest = seal(staging, signer, needs=needs)
    if not publish_folder(staging, out_dir):
        raise OurFault("artifact_exists", "The form's place is taken.", where=str(out_dir))
    return digest
