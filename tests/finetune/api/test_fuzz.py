"""Requests that no SDK sends: whatever comes, the answer is told, and it is never a 5xx."""

import json
import random
from typing import Any

import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.finetune.api.customers import Customer, new_customer, shelve
from tests.finetune.api.test_isolation import CHAT, EVAL, EXAMPLES, GRADER, JOB, calls

pytestmark = pytest.mark.django_db

CLIENT = Client(raise_request_exception=False)
ROUTES = [each for each in calls() if each[0].startswith("v1/")]
HUGE = "9" * 5000
DEEP = "[" * 800 + "]" * 800
# Raw JSON, because Python itself would not write some of it.
NASTY = [
    HUGE, f"-{HUGE}", "1e400", "-1e400", "9223372036854775808", "18446744073709551616", DEEP,
    '{"a":' * 800 + "1" + "}" * 800, "null", "true", "-1", "0", "0.5", '""', '"\\u0000"',
    '"\\ud800"', '"' + "x" * 5000 + '"', "[]", "{}", "[[]]", '{"a":{}}', f'["{HUGE}"]', "[null]",
    '"ft:"', '"file-"', f'"file-{"0" * 32}"', '"２"', '"²"', "[1e999]", "NaN",
]  # fmt: skip
SENSIBLE: dict[str, dict[str, Any]] = {
    "v1/fine_tuning/jobs": JOB | {
        "seed": 1, "suffix": "a", "validation_file": None, "metadata": {"a": "b"},
        "hyperparameters": {"n_epochs": 1, "batch_size": 1, "learning_rate_multiplier": 1.0},
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1}}},
        "adapter": {"r": 8, "alpha": 8, "dropout": 0.0, "init_lora_weights": "gaussian"},
        "neftune_noise_alpha": 5.0, "validation_split": 0.1, "learning_curve": True,
        "training_files": [{"file": "file-1", "weight": 0.5}], "max_length": 64, "overflow": "drop",
        "stability": "auto",
        "optimizer": {"learning_rate": 1e-4, "schedule": "constant", "warmup_ratio": 0.1},
        "evaluation": {"every_steps": 5, "early_stop_patience": 1, "keep": "best"},
    },
    "v1/chat/completions": CHAT | {
        "n": 1, "temperature": 1, "top_p": 1, "max_tokens": 1, "stop": ["a"], "seed": 1,
        "logprobs": True, "top_logprobs": 1, "stream": False, "tools": [], "logit_bias": {},
        "metadata": {}, "response_format": {"type": "text"},
    },
    "v1/completions": {
        "model": "shelf", "prompt": "hi", "n": 1, "max_tokens": 1, "echo": True, "logprobs": 1,
        "stop": "a", "seed": 1, "temperature": 0, "best_of": 1, "suffix": "",
    },
    "v1/rerank": {
        "model": "shelf", "query": "hi", "documents": ["a", "", {"text": "b", "title": "c"}],
        "top_n": 1, "rank_fields": ["title", "text"], "max_tokens_per_doc": 1, "truncation": True,
        "return_documents": True, "max_chunks_per_doc": None, "priority": 0, "user": "u",
    },
    "v1/responses": {
        "model": "shelf", "input": [{"role": "user", "content": "hi"}], "instructions": "a",
        "max_output_tokens": 1, "temperature": 1, "top_p": 1, "tools": [], "stream": False,
        "text": {"format": {"type": "text"}}, "include": [], "metadata": {},
    },
    "v1/fine_tuning/alpha/graders/run": {
        "model_sample": "hi", "item": {"a": 1}, "grader": {
            "type": "multi", "name": "m", "calculate_output": "a", "graders": {"a": GRADER},
        },
    },
    "v1/evals": EVAL | {"name": "a", "metadata": {"a": "b"}},
    "v1/uploads": {
        "bytes": 1, "filename": "a", "mime_type": "b", "purpose": "fine-tune",
        "expires_after": {"anchor": "created_at", "seconds": 3600},
    },
}  # fmt: skip
QUERIES = ["after", "limit", "order", "purpose", "metadata", "metadata[a]", "x", "[", "after[]"]
WORDS = ["", "x", "0", "-1", HUGE, "000000001" + HUGE, "²", "２", "\0", "é", "null", "file-", "1e9"]
HEADERS = ["HTTP_X_STAINLESS_RETRY_COUNT", "HTTP_IDEMPOTENCY_KEY", "HTTP_ACCEPT"]


