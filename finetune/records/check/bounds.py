"""What bounds a child process that works on a stranger's rows, and how it says how that ended.

It tells its progress on standard output, one JSON object a line, and leaves what it makes, or
error.json and an exit code of `states.ExitCode`.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from faults import Fault, OurFault, UserFault
from faults.disk import is_full
from finetune.records.check.pool import OUT_OF_MEMORY, place_of
from finetune.states import ExitCode

Tell = Callable[[int, int, int], None]  # bytes read, of how many, rows taken


def bounded(
    out_dir: Path,
    memory_mb: int,
    seconds: int,
    do: Callable[[Path, Tell], None],
    work: str,
) -> int:
    """Does it within bounds; the exit code and error.json say how it ended. `work`: its name in
    faults."""
    do_without_torch()
    _limit(memory_mb, seconds)
    try:
        do(out_dir, _teller())
    except Fault as fault:
        return _fail(out_dir, fault)
    except MemoryError:
        return _fail(out_dir, memory_fault(memory_mb, work))
    except OSError as error:
        if is_full(error):
            return ExitCode.FULL
        return _fail(out_dir, _crashed(work, error))
    except Exception as error:
        if any(words in str(error) for words in OUT_OF_MEMORY):
            return _fail(out_dir, memory_fault(memory_mb, work))
        return _fail(out_dir, _crashed(work, error))
    return ExitCode.DONE


def do_without_torch() -> None:
    """transformers imports torch wherever it finds it. Tokenizers make no use of it, and it takes
    more time and memory than most files do."""
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"  # it would say so
    sys.modules["torch"] = None  # type: ignore[assignment]  # as if it were not installed


def _limit(memory_mb: int, seconds: int) -> None:
    """Not RLIMIT_AS: libraries reserve far more addresses than they ever use."""
    memory = memory_mb * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    # SIGXCPU at the first, which says why; SIGKILL only at the second
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _teller() -> Tell:
    told = 0.0

    def tell(read: int, total: int, rows: int) -> None:
        nonlocal told
        now = time.monotonic()
        if read == total or now - told >= 0.1:
            told = now
            print(json.dumps({"read": read, "total": total, "rows": rows}), flush=True)

    return tell


def _crashed(work: str, error: Exception) -> OurFault:
    return OurFault(f"{work}_crashed", f"The {work} failed: {place_of(error)}.")


def memory_fault(memory_mb: int, work: str) -> UserFault:
    return UserFault(
        "limit_memory",
        f"The {work} needed more than {memory_mb} MB of memory.",
        fix="Split the file into several files, or shorten its longest rows.",
    )


def _fail(out_dir: Path, fault: Fault) -> int:
    (out_dir / "error.json").write_text(json.dumps(fault.as_dict()), encoding="utf-8")
    return ExitCode.DATA if isinstance(fault, UserFault) else ExitCode.OURS
