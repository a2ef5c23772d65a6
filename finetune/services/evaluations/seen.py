"""Questions of a suite that stand in what the model was trained or chosen with: there the answers
show what it knows by heart."""

from collections.abc import Callable, Iterator, Sequence

import orjson

from finetune.grading.questions import Question
from finetune.models import Artifact, Dataset, Job
from finetune.profiling.texts import folded, question_of
from tenants.vault.vault import Vault

LOOK_ROWS = 1_000  # between two looks at whether the work is still wanted


def readings_of(artifact: Artifact | None) -> list[Dataset]:
    """What a tuned model was trained and validated on, as far as it is still there. In the open
    scope."""
    if artifact is None:
        return []
    jobs = Job.objects.select_related("training_data", "validation_data")
    job = jobs.get(id=artifact.job_id)
    readings = (job.training_data, *(each.data for each in job.further), job.validation_data)
    return [each for each in readings if each is not None and each.rows_object]


def seen_of(
    questions: Sequence[Question],
    readings: Sequence[Dataset],
    vault: Vault,
    still: Callable[[], None],
) -> int | None:
    """How many of them a row asks as well, whatever their case, width and white space; None where
    no row is left to look at. Memory as the questions need; `still` raises when the work is no
    longer wanted.

    Raises ObjectMissing, ObjectDamaged, StorageDown.
    """
    if not readings:
        return None
    asked = [folded(question_of({"messages": each.messages})) for each in questions]
    wanted, met = set(asked), set[str]()
    for number, text in enumerate(_asked(readings, vault), 1):
        if text in wanted:
            met.add(text)
        if number % LOOK_ROWS == 0:
            still()
    return sum(text in met for text in asked)


def _asked(readings: Sequence[Dataset], vault: Vault) -> Iterator[str]:
    for reading in readings:
        with vault.open(reading.rows_object) as rows:
            yield from (folded(question_of(orjson.loads(row))) for row in rows)
