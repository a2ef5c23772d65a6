"""What the training process tells of its run."""

from finetune.events.message import Message


class MemoryTight(Message):
    code = "memory_tight"
    level = "warn"
    words = (
        "The training may need more memory, about {need_mb} MB, than is free here ({free_mb} MB)."
    )
    need_mb: int
    free_mb: int


class TriedWithLess(Message):
    code = "tried_with_less_memory"
    level = "warn"
    words = (
        "The memory was not enough. The training goes on from its last checkpoint with less: "
        "gradient_checkpointing {gradient_checkpointing}, micro_batch_tokens {micro_batch_tokens}."
    )
    gradient_checkpointing: bool
    micro_batch_tokens: int


class TrainingPlanned(Message):
    code = "training_planned"
    words = (
        "{rows:row|rows}, {trained_tokens_per_epoch:trained token|trained tokens} an epoch, "
        "{total_steps:step|steps}, {precision} on {device}."
    )
    rows: int
    trained_tokens_per_epoch: int
    total_steps: int
    adapter_parameters: int
    precision: str
    device: str


class DayFrozen(Message):
    code = "day_frozen"
    words = (
        "Where the base's chat template writes today's date, it writes {day}: in training, in "
        "answers here, and in the chat template of the model's bundle."
    )
    day: str  # ISO 8601


class NoWarmup(Message):
    code = "no_warmup"
    words = "So short a training (steps: {steps}) has no warm-up: it begins at the full rate."
    steps: int
    warmup_steps: int
    asked_warmup_steps: int


class WarmupShortened(Message):
    code = "warmup_shortened"
    level = "warn"
    words = "The warm-up was to take all of {steps:step|steps}; the last one has the full rate."
    steps: int
    warmup_steps: int
    asked_warmup_steps: int


class LanesDealt(Message):
    code = "lanes_dealt"
    words = "Micro-batches are dealt to {lanes:lane|lanes}, {at_once} at work at once."
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


class StartEvaluated(Message):
    """As `base_evaluated`, of a training that goes on from another."""

    code = "start_evaluated"
    words = "The validation loss of the model that training goes on from is {start_valid_loss:.4f}."
    start_valid_loss: float


class ReferenceGoesOn(Message):
    code = "reference_goes_on"
    words = "The base has been asked about {rows} of {of:row|rows}."
    rows: int
    of: int


class ValidationGoesOn(Message):
    code = "validation_goes_on"
    words = "Validated {rows} of {of:row|rows}."
    rows: int
    of: int


class ReadingGoesOn(Message):
    code = "reading_goes_on"
    words = "Read {rows} of {of:row|rows}."
    rows: int
    of: int


class StepDone(Message):
    """Of the events of the type `metrics`, whose data are the step's figures."""

    code = "step_done"
    words = "Step {step}/{total_steps}"
    step: int
    total_steps: int


class NotDeterministic(Message):
    code = "not_deterministic"
    level = "warn"
    words = (
        "This device has no deterministic algorithm for some operations, so the same job may end "
        "in other last bits: {operations}"
    )
    operations: str  # in torch's words


class StepSkipped(Message):
    code = "step_skipped"
    level = "warn"
    words = "Step {step} was skipped: loss {loss}, gradient norm {grad_norm}."
    step: int
    skipped_steps: int
    loss: str  # "nan" and "inf" are no numbers of JSON
    grad_norm: str


class RowsSkipped(Message):
    """Rows are counted from 1, as they stand in the training data; at most 20 are named."""

    code = "rows_skipped"
    level = "warn"
    words = (
        "Step {step} blew up (loss {loss}, gradient norm {grad_norm}). Without these training rows "
        "it does not, so they are left out from now on: {rows}."
    )
    step: int
    rows: list[int]
    skipped_rows: int
    rollbacks: int
    loss: str  # "nan" and "inf" are no numbers of JSON
    grad_norm: str


class WeightsRolledBack(Message):
    """`rows` of the step that it was seen at. After an update, which has no gradient, the norm is
    a dash."""

    code = "weights_rolled_back"
    level = "warn"
    words = (
        "Step {step} blew up (loss {loss}, gradient norm {grad_norm}), and not for a few rows: the "
        "weights are again those after step {good_step}, and the learning rate is {rate_factor:g} "
        "times what was planned. The step's rows: {rows}."
    )
    step: int
    good_step: int
    rows: list[int]
    rollbacks: int
    rate_factor: float
    loss: str
    grad_norm: str


class TrainingSteadied(Message):
    """Of a run that ended, over all of it."""

    code = "training_steadied"
    level = "warn"
    words = (
        "The training blew up and was rolled back {rollbacks:time|times}. Training rows left out: "
        "{skipped_rows} (row numbers: {rows}). The learning rate at the end was {rate_factor:g} "
        "times what was planned."
    )
    rollbacks: int
    skipped_rows: int
    rows: list[int]
    rate_factor: float


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


class TokensLost(Message):
    code = "tokens_lost"
    level = "warn"
    words = "The token ids of {file} are lost; they are made again of its checked rows."
    file: str


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


class GroupsSilent(Message):
    """Once for each stretch of such steps (see finetune.trainer.silence)."""

    code = "groups_silent"
    level = "warn"
    words = (
        "In {steps:step|steps} in a row all answers of most prompts ({silent_groups:.0%}) earned "
        "the same, from which nothing is learnt; the mean reward was {reward:.3f}. Choose prompts "
        "that are neither too easy nor too hard, have the grader give parts of a reward, or raise "
        "num_generations or temperature."
    )
    steps: int
    silent_groups: float
    reward: float


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


class BaseAtChance(Message):
    """A lower rate mends nothing where nothing was known before."""

    code = "base_at_chance"
    level = "warn"
    words = (
        "Before training the base guessed among all tokens (loss {start_loss:.4f}, guessing gives "
        "{guessing_loss:.4f}), and at the end it still does ({end_loss:.4f}): its weights look "
        "untrained. Choose another base, or tell the operator."
    )
    start_loss: float
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


class WorseThanStart(Message):
    code = "worse_than_start"
    level = "warn"
    words = (
        "The validation loss, {valid_loss:.4f}, is above that of the model that training went on "
        "from, {start_valid_loss:.4f}. Fewer epochs, a lower learning rate multiplier or more data "
        "may help."
    )
    valid_loss: float
    start_valid_loss: float


class CurvePartBegun(Message):
    """This and the next three: of a learning curve (see finetune.trainer.curve)."""

    code = "curve_part_begun"
    words = (
        "Learning curve, training {number} of {of}: the same settings on {rows} of "
        "{all_rows:row|rows}, {steps:step|steps}."
    )
    number: int
    of: int
    rows: int
    all_rows: int
    steps: int


class CurvePartDone(Message):
    code = "curve_part_done"
    words = "Learning curve: with {rows:row|rows} the validation loss is {loss:.4f}."
    rows: int
    loss: float


class CurvePartLost(Message):
    code = "curve_part_lost"
    level = "warn"
    words = "Learning curve: the training on {rows:row|rows} diverged and gives no point."
    rows: int


class CurveSaved(Message):
    code = "curve_saved"
    words = "Checkpoint of the learning curve ({parts:part|parts} done)"
    parts: int


class TrainingDone(Message):
    code = "training_done"
    words = "Training is done."
    steps: int
