"""A provider whose documents are odd, late, endless or hostile: a page says so, never a 500, and
no thread of ours is kept for long. It runs on loopback and speaks bare HTTP."""

import gzip
import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from joserfc import jws
from joserfc.jwk import ECKey

from privatune.people import oidc_client
from privatune.people.bounded_http import MOST_BYTES
from tenants.database.scope import tenant_scope
from tenants.roles import Role
from tenants.services import sign_in
from tests.finetune.api.customers import new_customer
from tests.fixtures.people import is_signed_in, member

pytestmark = pytest.mark.django_db
KEY = ECKey.generate_key("P-256", {"kid": "1", "use": "sig", "alg": "ES256"})
DOCUMENT, TOKEN, KEYS = "/.well-known/openid-configuration", "/token", "/keys"


class Odd(BaseHTTPRequestHandler):
    """`answers` by path: JSON, bytes as they are, or what is done with the handler."""

    answers: ClassVar[dict[str, Any]] = {}
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.asked.append(self.path)
        answer = self.answers.get(self.path, b"")
        if callable(answer):
            answer(self)
        else:
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


class Provider:
    def __init__(self, url: str, handler: type[Odd]) -> None:
        self.url, self.handler, self.answers = url, handler, handler.answers
        self.customer = new_customer()
        self.person = member(self.customer, Role.ENGINEER)
        self.document: dict[str, Any] = {
            "issuer": url, "authorization_endpoint": f"{url}/authorize",
            "token_endpoint": f"{url}{TOKEN}", "jwks_uri": f"{url}{KEYS}",
        }  # fmt: skip
        self.claims: dict[str, Any] = {"email": self.person.email, "email_verified": True}
        self.answers |= {DOCUMENT: self.document, KEYS: {"keys": [KEY.as_dict(private=False)]}}
        with tenant_scope(self.customer.tenant_id):
            sign_in.set_provider(
                issuer=url, client_id="portal", secret="hush", role=Role.OWNER, actor="test"
            )

    def begin(self, browser: Client) -> Any:
        return browser.get(f"/accounts/oidc/{self.customer.slug}/")

    def come_back(self, browser: Client, **odd: Any) -> Any:
        """From the sign-in at the provider, which then answers what is `odd` about token or keys:
        by path, or by field of the token."""
        query = parse_qs(urlsplit(self.begin(browser).headers["Location"]).query)
        now = int(time.time())
        facts = {"iss": self.url, "aud": "portal", "sub": "1", "iat": now, "exp": now + 600,
                 "nonce": query["nonce"][0]}  # fmt: skip
        told = json.dumps(facts | self.claims)
        signed = jws.serialize_compact({"alg": "ES256", "kid": "1"}, told, KEY)
        given = {"access_token": "a", "token_type": "Bearer", "id_token": signed}
        odd = odd if odd.keys() & {TOKEN, KEYS} else {TOKEN: given | odd}
        self.answers.update({TOKEN: given} | odd)
        back = f"/accounts/oidc/{self.customer.slug}/callback"
        return browser.get(back, {"code": "x", "state": query["state"][0]})


