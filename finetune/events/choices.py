"""What a setting that was left to us became, and why."""

from typing import Literal

from finetune.events.message import Choice


class BatchSizeChosen(Choice):
    """Where rows are packed of which nobody counted the packs: they were read by a version that did
    not, or it told the choice."""

    code = "batch_size_chosen"
    setting = "batch_size"
    words = "{batch_size}: about {steps:step|steps} an epoch from {rows:row|rows}."
    batch_size: int
    rows: int
    steps: int


class BatchSizeOfRows(Choice):
    code = "batch_size_of_rows"
    setting = "batch_size"
    words = "{batch_size}: {steps:step|steps} an epoch from {rows:row|rows}."
    batch_size: int
    rows: int
    steps: int


class BatchSizeOfPacks(Choice):
    """`tokens_per_step` is the mean of an epoch's steps, all their tokens counted."""

    code = "batch_size_of_packs"
    setting = "batch_size"
    words = (
        "{batch_size}: {steps:step|steps} an epoch from {packs:pack|packs} of {rows:row|rows}, "
        "with {tokens_per_step:token|tokens} a step on average."
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
        "{n_epochs}: {rows:row|rows} ({trained_tokens:trained token|trained tokens}), each seen "
        "{n_epochs:time|times}; fewer rows are seen more often."
    )
    n_epochs: int
    rows: int
    trained_tokens: int


class OneEpochChosen(Choice):
    code = "one_epoch_chosen"
    setting = "n_epochs"
    words = (
        "{n_epochs}: {rows:row|rows} ({trained_tokens:trained token|trained tokens}), each seen "
        "once; fewer rows are seen more often."
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


class CheckpointingOff(Choice):
    code = "checkpointing_off"
    setting = "gradient_checkpointing"
    words = "off: about {need_mb} MB are needed without it, and {free_mb} MB are free."
    need_mb: int
    free_mb: int


class CheckpointingOn(Choice):
    code = "checkpointing_on"
    setting = "gradient_checkpointing"
    words = (
        "on: about {need_mb} MB are needed with it and {without_mb} MB without, and {free_mb} MB "
        "are free."
    )
    need_mb: int
    without_mb: int
    free_mb: int


class MicroBatchChosen(Choice):
    code = "micro_batch_chosen"
    setting = "micro_batch_tokens"
    words = "{micro_batch_tokens}: about {need_mb} MB are needed, and {free_mb} MB are free."
    micro_batch_tokens: int
    need_mb: int
    free_mb: int


class PrecisionChosen(Choice):
    setting = "precision"
    precision: Literal["fp32", "bf16"]

    @classmethod
    def form(cls) -> str:
        return f"Precision: {{precision}}. {cls.words}"


class PrecisionOfGpu(PrecisionChosen):
    code = "precision_of_gpu"
    words = "The GPU computes in bf16; the adapter and its optimizer stay in fp32."


class PrecisionOfOlderGpu(PrecisionChosen):
    """Not fp16: its narrow range needs scaled losses, and a step that overflows is lost."""

    code = "precision_of_older_gpu"
    words = (
        "The GPU ({gpu}, compute capability {capability}) has no bf16 arithmetic, and in fp16 "
        "losses and gradients may overflow: fp32 is safe, and takes twice the memory."
    )
    gpu: str
    capability: str


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
