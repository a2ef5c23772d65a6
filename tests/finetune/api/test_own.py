"""/api/v1: what OpenAI's wire has no words for."""

import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from finetune.models import CatalogModel
from finetune.services import trail
from tenants.access import authenticate_key
from tenants.database.scope import tenant_scope
from tenants.errors import NotAuthenticated
from tenants.models import ApiKey, AuditEntry, IdempotencyRecord, License, User
from tenants.roles import Role, Scope
from tenants.services.licences import charge
from tests.finetune.api.customers import (
    Customer,
    new_customer,
    new_member,
    shelve,
    with_key_of,
)


@pytest.fixture
def live_customer(server: tuple[str, int], committed: None) -> Customer:
    return new_customer(server[0])


CLIENT = Client()


class Api:
    """The Django test client with a key."""

    def __init__(self, customer: Customer) -> None:
        self._headers = {"Authorization": f"Bearer {customer.key}"}

    def __call__(
        self, method: str, path: str, body: Any = None, *, status: int = 200, key: str = ""
    ) -> Any:
        options: dict[str, Any] = {
            "headers": self._headers | ({"Idempotency-Key": key} if key else {})
        }
        if body is not None:
            options |= {"data": body, "content_type": "application/json"}
        response = getattr(CLIENT, method)(f"/api/v1/{path}", **options)
        assert response.status_code == status, response.content
        return response.json()


@pytest.fixture
def customer(db: None) -> Customer:
    return new_customer(models=["shelf"])


@pytest.fixture
def owner(customer: Customer) -> User:
    return new_member(customer)[0]


@pytest.fixture
def api(customer: Customer, owner: User) -> Api:
    """With a key that belongs to an owner."""
    return Api(with_key_of(customer, owner))


def test_a_key_is_made_shown_once_and_revoked(api: Api) -> None:
    made = api("post", "keys", {"name": "ci", "scopes": ["files:read"]})
    assert authenticate_key(made["secret"]).scopes == {Scope.FILES_READ}
    listed = {each["id"]: each for each in api("get", "keys")["data"]}
    assert "secret" not in listed[made["id"]]
    revoked = api("delete", f"keys/{made['id']}")
    assert revoked["revoked_at"] is not None
    with pytest.raises(NotAuthenticated):
        authenticate_key(made["secret"])


def test_a_key_is_changed_and_its_scopes_are_not(api: Api) -> None:
    made = api("post", "keys", {"name": "ci", "scopes": ["files:read"]})
    path = f"keys/{made['id']}"
    wish = {"name": "build", "expires_at": "2999-01-01T00:00:00Z", "allowed_addresses": []}
    changed = api("patch", path, wish)
    assert changed == api("get", path)
    assert {name: changed[name] for name in wish} == wish
    for body, status, code in (
        ({"scopes": ["infer"]}, 400, "unknown_parameter"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, 400, "expiry_past"),
        ({"expires_at": "soon"}, 400, "invalid_value"),
        ({"name": ""}, 400, "invalid_value"),
        ({"allowed_addresses": ["x"]}, 400, "invalid_network"),
    ):
        assert api("patch", path, body, status=status)["code"] == code
    assert api("get", path) == changed
    api("delete", path)
    assert api("patch", path, {"name": "again"}, status=409)["code"] == "key_ended"


def test_revoking_tells_which_keys_ended_with_it(api: Api, customer: Customer) -> None:
    maker = api("post", "keys", {"name": "maker"})
    child = Api(replace(customer, key=maker["secret"]))("post", "keys", {"name": "child"})
    assert child["made_with"] == maker["id"]
    assert maker["made_with"] is not None, "it was made with the key of the test"
    assert api("delete", f"keys/{maker['id']}")["also_revoked"] == [child["id"]]
    with pytest.raises(NotAuthenticated):
        authenticate_key(child["secret"])
    assert api("delete", f"keys/{maker['id']}")["also_revoked"] == []


def test_a_repeated_request_makes_one_key_and_keeps_no_secret(api: Api, customer: Customer) -> None:
    key = uuid.uuid4().hex
    first = api("post", "keys", {"name": "ci"}, key=key)
    again = api("post", "keys", {"name": "ci"}, key=key)
    assert again == first | {"secret": None}
    api("post", "keys", {"name": "other"}, status=422, key=key)
    with tenant_scope(customer.tenant_id):
        assert ApiKey.objects.filter(name="ci").count() == 1
        assert first["secret"] not in str(list(IdempotencyRecord.objects.values()))


