"""Sign-in through an organisation's own provider, against a real one on loopback; and what such a
provider must not reach."""

import json
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from privatune.people import urls
from tenants.database.scope import tenant_scope
from tenants.errors import Invalid, Refused
from tenants.models import AuditEntry, SignInProvider, User
from tenants.roles import Role
from tenants.services import sign_in
from tenants.services.tenants import add_member, require_two_factor
from tests.finetune.api.customers import Customer, new_customer
from tests.fixtures.people import browser_of, is_signed_in, member, new_person
from tests.fixtures.ports import own_port

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    port = own_port()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "oidc_provider_mock",
            "--port",
            str(port),
            "-n",
            "true",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            assert process.poll() is None, "the provider did not start"
            try:
                httpx.get(f"{url}/.well-known/openid-configuration").raise_for_status()
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def customer(issuer: str, settings: Any) -> Customer:
    settings.OIDC_HOSTS = [urlsplit(issuer).netloc]
    made = new_customer()
    with tenant_scope(made.tenant_id):
        sign_in.set_provider(
            issuer=issuer, client_id="portal", secret="hush", role=Role.OWNER, actor="test"
        )
    return made


def come_in(
    issuer: str, slug: str, address: str, *, back_to: str = "", **claims: Any
) -> tuple[Client, Any]:
    """A browser goes to the provider, signs in there with such claims, and comes back."""
    subject = uuid.uuid4().hex
    told = {"email": address, "email_verified": True} | claims
    httpx.put(f"{issuer}/users/{subject}", json=told).raise_for_status()
    client = Client()
    away = client.get(f"/accounts/oidc/{slug}/")
    assert away.status_code == 302, away.content.decode()
    query = parse_qs(urlsplit(away.headers["Location"]).query)
    assert {"state", "nonce", "code_challenge"} <= set(query)
    back = httpx.post(away.headers["Location"], data={"sub": subject})
    parts = urlsplit(back.headers["Location"])
    return client, client.get(f"{back_to or parts.path}?{parts.query}")


def test_a_member_comes_in_through_the_provider(customer: Customer, issuer: str) -> None:
    person = member(customer, Role.ENGINEER)
    client, answer = come_in(issuer, customer.slug, person.email.upper())
    assert answer.headers["Location"] == f"/t/{customer.slug}/"
    assert client.get(f"/t/{customer.slug}/files/").status_code == 200
    with tenant_scope(customer.tenant_id):
        entry = AuditEntry.objects.get(action="session.enter")
    assert (entry.user_id, entry.data["by"]) == (person.pk, "oidc")


@pytest.mark.parametrize(
    "claims", [{"email_verified": False}, {"email_verified": "true"}, {"email": ""}]
)
def test_an_address_that_the_provider_does_not_vouch_for_counts_for_nothing(
    customer: Customer, issuer: str, claims: dict[str, Any]
) -> None:
    person = member(customer)
    client, answer = come_in(issuer, customer.slug, person.email, **claims)
    assert answer.status_code == 403
    assert not is_signed_in(client)


def test_a_provider_speaks_for_no_one_elses_people(customer: Customer, issuer: str) -> None:
    """Its owner may make it say any address: that of another organisation's owner, of nobody."""
    stranger = member(new_customer())
    people = User.objects.count()
    for email in (stranger.email, "nobody@nowhere.example"):
        client, answer = come_in(issuer, customer.slug, email)
        assert answer.status_code == 403
        assert not is_signed_in(client)
    assert User.objects.count() == people, "no account appears by itself"
    with tenant_scope(customer.tenant_id):
        told = AuditEntry.objects.filter(action="sign_in.refused").order_by("seq")
        assert [each.target for each in told] == [stranger.email, "nobody@nowhere.example"]
        assert told[0].data == {"address": "127.0.0.1"}


