"""The process that packs and signs, watched until it has ended."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from faults import OurFault, from_dict
from faults.disk import DiskFull
from finetune.packaging.request import BuildRequest, FormRequest
from finetune.sandbox.left import require_plain
from finetune.signing import signing_key
from finetune.states import ENDED_FOR, ExitCode
from finetune.work.isolation import isolation
from finetune.work.launcher import launch_packaging

LOOK_SECONDS = 0.1


def pack(
    folder: Path,
    request: BuildRequest | FormRequest,
    *,
    threads: int,
    look: Callable[[], None],
) -> bytes:
    """Its info.json. `look` is called again and again; what it raises ends the process. Raises what
    the process found, OurFault `packaging_died` or `unclean_folder`, DiskFull."""
    (folder / "request.json").write_text(request.model_dump_json(), encoding="utf-8")
    child = launch_packaging(
        folder,
        base_dir=request.base_dir,
        key=signing_key(),
        threads=threads,
        level=isolation(),
    )
    try:
        while (code := child.poll()) is None:
            look()
            time.sleep(LOOK_SECONDS)
    finally:
        child.kill()
    require_plain(folder)
    if code == ExitCode.DONE:
        return (folder / "info.json").read_bytes()
    if code == ExitCode.FULL:
        raise DiskFull
    try:
        told = json.loads((folder / "error.json").read_bytes())
    except FileNotFoundError:
        how = ENDED_FOR.get(code, f"ended with exit code {code}")
        raise OurFault("packaging_died", f"Packaging {how}.") from None
    raise from_dict(told)
