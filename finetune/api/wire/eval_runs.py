"""/v1/evals/{id}/runs: a model asked an eval's questions, by OpenAI's shapes."""

from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any, Literal

from django.http import HttpRequest
from pydantic import BaseModel, ConfigDict, Field

from faults import UserFault
from finetune import selectors
from finetune.api import words
from finetune.api.bodies import parse
from finetune.api.paging import Paging
from finetune.api.wire.base import WireView
from finetune.api.wire.pages import created, listing
from finetune.api.wire.sampling import Metadata
from finetune.grading.specs import Question
from finetune.models import Evaluation, Suite
from finetune.services.evaluations import lifecycle
from finetune.services.evaluations.request import (
    LONGEST_ANSWER,
    MOST_EXAMPLES,
    EvaluationRequest,
    Reference,
    Sampling,
    TemplateMessage,
)
from finetune.states import LeaseState
from tenants.models import StoredFile
from tenants.roles import Scope

PAGING = Paging(ordered=True, filters=frozenset({"status"}))
MOST_ROWS = 1_000  # in a request's body; a file takes more
STATUSES = {
    LeaseState.WAITING: "queued",
    LeaseState.LEASED: "in_progress",
    LeaseState.SUCCEEDED: "completed",
    LeaseState.FAILED: "failed",
    LeaseState.CANCELLED: "canceled",
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _FileId(_Part):
    type: Literal["file_id"]
    id: str


class _Row(_Part):
    item: dict[str, Any]
    sample: dict[str, Any] | None = None


class _Content(_Part):
    type: Literal["file_content"]
    content: list[_Row] = Field(min_length=1, max_length=MOST_ROWS)


class _Kept(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: Literal["stored_completions", "responses"]


class _Template(_Part):
    type: Literal["template"]
    template: list[Question] = Field(min_length=1, max_length=64)


class _ItemReference(_Part):
    type: Literal["item_reference"]
    item_reference: Reference


class _SamplingParams(_Part):
    max_completion_tokens: int | None = Field(default=None, ge=1, le=LONGEST_ANSWER)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)

    def sampling(self) -> Sampling:
        given = self.model_dump(exclude_none=True)
        if "max_completion_tokens" in given:
            given["max_tokens"] = given.pop("max_completion_tokens")
        return Sampling(**given)


class _DataSource(_Part):
    type: Literal["completions", "responses"]
    source: Annotated[_FileId | _Content | _Kept, Field(discriminator="type")]
    model: str = Field(min_length=1, max_length=256)
    input_messages: Annotated[_Template | _ItemReference | None, Field(discriminator="type")] = None
    sampling_params: _SamplingParams = _SamplingParams()

    def template(self) -> Any:
        asked = self.input_messages
        if isinstance(asked, _Template):
            return [TemplateMessage(role=each.role, content=each.text) for each in asked.template]
        return asked.item_reference if asked else None


class RunCreate(_Part):
    data_source: _DataSource
    name: str = Field("", max_length=200)
    metadata: Metadata | None = None
    # Ours: the base asked as well, and with so many training rows in its prompt
    beside: bool = False
    examples: int = Field(0, ge=0, le=MOST_EXAMPLES)

    def request(self) -> EvaluationRequest:
        source = self.data_source
        return EvaluationRequest(
            model=source.model,
            template=source.template(),
            sampling=source.sampling_params.sampling(),
            beside=self.beside,
            examples=self.examples if self.beside else 0,
            name=self.name,
            metadata=self.metadata or {},
        )


def run_object(run: Evaluation) -> dict[str, Any]:
    side = (run.report or {}).get("sides", {}).get("model", {})
    return {
        "id": run.public_id,
        "object": "eval.run",
        "eval_id": run.suite.public_id,
        "created_at": created(run),
        "status": STATUSES[LeaseState(run.state)],
        "model": run.model,
        "name": run.name,
        "metadata": run.metadata or None,
        "data_source": _data_source(run),
        "error": _error(run),
        "verdict": (run.report or {}).get("advice"),
        "report_url": "",
        "result_counts": {
            "total": side.get("rows", 0),
            **{name: side.get(name, 0) for name in ("errored", "failed", "passed")},
        },
        "per_model_usage": _usage(run, side),
        "per_testing_criteria_results": [
            {"testing_criteria": each["name"], "passed": each["passed"], "failed": each["failed"]}
            for each in side.get("criteria", [])
        ],
    }


def _usage(run: Evaluation, side: dict[str, Any]) -> list[dict[str, Any]]:
    if not side:
        return []
    told = usage_object(side.get("usage") or {})
    return [{"model_name": run.model, "invocation_count": side["rows"], **told}]


def usage_object(usage: dict[str, int]) -> dict[str, int]:
    prompt, completion = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "cached_tokens": 0,
        "total_tokens": prompt + completion,
    }


