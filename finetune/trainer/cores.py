"""How many processor cores this process may use, and how a training shares them out."""

import os

from finetune.sandbox.groups import cpu_limits

MOST_LANES = 4  # Python's lock goes round among them; further cores help inside the lanes


def available_cores() -> int:
    """Those that it may run on, or fewer where its control groups give less time than they have."""
    affinity = len(os.sched_getaffinity(0))
    return max(1, int(min([affinity, *cpu_limits()])))


def lanes_on(threads: int) -> int:
    """So many lanes make the most of `threads` threads (see finetune.trainer.lanes)."""
    return min(threads, MOST_LANES)