def test_a_key_cannot_pass_on_more_than_it_has(customer: Customer, owner: User) -> None:
    limited = Api(with_key_of(customer, owner, [Scope.TENANT_WRITE, Scope.TENANT_READ]))
    problem = limited("post", "keys", {"name": "more", "scopes": ["infer"]}, status=403)
    assert (problem["code"], problem["param"]) == ("scope_beyond_own", "scopes")
    assert set(limited("post", "keys", {"name": "same"})["scopes"]) == {
        "tenant:write",
        "tenant:read",
    }


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": "x" * 81}, "name"),
        ({"name": "x", "scopes": ["root"]}, "scopes.0"),
        ({"name": "x", "expires_at": "soon"}, "expires_at"),
    ],
)
def test_a_field_at_fault_is_named(api: Api, body: Any, param: str) -> None:
    problem = api("post", "keys", body, status=400)
    assert problem["param"] == param
    assert problem["status"] == 400
    assert problem["type"] == f"urn:privatune:problem:{problem['code']}"


def test_members_change_and_go_but_an_owner_stays(
    api: Api, customer: Customer, owner: User
) -> None:
    new_member(customer, Role.VIEWER, "v@example.org")
    rows = {each["email"]: each for each in api("get", "members")["data"]}
    last, other = rows[owner.email], rows["v@example.org"]
    problem = api("patch", f"members/{last['id']}", {"role": "viewer"}, status=403)
    assert problem["code"] == "last_owner"
    api("delete", f"members/{last['id']}", status=403)
    assert api("patch", f"members/{other['id']}", {"role": "engineer"})["role"] == "engineer"
    assert api("delete", f"members/{other['id']}") == {"removed": True}
    assert [each["id"] for each in api("get", "members")["data"]] == [last["id"]]


def test_an_owner_opens_support_access_for_some_hours_and_closes_it(
    api: Api, customer: Customer, owner: User
) -> None:
    closed = dict.fromkeys(("until", "reason", "granted_by", "created_at")) | {"open": False}
    assert api("get", "support-access") == closed
    opened = api("post", "support-access", {"hours": 2, "reason": " look at job 7 "})
    assert opened == api("get", "support-access")
    assert (opened["open"], opened["reason"]) == (True, "look at job 7")
    begun, until = (datetime.fromisoformat(opened[each]) for each in ("created_at", "until"))
    assert timedelta(hours=1, minutes=59) < until - begun <= timedelta(hours=2)
    for body, param in (
        ({"hours": 0, "reason": "x"}, "hours"),
        ({"hours": 169, "reason": "x"}, "hours"),
        ({"hours": 1}, "reason"),
        ({"hours": 1, "reason": " "}, "reason"),
    ):
        assert api("post", "support-access", body, status=400)["param"] == param
    admin, _ = new_member(customer, Role.ADMIN)
    wish = {"hours": 1, "reason": "x"}
    for key in (customer, with_key_of(customer, admin)):  # a service key's, an admin's
        assert Api(key)("get", "support-access")["open"]
        for method, sent in (("post", wish), ("delete", None)):
            assert Api(key)(method, "support-access", sent, status=403)["code"] == "owner_needed"
    reading = Api(with_key_of(customer, owner, [Scope.TENANT_READ]))
    assert reading("post", "support-access", wish, status=403)["code"] == "missing_scope"
    assert api("delete", "support-access") == closed
    assert api("delete", "support-access") == closed
    with tenant_scope(customer.tenant_id):
        told = AuditEntry.objects.filter(action__startswith="support.").order_by("seq")
        assert [(each.action, each.user_id) for each in told] == [
            ("support.grant", owner.pk), ("support.revoke", owner.pk),
        ]  # fmt: skip


def test_licences_and_usage_tell_what_is_left(api: Api, customer: Customer) -> None:
    with tenant_scope(customer.tenant_id):
        licence = License.objects.get()
        licence.token_budget = 100
        licence.save()
        charge(licence=licence, kind="train", tokens=60, reference="job-1")
    (shown,) = api("get", "licences")["data"]
    assert shown["tokens_left"] == 40
    assert shown["rights"] == ["train", "export", "serve", "merge"]
    assert api("get", f"licences/{shown['id']}") == shown
    usage = api("get", "usage")
    kinds = usage["storage"]["by_kind"]
    assert usage["storage"]["used"] == sum(kinds.values()) == 0
    assert usage["storage"]["limit"] == settings.TENANT_STORAGE_MB << 20
    assert list(kinds) == [
        "files", "uploads", "rows", "reports", "checkpoints", "models", "reserved"
    ]  # fmt: skip
    (used,) = usage["data"]
    assert (used["licence"], used["model"], used["tokens"]) == (shown["id"], "shelf", 60)