@pytest.fixture
def customer() -> Customer:
    shelve()
    return new_customer(models=["shelf"])


def told(response: Any) -> None:
    """An error in OpenAI's shape. A model server is not running here, and that may be said."""
    status, body = response.status_code, response.content if not response.streaming else b"{}"
    if status >= 500:
        assert json.loads(body)["error"]["code"] == "serving_unavailable", (status, body)
    elif status >= 400:
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}, body


def spoiled(value: Any, chance: random.Random) -> str:
    """The value as JSON, with some of its parts replaced."""
    if chance.random() < 0.15:
        return chance.choice(NASTY)
    if isinstance(value, dict):
        parts = [f"{json.dumps(k)}:{spoiled(v, chance)}" for k, v in value.items()]
        return "{" + ",".join(parts) + "}"
    if isinstance(value, list):
        return "[" + ",".join(spoiled(each, chance) for each in value) + "]"
    return json.dumps(value)


@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_generated_requests_break_nothing(customer: Customer, data: st.DataObject) -> None:
    route, method = data.draw(st.sampled_from(ROUTES))
    chance = random.Random(data.draw(st.integers(0, 2**32)))
    path = "/" + route
    for part in [each for each in route.split("/") if each.startswith("<")]:
        ids = ["x", "0", "ft:a:b", f"file-{'0' * 32}", f"ftjob-{'f' * 32}", "9" * 300, "é", "a%00b"]
        path = path.replace(part, chance.choice(ids))
    asked = {chance.choice(QUERIES): chance.choice(WORDS) for _ in range(chance.randrange(3))}
    headers = {chance.choice(HEADERS): chance.choice(WORDS) for _ in range(chance.randrange(2))}
    sensible = SENSIBLE.get(route) or EXAMPLES[route].bodies.get(method, {})
    body = spoiled(sensible, chance)
    kinds = ["application/json", "multipart/form-data; boundary=x", "text/plain", ""]
    kind = chance.choices(kinds, [8, 1, 1, 1])[0]
    response = CLIENT.generic(
        method.upper(), path, body.encode("utf-8", "surrogatepass"), content_type=kind,
        query_params=asked, HTTP_AUTHORIZATION=f"Bearer {customer.key}", **headers,
    )  # fmt: skip
    told(response)


@pytest.mark.parametrize("nasty", [HUGE, "1e400", DEEP, "18446744073709551616"])
@pytest.mark.parametrize("route", sorted(SENSIBLE))
def test_what_python_or_postgresql_cannot_hold_is_refused_as_the_senders(
    customer: Customer, route: str, nasty: str
) -> None:
    body = json.dumps(SENSIBLE[route])[:-1] + f', "x": {nasty}}}'
    response = CLIENT.post(
        f"/{route}", body, content_type="application/json",
        headers={"authorization": f"Bearer {customer.key}"},
    )  # fmt: skip
    assert response.status_code == 400, response.content
    assert response.json()["error"]["code"] == "invalid_json"


def test_a_chat_message_nested_800_deep_is_refused(customer: Customer) -> None:
    body = json.dumps(CHAT).replace('"hi"', DEEP)
    headers = {"authorization": f"Bearer {customer.key}"}
    response = CLIENT.post(
        "/v1/chat/completions", body, content_type="application/json", headers=headers
    )
    assert response.status_code == 400
    assert "nested too deeply" in response.json()["error"]["message"]
    own = CLIENT.post("/api/v1/keys", body, content_type="application/json", headers=headers)
    assert own.status_code == 400


@pytest.mark.parametrize("limit", [HUGE, "000000001" + HUGE, "²", "２", "-1", "", "1.0"])
def test_a_limit_that_is_no_number_is_named(customer: Customer, limit: str) -> None:
    for path in ("/v1/files", "/api/v1/keys"):
        response = CLIENT.get(
            path, {"limit": limit}, headers={"authorization": f"Bearer {customer.key}"}
        )
        assert response.status_code == 400, response.content


@pytest.mark.parametrize("count", ["²", "x", HUGE, "-1", "٣"])
def test_a_strange_retry_count_is_none(customer: Customer, count: str) -> None:
    response = CLIENT.post(
        "/v1/uploads", SENSIBLE["v1/uploads"], content_type="application/json",
        headers={"authorization": f"Bearer {customer.key}", "x-stainless-retry-count": count},
    )  # fmt: skip
    assert response.status_code == 200, response.content
