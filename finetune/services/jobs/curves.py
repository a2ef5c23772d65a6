"""What a job's learning curve says, as far as it is known; to be read by all faces."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from finetune.grading.learning import Point, learning_curve, sentence
from finetune.models import Artifact, Job

PARTS = ("points", "outlook", "ahead", "needed")


def report_of(job: Job) -> dict[str, Any] | None:
    """In the open scope. None: it was not asked for, or the job has left no result yet."""
    artifact = Artifact.objects.filter(job=job).first()
    return reported(artifact.report) if artifact is not None else None


def reported(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """`report`: an artifact's."""
    found: dict[str, Any] | None = report.get("learning_curve")
    return found


def told(job: Job, *, loss: float | None = None) -> dict[str, Any]:
    """In the open scope. `loss`: how many rows it would take is told in the place of the report's
    own `needed`."""
    report = report_of(job)
    shown: dict[str, Any] = {
        "job": job.public_id,
        "asked": bool(job.requested.get("learning_curve")),
        "message": None,
        "outlook": None,
        "points": [],
        "ahead": [],
        "needed": [],
    }
    if report is None:
        return shown
    shown |= {name: report[name] for name in PARTS} | {"message": sentence(report)}
    if loss is not None:
        found = learning_curve([Point(**point) for point in report["points"]]).needed(loss)
        shown["needed"] = [] if found is None else [asdict(found)]
    return shown
