"""Every state of a job, a run, a dataset and a file's check, and every allowed step between them.

A step and its event are written together by the services; nothing else may move a state.
"""

from enum import StrEnum


class JobState(StrEnum):
    """Values are OpenAI's `fine_tuning.job.status`, so the wire shows them unchanged."""

    VALIDATING_FILES = "validating_files"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


JOB_STEPS: dict[JobState, frozenset[JobState]] = {
    JobState.VALIDATING_FILES: frozenset(
        {
            JobState.QUEUED,
            JobState.PAUSED,  # asked for with `auto_start: false`
            JobState.FAILED,
            JobState.CANCELLED,
        }
    ),
    JobState.QUEUED: frozenset(
        {JobState.RUNNING, JobState.PAUSED, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.RUNNING: frozenset(
        {
            JobState.QUEUED,  # the reaper took the run back and will try again
            JobState.PAUSED,
            JobState.SUCCEEDED,
            JobState.FAILED,
            JobState.CANCELLED,
        }
    ),
    JobState.PAUSED: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}

LIVE_JOB_STATES = frozenset(state for state, steps in JOB_STEPS.items() if steps)
FINAL_JOB_STATES = frozenset(state for state, steps in JOB_STEPS.items() if not steps)


class LeaseState(StrEnum):
    """Of anything that workers do. `waiting` has no worker; `leased` has one whose lease is on the
    row."""

    WAITING = "waiting"
    LEASED = "leased"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


LIVE_LEASES = frozenset({LeaseState.WAITING, LeaseState.LEASED})

RunState = LeaseState  # one attempt at a job


class DatasetState(StrEnum):
    """A lease's states, each with its second name, under the words that the API shows. What is not
    wanted any more is refused, with the reason."""

    PENDING = WAITING = "pending"
    CHECKING = LEASED = "checking"
    READY = SUCCEEDED = "ready"
    REFUSED = FAILED = "refused"


LIVE_DATASET_STATES = frozenset({DatasetState.PENDING, DatasetState.CHECKING})


class ExitCode:
    """What the training process says when it ends (sysexits.h where one fits)."""

    DONE = 0
    DATA = 64  # EX_USAGE: the data or the request is at fault, error.json says how
    OURS = 70  # EX_SOFTWARE
    FULL = 74  # EX_IOERR: no room on the disk, not even for a file that says so
    YIELDED = 75  # EX_TEMPFAIL: checkpointed on SIGTERM, resume later
    TASKS = 79  # ended by its keeper: too many processes and threads (sandbox/keeper.py)
    MEMORY = 80  # ended by its keeper: too much memory, all its processes together


# What a process's keeper ended it for, in words
ENDED_FOR = {
    ExitCode.TASKS: "started too many processes and was ended",
    ExitCode.MEMORY: "needed more memory than the worker has and was ended",
}
