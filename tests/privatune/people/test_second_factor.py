"""Second factors: enrolled with real codes, and required at every door where somebody says so."""

import re
import time

import pytest
from allauth.mfa.models import Authenticator
from django.core.cache import cache
from django.db import connection
from django.test import Client

from privatune.people import recovery
from privatune.portal.urls import rooms
from tenants.database.scope import tenant_scope
from tenants.errors import NotFound, Refused
from tenants.models import AuditEntry, Tenant
from tenants.roles import Role
from tenants.services.tenants import add_member, require_two_factor
from tests.finetune.api.customers import Customer, new_customer
from tests.fixtures.people import (
    browser_of,
    code_of,
    enrol,
    enrol_by_form,
    is_signed_in,
    member,
    new_person,
    sign_in,
)

pytestmark = pytest.mark.django_db
NOWHERE = "00000000-0000-0000-0000-000000000000"


def test_an_authenticator_app_is_enrolled_and_then_needed_to_sign_in() -> None:
    person, client = new_person(), Client()
    sign_in(client, person.email)
    secret = enrol_by_form(client)
    client.post("/accounts/logout/")
    assert sign_in(client, person.email) == 302
    assert not is_signed_in(client)
    assert client.post("/accounts/2fa/authenticate/", {"code": "000000"}).status_code == 200
    assert not is_signed_in(client)
    client.post("/accounts/2fa/authenticate/", {"code": code_of(secret, steps=1)})
    assert is_signed_in(client)


def test_the_code_that_enrolled_an_app_signs_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now)  # or the code would be refused for its age
    person, client = new_person(), Client()
    sign_in(client, person.email)
    secret = enrol_by_form(client)
    client.post("/accounts/logout/")
    sign_in(client, person.email)
    client.post("/accounts/2fa/authenticate/", {"code": code_of(secret)})
    assert not is_signed_in(client)
    client.post("/accounts/2fa/authenticate/", {"code": code_of(secret, steps=1)})
    assert is_signed_in(client)


def test_a_code_works_once_also_in_another_process() -> None:
    person = new_person()
    secret = enrol(person)
    code = code_of(secret)
    for works in (True, False):
        cache.clear()  # another process has a memory of its own
        client = Client()
        sign_in(client, person.email)
        client.post("/accounts/2fa/authenticate/", {"code": code})
        assert is_signed_in(client) is works


def test_a_recovery_code_works_once() -> None:
    person = new_person()
    enrol(person)
    codes = Authenticator.objects.get(user=person, type="recovery_codes").wrap()
    code = codes.get_unused_codes()[0]
    for works in (True, False):
        client = Client()
        sign_in(client, person.email)
        client.post("/accounts/2fa/authenticate/", {"code": code})
        assert is_signed_in(client) is works


def test_the_database_alone_makes_no_codes() -> None:
    secret = enrol(new_person())
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(data::text, ' ') FROM mfa_authenticator")
        assert secret not in cursor.fetchone()[0]


@pytest.mark.parametrize("route", [str(each.pattern) for each in rooms])
def test_every_room_of_a_strict_organisation_leads_a_member_without_one_to_enrol(
    strict: Customer, route: str
) -> None:
    browser = browser_of(member(strict))
    address = f"/t/{strict.slug}/{route}"
    address = re.sub(r"<\w+:\w+_id>", NOWHERE, address)
    answers = [browser.get(address), browser.post(address)]
    assert {answer.status_code for answer in answers} <= {302, 405}
    led = [answer.headers["Location"] for answer in answers if answer.status_code == 302]
    assert led
    assert set(led) == {"/accounts/2fa/"}


def test_an_older_session_of_somebody_who_has_enrolled_is_asked_for_the_code(
    strict: Customer,
) -> None:
    person = member(strict)
    client = browser_of(person)
    secret = enrol(person)
    wanted = f"/t/{strict.slug}/files/"
    led = client.get(wanted).headers["Location"]
    assert led.startswith("/accounts/2fa/reauthenticate/?next=")
    assert client.get(led).status_code == 200
    answer = client.post(led, {"code": code_of(secret), "next": wanted})
    assert answer.headers["Location"] == wanted
    assert client.get(wanted).status_code == 200


