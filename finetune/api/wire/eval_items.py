"""/v1/evals/{id}/runs/{id}/output_items: what was asked and answered, row by row."""

from typing import Any

from django.http import HttpRequest

from faults import UserFault
from finetune.api.paging import Paging, whole_number
from finetune.api.wire.base import WireView
from finetune.api.wire.eval_runs import find_run, usage_object
from finetune.api.wire.pages import created
from finetune.models import Evaluation
from finetune.services.evaluations import reading
from finetune.services.evaluations.request import EvaluationRequest
from tenants.errors import NotFound
from tenants.roles import Scope

PAGING = Paging(ordered=True, filters=frozenset({"status"}))
MOST = 100  # on a page


def item_object(run: Evaluation, place: int, item: dict[str, Any]) -> dict[str, Any]:
    """`place` from 0."""
    told = item["sides"]["model"]
    status = "errored" if told["errored"] else "pass" if told["passed"] else "fail"
    return {
        "id": item_id(run, place),
        "object": "eval.run.output_item",
        "created_at": created(run),
        "eval_id": run.suite.public_id,
        "run_id": run.public_id,
        "status": status,
        "datasource_item_id": item["row"],
        "datasource_item": item["item"],
        "results": [_result(each) for each in told["results"]],
        "sample": _sample(run, item["input"], told),
    }


def _result(each: dict[str, Any]) -> dict[str, Any]:
    told = {name: each[name] for name in ("name", "type", "score", "passed")}
    return told | ({"sample": {"errors": each["errors"]}} if each["errors"] else {})


def _sample(run: Evaluation, asked: list[Any], told: dict[str, Any]) -> dict[str, Any]:
    sampling = EvaluationRequest.model_validate(run.requested).sampling
    answer = told["answer"]
    return {
        "input": asked,
        "output": [] if answer is None else [{"role": "assistant", "content": answer}],
        "error": told["error"],
        "finish_reason": told.get("finish_reason", "error"),
        "model": told["model"],
        "max_completion_tokens": sampling.max_tokens,
        "seed": sampling.seed,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "usage": usage_object(told.get("usage") or {}),
    }


def item_id(run: Evaluation, place: int) -> str:
    return f"outputitem_{run.id.hex}_{place}"


def place_of(run: Evaluation, text: str, *, count: int) -> int:
    """Raises NotFound."""
    prefix = f"outputitem_{run.id.hex}_"
    rest = text.removeprefix(prefix)
    digits = rest if rest != text and rest.isascii() and rest.isdecimal() else ""
    if not digits or len(digits) > 9 or int(digits) >= count:
        raise NotFound("output_item_not_found", "No such output item.")
    return int(digits)


class OutputItems(WireView):
    scopes = {"get": Scope.FILES_READ}

    def get(self, request: HttpRequest, eval_id: str, run_id: str) -> dict[str, Any]:
        run = find_run(eval_id, run_id)
        asked = PAGING.read(request)
        count = sum(part["rows"] for part in run.parts)
        limit = whole_number(asked.get("limit", "20"), "limit", least=1, most=MOST)
        places = _places(run, asked, count)
        found = self._found(run, places, asked.get("status"), limit + 1)
        data = [item_object(run, place, item) for place, item in found[:limit]]
        return {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
            "has_more": len(found) > limit,
        }

    def _found(
        self, run: Evaluation, places: range, status: str | None, most: int
    ) -> list[tuple[int, dict[str, Any]]]:
        found: list[tuple[int, dict[str, Any]]] = []
        while places and len(found) < most:
            taken, places = places[:MOST], places[MOST:]
            low, high = min(taken), max(taken) + 1
            items = reading.items_between(
                evaluation=run, first=low, last=high, by=self.caller.principal
            )
            found += [(at, items[at - low]) for at in taken if _is(items[at - low], status)]
        return found[:most]


def _places(run: Evaluation, asked: dict[str, str], count: int) -> range:
    order = asked.get("order", "asc")
    if order not in ("asc", "desc"):
        raise UserFault("invalid_value", "`order` must be `asc` or `desc`.", param="order")
    if asked.get("status", "pass") not in ("pass", "fail"):
        raise UserFault("invalid_value", "`status` must be `pass` or `fail`.", param="status")
    after = place_of(run, asked["after"], count=count) if "after" in asked else None
    if order == "asc":
        return range(0 if after is None else after + 1, count)
    return range(count - 1 if after is None else after - 1, -1, -1)


def _is(item: dict[str, Any], status: str | None) -> bool:
    return status is None or item["sides"]["model"]["passed"] == (status == "pass")


class OneOutputItem(WireView):
    scopes = {"get": Scope.FILES_READ}

    def get(self, request: HttpRequest, eval_id: str, run_id: str, item_id: str) -> dict[str, Any]:
        run = find_run(eval_id, run_id)
        place = place_of(run, item_id, count=sum(part["rows"] for part in run.parts))
        (item,) = reading.items_between(
            evaluation=run, first=place, last=place + 1, by=self.caller.principal
        )
        return item_object(run, place, item)