@pytest.fixture
def provider(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    monkeypatch.setattr(oidc_client, "SECONDS", 600.0)  # what is odd decides, not how late it came
    handler = type("Handler", (Odd,), {"answers": {}, "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        settings.OIDC_HOSTS = [f"127.0.0.1:{server.server_address[1]}"]
        try:
            yield Provider(f"http://{settings.OIDC_HOSTS[0]}", handler)
        finally:
            server.shutdown()
            thread.join()


def refused(answer: Any, browser: Client, log: pytest.LogCaptureFixture, why: str) -> None:
    assert answer.status_code == 403, answer.content.decode()
    assert "You were not signed in." in answer.content.decode()
    assert not is_signed_in(browser)
    assert why in log.text
    log.clear()


def test_a_plain_provider_lets_its_member_in(provider: Provider) -> None:
    browser = Client()
    answer = provider.come_back(browser)
    assert answer.headers["Location"] == f"/t/{provider.customer.slug}/"
    assert is_signed_in(browser)


def compressed(handler: BaseHTTPRequestHandler) -> None:
    body = gzip.compress(b" " * 50_000_000 + b"{}", 1)
    handler.send_response(200)
    handler.send_header("content-encoding", "gzip")
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(1000 * MOST_BYTES // 4096):
        try:
            handler.wfile.write(b" " * 4096)
        except OSError:  # hung up on
            return


def failing(handler: BaseHTTPRequestHandler) -> None:
    handler.send_error(500)


def cut_off(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "999")
    handler.end_headers()
    handler.wfile.write(b'{"issuer"')


def test_a_document_that_is_none_ends_in_a_page(
    provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    for document, why in (
        ([], "no JSON object"), (None, "no JSON object"), (7, "no JSON object"),
        (b"<html>", "no JSON"), (b"", "no JSON"), (b"[" * 100_000, "no JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "no JSON"), ({}, "Document.issuer"),
        (compressed, "compressed"), (endless, "more than"), (failing, "no JSON"),
        (cut_off, "no whole answer"),
    ):  # fmt: skip
        provider.answers[DOCUMENT] = document
        browser = Client()
        refused(provider.begin(browser), browser, caplog, why)


def test_a_field_that_is_missing_or_odd_is_named_in_the_log(
    provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    for field, value in (
        ("issuer", 1), ("issuer", None), ("authorization_endpoint", None),
        ("authorization_endpoint", "javascript:alert(1)"), ("authorization_endpoint", []),
        ("authorization_endpoint", "https://x.example/\r\nSet-Cookie: a=b"),
        ("token_endpoint", {}), ("token_endpoint", None), ("jwks_uri", 3), ("jwks_uri", None),
        ("id_token_signing_alg_values_supported", 5),
        ("id_token_signing_alg_values_supported", [None]),
    ):  # fmt: skip
        given = provider.document | {field: value}
        provider.answers[DOCUMENT] = {k: v for k, v in given.items() if v is not None}
        browser = Client()
        refused(provider.begin(browser), browser, caplog, f"Document.{field}")


def test_a_document_sets_nothing_of_the_servers_own_connections(provider: Provider) -> None:
    """Authlib takes a provider's document for settings of its session, proxies among them."""
    elsewhere = {"http": "http://127.0.0.1:9", "https": "http://127.0.0.1:9"}
    provider.document |= {
        "proxies": elsewhere, "verify": False, "trust_env": True, "max_redirects": 9, "ends": 0,
        "client_id": "x", "token": {"access_token": "y"}, "response_type": "token",
        "_loaded_at": 1, "jwks": {"keys": []}, "grant_type": "password", "code_challenge": 1,
    }  # fmt: skip
    assert provider.come_back(Client()).status_code == 302
    assert provider.handler.asked[-2:] == [TOKEN, KEYS]


def test_a_token_that_is_odd_ends_in_a_page(
    provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    for token in (
        {"id_token": 5}, {"id_token": None}, {"id_token": {}}, {"id_token": "a.b.c"},
        {"id_token": "."}, {"id_token": ""}, {"error": ["x"]},
        {"error": {"a": 1}, "error_description": 5},
    ):  # fmt: skip
        browser = Client()
        refused(provider.come_back(browser, **token), browser, caplog, "failed")


@pytest.mark.parametrize("path", [TOKEN, KEYS])
def test_tokens_and_keys_that_are_garbage_end_in_a_page(
    provider: Provider, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    for answer in (
        [], b"garbage", b"[" * 100_000, {"keys": "none"}, {"keys": [1]}, {"keys": [{"kty": 1}]},
        {"keys": [{"kty": "EC", "crv": "P-256", "x": "?", "y": 0, "kid": "1"}]}, {"keys": []},
        {"keys": [{"kty": "RSA", "n": "AQ", "e": "AQAB", "kid": "1"}]}, {}, endless, failing,
        cut_off,
    ):  # fmt: skip
        browser = Client()
        refused(provider.come_back(browser, **{path: answer}), browser, caplog, "failed")


def test_claims_that_are_odd_end_in_a_page(
    provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    fair = provider.claims
    for claims in (
        {"email_verified": "true"}, {"email_verified": "false"}, {"email_verified": 1},
        {"email_verified": None}, {"email": None}, {"email": 5}, {"email": {"a": 1}}, {"email": ""},
        {"email": "a\x00@b.example"}, {"email": "\ud800@b.example"}, {"email": "x" * 5000},
        {"nonce": "other"}, {"nonce": 1}, {"aud": 7}, {"exp": "soon"}, {"iat": []}, {"iss": 3},
        {"amr": 7}, {"amr": "mfa"}, {"amr": {"mfa": 1}}, {"amr": True},
    ):  # fmt: skip
        provider.claims = fair | claims
        browser = Client()
        refused(provider.come_back(browser), browser, caplog, "failed")


def test_a_text_for_verified_is_told_as_what_it_is(provider: Provider) -> None:
    provider.claims["email_verified"] = "true"
    assert "only a plain true counts" in provider.come_back(Client()).content.decode()


def test_only_the_word_in_a_list_says_that_a_second_factor_was_asked_for(
    provider: Provider,
) -> None:
    """The person is in all the same; a room that needs a factor is closed to such a session."""
    for amr in (["no mfa"], [["mfa"]], [None], [], 0, "", ["pwd", "mfa"]):
        provider.claims["amr"] = amr
        browser = Client()
        assert provider.come_back(browser).status_code == 302
        assert browser.session["provider_asked_second_factor"] is (amr == ["pwd", "mfa"])


@pytest.mark.parametrize(("path", "trickled"), [(DOCUMENT, "head"), (KEYS, "body")])
def test_a_provider_that_trickles_is_left_after_a_time(
    provider: Provider,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    trickled: str,
) -> None:
    """It never pauses for long, and would come to its end if it were waited for."""
    whole = json.dumps(provider.answers[path]).encode()
    left, gone = Event(), Event()

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        piece = b"X-Wait: 1\r\n" if trickled == "head" else b" "
        handler.send_response(200)
        if trickled == "body":
            handler.end_headers()
        handler.flush_headers()
        try:
            while not left.wait(0.02):
                handler.wfile.write(piece)
        except OSError:
            gone.set()
            return
        handler.wfile.write((b"\r\n" if trickled == "head" else b"") + whole)

    browser = Client()
    provider.answers[path] = trickle
    monkeypatch.setattr(oidc_client, "SECONDS", 2.0)
    try:
        answer = provider.begin(browser) if path == DOCUMENT else provider.come_back(browser)
        refused(answer, browser, caplog, "it came too slowly")
        gone.wait()  # for ever, if the connection were not closed
    finally:
        left.set()