def test_a_base_on_the_shelf_names_its_hub_and_no_place_of_the_operators(
    api: Api, customer: Customer
) -> None:
    shelve()
    commit = "0123456789" * 4
    for source, place in (
        ("/srv/secret-place/weights", (None, None)),
        ("secret-place/owner", (None, None)),
        (f"Qwen/Qwen3-0.6B@{commit}", ("Qwen/Qwen3-0.6B", commit)),
    ):
        CatalogModel.objects.filter(name="shelf").update(source=source)
        shown = api("get", "catalog/shelf")
        assert (shown["hub_id"], shown["revision"]) == place
        assert "secret-place" not in str(shown) + str(api("get", "catalog"))


def test_the_audit_trail_is_paged_and_its_chain_is_checked(api: Api, customer: Customer) -> None:
    api("post", "keys", {"name": "ci"})
    entries = api("get", "audit?limit=1")
    assert entries["has_more"]
    assert entries["data"][0]["action"] == "key.create"
    rest = api("get", f"audit?limit=100&after={entries['data'][0]['id']}")
    assert [each["seq"] for each in rest["data"]] == list(range(rest["data"][0]["seq"], 0, -1))
    checked = api("get", "audit/check")
    assert checked == {
        "intact": True,
        "first_broken_seq": None,
        "last_digest": entries["data"][0]["digest"],
        "signed_head": None,
    }
    with tenant_scope(customer.tenant_id):
        AuditEntry.objects.create(
            seq=99, actor="x", action="forged", at="now", previous="", digest=""
        )
    assert api("get", "audit/check")["first_broken_seq"] == 99


def test_the_signing_key_is_a_public_key(api: Api) -> None:
    pem = api("get", "signing-key")["public_key_pem"]
    assert pem.startswith("-----BEGIN PUBLIC KEY-----")


def test_the_schema_is_openapi_3_1_and_describes_every_route_without_a_warning() -> None:
    from drf_spectacular.drainage import GENERATOR_STATS, reset_generator_stats
    from drf_spectacular.generators import SchemaGenerator

    reset_generator_stats()
    generator: Any = SchemaGenerator  # untyped
    document = generator().get_schema(request=None, public=True)
    assert not GENERATOR_STATS, "see the warnings on standard error"
    assert document["openapi"].startswith("3.1")
    from tests.finetune.api.test_isolation import EXAMPLES

    routes = {f"/{r.replace('<str:', '{').replace('>', '}')}" for r in EXAMPLES if "api/" in r}
    assert set(document["paths"]) == routes


def test_the_documentation_needs_nothing_from_elsewhere() -> None:
    response = Client().get("/api/v1/docs")
    assert response.status_code == 200
    page = response.content.decode()
    assert "https://" not in page
    assert "<script>" not in page
    served = Client().get("/api/v1/schema")
    assert served.status_code == 200
    assert b"openapi: 3.1" in served.getvalue()


@contextmanager
def signing(customer: Customer) -> Iterator[None]:
    """Signs the trail's newest head again and again, as a worker does whom each export asks."""
    over = threading.Event()

    def sign() -> None:
        try:
            while not over.wait(0.1):
                trail.sign_head(tenant_id=customer.tenant_id)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        signer = pool.submit(sign)
        try:
            yield
        finally:
            over.set()
        signer.result()


def test_no_generated_request_breaks_the_server(live_customer: Customer) -> None:
    """schemathesis makes requests from the document: none may end in a 5xx, and what is answered
    must be as described."""
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run"),
        *(f"{live_customer.base_url}/api/v1/schema", "--max-examples", "8", "--seed", "1"),
        *("--phases", "examples,fuzzing", "--header", f"Authorization: Bearer {live_customer.key}"),
        *("--checks", "not_a_server_error,response_schema_conformance,content_type_conformance"),
        *("--mode", "all", "--no-color", "--request-timeout", "600"),
    ]
    with signing(live_customer):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