def test_whoever_takes_the_factor_away_is_out_of_the_rooms(strict: Customer) -> None:
    person = member(strict)
    client = browser_of(person, second_factor=True)
    assert client.get(f"/t/{strict.slug}/files/").status_code == 200
    assert client.post("/accounts/2fa/totp/deactivate/").status_code == 302
    assert client.get(f"/t/{strict.slug}/files/").status_code == 302


def test_only_an_owner_requires_it_and_the_log_shows_it() -> None:
    customer = new_customer()
    address = f"/t/{customer.slug}/settings"
    form = {"require_two_factor": "1"}
    assert browser_of(member(customer, Role.ADMIN)).post(address, form).status_code == 403
    with tenant_scope(customer.tenant_id):
        with pytest.raises(Refused):
            require_two_factor(required=True, role=Role.ADMIN, actor="test")
        assert not Tenant.objects.get().require_two_factor
    owner = browser_of(member(customer))
    assert owner.post(address, form).status_code == 302
    with tenant_scope(customer.tenant_id):
        assert Tenant.objects.get().require_two_factor
        assert AuditEntry.objects.filter(action="tenant.two_factor").count() == 1
    assert owner.get(f"/t/{customer.slug}/").status_code == 302
    assert browser_of(member(new_customer())).get("/").status_code == 302, "others are as before"


# --- Operators --------------------------------------------------------------------------------


def test_a_password_alone_opens_no_operators_room() -> None:
    operator = new_person(is_staff=True, is_superuser=True)
    client = browser_of(operator)
    for address in ("/operator/", "/operator/tenants/tenant/", "/operator/jsi18n/"):
        assert client.get(address).status_code == 302, address
    enrol(operator)  # elsewhere: this session has still not used it
    assert client.get("/operator/").status_code == 302
    led = client.get("/operator/login/?next=/operator/tenants/tenant/").headers["Location"]
    assert led == "/accounts/2fa/reauthenticate/?next=%2Foperator%2Ftenants%2Ftenant%2F"


def test_a_customers_second_factor_opens_no_operators_room() -> None:
    client = browser_of(new_person(), second_factor=True)
    assert client.get("/operator/", follow=True).status_code == 404


@pytest.mark.parametrize("address", ["https://evil.example/", "//evil.example/", "/t/x/"])
def test_the_operators_door_leads_nowhere_else(address: str) -> None:
    operator = new_person(is_staff=True, is_superuser=True)
    client = browser_of(operator, second_factor=True)
    answer = client.get("/operator/login/", {"next": address})
    assert answer.headers["Location"] == "/operator/"


# --- Lost access --------------------------------------------------------------------------------


def test_lost_access_is_given_back_and_every_organisation_sees_it() -> None:
    customers = [new_customer(), new_customer()]
    person = member(customers[0])
    add_member(tenant_id=customers[1].tenant_id, user=person, role=Role.VIEWER, actor="test")
    open_session = browser_of(person, second_factor=True)
    password = recovery.reset(email=person.email, second_factor=True, actor="operator:root")
    assert open_session.get("/accounts/").status_code == 302
    client = Client()
    assert sign_in(client, person.email, password) == 302
    assert is_signed_in(client)
    for customer in customers:
        with tenant_scope(customer.tenant_id):
            entry = AuditEntry.objects.get(action="member.reset")
        assert (entry.actor, entry.target) == ("operator:root", person.email)
        assert entry.data == {"second_factor": True}


def test_a_reset_of_the_password_leaves_the_second_factor() -> None:
    person, client = new_person(), Client()
    enrol(person)
    password = recovery.reset(email=person.email, second_factor=False, actor="operator:root")
    sign_in(client, person.email, password)
    assert not is_signed_in(client)
    with pytest.raises(NotFound):
        recovery.reset(email="nobody@nowhere.example", second_factor=False, actor="operator:root")
