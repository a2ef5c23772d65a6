"""Starts the processes that handle a run: executed fresh, sandboxed, each seeing its own folder.

They get a run folder and the base's weights, and nothing else: no database handle, no credentials,
no network, no open file of ours. Only the packaging process is handed the signing key, through a
pipe.
"""

import json
import logging
import os
import subprocess
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import finetune
from faults import OurFault
from finetune.events import PrecisionChosen, read
from finetune.sandbox.levels import Level
from finetune.sandbox.room import Room, machine_memory_mb, tree_memory_mb
from finetune.sandbox.start import Child, start_loaded
from finetune.trainer.cores import SPINS, available_cores, lanes_for

log = logging.getLogger(__name__)

PROBE_SECONDS = 600
REHEARSAL_SECONDS = 3600
PACKAGING_SECONDS = 6 * 3600
PACKAGE_ROOT = Path(finetune.__file__).resolve().parents[1]
# What takes seconds to load: one process does, and the others are forked from it.
LOADED = (
    "finetune.families.placement",
    "finetune.packaging.bundle",
    "finetune.packaging.parity",
    "finetune.trainer.loop",
    "finetune.trainer.rehearsal",
    "peft",
    "transformers.models.llama.modeling_llama",
)
# What the process may inherit: how to find programs and devices. Everything else stays here.
INHERITED = (
    "PATH",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
)


def launch_trainer(run_dir: Path, *, threads: int, level: Level) -> Child:
    """`python -m finetune.trainer run_dir`; what it prints goes to trainer.log in there."""
    room = _room(run_dir, (run_dir / "base").resolve())  # the link lies in the folder itself
    return _execute("finetune.trainer", run_dir, threads, "trainer.log", level, room)


def launch_rehearsal(run_dir: Path, *, threads: int, level: Level) -> Child:
    """As `launch_trainer`, for a few steps that are measured."""
    room = _room(run_dir, (run_dir / "base").resolve(), seconds=REHEARSAL_SECONDS)
    return _execute(
        "finetune.trainer", run_dir, threads, "trainer.log", level, room, more=("--rehearse",)
    )


def launch_packaging(
    folder: Path, *, base_dir: Path, key: bytes, threads: int, level: Level
) -> Child:
    """`python -m finetune.packaging folder`, with the signing key on its standard input."""
    room = _room(folder, base_dir, seconds=PACKAGING_SECONDS)
    reads, writes = os.pipe()
    try:
        with os.fdopen(writes, "wb") as pipe:
            pipe.write(key)  # far less than a pipe holds while nobody reads
        return _execute(
            "finetune.packaging", folder, threads, "packaging.log", level, room, stdin=reads
        )
    finally:
        os.close(reads)


def probe_machine(
    family: str, base_dir: Path, home: Path, *, threads: int | None, rows: int, level: Level
) -> tuple[dict[str, Any], PrecisionChosen, int | None]:
    """What suits this machine and steps of `rows` rows: a RunSpec's precision, device, threads and
    lanes, why that precision, and the free bytes of its GPU if it has one.
    `python -m finetune.families.placement` finds them with one lane's threads. `threads` None: all
    that this process may use.

    Raises OurFault `probe_failed`.
    """
    threads = threads or available_cores()
    lanes = lanes_for(rows, threads)
    with TemporaryFile() as output, TemporaryFile() as errors:
        child = start_loaded(
            level,
            _room(home, base_dir, seconds=PROBE_SECONDS),
            "finetune.families.placement",
            [family, str(base_dir)],
            cwd=home,
            environment=scrubbed_environment(home, threads=threads // lanes),
            stdout=output,
            stderr=errors,
            loaded=LOADED,
        )
        try:
            code = child.process.wait()
        finally:
            child.kill()
        if code != 0:
            last = _said(errors).strip().rpartition("\n")[2]
            raise OurFault("probe_failed", f"The machine could not be probed: {last}")
        told: dict[str, Any] = json.loads(_said(output).splitlines()[-1])
    chosen = read(told["code"], told["data"])
    if not isinstance(chosen, PrecisionChosen):
        raise OurFault("probe_failed", f"The machine could not be probed: {told['code']}")
    on = told["device"]
    machine = {
        "precision": chosen.precision,
        "device": on,
        "threads": threads,
        "lanes": lanes if on == "cpu" else 1,
    }
    return machine, chosen, told["free"]


def _said(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def scrubbed_environment(home: Path, *, threads: int) -> dict[str, str]:
    """The whole environment of a process that handles a customer's data and needs no secrets."""
    temporary = home / "tmp"
    temporary.mkdir(mode=0o700, exist_ok=True)
    return {name: os.environ[name] for name in INHERITED if name in os.environ} | {
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "USER": "privatune",  # there is no passwd file to ask
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(PACKAGE_ROOT),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(threads),
        **SPINS,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS repeats its bits only with a fixed workspace
    }


def _room(folder: Path, base_dir: Path, *, seconds: float = 0) -> Room:
    return Room(
        read=(base_dir.resolve(), base_dir),
        write=(folder,),
        memory_mb=machine_memory_mb(),
        tree_mb=tree_memory_mb(),
        seconds=seconds,
    )


def _execute(
    module: str,
    folder: Path,
    threads: int,
    log_name: str,
    level: Level,
    room: Room,
    *,
    stdin: int = subprocess.DEVNULL,
    more: tuple[str, ...] = (),
) -> Child:
    with (folder / log_name).open("ab") as output:
        return start_loaded(
            level,
            room,
            module,
            [str(folder), *more],
            cwd=folder,
            environment=scrubbed_environment(folder, threads=threads),
            stdin=stdin,
            stdout=output,
            loaded=LOADED,
        )
