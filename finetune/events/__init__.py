"""All that a job's history can say: a class for each code, with its English words and what they are
filled with.

Codes and the names of parameters are part of the public interface (the API shows them, and
translations follow them), so neither is ever renamed or changes its meaning.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from finetune.events.choices import (
    BatchSizeChosen,
    BatchSizeOfPacks,
    BatchSizeOfRows,
    CheckpointingOff,
    CheckpointingOn,
    EpochsChosen,
    LearningRateChosen,
    MicroBatchChosen,
    NoThinkingChosen,
    OneEpochChosen,
    PrecisionBf16Fast,
    PrecisionBf16Slow,
    PrecisionChosen,
    PrecisionOfGpu,
    PrecisionOfOlderGpu,
    PrecisionWithoutBf16,
    ThinkingChosen,
)
from finetune.events.jobs import (
    CancelRequested,
    FileAwaited,
    FileBeingChecked,
    FileBeingRead,
    FileChecked,
    JobCancelled,
    JobContinued,
    JobCreated,
    JobFailed,
    JobGivenBack,
    JobGoesOnFrom,
    JobHeld,
    JobPaused,
    JobQueued,
    JobReleased,
    JobResumed,
    JobRetried,
    JobStarted,
    JobSucceeded,
    JobWaits,
    NotIsolated,
    OverlapFound,
    PauseRequested,
    PauseWithdrawn,
)
from finetune.events.message import Choice, Level, Message, kinds_of
from finetune.events.training import (
    BaseAtChance,
    BaseEvaluated,
    CheckpointDamaged,
    CheckpointReplaced,
    CheckpointSaved,
    CheckpointUnusable,
    DayFrozen,
    LanesDealt,
    LossAtChance,
    LossRose,
    MemoryTight,
    NotDeterministic,
    NoWarmup,
    OneLane,
    OtherMachine,
    ReadingGoesOn,
    ReferenceGoesOn,
    RowsSkipped,
    StartEvaluated,
    StepDone,
    StepResumed,
    StepSkipped,
    TokensLost,
    TrainingDone,
    TrainingPlanned,
    TrainingSteadied,
    TriedWithLess,
    ValidationGoesOn,
    WarmupShortened,
    WeightsRolledBack,
    WorseThanBase,
    WorseThanStart,
)

__all__ = [
    "CHOICES",
    "MESSAGES",
    "BaseAtChance",
    "BaseEvaluated",
    "BatchSizeChosen",
    "BatchSizeOfPacks",
    "BatchSizeOfRows",
    "CancelRequested",
    "CheckpointDamaged",
    "CheckpointReplaced",
    "CheckpointSaved",
    "CheckpointUnusable",
    "CheckpointingOff",
    "CheckpointingOn",
    "Choice",
    "DayFrozen",
    "EpochsChosen",
    "FileAwaited",
    "FileBeingChecked",
    "FileBeingRead",
    "FileChecked",
    "JobCancelled",
    "JobContinued",
    "JobCreated",
    "JobFailed",
    "JobGivenBack",
    "JobGoesOnFrom",
    "JobHeld",
    "JobPaused",
    "JobQueued",
    "JobReleased",
    "JobResumed",
    "JobRetried",
    "JobStarted",
    "JobSucceeded",
    "JobWaits",
    "LanesDealt",
    "LearningRateChosen",
    "Level",
    "LossAtChance",
    "LossRose",
    "MemoryTight",
    "Message",
    "MicroBatchChosen",
    "NoThinkingChosen",
    "NoWarmup",
    "NotDeterministic",
    "NotIsolated",
    "OneEpochChosen",
    "OneLane",
    "OtherMachine",
    "OverlapFound",
    "PauseRequested",
    "PauseWithdrawn",
    "PrecisionBf16Fast",
    "PrecisionBf16Slow",
    "PrecisionChosen",
    "PrecisionOfGpu",
    "PrecisionOfOlderGpu",
    "PrecisionWithoutBf16",
    "ReadingGoesOn",
    "ReferenceGoesOn",
    "RowsSkipped",
    "StartEvaluated",
    "StepDone",
    "StepResumed",
    "StepSkipped",
    "ThinkingChosen",
    "TokensLost",
    "TrainingDone",
    "TrainingPlanned",
    "TrainingSteadied",
    "TriedWithLess",
    "ValidationGoesOn",
    "WarmupShortened",
    "WeightsRolledBack",
    "WorseThanBase",
    "WorseThanStart",
    "read",
]

MESSAGES: dict[str, type[Message]] = {kind.code: kind for kind in kinds_of(Message)}
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