def _data_source(run: Evaluation) -> dict[str, Any]:
    request = EvaluationRequest.model_validate(run.requested)
    told: dict[str, Any] = {
        "type": "completions",
        "source": {"type": "file_id", "id": StoredFile.public.of(run.file_id)},
        "model": run.model,
        "sampling_params": {
            "max_completion_tokens": request.sampling.max_tokens,
            **request.sampling.model_dump(exclude={"max_tokens"}),
        },
    }
    if isinstance(request.template, str):
        reference = {"type": "item_reference", "item_reference": request.template}
        return told | {"input_messages": reference}
    if request.template is not None:
        return told | {"input_messages": {"type": "template", "template": request.messages}}
    return told


def _error(run: Evaluation) -> dict[str, Any] | None:
    if not run.error:
        return None
    where = f" ({run.error['where']})" if run.error.get("where") else ""
    own = f"{run.error['message']}{where}"
    return {"code": run.error["code"], "message": words.error(run.error["code"], own, run.error)}


class Runs(WireView):
    scopes = {"get": Scope.MODELS_READ, "post": Scope.INFER}

    def get(self, request: HttpRequest, eval_id: str) -> dict[str, Any]:
        asked = PAGING.read(request)
        rows = selectors.evaluations().filter(suite=selectors.find(Suite.objects.all(), eval_id))
        if "status" in asked:
            states = [state for state, name in STATUSES.items() if name == asked["status"]]
            rows = rows.filter(state__in=states)
        return listing(PAGING.page(asked, rows), run_object)

    def post(self, request: HttpRequest, eval_id: str) -> dict[str, Any]:
        asked = parse(RunCreate, request)
        lifecycle.take_turn()
        suite = selectors.find(Suite.objects.all(), eval_id)
        with self._file(asked.data_source.source) as file:
            run = lifecycle.create_evaluation(
                suite=suite, file=file, request=asked.request(), by=self.caller.principal
            )
        return run_object(run)

    def _file(self, source: "_FileId | _Content | _Kept") -> AbstractContextManager[StoredFile]:
        if isinstance(source, _FileId):
            files = selectors.files().select_for_update()
            return nullcontext(selectors.find(files, source.id, param="data_source.source.id"))
        if isinstance(source, _Content):
            rows = [row.model_dump(exclude_none=True) for row in source.content]
            return lifecycle.kept_rows(rows=rows, by=self.caller.principal)
        raise UserFault(
            "unsupported_parameter",
            "Answers are not kept here, so none can be taken as rows.",
            fix="Give rows as `file_id` or `file_content`.",
            param="data_source.source.type",
        )


class OneRun(WireView):
    scopes = {"get": Scope.MODELS_READ, "post": Scope.INFER, "delete": Scope.INFER}

    def get(self, request: HttpRequest, eval_id: str, run_id: str) -> dict[str, Any]:
        return run_object(find_run(eval_id, run_id))

    def post(self, request: HttpRequest, eval_id: str, run_id: str) -> dict[str, Any]:
        """Cancels, by the older of OpenAI's two addresses."""
        run = find_run(eval_id, run_id)
        return run_object(lifecycle.cancel_evaluation(evaluation=run, by=self.caller.principal))

    def delete(self, request: HttpRequest, eval_id: str, run_id: str) -> dict[str, Any]:
        run = find_run(eval_id, run_id)
        told = {"object": "eval.run.deleted", "deleted": True, "run_id": run.public_id}
        lifecycle.delete_evaluation(evaluation=run, by=self.caller.principal)
        return told


class CancelRun(WireView):
    scopes = {"post": Scope.INFER}

    def post(self, request: HttpRequest, eval_id: str, run_id: str) -> dict[str, Any]:
        run = find_run(eval_id, run_id)
        return run_object(lifecycle.cancel_evaluation(evaluation=run, by=self.caller.principal))


def find_run(eval_id: str, run_id: str) -> Evaluation:
    """Raises NotFound."""
    suite = selectors.find(Suite.objects.all(), eval_id)
    return selectors.find(selectors.evaluations().filter(suite=suite), run_id)
