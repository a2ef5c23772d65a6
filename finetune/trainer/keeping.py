"""A run's checkpoints: written as it goes, and gone on from."""

import platform
from typing import Any

import torch
from torch import Tensor

from faults import OurFault
from finetune import events as said
from finetune.trainer import optim
from finetune.trainer.events import events_changed
from finetune.trainer.good import go_back, read, taken, written
from finetune.trainer.history import History
from finetune.trainer.run import Run


def save(run: Run, *, yielded: bool = False) -> None:
    """Checkpoint, unless nothing happened since the last one (or, yielding, at all)."""
    state, model = run.state, run.model
    now = (state.step, state.pending is not None)
    if run.saved == now or (yielded and state.step == 0):
        return
    if run.whole is not None:
        ended = state.stopped_early or state.step == run.plan.total_steps
        if ended and not yielded:
            return  # its loss is kept at once, and its weights are thrown away
        save_part(run.whole, run)
        run.saved = now
        return
    run.events.sync()  # what the checkpoint counts of it is there before the checkpoint is
    state.events_seq = run.events.seq
    state.told = run.history.told
    note_nondeterministic(run)
    tensors = optim.state_tensors(run.optimizer)
    drawn = run.rollouts.kept(state.step) if run.rollouts is not None else {}
    digests = run.checkpoints.save(state, model.adapter_state(), tensors, written(run.good), drawn)
    run.saved = now
    run.events.checkpoint(_told(run, digests))
    run.checkpoints.prune(state.best_step)


def save_part(run: Run, part: Run | None) -> None:
    """How far the learning curve of a run that has ended is, into its last checkpoint. None: the
    training on a part has ended, and its weights are thrown away."""
    assert run.state.curve is not None
    run.events.sync()
    run.state.events_seq = run.events.seq
    run.state.curve.part = None if part is None else part.state
    tensors, good = dict[str, Tensor](), dict[str, Tensor]()
    if part is not None:
        tensors = written(taken(part.model, part.optimizer, part.state.step))
        good = written(part.good)
    digests = run.checkpoints.add(run.state, tensors, good)
    learnt = len(run.state.curve.learnt)
    run.events.checkpoint(_told(run, digests), said.CurveSaved(parts=learnt))


def restore_part(run: Run, part: Run) -> None:
    """The training on a part that the run's last checkpoint was made in the middle of, if any."""
    curve = run.state.curve
    if curve is None or curve.part is None:
        return
    found = run.checkpoints.read(run.state.step)
    part.state = curve.part
    part.saved = (part.state.step, part.state.pending is not None)
    now = read(found.part, part.state.step)
    assert now is not None
    go_back(now, part.model, part.optimizer)
    part.good = read(found.part_good, part.state.steadied.good_step)


def _told(run: Run, digests: dict[str, str]) -> dict[str, Any]:
    last = run.state.pending or run.history.last
    return {
        "step": run.state.step,
        "path": f"checkpoints/{run.state.step}",
        "metrics": last.shown() if last else {},
        "sha256": digests,
    }


def restore(run: Run) -> None:
    found, problems = run.checkpoints.latest()
    for problem in problems:
        run.events.say(problem)
    run.state.machine = machine()
    if found is None:
        run.history = History(run.events.told)
        _note_relief(run)
        return
    if found.state.spec_sha256 != run.state.spec_sha256:
        raise OurFault("spec_changed", "The checkpoint is of another spec.", where=str(found.path))
    run.history = History(run.events.told, found.state.history)
    if not run.history.goes_on_from(found.state.told, found.state.step):
        raise events_changed(str(run.events.path))
    if found.state.machine != machine():
        run.events.say(said.OtherMachine(was=found.state.machine, now=machine()))
    run.state = found.state.model_copy(update={"machine": machine()})
    run.saved = (run.state.step, run.state.pending is not None)
    run.events.seq = max(run.events.seq, found.state.events_seq)
    run.model.load_adapter_state(found.adapter)
    optim.load_state_tensors(run.optimizer, found.optimizer)
    run.good = read(found.good, found.state.steadied.good_step)
    if run.rollouts is not None:
        run.rollouts.restore(run, found.drawn)
    _note_relief(run)
    run.events.say(said.StepResumed(step=run.state.step))


def note_nondeterministic(run: Run) -> None:
    """Attempts before this one may have run on other devices: what they met stays."""
    state = run.state
    state.nondeterministic = sorted({*state.nondeterministic, *run.nondeterministic})


def _note_relief(run: Run) -> None:
    """From here on the last bits are those of another cut into micro-batches."""
    if run.spec.relief is not None and run.state.relieved_at is None:
        run.state.relieved_at = run.state.step


def machine() -> dict[str, str]:
    """What else decides the last bits of a result, besides the spec."""
    return {
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "arch": platform.machine(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    }
