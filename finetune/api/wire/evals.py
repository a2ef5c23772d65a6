"""/v1/evals: what answers are held to. Rows come with each run (eval_runs.py)."""

from typing import Annotated, Any, Literal

from django.http import HttpRequest
from pydantic import BaseModel, ConfigDict, Field

from faults import UserFault
from finetune import selectors
from finetune.api.bodies import parse
from finetune.api.paging import Paging
from finetune.api.wire.base import WireView
from finetune.api.wire.pages import created, listing
from finetune.api.wire.sampling import Metadata
from finetune.grading.criteria import Criterion, shown
from finetune.models import Suite
from finetune.services.evaluations import lifecycle
from tenants.roles import Scope

PAGING = Paging(ordered=True, filters=frozenset({"order_by"}))
MOST_CRITERIA = 16


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["custom"]
    item_schema: dict[str, Any]
    include_sample_schema: bool = False


class _NotOffered(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: Literal["logs", "stored_completions"]


class EvalCreate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    data_source_config: Annotated[_Config | _NotOffered, Field(discriminator="type")]
    testing_criteria: list[Criterion] = Field(min_length=1, max_length=MOST_CRITERIA)
    name: str = Field("", max_length=200)
    metadata: Metadata | None = None

    def shown_config(self) -> dict[str, Any]:
        """As OpenAI tells it: the schema of a whole line. Raises UserFault for logs."""
        if isinstance(self.data_source_config, _NotOffered):
            raise UserFault(
                "unsupported_parameter",
                "Answers are not kept here, so none can be taken from logs.",
                fix="Use `custom`, and give each run its rows.",
                param="data_source_config.type",
            )
        properties: dict[str, Any] = {"item": self.data_source_config.item_schema}
        if self.data_source_config.include_sample_schema:
            properties["sample"] = {"type": "object"}
        schema = {"type": "object", "properties": properties, "required": sorted(properties)}
        return {"type": "custom", "schema": schema}


class EvalUpdate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(None, max_length=200)
    metadata: Metadata | None = None


def eval_object(suite: Suite) -> dict[str, Any]:
    return {
        "id": suite.public_id,
        "object": "eval",
        "created_at": created(suite),
        "name": suite.name,
        "data_source_config": suite.source_config,
        "testing_criteria": suite.criteria,
        "metadata": suite.metadata or None,
    }


def require_order_by(asked: dict[str, str]) -> None:
    if asked.get("order_by", "created_at") != "created_at":
        raise UserFault("invalid_value", "Evals are ordered by `created_at`.", param="order_by")


class Evals(WireView):
    scopes = {"get": Scope.MODELS_READ, "post": Scope.INFER}

    def get(self, request: HttpRequest) -> dict[str, Any]:
        asked = PAGING.read(request)
        require_order_by(asked)
        return listing(PAGING.page(asked, Suite.objects.all()), eval_object)

    def post(self, request: HttpRequest) -> dict[str, Any]:
        asked = parse(EvalCreate, request)
        suite = lifecycle.create_suite(
            name=asked.name,
            criteria=[shown(each) for each in asked.testing_criteria],
            source_config=asked.shown_config(),
            metadata=asked.metadata or {},
            by=self.caller.principal,
        )
        return eval_object(suite)


class OneEval(WireView):
    scopes = {"get": Scope.MODELS_READ, "post": Scope.INFER, "delete": Scope.INFER}

    def get(self, request: HttpRequest, eval_id: str) -> dict[str, Any]:
        return eval_object(selectors.find(Suite.objects.all(), eval_id))

    def post(self, request: HttpRequest, eval_id: str) -> dict[str, Any]:
        suite = selectors.find(Suite.objects.all(), eval_id)
        asked = parse(EvalUpdate, request)
        lifecycle.rename_suite(
            suite=suite, name=asked.name, metadata=asked.metadata, by=self.caller.principal
        )
        return eval_object(suite)

    def delete(self, request: HttpRequest, eval_id: str) -> dict[str, Any]:
        suite = selectors.find(Suite.objects.all(), eval_id)
        told = {"object": "eval.deleted", "deleted": True, "eval_id": suite.public_id}
        lifecycle.delete_suite(suite=suite, by=self.caller.principal)
        return told
