"""What work waits for: each reason's code, its English words and what they are filled with.

None is the work's own fault, and none names an address or a path of ours: those are in the worker's
log.
"""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from finetune.events.message import Sentence, kinds_of

LONGEST = 200  # characters that a row of leased work keeps


class Wait(Sentence):
    """`words` end the sentence that begins with "Waiting:"."""


# --- an outage: under the fault's own code ---


class StorageDown(Wait):
    code = "storage_down"
    words = "The storage does not answer."


class StorageFull(Wait):
    code = "storage_full"
    words = "The storage is full."


class KeyUnavailable(Wait):
    code = "key_unavailable"
    words = "The key of your data cannot be had now."


class DiskFull(Wait):
    code = "disk_full"
    words = "the worker's disk is full; the operator should free space there."


class SandboxMissing(Wait):
    code = "sandbox_missing"
    words = (
        "the worker's machine gives no sandbox for processes that handle data; the operator should "
        "install bubblewrap and allow user namespaces there."
    )


class SomethingAway(Wait):
    """Of a fault that has no words here."""

    code = "something_away"
    words = "something that the operator must mend is away ({error})."
    error: str  # the fault's code


# --- what this worker lacks, and another may have ---


class FormNeedsDisk(Wait):
    code = "form_needs_disk"
    words = (
        "a form of this model needs {needed} MB free on the worker's disk; the operator should "
        "free space there."
    )
    needed: int


class DiskLow(Wait):
    """Without what is free: that changes at each look, and the reason is told once."""

    code = "disk_low"
    words = (
        "the worker's disk has less than the {needed} MB free that a training needs; the operator "
        "should free space there."
    )
    needed: int


class CannotSign(Wait):
    code = "cannot_sign"
    words = "the worker cannot sign; the operator should look at its signing key."


class ModelStoreEmpty(Wait):
    code = "model_store_empty"
    words = "the worker's model store is empty; the operator should import the models there."


class BaseMissing(Wait):
    code = "base_missing"
    words = "the worker lacks the model `{base}`; the operator should import it there."
    base: str


class BaseDiffers(Wait):
    code = "base_differs"
    words = (
        "the worker lacks the model as catalogued `{base}`; the operator should import it there."
    )
    base: str


class BaseUnreadable(Wait):
    code = "base_unreadable"
    words = "the worker cannot read the model `{base}`; the operator should import it there."
    base: str


class BaseDamaged(Wait):
    code = "base_damaged"
    words = (
        "the worker has a damaged copy of the model `{base}` ({files}); the operator should "
        "import it there."
    )
    base: str
    files: str  # the first three


class NoGpu(Wait):
    """A run keeps the device that it began on. Told before the claim, or by the trainer."""

    code = "no_gpu"
    words = (
        "the training began on a GPU, and the worker that took it up shows none; the operator "
        "should start a worker with a GPU."
    )


class GpuElsewhere(Wait):
    """Told before the claim by a worker that lacks one, while another shows that it has one."""

    code = "gpu_elsewhere"
    words = (
        "the training began on a GPU, and goes on as soon as the worker that has one takes it up."
    )


class NoBf16(Wait):
    """A run keeps the precision that it began in. Told before the claim, or by the trainer."""

    code = "no_bf16"
    words = (
        "the training began in bf16, which the GPU of the worker that took it up does not "
        "multiply; the operator should start a worker with a GPU of compute capability 8.0 or more."
    )


# --- what has to come first ---


class JobNotEnded(Wait):
    """Of an evaluation that was asked for beforehand."""

    code = "job_not_ended"
    words = "the job {job} has not ended, whose result it evaluates."
    job: str


# --- a failure ---


class NextAttempt(Wait):
    """Of a check: what waits for it says so, as it has no attempts of its own to count."""

    code = "next_attempt"
    words = "the check failed and is tried again ({error})."
    error: str


WAITS: dict[str, type[Wait]] = {kind.code: kind for kind in kinds_of(Wait)}


def of_text(text: str) -> Wait | None:
    """Whose English words these are, as a row of leased work keeps them, cut off where they are too
    long for it; None: a fault's own words, or an older version's."""
    for kind in WAITS.values():
        fields = list(kind.model_fields)
        words = re.split(r"\{\w+\}", kind.words)
        found = re.fullmatch("(.+)".join(map(re.escape, words)), text)
        if found:
            order = re.findall(r"\{(\w+)\}", kind.words)
            return read(kind.code, dict(zip(order, found.groups(), strict=True)))
        if not fields and len(text) == LONGEST and kind.words.startswith(text):
            return kind()
    return None


def read(code: str, about: Mapping[str, Any]) -> Wait | None:
    """None where this version does not know it so."""
    kind = WAITS.get(code)
    if kind is None:
        return None
    try:
        return kind.model_validate(about)
    except ValidationError:
        return None
