"""What a run goes on from in the place of a fresh adapter: another run's weights, to the byte, and
the state of its optimizer where that was asked for."""

import hashlib
from pathlib import Path

from safetensors.torch import load
from torch import Tensor

from faults import OurFault
from finetune.trainer import optim
from finetune.trainer.run import Run
from finetune.trainer.spec import ADAPTER, OPTIMIZER, START


def begin(run: Run, run_dir: Path) -> None:
    """Before anything of the run's own is read back. Raises OurFault `start_changed` where a file
    is not what the spec names, `other_adapter` where it does not fit the spec's adapter."""
    start = run.spec.start
    if start is None:
        return
    folder = run_dir / START
    run.model.begin_from(_read(folder / ADAPTER, start.adapter_sha256))
    if start.optimizer_sha256 is not None:
        _go_on_with(run, _read(folder / OPTIMIZER, start.optimizer_sha256))


def _read(path: Path, sha256: str) -> dict[str, Tensor]:
    body = path.read_bytes()
    if hashlib.sha256(body).hexdigest() != sha256:
        raise OurFault("start_changed", "What training goes on from is not what was named.")
    return load(body)


def _go_on_with(run: Run, state: dict[str, Tensor]) -> None:
    named = {name.rpartition(".")[0] for name in state}
    if not named <= set(run.model.parameter_names):
        raise OurFault("other_adapter", "The optimizer's state is of another adapter.")
    optim.load_state_tensors(run.optimizer, state)
