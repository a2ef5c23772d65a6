"""From which model each model was trained on, down to the first that was trained on its base."""

from dataclasses import dataclass, field
from typing import Any

from finetune.models import Artifact, Job


@dataclass(frozen=True)
class Link:
    """`start`: of the job that went on from it, as `Job.start`; empty of the last."""

    artifact: Artifact
    start: dict[str, Any] = field(default_factory=dict)

    @property
    def step(self) -> int | None:
        """Of the checkpoint at which the next one went on; None: from the finished model."""
        return self.start.get("step")


def before(job: Job) -> list[Link]:
    """What the job goes on from, the oldest first; also models that were deleted since. In the open
    scope."""
    links: list[Link] = []
    while job.parent_id is not None:
        found = Artifact.objects.select_related(
            "job__training_data__file", "job__validation_data__file"
        ).get(id=job.parent_id)
        links.insert(0, Link(found, job.start or {}))
        job = found.job
    return links


def chain(artifact: Artifact) -> list[Link]:
    """The oldest first, the model itself last."""
    return [*before(artifact.job), Link(artifact)]
