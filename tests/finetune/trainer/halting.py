"""`python -m tests.finetune.trainer.halting RUN_DIR STEPS`: the trainer, which stands still as soon
as it has told something and so many steps' metrics, and goes on when it is let go.

Not by SIGSTOP: any process may be stopped and let go by others.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

from finetune.trainer.__main__ import main
from finetune.trainer.events import EventLog


def halt_at(steps: int, beside: Path) -> None:
    """`beside` then has the file `halted` with the trainer's process id; it waits for `go`."""
    append, left = EventLog._append, steps

    def halting(log: EventLog, kind: Any, *told: Any) -> None:
        nonlocal left
        append(log, kind, *told)
        left -= kind == "metrics"
        if left == 0:
            left = -1
            (beside / "halting").write_text(str(os.getpid()))
            (beside / "halting").rename(beside / "halted")
            while not (beside / "go").exists():
                time.sleep(0.01)

    EventLog._append = halting  # type: ignore[method-assign]


if __name__ == "__main__":
    run_dir = Path(sys.argv[1])
    halt_at(int(sys.argv[2]), run_dir.parent)
    sys.exit(main([str(run_dir)]))
