"""Turns what was asked into what will be done: every "auto" a number, with the reason beside it."""

from dataclasses import dataclass
from typing import Any

from finetune.models import Dataset, Job
from finetune.services.job_request import JobRequest
from finetune.trainer.spec import DataSpec, OptimSpec, RunSpec

LONGEST_DEFAULT = 2048  # tokens a row; longer ones are trained on request
SAVE_EVERY = 50  # optimizer steps at most between two checkpoints


@dataclass(frozen=True)
class Resolved:
    """`hyperparameters` in OpenAI's terms; `spec` is a RunSpec's, less what the machine decides."""

    hyperparameters: dict[str, Any]
    reasons: dict[str, str]
    spec: dict[str, Any]
    trained_tokens: int
    total_steps: int | None

    def as_dict(self) -> dict[str, Any]:
        return {
            "hyperparameters": self.hyperparameters,
            "reasons": self.reasons,
            "spec": self.spec,
            "trained_tokens": self.trained_tokens,
        }

    def shown(self, name: str) -> str:
        return str(self.hyperparameters.get(name, self.spec.get(name)))


def max_length(job: Job) -> int:
    """Tokens a row may have: as asked, else what the base was made for, up to a default."""
    asked = job.requested.get("max_length")
    return int(asked or min(job.base.context_length, LONGEST_DEFAULT))
