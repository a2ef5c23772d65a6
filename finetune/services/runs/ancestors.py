"""The trainings before a job, whose weights it went on with, as its passport tells them."""

from typing import Any

from finetune.models import Dataset, Job
from finetune.packaging.passport import Ancestor, AncestorData
from finetune.services.jobs import lineage
from finetune.trainer.objectives import METHODS


def ancestors_of(job: Job) -> list[Ancestor]:
    """The oldest first. In the open scope."""
    return [_ancestor(link) for link in lineage.before(job)]


def _ancestor(link: lineage.Link) -> Ancestor:
    artifact, job = link.artifact, link.artifact.job
    return Ancestor(
        model=artifact.model_name,
        digest=artifact.digest,
        adapter_sha256=link.start["adapter_sha256"],
        step=link.step,
        method=METHODS[job.method].name,
        steps=artifact.report["steps"],
        trained_tokens=job.trained_tokens,
        datasets=[
            _data(role, data)
            for role, data in (
                ("train", job.training_data),
                *(("train", each.data) for each in job.further),
                ("validation", job.validation_data),
            )
            if data is not None
        ],
    )


def _data(role: Any, data: Dataset) -> AncestorData:
    return AncestorData(
        role=role,
        sha256=data.file.sha256,
        rows_sha256=data.rows_sha256,
        rows=data.rows,
        trained_tokens=data.tokens_trained,
    )
