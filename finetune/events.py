"""All that a job's history can say: a class for each code, with its English words and what they are
filled with.

Codes and the names of parameters are part of the public interface (the API shows them, and
translations follow them), so neither is ever renamed or changes its meaning.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

Level = Literal["info", "warn", "error"]


class Message(BaseModel):
    """One thing said. Its fields are its parameters, of which `words` (a template of str.format)
    shows what a sentence needs."""

    model_config = ConfigDict(frozen=True)

    code: ClassVar[str]
    level: ClassVar[Level] = "info"
    words: ClassVar[str]

    @property
    def params(self) -> dict[str, Any]:
        return self.model_dump()

    @classmethod
    def form(cls) -> str:
        """The English template of the event's message."""
        return cls.words

    @property
    def text(self) -> str:
        """In English, as the API gives it."""
        return self.told(self.form())

    def told(self, words: str) -> str:
        """In `words`, a translation of its own."""
        return words.format(**self.params)

    def entry(self, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """As an event has it, with `more` beside the parameters."""
        return {
            "level": self.level,
            "code": self.code,
            "message": self.text,
            "data": self.params | dict(more or {}),
        }


class Choice(Message):
    """What a setting that was left to us became, and why: `words` are the reason alone, before
    which the event names the setting."""

    setting: ClassVar[str]

    @classmethod
    def form(cls) -> str:
        return f"{cls.setting}: {cls.words}"

    @property
    def reason(self) -> str:
        return self.told(self.words)


# --- the job -----------------------------------------------------------------------------------


class JobCreated(Message):
    code = "job_created"
    words = "Created fine-tuning job: {job}"
    job: str


class FileChecked(Message):
    code = "file_checked"
    words = "Validating {role} file: {file}"
    role: Literal["training", "validation"]
    file: str


class OverlapFound(Message):
    code = "overlap_found"
    level = "warn"
    words = "{overlap} rows of the validation file also stand in the training file."
    overlap: int


class JobQueued(Message):
    code = "job_queued"
    words = "Files validated, moving job to queued state."


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


class JobRetried(Message):
    code = "job_retried"
    level = "warn"
    words = "{reason} The job will be tried again ({attempts} of {most} attempts without progress)."
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


class JobSucceeded(Message):
    code = "job_succeeded"
    words = "The job has successfully completed. New fine-tuned model created: {model}"
    model: str
    artifact: str
    digest: str


# --- what was left to us -----------------------------------------------------------------------


class BatchSizeChosen(Choice):
    """Where rows are packed of which nobody counted the packs: they were read by a version that did
    not, or it told the choice."""

    code = "batch_size_chosen"
    setting = "batch_size"
    words = "{batch_size}: about {steps} steps an epoch from {rows} rows."
    batch_size: int
    rows: int
    steps: int


class BatchSizeOfRows(Choice):
    code = "batch_size_of_rows"
    setting = "batch_size"
    words = "{batch_size}: {steps} steps an epoch from {rows} rows."
    batch_size: int
    rows: int
    steps: int


class BatchSizeOfPacks(Choice):
    """`tokens_per_step` is the mean of an epoch's steps, all their tokens counted."""

    code = "batch_size_of_packs"
    setting = "batch_size"
    words = (
        "{batch_size}: {steps} steps an epoch from {packs} packs of {rows} rows, with "
        "{tokens_per_step} tokens a step on average."
    )
    batch_size: int
    rows: int
    packs: int
    steps: int
    tokens_per_step: int


class EpochsChosen(Choice):
    code = "n_epochs_chosen"
    setting = "n_epochs"
    words = (
        "{n_epochs}: {rows} rows ({trained_tokens} trained tokens) are seen {n_epochs} times; "
        "fewer rows are seen more often."
    )
    n_epochs: int
    rows: int
    trained_tokens: int


class OneEpochChosen(Choice):
    code = "one_epoch_chosen"
    setting = "n_epochs"
    words = (
        "{n_epochs}: {rows} rows ({trained_tokens} trained tokens) are seen once; fewer rows are "
        "seen more often."
    )
    n_epochs: Literal[1] = 1
    rows: int
    trained_tokens: int


class LearningRateChosen(Choice):
    code = "learning_rate_chosen"
    setting = "learning_rate_multiplier"
    words = (
        "1: the rate for {million_parameters} million parameters, {learning_rate:.1e}, as it is."
    )
    million_parameters: int
    learning_rate: float


class ThinkingChosen(Choice):
    """The model is asked to think before it answers, as some of its trained answers were."""

    code = "thinking_chosen"
    setting = "thinking"
    words = "on: {thought} of {answers} trained answers stand behind a prompt that asks for it."
    thought: int
    answers: int


class NoThinkingChosen(Choice):
    code = "no_thinking_chosen"
    setting = "thinking"
    words = "off: none of {answers} trained answers stands behind a prompt that asks for it."
    answers: int


class PrecisionChosen(Choice):
    setting = "precision"
    precision: Literal["fp32", "bf16"]

    @classmethod
    def form(cls) -> str:
        return f"Precision: {{precision}}. {cls.words}"


class PrecisionOfGpu(PrecisionChosen):
    code = "precision_of_gpu"
    words = "The GPU computes in bf16; the adapter and its optimizer stay in fp32."


class PrecisionWithoutBf16(PrecisionChosen):
    code = "precision_without_bf16"
    words = "This processor has no bf16 arithmetic."


class PrecisionBf16Slow(PrecisionChosen):
    code = "precision_bf16_slow"
    words = "Tried both: bf16 ({flags}) is only {ratio:.1f} times as fast as fp32."
    flags: str  # the processor's
    ratio: float


class PrecisionBf16Fast(PrecisionChosen):
    code = "precision_bf16_fast"
    words = (
        "Tried both: bf16 ({flags}) is {ratio:.1f} times as fast as fp32 here; the adapter and "
        "its optimizer stay in fp32."
    )
    flags: str
    ratio: float


# --- the training ------------------------------------------------------------------------------


class TrainingPlanned(Message):
    code = "training_planned"
    words = (
        "{rows} rows, {trained_tokens_per_epoch} trained tokens an epoch, {total_steps} steps, "
        "{precision} on {device}."
    )
    rows: int
    trained_tokens_per_epoch: int
    total_steps: int
    adapter_parameters: int
    precision: str
    device: str


class NoWarmup(Message):
    code = "no_warmup"
    words = "So short a training (steps: {steps}) has no warm-up: it begins at the full rate."
    steps: int
    warmup_steps: int
    asked_warmup_steps: int


class WarmupShortened(Message):
    code = "warmup_shortened"
    level = "warn"
    words = "The warm-up was to take all {steps} steps; the last one has the full rate."
    steps: int
    warmup_steps: int
    asked_warmup_steps: int


class LanesDealt(Message):
    code = "lanes_dealt"
    words = "Micro-batches are dealt to {lanes} lanes, {at_once} at work at once."
    lanes: int
    at_once: int


class OneLane(Message):
    code = "one_lane"
    words = "One lane works on all threads: this training cannot be dealt to several."
    lanes: int
    at_once: int


class BaseEvaluated(Message):
    """The objective's other figures of the base stand beside its loss."""

    code = "base_evaluated"
    words = "The base's validation loss is {base_valid_loss:.4f}."
    base_valid_loss: float


class ValidationGoesOn(Message):
    code = "validation_goes_on"
    words = "Validated {rows} of {of} rows."
    rows: int
    of: int


class StepDone(Message):
    """Of the events of the type `metrics`, whose data are the step's figures."""

    code = "step_done"
    words = "Step {step}/{total_steps}"
    step: int
    total_steps: int


class StepSkipped(Message):
    code = "step_skipped"
    level = "warn"
    words = "Step {step} was skipped: loss {loss}, gradient norm {grad_norm}."
    step: int
    skipped_steps: int
    loss: str  # "nan" and "inf" are no numbers of JSON
    grad_norm: str


class CheckpointSaved(Message):
    code = "checkpoint_saved"
    words = "Checkpoint at step {step}"
    step: int


class CheckpointReplaced(Message):
    code = "checkpoint_replaced"
    words = "The checkpoint at step {step} was replaced by a newer one before it could be stored."
    step: int


class CheckpointDamaged(Message):
    code = "checkpoint_damaged"
    level = "warn"
    words = "The checkpoint at step {step} is damaged; an earlier one is used."
    step: int


class CheckpointUnusable(Message):
    code = "checkpoint_unusable"
    level = "warn"
    words = "checkpoint {step} cannot be used: {reason}"
    step: int
    reason: str


class OtherMachine(Message):
    code = "other_machine"
    level = "warn"
    words = "The checkpoint comes from another machine type: the last bits may differ."
    was: dict[str, str]
    now: dict[str, str]


class StepResumed(Message):
    code = "step_resumed"
    words = "Resumed from step {step}."
    step: int


class LossAtChance(Message):
    """This and the next two: of a run that ended (see finetune.trainer.verdict)."""

    code = "loss_at_chance"
    level = "warn"
    words = (
        "The training loss at the end, {end_loss:.4f}, is no better than guessing among all tokens "
        "({guessing_loss:.4f}). Train again with a lower learning rate multiplier."
    )
    end_loss: float
    guessing_loss: float


class LossRose(Message):
    code = "loss_rose"
    level = "warn"
    words = (
        "The training loss rose from {start_loss:.4f} to {end_loss:.4f}. Train again with a lower "
        "learning rate multiplier."
    )
    start_loss: float
    end_loss: float


class WorseThanBase(Message):
    code = "worse_than_base"
    level = "warn"
    words = (
        "The validation loss, {valid_loss:.4f}, is above the base's, {base_valid_loss:.4f}. Fewer "
        "epochs, a lower learning rate multiplier or more data may help."
    )
    valid_loss: float
    base_valid_loss: float


class TrainingDone(Message):
    code = "training_done"
    words = "Training is done."
    steps: int


# -----------------------------------------------------------------------------------------------


def _kinds(of: type[Message]) -> list[type[Message]]:
    below = [kind for each in of.__subclasses__() for kind in _kinds(each)]
    return below or [of]


MESSAGES: dict[str, type[Message]] = {kind.code: kind for kind in _kinds(Message)}
CHOICES = frozenset(code for code, kind in MESSAGES.items() if issubclass(kind, Choice))


def read(code: str, data: Mapping[str, Any]) -> Message | None:
    """What an event of that code says. None where this version does not know it so: another one
    wrote the event, whose message is all that there is to show."""
    kind = MESSAGES.get(code)
    if kind is None:
        return None
    try:
        return kind.model_validate(data)
    except ValidationError:
        return None