@pytest.fixture
def confined(customer: Customer, issuer: str) -> tuple[Client, Customer]:
    """A session that A's provider opened for somebody who also owns B, and is an operator."""
    person, other = new_person(is_staff=True, is_superuser=True), new_customer()
    for each in (customer, other):
        add_member(tenant_id=each.tenant_id, user=person, role=Role.OWNER, actor="test")
    return come_in(issuer, customer.slug, person.email, amr=["mfa"])[0], other


def test_such_a_session_reaches_its_organisation_only(
    customer: Customer, confined: tuple[Client, Customer]
) -> None:
    client, other = confined
    assert client.get("/").headers["Location"] == f"/t/{customer.slug}/"
    page = client.get(f"/t/{customer.slug}/").content.decode()
    assert other.slug not in page
    for room in ("", "files/", "settings"):
        assert client.get(f"/t/{other.slug}/{room}").status_code == 404
    file = SimpleUploadedFile("a.jsonl", b"{}")
    assert client.post(f"/t/{other.slug}/files/upload", {"file": file}).status_code == 404
    assert client.get("/operator/", follow=True).status_code == 404


@pytest.mark.parametrize("each", urls._of_the_person, ids=lambda each: each.name)
def test_such_a_session_cannot_touch_the_account(
    confined: tuple[Client, Customer], each: Any
) -> None:
    route = re.sub(r"\(\?P<[^>]+>[^)]*\)|<[^>]+>", "1", str(each.pattern)).strip("^$")
    for method in ("get", "post"):
        assert getattr(confined[0], method)(f"/accounts/{route}").status_code == 403


@pytest.mark.parametrize(("amr", "status"), [(["pwd", "mfa"], 200), (["pwd"], 403), (None, 403)])
def test_a_required_second_factor_is_the_providers_to_ask_for(
    customer: Customer, issuer: str, amr: list[str] | None, status: int
) -> None:
    with tenant_scope(customer.tenant_id):
        require_two_factor(required=True, role=Role.OWNER, actor="test")
    claims = {"amr": amr} if amr else {}
    client, _answer = come_in(issuer, customer.slug, member(customer).email, **claims)
    assert client.get(f"/t/{customer.slug}/").status_code == status


def test_an_answer_for_one_organisation_opens_no_other(customer: Customer, issuer: str) -> None:
    other = new_customer()
    with tenant_scope(other.tenant_id):
        sign_in.set_provider(
            issuer=issuer, client_id="other", secret="x", role=Role.OWNER, actor="test"
        )
    person = member(other)
    elsewhere = f"/accounts/oidc/{other.slug}/callback"
    client, answer = come_in(issuer, customer.slug, person.email, back_to=elsewhere)
    assert answer.status_code == 403
    assert not is_signed_in(client)


def test_a_made_up_answer_signs_nobody_in(customer: Customer) -> None:
    client = Client()
    answer = client.get(f"/accounts/oidc/{customer.slug}/callback?code=x&state=y")
    assert answer.status_code == 403
    assert not is_signed_in(client)


def test_a_provider_that_is_down_is_told_and_no_server_error(
    customer: Customer, settings: Any
) -> None:
    gone = f"127.0.0.1:{own_port()}"
    settings.OIDC_HOSTS = [gone]
    with tenant_scope(customer.tenant_id):
        sign_in.set_provider(
            issuer=f"http://{gone}", client_id="a", secret="b", role=Role.OWNER, actor="test"
        )
    assert Client().get(f"/accounts/oidc/{customer.slug}/").status_code == 403


def test_an_organisation_without_a_provider_answers_as_none_at_all(customer: Customer) -> None:
    for slug in (new_customer().slug, "nobody"):
        assert Client().get(f"/accounts/oidc/{slug}/").status_code == 404
        assert Client().get("/accounts/oidc/", {"organisation": slug}).status_code == 404


