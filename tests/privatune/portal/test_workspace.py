"""The workspace stands in the address: nobody is led into another one, and `/` only offers."""

import uuid
from typing import Any

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client, RequestFactory

from privatune.portal import access
from tenants.database.scope import tenant_scope
from tenants.models import AuditEntry, Membership, StoredFile, User
from tenants.roles import Role
from tenants.services.members import remove_member
from tenants.services.tenants import add_member
from tests.finetune.api.customers import Customer, chat_rows, new_customer, new_member

pytestmark = pytest.mark.django_db


@pytest.fixture
def engineer() -> User:
    return User.objects.create_user(f"{uuid.uuid4().hex}@work.example", "x" * 16)


@pytest.fixture
def browser(engineer: User) -> Client:
    client = Client()
    client.force_login(engineer)
    return client


def join(customer: Customer, user: User) -> None:
    add_member(tenant_id=customer.tenant_id, user=user, role=Role.ENGINEER, actor="test")


def names(customer: Customer) -> list[str]:
    with tenant_scope(customer.tenant_id):
        return list(StoredFile.objects.values_list("filename", flat=True))


def test_being_added_elsewhere_moves_nobodys_next_upload(browser: Client, engineer: User) -> None:
    """The lure: a tenant that sorts first adds the engineer, who goes on with the page he has."""
    own, lure = new_customer(name="Zeta works"), new_customer(name="Aardvark")
    join(own, engineer)
    [(home, _)] = browser.get("/", follow=True).redirect_chain
    assert home == f"/t/{own.slug}/"
    join(lure, engineer)
    file = SimpleUploadedFile("secret.jsonl", chat_rows())
    answer = browser.post(f"{home}files/upload", {"file": file}).json()
    assert answer["next"].startswith(home)
    assert (names(own), names(lure)) == (["secret.jsonl"], [])
    assert "secret.jsonl" in browser.get(f"{home}files/").content.decode()


def test_with_several_organisations_the_root_lets_the_person_choose(
    browser: Client, engineer: User
) -> None:
    both = [new_customer(), new_customer()]
    for each in both:
        join(each, engineer)
    answer = browser.get("/")
    assert answer.status_code == 200
    for each in both:
        assert f'href="/t/{each.slug}/"' in answer.content.decode()


def test_every_link_and_form_of_a_room_stays_in_its_organisation(
    browser: Client, engineer: User
) -> None:
    customer = new_customer()
    join(customer, engineer)
    for room in ("", "files/", "jobs/", "jobs/new", "models/", "licences/"):
        page = browser.get(f"/t/{customer.slug}/{room}").content.decode()
        assert f'href="/t/{customer.slug}/files/"' in page
        assert 'href="/files/"' not in page


def test_a_person_of_no_tenant_sees_no_room(browser: Client) -> None:
    answer = browser.get("/")
    assert answer.status_code == 403
    assert b"belong to no organisation" in answer.content


def test_a_removed_member_is_out_at_the_next_request(browser: Client, engineer: User) -> None:
    customer = new_customer()
    join(customer, engineer)
    assert browser.get(f"/t/{customer.slug}/files/").status_code == 200
    _, owner = new_member(customer)
    with tenant_scope(customer.tenant_id):
        remove_member(member_id=Membership.objects.get(user=engineer).id, by=owner)
    assert browser.get(f"/t/{customer.slug}/files/").status_code == 404
    assert browser.get("/").status_code == 403


def test_an_organisations_log_shows_each_session_that_came_in_once(
    browser: Client, engineer: User
) -> None:
    here, elsewhere = new_customer(), new_customer()
    for each in (here, elsewhere):
        join(each, engineer)
    for room in ("files/", "jobs/", "files/"):
        browser.get(f"/t/{here.slug}/{room}", REMOTE_ADDR="203.0.113.8")
    with tenant_scope(here.tenant_id):
        entry = AuditEntry.objects.get(action="session.enter")
    assert (entry.actor, entry.user_id) == (engineer.email, engineer.pk)
    assert entry.data == {"address": "203.0.113.8", "by": "password", "second_factor": False}
    with tenant_scope(elsewhere.tenant_id):
        assert not AuditEntry.objects.filter(action="session.enter").exists()


def test_pages_that_a_browser_opens_at_once_make_one_entry(browser: Client, engineer: User) -> None:
    """Each has read the session before the other has written to it."""
    here = new_customer()
    join(here, engineer)
    key = browser.session.session_key
    requests: list[Any] = []
    for _ in range(2):
        request: Any = RequestFactory().get(f"/t/{here.slug}/")
        request.user, request.session = engineer, SessionStore(key)
        assert not request.session.get("entered")
        requests.append(request)
    for request in requests:
        access.enter(request, here.slug)
        access._note_entry(request)
    with tenant_scope(here.tenant_id):
        assert AuditEntry.objects.filter(action="session.enter").count() == 1
    assert [request.session["entered"] for request in requests] == [[str(here.tenant_id)]] * 2
