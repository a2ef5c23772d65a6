"""`python -m finetune.trainer RUN_DIR`: one run, from spec.json to result/.

Ends with an ExitCode; 64 and 70 leave RUN_DIR/error.json, which never quotes training data.
`--detached` lets the run outlive the process that started it. `--rehearse` tries a few of its steps
and writes rehearsal.json in the place of a result.
"""

import argparse
import json
import os
import sys
import traceback
from pathlib import Path

from faults import Fault, OurFault, UserFault
from faults.disk import is_full
from finetune.families.allocation import keep_freed_memory
from finetune.families.contract import PROBES
from finetune.families.libraries import importing
from finetune.lifeline import die_with_parent
from finetune.states import ExitCode
from finetune.trainer.exhaustion import is_out_of_memory
from finetune.trainer.lifeline import Stop, Yielded

RESERVE_BYTES = 16 << 10  # given back on a full disk, so that the error can be written


def main(argv: list[str] | None = None) -> int:
    options = _options(argv)
    run_dir: Path = options.run_dir
    stop = Stop()
    stop.listen()
    try:
        return _run(run_dir, stop, detached=options.detached, rehearse=options.rehearse)
    finally:
        stop.leave()


def _run(run_dir: Path, stop: Stop, *, detached: bool, rehearse: bool) -> int:
    """Trains as far as it comes; the exit code."""
    if not detached:
        die_with_parent()
    # Killed between the result and the exit. One without probes is of an older version: it is made
    # again from the last checkpoint, byte for byte, with them.
    if (run_dir / "result" / PROBES).is_file():
        return ExitCode.DONE
    try:
        (run_dir / "error.json").unlink(missing_ok=True)
        (run_dir / ".reserve").write_bytes(b"\0" * RESERVE_BYTES)
        _train(run_dir, stop, rehearse=rehearse)
    except Yielded:
        return ExitCode.YIELDED
    except Exception as error:
        return _fail(run_dir, _fault(error))
    finally:
        (run_dir / ".reserve").unlink(missing_ok=True)
    return ExitCode.DONE


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m finetune.trainer", description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--detached", action="store_true", help="outlive the parent process")
    parser.add_argument("--rehearse", action="store_true", help="measure a few steps, no result")
    return parser.parse_args(argv)


def _train(run_dir: Path, stop: Stop, *, rehearse: bool) -> None:
    keep_freed_memory()
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matmuls on CUDA
    with importing("finetune.trainer.loop"):
        from transformers.utils import logging

        from finetune.trainer.loop import train
        from finetune.trainer.rehearsal import rehearse as tried

    logging.disable_progress_bar()

    (tried if rehearse else train)(run_dir, stop)


def _fault(error: Exception) -> Fault:
    if isinstance(error, Fault):
        return error
    traceback.print_exception(error)
    if is_full(error):
        return OurFault(
            "disk_full",
            "The disk is full; the last complete checkpoint is kept.",
            where=getattr(error, "filename", None),
            fix="Free space on the disk of the run folders; the run goes on from its checkpoint.",
        )
    if is_out_of_memory(error):
        return OurFault(
            "out_of_memory",
            "The memory is not enough for a micro-batch.",
            fix="Turn gradient_checkpointing on, lower micro_batch_tokens or max_length, or choose "
            "a smaller base.",
        )
    # The text of a foreign error may quote data, so only its type is told; the log has the rest
    return OurFault("internal", f"The trainer failed: {type(error).__name__}.")


def _fail(run_dir: Path, fault: Fault) -> int:
    print(f"{fault.code}: {fault}", file=sys.stderr)
    (run_dir / ".reserve").unlink(missing_ok=True)
    body = json.dumps(fault.as_dict(), indent=2, ensure_ascii=False) + "\n"
    (run_dir / "error.json").write_text(body, encoding="utf-8")
    return ExitCode.DATA if isinstance(fault, UserFault) else ExitCode.OURS


if __name__ == "__main__":
    sys.exit(main())