@pytest.mark.parametrize(
    "issuer_wanted",
    ["http://169.254.169.254", "https://10.0.0.1", "http://login.example.com", "file:///etc/passwd",
     "https://allowed.example@evil.example", "https://allowed.example/?x=1"],
)  # fmt: skip
def test_the_server_fetches_only_where_the_operator_allows(
    settings: Any, issuer_wanted: str
) -> None:
    settings.OIDC_HOSTS = ["allowed.example"]
    customer = new_customer()
    with tenant_scope(customer.tenant_id), pytest.raises(Invalid):
        sign_in.set_provider(
            issuer=issuer_wanted, client_id="a", secret="b", role=Role.OWNER, actor="test"
        )


def test_an_owner_sets_and_removes_it_in_the_portal(issuer: str, settings: Any) -> None:
    settings.OIDC_HOSTS = [urlsplit(issuer).netloc]
    customer = new_customer()
    address = f"/t/{customer.slug}/settings"
    form = {"do": "provider", "issuer": issuer, "client_id": "portal", "client_secret": "hush"}
    assert browser_of(member(customer, Role.ADMIN)).post(address, form).status_code == 403
    owner = browser_of(member(customer))
    assert owner.post(address, form | {"issuer": "https://evil.example"}).status_code == 400
    assert owner.post(address, form).status_code == 302
    assert "hush" not in owner.get(address).content.decode()
    with tenant_scope(customer.tenant_id):
        assert SignInProvider.objects.get().issuer == issuer
        with pytest.raises(Refused):
            sign_in.remove_provider(role=Role.ADMIN, actor="test")
    assert owner.post(address, {"do": "remove-provider"}).status_code == 302
    with tenant_scope(customer.tenant_id):
        assert sign_in.provider() is None


class _Answers(BaseHTTPRequestHandler):
    """A provider whose document is `document`, and which notes what it is asked for."""

    document: ClassVar[dict[str, str]] = {}
    location: ClassVar[str] = ""
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(302 if self.location else 200)
        if self.location:
            self.send_header("Location", self.location)
        self.end_headers()
        self.wfile.write(json.dumps(self.document).encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def hostile(settings: Any) -> Iterator[tuple[Customer, str, type[_Answers]]]:
    """Its owner decides what stands under the issuer, on a host that others share."""
    handler = type("Handler", (_Answers,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        host = f"127.0.0.1:{server.server_address[1]}"
        settings.OIDC_HOSTS = [host]
        made = new_customer()
        with tenant_scope(made.tenant_id):
            sign_in.set_provider(
                issuer=f"http://{host}/x", client_id="a", secret="b", role=Role.OWNER, actor="test"
            )
        try:
            yield made, f"http://{host}", handler
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("named", ["token_endpoint", "jwks_uri"])
@pytest.mark.parametrize("where", ["http://169.254.169.254/x", "https://[::1", ""])
def test_the_server_connects_nowhere_that_only_a_provider_names(
    hostile: tuple[Customer, str, type[_Answers]], named: str, where: str
) -> None:
    customer, url, handler = hostile
    fair = {each: f"{url}/{each}" for each in ("token_endpoint", "jwks_uri")}
    fair |= {"issuer": f"{url}/x", "authorization_endpoint": f"{url}/authorize"}
    handler.document = fair
    assert Client().get(f"/accounts/oidc/{customer.slug}/").status_code == 302
    handler.document = fair | {named: where}
    assert Client().get(f"/accounts/oidc/{customer.slug}/").status_code == 403


def test_the_server_follows_no_redirect_of_a_provider(
    hostile: tuple[Customer, str, type[_Answers]],
) -> None:
    customer, url, handler = hostile
    handler.location = f"{url}/inside"
    assert Client().get(f"/accounts/oidc/{customer.slug}/").status_code == 403
    assert "/inside" not in handler.asked


def test_a_host_that_the_operator_took_back_is_not_asked(
    hostile: tuple[Customer, str, type[_Answers]], settings: Any
) -> None:
    customer, _, handler = hostile
    settings.OIDC_HOSTS = []
    assert Client().get(f"/accounts/oidc/{customer.slug}/").status_code == 403
    assert handler.asked == []
