"""People, keys and support from the command line, against the real server."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from typer.testing import Result

from privatune.cli.exits import Exit
from tenants.access import authenticate_key
from tenants.database.scope import tenant_scope
from tenants.models import ApiKey
from tenants.roles import Role
from tests.finetune.api.conftest import serving_http
from tests.finetune.api.customers import Customer, new_customer, new_member, with_key_of
from tests.privatune.cli.conftest import Run

Say = Callable[..., Result]


@pytest.fixture(scope="module")
def url(django_db_setup: None) -> Iterator[str]:
    with serving_http("privatune.asgi:application") as (address, _):
        yield address


@pytest.fixture
def customer(url: str, committed: None, monkeypatch: pytest.MonkeyPatch) -> Customer:
    """With an owner's key, which the command line uses."""
    made = new_customer(url)
    made = with_key_of(made, new_member(made, Role.OWNER, f"owner@{made.slug}.example")[0])
    monkeypatch.setenv("PRIVATUNE_BASE_URL", url)
    monkeypatch.setenv("PRIVATUNE_API_KEY", made.key)
    return made


@pytest.fixture
def say(run: Run, customer: Customer) -> Say:
    def call(*words: str, exit_code: Exit = Exit.OK) -> Result:
        done = run(*words)
        assert done.exit_code == exit_code, done.output
        return done

    return call


def told(done: Result) -> Any:
    return json.loads(done.stdout)


def test_people_are_invited_given_roles_and_removed(say: Say, customer: Customer) -> None:
    new_member(customer, Role.VIEWER, f"v@{customer.slug}.example")
    viewer, guest = f"V@{customer.slug}.example", "guest@elsewhere.example"
    assert told(say("members", "set-role", viewer, "engineer", "--json"))["role"] == "engineer"
    assert "engineer" in say("members", "list").stdout
    made = say("invitations", "create", guest, "--role", "viewer", "--days", "2")
    link = made.stdout.strip()
    assert made.stdout == f"{link}\n", "the link alone, to be piped on"
    assert httpx.get(link).status_code == 200
    (listed,) = told(say("invitations", "list", "--json"))["data"]
    assert (listed["email"], "link" in listed) == (guest, False)
    assert "withdrawn" in say("invitations", "withdraw", guest).stderr
    assert httpx.get(link).status_code == 404
    assert "WITHDRAWN" in say("invitations", "list").stdout
    for gone in (guest, "nobody@elsewhere.example", listed["id"].replace("invitation", "x")):
        say("invitations", "withdraw", gone, exit_code=Exit.NOT_FOUND)
    say("members", "remove", viewer)
    say("members", "remove", viewer, exit_code=Exit.NOT_FOUND)
    owner = f"owner@{customer.slug}.example"
    last = say("members", "remove", owner, "--json", exit_code=Exit.REFUSED)
    assert told(last)["error"]["code"] == "last_owner"
    assert [each["email"] for each in told(say("members", "list", "--json"))["data"]] == [owner]


def test_a_keys_life(say: Say, customer: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    made = say("api-keys", "create", "--name", "ci", "--days", "9", "--allow", "127.0.0.1")
    secret = made.stdout.strip()
    assert made.stdout == f"{secret}\n", "the secret alone, to be piped on"
    assert secret not in made.stderr
    own = authenticate_key(secret)
    key_id = f"key-{own.key_id.hex if own.key_id else ''}"
    assert key_id in made.stderr

    edited = told(
        say("api-keys", "edit", key_id, "--name", "build", "--no-end", "--from-anywhere", "--json")
    )
    assert (edited["name"], edited["expires_at"], edited["allowed_addresses"]) == (
        "build",
        None,
        [],
    )
    assert "build" in say("api-keys", "edit", key_id, "--days", "3").stdout
    for wrong in ((), ("--days", "3", "--no-end"), ("--allow", "10.0.0.1", "--from-anywhere")):
        say("api-keys", "edit", key_id, *wrong, exit_code=Exit.USAGE)
    say("api-keys", "edit", key_id, "--allow", "10.0.0.1/8", exit_code=Exit.DATA)

    monkeypatch.setenv("PRIVATUNE_API_KEY", secret)  # the program's own
    beyond = say("api-keys", "create", "--name", "child", "--json", exit_code=Exit.REFUSED)
    assert told(beyond)["error"]["code"] == "expiry_beyond_own"
    child = told(
        say(
            "api-keys",
            "create",
            "--name",
            "child",
            "--days",
            "2",
            "--scope",
            "files:read",
            "--json",
        )
    )
    assert (child["made_with"], child["scopes"]) == (key_id, ["files:read"])
    rotated = say("api-keys", "rotate", key_id, "--overlap-hours", "0")
    assert authenticate_key(rotated.stdout.strip()).key_id == own.key_id
    refused = say("api-keys", "list", "--json", exit_code=Exit.REFUSED)
    assert told(refused)["error"]["code"] == "invalid_api_key"

    monkeypatch.setenv("PRIVATUNE_API_KEY", customer.key)
    assert authenticate_key(child["secret"]).scopes == {"files:read"}, "a rotation keeps the line"
    assert "build" in say("api-keys", "list").stdout
    ended = say("api-keys", "revoke", key_id)
    assert child["id"] in ended.stderr
    with tenant_scope(customer.tenant_id):
        assert not ApiKey.objects.filter(name__in=["build", "child"], revoked_at=None).exists()
    say("api-keys", "edit", key_id, "--name", "again", exit_code=Exit.DATA)
    say("api-keys", "revoke", "key-0", exit_code=Exit.NOT_FOUND)


def test_support_access_is_granted_seen_and_withdrawn(say: Say, customer: Customer) -> None:
    assert say("support", "status").stdout.split() == ["support", "access", "closed"]
    granted = say("support", "grant", "--hours", "2", "--reason", "a failed run").stdout
    assert "open" in granted
    assert "a failed run" in granted
    assert told(say("support", "status", "--json"))["open"]
    say("support", "grant", "--hours", "169", "--reason", "x", exit_code=Exit.USAGE)
    assert not told(say("support", "withdraw", "--json"))["open"]


def test_a_key_without_the_right_is_told_so(
    say: Say, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, _ = new_member(customer, Role.VIEWER)
    monkeypatch.setenv("PRIVATUNE_API_KEY", with_key_of(customer, viewer).key)
    say("members", "list")
    for words in (
        ("members", "remove", "member-0"), ("support", "withdraw"),
        ("invitations", "create", "x@b.example", "--role", "viewer"),
        ("api-keys", "create", "--name", "x"),
    ):  # fmt: skip
        refused = told(say(*words, "--json", exit_code=Exit.REFUSED))["error"]
        assert (refused["code"], "tenant:write" in refused["message"]) == ("missing_scope", True)
