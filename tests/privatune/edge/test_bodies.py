"""Who may send how much: attacks on a running server by people it does not know, and by ones that
it knows and that want more than their share."""

import select
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from privatune.edge.body import Pace
from privatune.edge.routes import LIMITS, SMALL, place_of
from tenants.database.scope import tenant_scope
from tenants.roles import Role, Scope
from tenants.services.tenants import require_two_factor
from tests.finetune.api.customers import new_customer
from tests.fixtures.waiting import until
from tests.privatune.edge.conftest import TENANT_SPOOL_MB, Edge, signed_in

MB = 1 << 20
FORM = {"content-type": "multipart/form-data; boundary=x"}
HEAD = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'


def trickle(size: int) -> Iterator[bytes]:
    """A form without a declared length, whose file has `size` bytes and no end."""
    yield HEAD
    for _ in range(size // MB):
        yield bytes(MB)


def routes() -> Iterator[str]:
    def walk(patterns: list[object], before: str, namespace: str) -> Iterator[str]:
        for each in patterns:
            if isinstance(each, URLResolver):
                inner = namespace or each.namespace or ""
                yield from walk(each.url_patterns, before + str(each.pattern), inner)
            elif isinstance(each, URLPattern):
                yield f"portal:{each.name}" if namespace == "portal" else before + str(each.pattern)

    return walk(get_resolver().url_patterns, "", "")


def test_the_table_names_addresses_that_exist() -> None:
    assert {route for _, route in LIMITS} <= set(routes())


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/nothing"), ("POST", "/healthz"), ("GET", "/v1/files"), ("POST", "/v1/assistants"),
     ("POST", "/static/x"), ("PUT", "/"), ("BREW", "/v1/files"), ("POST", "/v1/files/")],
)  # fmt: skip
def test_what_is_not_in_the_table_may_send_next_to_nothing(method: str, path: str) -> None:
    assert place_of(method, path).limit == SMALL


def test_strangers_fill_no_disk(edge: Edge) -> None:
    """Four bodies of 125 MB, without a declared length, to addresses that a stranger can reach."""
    attacks = {
        "/healthz": 413,
        "/accounts/login/": 413,
        "/no/such/path": 413,
        "/v1/files": 401,
        "/v1/uploads/upload_0/parts": 401,
    }
    most = 0

    def attack(path: str) -> int:
        headers = FORM | {"Authorization": "Bearer pt-made-up"}
        return httpx.post(edge.url + path, content=trickle(125 * MB), headers=headers).status_code

    with ThreadPoolExecutor(len(attacks)) as pool:
        sent = [pool.submit(attack, path) for path in attacks]
        while not all(each.done() for each in sent):
            most = max(most, edge.spooled())
            time.sleep(0.01)
        assert [each.result() for each in sent] == list(attacks.values())
    assert most == 0


def test_a_key_without_the_scope_is_told_before_it_has_sent_the_body(edge: Edge) -> None:
    customer = new_customer(edge.url, scopes=[Scope.FILES_READ])
    with socket.create_connection(edge.address) as line:
        line.sendall(
            b"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000000\r\n"
            b"Authorization: Bearer " + customer.key.encode() + b"\r\n\r\n"
        )
        assert line.recv(1 << 16).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(("role", "status"), [(None, 401), (Role.VIEWER, 403)])
def test_the_portal_asks_who_uploads_before_it_takes_the_file(
    edge: Edge, role: Role | None, status: int
) -> None:
    customer = new_customer(edge.url)
    headers = FORM | ({"cookie": signed_in(customer, role)} if role else {"cookie": "sessionid=x"})
    response = httpx.post(
        f"{edge.url}/t/{customer.slug}/files/upload",
        content=trickle(20 * MB),
        headers=headers,
    )
    assert response.status_code == status
    assert edge.spooled() == 0


