"""/v1/fine_tuning/alpha/graders: a grader looked through, or tried on one answer."""

from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest
from pydantic import BaseModel, ConfigDict, Field

from finetune.api.bodies import parse
from finetune.api.wire.base import AsyncWireView, WireView
from finetune.grading import specs
from finetune.grading.grade import Graded, sample_of
from finetune.services.models.graders import judges_of, run_grader, targets_of
from tenants.roles import Scope

KINDS = (
    "formula_parse_error", "invalid_variable_error", "model_grader_parse_error",
    "model_grader_refusal_error", "model_grader_server_error", "other_error",
    "python_grader_runtime_error", "python_grader_server_error", "sample_parse_error",
    "truncated_observation_error", "unresponsive_reward_error",
)  # fmt: skip
LONGEST_SAMPLE = 1 << 20  # characters


class _Validated(BaseModel):
    model_config = ConfigDict(extra="forbid")

    grader: specs.Grader


class _Run(_Validated):
    model_sample: str = Field(max_length=LONGEST_SAMPLE)
    item: dict[str, Any] = {}


class Validate(WireView):
    scopes = {"post": Scope.INFER}

    def post(self, request: HttpRequest) -> dict[str, Any]:
        asked = parse(_Validated, request)
        targets_of(judges_of(asked.grader))
        return {"grader": asked.grader.model_dump(mode="json", exclude_none=True)}


class Run(AsyncWireView):
    scopes = {"post": Scope.INFER}

    async def post(self, request: HttpRequest) -> dict[str, Any]:
        asked = await sync_to_async(parse)(_Run, request)  # it may have Python compiled
        targets = await self.in_scope(lambda: targets_of(judges_of(asked.grader)))
        graded = await run_grader(
            spec=asked.grader,
            sample=sample_of(asked.model_sample),
            item=asked.item,
            targets=targets,
            by=self.caller.principal,
            still=self.still_admitted,
        )
        return shown(asked.grader, graded)


def shown(grader: "specs.Grader", graded: Graded) -> dict[str, Any]:
    """OpenAI's shape; beside each kind of error that occurred stand its `…_details`."""
    errors: dict[str, Any] = {kind: kind in graded.errors.kinds for kind in KINDS}
    errors |= {f"{kind}_details": text for kind, text in graded.errors.details.items()}
    models = list(graded.tokens)
    return {
        "reward": graded.reward,
        "metadata": {
            "name": grader.name,
            "type": grader.type,
            "errors": errors,
            "execution_time": graded.seconds,
            "scores": graded.scores,
            "token_usage": sum(graded.tokens.values()) or None,
            "sampled_model_name": models[0] if len(models) == 1 else None,
        },
        "sub_rewards": graded.scores,
        "model_grader_token_usage_per_model": graded.tokens,
    }
