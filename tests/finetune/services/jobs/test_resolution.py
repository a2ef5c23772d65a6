"""What was left open becomes a number, by the base that is trained."""

from typing import Any
from uuid import UUID

import pytest

from finetune.models import CatalogModel, Job
from finetune.services.jobs.request import JobRequest
from finetune.services.jobs.resolution import _settings


@pytest.mark.parametrize(
    ("infilling", "asked", "rate"),
    [
        ("deepseek", {}, 0.0),
        ("deepseek", {"fim_spm_rate": 0.4}, 0.4),
        ("qwen", {}, 0.5),
        (None, {}, 0.5),
    ],
)
def test_holes_are_laid_out_as_the_base_s_family_was_trained(
    infilling: str | None, asked: dict[str, Any], rate: float
) -> None:
    job = Job(base=CatalogModel(infilling=infilling))
    request = JobRequest(
        model="m", training_file=UUID(int=1), method="pretrain", settings={"fim_rate": 0.5} | asked
    )
    assert _settings(job, request) == {
        "fim_rate": 0.5,
        "fim_spm_rate": rate,
        "fim_cut": "character",
    }
