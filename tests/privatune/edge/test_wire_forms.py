"""How bytes may come over the wire: chunked, broken, compressed, to a wrong name, from a page."""

import socket
from collections.abc import Iterator

import httpx
import pytest

from privatune.edge.origins import Origins
from tests.finetune.api.conftest import PATIENT, serving_http
from tests.finetune.api.customers import Customer, new_customer
from tests.finetune.api.test_problems import wire_error
from tests.privatune.edge.conftest import Edge

PAGE = "https://app.example"


@pytest.fixture
def customer(edge: Edge) -> Customer:
    return new_customer(edge.url)


def form(purpose: str, data: bytes) -> Iterator[bytes]:
    """A multipart form in pieces, so that the client sends it chunked."""
    head = 'Content-Disposition: form-data; name="{}"{}\r\n\r\n'
    yield b"--x\r\n" + head.format("purpose", "").encode() + purpose.encode() + b"\r\n"
    yield b"--x\r\n" + head.format("file", '; filename="a.txt"').encode()
    for start in range(0, len(data), 1 << 16):
        yield data[start : start + (1 << 16)]
    yield b"\r\n--x--\r\n"


def talk(edge: Edge, head: str, body: bytes) -> bytes:
    """The answer to what no client library would send."""
    with socket.create_connection(edge.address) as line:
        line.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        answer = b""
        while piece := line.recv(1 << 16):
            answer += piece
    return answer


@pytest.mark.parametrize("size", [3, 5 << 20])
def test_a_chunked_form_is_read_whole(customer: Customer, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"abc"
    with customer.http() as http:
        sent = http.post(
            "/v1/files",
            content=form("user_data", data),
            headers={"content-type": "multipart/form-data; boundary=x"},
        )
        assert "content-length" not in sent.request.headers
        assert sent.status_code == 200, sent.text
        assert sent.json()["bytes"] == len(data)
        assert http.get(f"/v1/files/{sent.json()['id']}/content").content == data


def test_the_same_form_chunked_and_not_is_one_wish(customer: Customer) -> None:
    """A retry may come by another way than the first attempt."""
    headers = {"content-type": "multipart/form-data; boundary=x", "idempotency-key": "once"}
    with customer.http(**headers) as http:
        chunked = http.post("/v1/files", content=form("user_data", b"same"))
        whole = http.post("/v1/files", content=b"".join(form("user_data", b"same")))
    assert chunked.json()["id"] == whole.json()["id"]


def test_chunked_json_is_read_by_both_faces(customer: Customer) -> None:
    with customer.http(**{"content-type": "application/json"}) as http:
        error = wire_error(
            http.post("/v1/fine_tuning/jobs", content=iter([b'{"seed"', b":1}"])), 400
        )
        assert error["param"] == "model"
        own = http.post("/api/v1/datasets", content=iter([b'{"file": ', b'"x", "columns": {}}']))
        assert own.status_code == 404, own.text


@pytest.mark.parametrize("chunk", [b"zz\r\nabc\r\n0\r\n\r\n", b"3\r\nabcd\r\n0\r\n\r\n"])
def test_a_broken_chunk_is_the_senders_fault_and_said_so(
    edge: Edge, customer: Customer, chunk: bytes
) -> None:
    head = (
        "POST /v1/fine_tuning/jobs HTTP/1.1\nHost: 127.0.0.1\nTransfer-Encoding: chunked\n"
        f"Authorization: Bearer {customer.key}"
    )
    answer = talk(edge, head, chunk)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"x-request-id: req_" in answer
    assert b'"code": "malformed_request"' in answer


def test_a_compressed_body_is_refused_before_it_is_read(edge: Edge, customer: Customer) -> None:
    head = (
        "POST /v1/files HTTP/1.1\nHost: 127.0.0.1\nContent-Length: 1000000\n"
        f"Content-Encoding: gzip\nAuthorization: Bearer {customer.key}\nConnection: close"
    )
    with socket.create_connection(edge.address) as line:
        line.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        answer = line.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 415 ")
    assert b'"code": "unsupported_content_encoding"' in answer


def test_a_host_that_is_not_served_is_told_the_setting(customer: Customer) -> None:
    with customer.http(host="elsewhere.example") as http:
        error = wire_error(http.get("/v1/models"), 400)
        assert error["code"] == "unknown_host"
        assert "PRIVATUNE_ALLOWED_HOSTS" in error["message"]
        page = http.get("/accounts/login/", headers={"accept": "text/html"})
        assert page.status_code == 400
        assert "PRIVATUNE_ALLOWED_HOSTS" in page.text


def test_no_page_of_another_origin_may_call_unless_it_is_named(customer: Customer) -> None:
    with customer.http(origin=PAGE) as http:
        answer = http.get("/v1/models")
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("access-control")]
        asked = http.options("/v1/models", headers={"access-control-request-method": "GET"})
        assert asked.status_code == 405


def test_a_named_origin_may(django_db_setup: None, committed: None) -> None:
    with serving_http(PATIENT, PRIVATUNE_API_ORIGINS=f"{PAGE}, https://b.example") as (url, _):
        customer = new_customer(url)
        wants = {
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        }
        asked = httpx.options(f"{url}/v1/chat/completions", headers={"origin": PAGE} | wants)
        assert asked.status_code == 204
        assert asked.headers["access-control-allow-origin"] == PAGE
        assert asked.headers["access-control-allow-headers"] == "authorization,content-type"
        assert "POST" in asked.headers["access-control-allow-methods"]
        with customer.http(origin=PAGE) as http:
            read = http.get("/v1/models")
            assert read.headers["access-control-allow-origin"] == PAGE
            assert "access-control-allow-credentials" not in read.headers  # no cookie acts here
            assert "Origin" in read.headers.get_list("vary", split_commas=True)
        refused = httpx.get(f"{url}/v1/models", headers={"origin": PAGE})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)
        other = httpx.get(f"{url}/v1/models", headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        page = httpx.get(f"{url}/accounts/login/", headers={"origin": PAGE})
        assert "access-control-allow-origin" not in page.headers


def test_origins_are_named_exactly() -> None:
    named = Origins(["https://App.example/"])
    assert named.headers("/v1/models", b"https://app.example")
    for other in (b"https://app.example.evil", b"http://app.example", b"null", b""):
        assert not named.headers("/v1/models", other)
    assert Origins(["*"]).headers("/api/v1/keys", b"null")
