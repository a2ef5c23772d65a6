"""How many processor cores this process may use, and how a training shares them out."""

import os

from finetune.sandbox.groups import cpu_limits

LEAST_ROWS_A_LANE = 8  # measured, see docs/explanation/training.md
MOST_LANES = 4  # Python's lock goes round among them; further cores help inside the lanes
# How often a thread looks whether the others are through with their part of a computation, before
# it sleeps. libgomp's own 300,000 times are milliseconds for each of them, and where the machine
# has other work they are taken from the very thread that is waited for.
SPINS = {"GOMP_SPINCOUNT": "1000"}


def available_cores() -> int:
    """Those that it may run on, or fewer where its control groups give less time than they have."""
    affinity = len(os.sched_getaffinity(0))
    return max(1, int(min([affinity, *cpu_limits()])))


def lanes_for(rows: int, threads: int) -> int:
    """So many lanes make the most of `threads` threads for steps of `rows` rows.

    With fewer rows in each, what they share (a system prompt) and what a call costs by itself, once
    for each lane, outweigh what lanes save: torch's threads are as fast, or faster.
    """
    return max(1, min(threads, MOST_LANES, rows // LEAST_ROWS_A_LANE))
