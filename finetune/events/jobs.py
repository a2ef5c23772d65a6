"""What becomes of a job: the steps of its state, and what was asked of it."""

from typing import Any, Literal

from finetune.events.message import Message
from finetune.events.waits import Wait


class JobCreated(Message):
    code = "job_created"
    words = "Created fine-tuning job: {job}"
    job: str


class JobGoesOnFrom(Message):
    code = "job_goes_on_from"
    words = "Training goes on from {model}."
    model: str


class StageOfPipeline(Message):
    code = "stage_of_pipeline"
    words = "Stage {number} of {of} of {pipeline}."
    number: int
    of: int
    pipeline: str


class FileChecked(Message):
    code = "file_checked"
    words = "Validating {role} file: {file}"
    role: Literal["training", "validation"]
    file: str


class FileAwaited(Message):
    code = "file_awaited"
    words = "The {role} file {file} is still being checked; the job goes on when that has ended."
    role: Literal["training", "validation"]
    file: str


class FileBeing(Message):
    """How far one pass over a file is, while a job waits for it."""

    file: str
    rows: int  # so far
    percent: int  # of the file's bytes


class FileBeingChecked(FileBeing):
    code = "file_being_checked"
    words = "Checking the file {file}: {percent}% so far, {rows:row|rows}."


class FileBeingRead(FileBeing):
    code = "file_being_read"
    words = "Reading the file {file} for the model: {percent}% so far, {rows:row|rows}."


class OverlapFound(Message):
    code = "overlap_found"
    level = "warn"
    words = (
        "{overlap:row of the validation file also stands|rows of the validation file also stand} "
        "in the training file."
    )
    overlap: int


class ValidationSplit(Message):
    """`clusters`: sets of rows, of more than one each, that are of one group or say nearly the
    same."""

    code = "validation_split"
    words = (
        "{rows} of {of:row|rows} are kept apart for validation, drawn by the job's seed. "
        "{clusters:set of rows that belong together stays|sets of rows that belong together stay} "
        "on one side each."
    )
    rows: int
    of: int
    clusters: int


class JobQueued(Message):
    code = "job_queued"
    words = "Files validated, moving job to queued state."


class JobHeld(Message):
    code = "job_held"
    words = "Files validated; the job is held until it is resumed."


class JobReleased(Message):
    code = "job_released"
    words = "The held job was started, moving it to queued state."


class JobStarted(Message):
    code = "job_started"
    words = "Fine-tuning job started."
    run: str
    epoch: int  # of the run's lease
    isolation: str


class JobContinued(Message):
    code = "job_continued"
    words = "Fine-tuning job continues."
    run: str
    epoch: int
    isolation: str


class NotIsolated(Message):
    code = "not_isolated"
    level = "warn"
    words = (
        "The worker's machine gives no sandbox, and the operator allows to train without one: the "
        "training process could read what its user can read, and reach the network."
    )
    isolation: str


class CancelRequested(Message):
    code = "cancel_requested"
    words = "Cancellation requested; the training is being stopped."


class JobCancelled(Message):
    code = "job_cancelled"
    words = "The fine-tuning job was cancelled."


class PauseRequested(Message):
    code = "pause_requested"
    words = "Pause requested; the training stops after a checkpoint."


class PauseWithdrawn(Message):
    code = "pause_withdrawn"
    words = "The pause request was taken back."


class JobPaused(Message):
    code = "job_paused"
    words = "The fine-tuning job is paused."


class JobResumed(Message):
    code = "job_resumed"
    words = "Resumed; the job continues from its last checkpoint."


class JobGivenBack(Message):
    code = "job_given_back"
    words = "The worker is shutting down; the job is queued again."


class JobWaits(Message):
    code = "job_waits"
    level = "warn"
    words = "Waiting: {reason}"
    reason: str
    waits_for: str = ""  # the reason's code (finetune/events/waits.py); older events have none
    about: dict[str, Any] = {}  # the reason's parameters

    @classmethod
    def of(cls, wait: Wait) -> "JobWaits":
        return cls(reason=wait.text, waits_for=wait.code, about=wait.params)


class JobRetried(Message):
    code = "job_retried"
    level = "warn"
    words = (
        "{reason} The job will be tried again ({attempts} of {most:attempt|attempts} without "
        "progress)."
    )
    error: str  # the fault's code
    reason: str
    attempts: int
    most: int


class JobFailed(Message):
    code = "job_failed"
    level = "error"
    words = "The job failed: {reason}"
    error: str
    reason: str
    attempts: int = 0  # without progress, after which it was given up; 0: none could have helped


class JobSucceeded(Message):
    code = "job_succeeded"
    words = "The job has successfully completed. New fine-tuned model created: {model}"
    model: str
    artifact: str
    digest: str