@pytest.mark.parametrize(
    ("language", "words"), [("en", "too much at once"), ("zh-hans", "一次发送过多")]
)
def test_a_person_is_told_of_it_by_a_page(edge: Edge, language: str, words: str) -> None:
    headers = {"accept": "text/html", "cookie": f"django_language={language}"}
    response = httpx.post(f"{edge.url}/accounts/login/", content=b"x" * (17 * MB), headers=headers)
    assert response.status_code == 413
    assert f'<html lang="{language}">' in response.text
    assert words in response.text


def test_a_body_that_stands_still_is_given_up(hasty: Edge) -> None:
    lines = []
    for _ in range(20):
        line = socket.create_connection(hasty.address)
        line.sendall(
            b"POST /accounts/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nabc"
        )
        lines.append(line)
    for line in lines:
        assert line.recv(1 << 16).startswith(b"HTTP/1.1 408 ")
        line.close()


def test_a_body_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pace, now = Pace(idle=10, rate=1000, total=100), 1000.0
    monkeypatch.setattr("privatune.edge.body.time.monotonic", lambda: now)
    assert pace.patience(now, 0) == 10, "nothing is late yet"
    assert pace.patience(now - 60, 10_000) < 0, "a byte at a time is too slow"
    assert pace.patience(now - 60, 50_000) == 5
    assert pace.patience(now - 101, 10_000_000) < 0, "a fast one that does not end"


def test_one_tenants_bodies_leave_room_for_others_and_go_with_the_connection(edge: Edge) -> None:
    greedy, other = new_customer(edge.url), new_customer(edge.url)
    half = (TENANT_SPOOL_MB // 4) * MB  # a file counts twice

    def begin(key: str) -> socket.socket:
        line = socket.create_connection(edge.address)
        line.sendall(
            b"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n"
            + f"Content-Length: {half}\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
            + HEAD
            + bytes(half - MB)
        )
        return line

    lines = [begin(greedy.key), begin(greedy.key)]
    until(lambda: edge.spooled() > half, "nothing was spooled")
    with greedy.http() as http:
        refused = http.post("/v1/files", content=trickle(2 * MB), headers=FORM)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] == "too_many_bytes_in_flight"
        assert http.get("/v1/files").status_code == 200
    sent = other.client().files.create(file=("a", bytes(MB)), purpose="user_data")
    assert sent.bytes == MB
    for line in lines:
        line.close()
    until(lambda: edge.spooled() == 0, "it stays after its connection")
    again = greedy.client().files.create(file=("a", bytes(half - MB)), purpose="user_data")
    assert again.bytes == half - MB
    until(lambda: edge.spooled() == 0, "it stays after its request")


def test_an_idle_half_sent_file_is_gone_from_the_disk(hasty: Edge) -> None:
    customer = new_customer(hasty.url)
    seen = 0

    def spooled() -> int:
        nonlocal seen
        now = hasty.spooled()
        seen = max(seen, now)
        return now

    for _ in range(5):  # it may be given up before this process looks
        with socket.create_connection(hasty.address) as line:
            line.sendall(
                b"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 15000000\r\n"
                b"Authorization: Bearer " + customer.key.encode() + b"\r\n\r\n" + bytes(10 * MB)
            )
            until(lambda: spooled() > 5 * MB or is_told(line), "it was not spooled")
            until(lambda: spooled() == 0, "it stays on the disk")
            until(lambda: is_told(line), "nobody said that it was given up")
        if seen:
            break
    assert seen > 5 * MB


def is_told(line: socket.socket) -> bool:
    """Whether an answer has come."""
    return bool(select.select([line], [], [], 0)[0])


def test_the_portal_asks_for_the_second_factor_before_it_takes_the_file(edge: Edge) -> None:
    customer = new_customer(edge.url)
    cookie = signed_in(customer)
    with tenant_scope(customer.tenant_id):
        require_two_factor(required=True, role=Role.OWNER, actor="test")
    response = httpx.post(
        f"{edge.url}/t/{customer.slug}/files/upload",
        content=trickle(20 * MB),
        headers=FORM | {"cookie": cookie},
    )
    assert (response.status_code, response.json()["code"]) == (403, "second_factor_needed")
