"""Which jobs a file is of: the one place that knows in how many ways a job names a file; and what
says that it is still needed."""

from uuid import UUID

from django.db.models import Q

from finetune.models import Evaluation, Job, JobFile, Pipeline
from tenants.errors import Conflict


def of_file(file_id: UUID, prefix: str = "") -> Q:
    """Of jobs, or with `prefix` of what hangs below one ("job__")."""
    further = JobFile.objects.filter(file_id=file_id).values("job_id")
    found = Q(**{f"{prefix}training_file": file_id}) | Q(**{f"{prefix}validation_file": file_id})
    return found | Q(**{f"{prefix}id__in": further})


def of_reading(dataset_id: UUID) -> Q:
    """Of jobs that train on a reading, or are validated by it."""
    further = JobFile.objects.filter(data_id=dataset_id).values("job_id")
    return Q(training_data=dataset_id) | Q(validation_data=dataset_id) | Q(id__in=further)


class StillNeeded(Conflict):
    """By `row`, a job, an evaluation or a pipeline that has not ended."""

    def __init__(self, row: Job | Evaluation | Pipeline) -> None:
        noun = {Job: "fine-tuning job", Evaluation: "evaluation", Pipeline: "pipeline"}[type(row)]
        ends = noun.rpartition(" ")[2]
        super().__init__(
            "file_in_use",
            f"The {noun} {row.public_id} still needs this file.",
            fix=f"Wait until the {ends} has ended, or cancel it, then delete the file.",
        )
        self.row = row
