"""When an evaluation may withhold a model, and when the row that withholds one may go."""

from collections.abc import Iterable
from itertools import islice

from faults import UserFault
from finetune.grading.advice import FEWEST_ROWS
from finetune.models import Artifact, Evaluation, Job
from finetune.services.evaluations.request import EvaluationRequest
from finetune.services.evaluations.subjects import Subject
from finetune.states import FINAL_JOB_STATES
from tenants.access import Principal
from tenants.errors import Conflict
from tenants.models import StoredFile
from tenants.roles import Scope
from tenants.services.vaults import open_vault


def require_gate(
    request: EvaluationRequest, subject: Subject, file: StoredFile, by: Principal
) -> None:
    """A gate withholds the model, which is for who may delete it; it is judged beside the base, and
    on rows that can say something of the model, as only the same rows open it again. In the open
    scope. Raises Refused, UserFault, ObjectMissing, ObjectDamaged, StorageDown."""
    by.require(Scope.MODELS_WRITE)
    if subject.job is None or not request.beside:
        raise UserFault(
            "gate_without_base",
            "A gate is for a tuned model that is weighed against its base.",
            fix="Evaluate a fine-tuned model, or the result of a job, with `beside`.",
            param="gate",
        )
    rows = _rows(file)
    if rows < FEWEST_ROWS:
        raise UserFault(
            "gate_too_few_rows",
            f"The gate could never open: the suite has {rows} rows, and fewer than {FEWEST_ROWS} "
            "are too few to tell.",
            fix="Bring more rows, or evaluate without a gate.",
            param="gate",
        )
    if file.sha256 in trained_with(subject.job):
        raise UserFault(
            "gate_trained_on",
            "The gate could never open: the suite's file is one that the model is trained or "
            "chosen with.",
            fix="Bring rows that training does not see, or evaluate without a gate.",
            param="gate",
        )


def trained_with(job: Job) -> set[str]:
    """SHA-256 of the files that a job trains and validates on. In the open scope."""
    files = (job.training_file, *(each.file for each in job.further), job.validation_file)
    return {file.sha256 for file in files if file}


def require_not_withholding(evaluations: Iterable[Evaluation]) -> None:
    """With the row its gate would be gone. Raises Conflict."""
    withholding = [each.job_id for each in evaluations if each.withholds and each.job_id]
    live = Job.objects.filter(id__in=withholding).exclude(state__in=FINAL_JOB_STATES)
    made = Artifact.objects.filter(job__in=withholding, deleted_at=None)
    if live.exists() or made.exists():
        raise Conflict(
            "evaluation_withholds",
            "The evaluation withholds a model.",
            fix="Release the model, or delete it, then delete the evaluation.",
        )


def _rows(file: StoredFile) -> int:
    """Counted as they are asked, up to as many as are needed."""
    with open_vault().open(file.object_name) as lines:
        return sum(1 for _ in islice((line for line in lines if line.strip()), FEWEST_ROWS))
