"""How many processor cores this process may use."""

import os

from finetune.sandbox.groups import cpu_limits


def available_cores() -> int:
    """Those that it may run on, or fewer where its control groups give less time than they have."""
    affinity = len(os.sched_getaffinity(0))
    return max(1, int(min([affinity, *cpu_limits()])))
