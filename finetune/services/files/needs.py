"""Which jobs a file is of: the one place that knows in how many ways a job names a file."""

from uuid import UUID

from django.db.models import Q

from finetune.models import JobFile


def of_file(file_id: UUID, prefix: str = "") -> Q:
    """Of jobs, or with `prefix` of what hangs below one ("job__")."""
    further = JobFile.objects.filter(file_id=file_id).values("job_id")
    found = Q(**{f"{prefix}training_file": file_id}) | Q(**{f"{prefix}validation_file": file_id})
    return found | Q(**{f"{prefix}id__in": further})


def of_reading(dataset_id: UUID) -> Q:
    """Of jobs that train on a reading, or are validated by it."""
    further = JobFile.objects.filter(data_id=dataset_id).values("job_id")
    return Q(training_data=dataset_id) | Q(validation_data=dataset_id) | Q(id__in=further)
