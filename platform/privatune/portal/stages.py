"""The trainings that made a model, each going on from the one before, as its page shows them."""

from typing import Any

from finetune.models import Artifact
from finetune.services.jobs import lineage
from privatune.portal.words import METHODS_TOLD


def stages(artifact: Artifact) -> list[dict[str, Any]]:
    """The oldest first; none where there was one training alone."""
    links = lineage.chain(artifact)
    return [_stage(link) for link in links] if len(links) > 1 else []


def _stage(link: lineage.Link) -> dict[str, Any]:
    report = link.artifact.report
    method = link.artifact.job.method
    return {
        "artifact": link.artifact,
        "gone": link.artifact.deleted_at is not None,
        "step": link.step,
        "method": METHODS_TOLD.get(method, method),
        "before": report.get("start_valid_loss", report.get("base_valid_loss")),
        "after": report.get("valid_loss"),
    }
