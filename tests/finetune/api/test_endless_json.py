"""Numbers and nestings without end, in the JSON body of every route: a 400 that says so."""

import json
from typing import Any

import pytest
from django.test import Client

from tests.finetune.api.customers import Customer, new_customer, shelve
from tests.finetune.api.test_isolation import CHAT, EXAMPLES, calls

pytestmark = pytest.mark.django_db

CLIENT = Client(raise_request_exception=False)
HUGE = "9" * 5000
DEEPS = ["[" * levels + "]" * levels for levels in (65, 800, 100_000)]
ENDLESS = [HUGE, *DEEPS]
WRITES = [(route, method) for route, method in calls() if method in ("post", "patch", "put")]
NO_JSON = {
    *("v1/files", "v1/uploads/<str:upload_id>/parts"),  # forms
}


@pytest.fixture
def customer() -> Customer:
    shelve()
    return new_customer(models=["shelf"])


def send(customer: Customer, route: str, method: str, body: str) -> Any:
    path = "/" + "/".join("x" if part.startswith("<") else part for part in route.split("/"))
    return CLIENT.generic(
        method.upper(), path, body, content_type="application/json",
        headers={"authorization": f"Bearer {customer.key}"},
    )  # fmt: skip


def test_every_route_with_a_body_is_tried() -> None:
    assert len(WRITES) > 15
    assert {route for route, method in WRITES} >= {
        route for route, example in EXAMPLES.items() if example.bodies
    }


@pytest.mark.parametrize("endless", ENDLESS, ids=["huge", "65", "800", "100000"])
def test_no_route_breaks_at_it_and_those_that_take_no_row_name_it(
    customer: Customer, endless: str
) -> None:
    for route, method in WRITES:
        example = EXAMPLES[route].bodies.get(method, {})
        body = json.dumps(example)[:-1] + ("," if example else "") + f'"x": {endless}}}'
        answer = send(customer, route, method, body)
        assert 400 <= answer.status_code < 500, (route, method, answer.content)
        if "<" not in route and route not in NO_JSON:
            told = answer.json()
            code = told["error"]["code"] if route.startswith("v1") else told["code"]
            assert (answer.status_code, code) == (400, "invalid_json"), (route, method)


@pytest.mark.parametrize("endless", ENDLESS, ids=["huge", "65", "800", "100000"])
def test_a_call_whose_arguments_are_such_is_refused(customer: Customer, endless: str) -> None:
    function = {"name": "f", "arguments": endless}
    call = {"id": "call_1", "type": "function", "function": function}
    talk = [*CHAT["messages"], {"role": "assistant", "tool_calls": [call]}, CHAT["messages"][0]]
    answer = send(customer, "v1/chat/completions", "post", json.dumps(CHAT | {"messages": talk}))
    assert answer.status_code < 500 or answer.json()["error"]["code"] == "serving_unavailable"
