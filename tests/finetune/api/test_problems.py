"""Bad requests, each named: which code, which field, which place."""

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tenants.database.scope import tenant_scope
from tenants.models import AuditEntry
from tests.finetune.api.conftest import MAX_FILE_MB
from tests.finetune.api.customers import Customer, new_customer

WIRE_KEYS = {"message", "type", "param", "code"}


def wire_error(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"].startswith("req_")
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == WIRE_KEYS
    return error


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"model": "tiny",\n "training_file": }', "(line 2, column 19)"),
        (b"", "(line 1, column 1)"),
        (b"[]", "(line 1, column 1)"),
        (b'{"model": "t\xff"}', "(byte 13)"),
        (b'{"seed": NaN}', "NaN is not JSON"),
        (b'{"model": "\\ud800"}', "lone surrogate"),
        (b'{"model": "a\\u0000"}', "NUL"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_malformed_json_is_told_with_its_place(customer: Customer, body: bytes, place: str) -> None:
    with customer.http() as http:
        for path in ("/v1/fine_tuning/jobs", "/v1/chat/completions"):
            error = wire_error(http.post(path, content=body), 400)
            assert error["code"] == "invalid_json"
            assert place in error["message"]
        own = http.post("/api/v1/keys", content=body, headers={"content-type": "application/json"})
        assert own.status_code == 400
        assert own.headers["content-type"] == "application/problem+json"
        assert place in own.json()["detail"] or own.json()["code"] in (
            "parse_error",
            "invalid_value",
        )


def test_a_missing_or_wrong_key_is_401(base_url: str) -> None:
    for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic eDp5"}):
        response = httpx.get(f"{base_url}/v1/models", headers=headers)
        error = wire_error(response, 401)
        assert error["type"] == "invalid_request_error"
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.headers["x-should-retry"] == "false"
        own = httpx.get(f"{base_url}/api/v1/keys", headers=headers)
        assert own.status_code == 401
        assert own.json()["type"].startswith("urn:privatune:problem:")


def test_unknown_addresses_and_methods_answer_in_the_apis_own_shape(customer: Customer) -> None:
    with customer.http() as http:
        for method in ("GET", "POST", "DELETE"):
            error = wire_error(http.request(method, "/v1/assistants"), 404)
            assert error["code"] == "not_found"
        wire_error(http.get("/v1/files/"), 404)
        wire_error(put := http.put("/v1/files"), 405)
        assert put.headers["allow"] == "GET, POST"
        assert http.head("/v1/files").headers["allow"] == "GET, POST"
        own = http.get("/api/v2/nothing")
        assert own.status_code == 404
        assert own.headers["content-type"] == "application/problem+json"
        assert {"type", "title", "status", "detail"} <= set(own.json())
        assert (put := http.put("/api/v1/keys")).json()["status"] == 405
        assert put.headers["allow"] == "GET, POST"


def test_no_method_gets_round_the_scopes(customer: Customer) -> None:
    narrow = new_customer(customer.base_url, scopes=["infer"])
    with narrow.http() as http:
        for path in ("keys", "members", "audit", "audit/export", "usage", "datasets"):
            assert http.get(f"/api/v1/{path}").status_code == 403
            assert http.head(f"/api/v1/{path}").status_code == 403
            assert http.options(f"/api/v1/{path}").status_code == 405
            with customer.http() as broad:
                assert broad.head(f"/api/v1/{path}").status_code == 405
    with tenant_scope(narrow.tenant_id):
        assert not AuditEntry.objects.filter(action="audit.export").exists()


@pytest.mark.parametrize("calls", ["x", [1], [None], [[]], {"a": 1}, True, 5, [{"function": "x"}]])
def test_odd_tool_calls_are_told_as_the_callers_own(customer: Customer, calls: object) -> None:
    said = [{"role": "assistant", "tool_calls": calls}, {"role": "user", "content": "?"}]
    with customer.http() as http:
        answer = http.post("/v1/chat/completions", json={"model": "none", "messages": said})
    assert wire_error(answer, 400)["param"].startswith("messages.0.tool_calls")


def test_the_request_id_is_ours_and_new_each_time(customer: Customer) -> None:
    with customer.http(**{"x-request-id": "theirs"}) as http:
        ids = {http.get("/v1/models").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3
    assert "theirs" not in ids


def test_an_unknown_query_parameter_is_refused_and_not_ignored(customer: Customer) -> None:
    with customer.http() as http:
        error = wire_error(http.get("/v1/files?purpos=fine-tune"), 400)
        assert error["param"] == "purpos"
        wire_error(http.get("/v1/files?purpose=%00"), 400)
        for twisted in ("metadata[who=bars", "metadata[]=x", "metadata[a]b=x", "limit[x]=3"):
            error = wire_error(http.get(f"/v1/fine_tuning/jobs?{twisted}"), 400)
            assert error["param"] == twisted.partition("=")[0]
        assert wire_error(http.get("/v1/files?limit=5&limit=6"), 400)["param"] == "limit"
        wire_error(http.get("/v1/files/%00"), 404)
        wire_error(http.get("/v1/models/a%00b"), 404)


MESSAGES = [{"role": "user", "content": "x"}]
MISFITS: list[tuple[str, dict[str, Any], str, str]] = [
    ("completions", {"prompt": 5}, "prompt", "must be a string or a list"),
    ("completions", {"prompt": [None]}, "prompt.0", "a string, a whole number or a list"),
    ("completions", {"prompt": [[1, "a"]]}, "prompt.0.1", "must be a whole number"),
    ("chat/completions", {"messages": MESSAGES, "stop": [1]}, "stop.0", "must be a string"),
    ("chat/completions", {"messages": MESSAGES, "stream_options": 5}, "stream_options", "object"),
    ("chat/completions", {"messages": [5]}, "messages.0", "must be an object"),
    ("chat/completions", {}, "messages", "is missing"),
    ("fine_tuning/jobs", {"training_file": "x", "method": 5}, "method", "must be an object"),
    (
        "fine_tuning/jobs",
        {"training_file": "x", "method": {"type": "supervised", "supervised": {"x": 1}}},
        "method.supervised.x",
        "no parameter",
    ),
]


def test_a_value_of_another_form_is_told_in_words_of_the_body(customer: Customer) -> None:
    with customer.http() as http:
        for path, body, param, words in MISFITS:
            error = wire_error(http.post(f"/v1/{path}", json={"model": "x"} | body), 400)
            assert error["param"] == param
            assert words in error["message"]
            assert "instance of" not in error["message"]


@pytest.mark.parametrize("count", ["²", "٣", "-1", "1.5", "many"])
def test_an_odd_number_of_retries_is_none(customer: Customer, count: str) -> None:
    with customer.http() as http:
        headers = {b"x-stainless-retry-count": count.encode()}
        wire_error(http.post("/v1/fine_tuning/jobs", json={}, headers=headers), 400)


def test_a_form_that_is_no_form_is_named(customer: Customer) -> None:
    with customer.http() as http:
        error = wire_error(http.post("/v1/files", json={"purpose": "fine-tune"}), 400)
        assert error["code"] == "form_expected"
        no_file = http.post("/v1/files", files={"purpose": (None, "fine-tune")})
        assert wire_error(no_file, 400)["param"] == "file"
        no_purpose = http.post("/v1/files", files={"file": ("a", b"x")})
        assert wire_error(no_purpose, 400)["param"] == "purpose"
        unknown = http.post(
            "/v1/files", data={"purpose": "user_data", "nme": "x"}, files={"file": ("a", b"x")}
        )
        assert wire_error(unknown, 400)["param"] == "nme"
        torn = http.post(
            "/v1/files", content=b"--x\r\n", headers={"content-type": "multipart/form-data"}
        )
        assert wire_error(torn, 400)["code"] == "invalid_form"


def test_a_body_too_large_is_refused_before_it_is_read(server: tuple[str, int]) -> None:
    """The client announces 10 GB and sends nothing of it: the answer comes all the same."""
    host, port = server[0].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as line:
        line.sendall(
            b"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer x\r\n"
            b"Content-Length: 10737418240\r\n\r\n"
        )
        answer = line.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"request_too_large" in answer


def test_nobody_without_a_key_can_send_much(base_url: str) -> None:
    wire_error(httpx.post(f"{base_url}/v1/files", content=bytes(1 << 10)), 401)
    wire_error(httpx.post(f"{base_url}/v1/files", content=bytes(2 << 20)), 401)


def test_a_body_that_grows_too_large_is_refused(base_url: str) -> None:
    customer = new_customer(base_url)

    def endless() -> Any:
        for _ in range(MAX_FILE_MB + 8):
            yield bytes(1 << 20)

    with customer.http() as http:
        response = http.post("/v1/files", content=endless())
        assert wire_error(response, 413)["code"] == "request_too_large"
        large = http.post("/v1/fine_tuning/jobs", content=b'{"x": "' + b"a" * (17 << 20) + b'"}')
        wire_error(large, 413)


def test_many_requests_at_once_share_the_database_pool(customer: Customer) -> None:
    """Twice as many downloads as the pool has connections are open while others ask."""
    client = customer.client()
    sent = client.files.create(file=("a.bin", bytes(8 << 20)), purpose="user_data")

    with ExitStack() as held:
        for _ in range(40):
            http = held.enter_context(customer.http())
            response = held.enter_context(http.stream("GET", f"/v1/files/{sent.id}/content"))
            assert response.status_code == 200
        with ThreadPoolExecutor(40) as pool:
            listed = pool.map(lambda _: client.files.list().data[0].id, range(80))
        assert set(listed) == {sent.id}
