"""A run that goes on with less memory: another cut into micro-batches, from a step that is told."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from finetune.states import ExitCode
from finetune.trainer import exhaustion
from finetune.trainer.lifeline import Yielded
from finetune.trainer.loop import train
from finetune.trainer.spec import Relief, RunSpec
from tests.finetune.trainer.runs import StopAfter, finish, make_run, report, result_hash

LESS = Relief(gradient_checkpointing=True, micro_batch_tokens=64)


def stop(run: Path, checks: int) -> None:
    with pytest.raises(Yielded):
        train(run, StopAfter(checks))


def relieve(run: Path) -> None:
    RunSpec.read(run).model_copy(update={"relief": LESS}).write(run)


def test_it_goes_on_from_its_checkpoint_and_ends_in_the_same_bytes_wherever_it_stops(
    tiny_base: Path, tmp_path: Path
) -> None:
    found = set()
    for again in (None, 3, 9):
        run = make_run(tmp_path / str(again), tiny_base)
        stop(run, 5)
        relieve(run)
        if again is not None:
            stop(run, again)
        assert finish(run) == ExitCode.DONE
        told = report(run)["relief"]
        assert told["after_step"] > 0
        found.add((result_hash(run), told["after_step"]))
    assert len(found) == 1


def test_a_relief_is_no_other_spec_and_is_written_only_where_there_is_one() -> None:
    spec = RunSpec()
    relieved = spec.model_copy(update={"relief": LESS})
    assert relieved.sha256 == spec.sha256
    assert spec.sha256 == hashlib.sha256(spec.model_dump_json().encode()).hexdigest()
    assert "relief" not in spec.model_dump_json()
    assert RunSpec.model_validate_json(relieved.model_dump_json()).in_memory == LESS


_ALLOCATORS = """
import resource, sys, threading
import numpy, torch
from finetune.trainer.exhaustion import is_out_of_memory
resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
size = 4 << 30
threading.stack_size(1 << 30)
start = threading.Thread(target=print).start
for ask in (lambda: torch.ones(size), lambda: bytes(size), lambda: numpy.ones(size), start):
    try:
        ask()
    except Exception as error:
        assert is_out_of_memory(error), repr(error)
    else:
        sys.exit("there was enough")
"""


def test_what_allocators_say_under_a_limit_of_the_kernel_is_known() -> None:
    subprocess.run([sys.executable, "-c", _ALLOCATORS], check=True)


def test_what_a_process_printed_last_tells_what_it_could_not_write(tmp_path: Path) -> None:
    log = tmp_path / "trainer.log"
    log.write_text("x" * 40_000 + "\nterminate called after throwing 'std::bad_alloc'\n")
    assert exhaustion.said_so(log)
    log.write_text("memory allocation of 5 bytes failed\n" + "x" * 40_000)
    assert not exhaustion.said_so(log), "long ago"


@pytest.mark.parametrize(
    "said",
    [
        "pyo3_runtime.PanicException: PyObject pointer is null",
        "cannot allocate memory for thread-local data: ABORT",
        "RuntimeError: can't start new thread",
    ],
)
def test_so_do_the_words_of_trainings_that_were_ended_by_small_limits(
    tmp_path: Path, said: str
) -> None:
    log = tmp_path / "trainer.log"
    log.write_text(f"Traceback\n{said}\n")
    assert exhaustion.said_so(log)
