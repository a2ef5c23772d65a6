"""Invitations, members and keys in the portal, by the pages themselves."""

import re
import uuid
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone

from tenants.access import authenticate_key
from tenants.database.scope import tenant_scope
from tenants.errors import NotAuthenticated
from tenants.models import ApiKey, Invitation, Membership, User
from tenants.roles import Role
from tenants.services.keys import make_key
from tenants.services.people import create_user
from tests.finetune.api.customers import Customer, new_customer, new_member
from tests.fixtures.people import browser_of, enrol

pytestmark = pytest.mark.django_db
PASSWORD = "seven green parakeets"


@pytest.fixture
def customer() -> Customer:
    return new_customer(name="Acme & Sons")


@pytest.fixture
def owner(customer: Customer) -> Client:
    return browser_of(new_member(customer)[0])


def invited(customer: Customer, owner: Client, email: str, role: str = "engineer") -> str:
    """The link's path, as the page shows it."""
    answer = owner.post(
        f"/t/{customer.slug}/members/", {"do": "invite", "email": email, "role": role}
    )
    assert answer.status_code == 200, answer.content.decode()
    found = re.search(r'value="http://testserver(/invitation/[^"]+)"', answer.content.decode())
    assert found
    return found[1]


def member_of(customer: Customer, email: str) -> Membership | None:
    with tenant_scope(customer.tenant_id):
        return Membership.objects.filter(user__email=email).first()


def test_a_newcomer_opens_the_link_sets_a_password_and_is_in(
    customer: Customer, owner: Client
) -> None:
    link = invited(customer, owner, "new@b.example")
    visitor = Client()
    page = visitor.get(link)
    assert "Acme &amp; Sons" in page.content.decode()
    assert not User.objects.filter(email="new@b.example").exists(), "looking makes nothing"
    assert visitor.post(link, {"password": "short"}).status_code == 400
    assert not User.objects.filter(email="new@b.example").exists()
    answer = visitor.post(link, {"password": PASSWORD})
    assert answer["Location"] == f"/t/{customer.slug}/"
    assert visitor.get(answer["Location"]).status_code == 200
    assert Client().get(link).status_code == 404


def test_a_person_with_an_account_chooses_and_nothing_of_theirs_moves(
    customer: Customer, owner: Client
) -> None:
    """Attack 4: no membership, no session and no workspace changes until the person accepts."""
    home = new_customer()
    person, _ = new_member(home, Role.ENGINEER, "anna@b.example")
    browser = browser_of(person)
    link = invited(customer, owner, person.email)
    assert browser.get("/")["Location"] == f"/t/{home.slug}/"
    assert browser.get(f"/t/{customer.slug}/").status_code == 404
    assert Client().post(link, {"password": PASSWORD}).status_code == 403
    assert b"Accept the invitation" in browser.get(link).content
    assert member_of(customer, person.email) is None
    assert browser.post(link)["Location"] == f"/t/{customer.slug}/"
    assert browser.get(f"/t/{home.slug}/").status_code == 200


def test_the_page_is_the_same_whether_or_not_there_is_an_account(
    customer: Customer, owner: Client
) -> None:
    """Only a password that would do for a new account tells the two apart, and it is counted."""
    person = create_user(email="anna@b.example", password=PASSWORD)
    pages = []
    for email in (person.email, "none@b.example"):
        link = invited(customer, owner, email)
        for form in (None, {"password": "short"}, {"password": ""}):
            visitor = Client()
            answer = visitor.get(link) if form is None else visitor.post(link, form)
            page = re.sub(r'value="[A-Za-z0-9]{64}"', "", answer.content.decode())
            page = re.sub(r'"X-CSRFToken": "[A-Za-z0-9]+"', "", page)
            pages.append((answer.status_code, page.replace(email, "-").replace(link, "-")))
    assert pages[:3] == pages[3:]
    assert [status for status, _ in pages[:3]] == [200, 400, 400]


def test_a_person_with_an_account_gives_its_password_and_then_accepts(
    customer: Customer, owner: Client
) -> None:
    person = create_user(email="anna@b.example", password=PASSWORD)
    link = invited(customer, owner, person.email)
    visitor = Client()
    refused = visitor.post(link, {"password": "some other parakeets"})
    assert refused.status_code == 403
    assert member_of(customer, person.email) is None
    assert visitor.post(link, {"password": PASSWORD})["Location"] == link
    assert member_of(customer, person.email) is None, "nobody joins by signing in"
    assert visitor.post(link)["Location"] == f"/t/{customer.slug}/"
    assert member_of(customer, person.email) is not None


def test_a_link_asks_for_the_second_factor_of_an_account_and_counts_guesses(
    customer: Customer, owner: Client
) -> None:
    person = create_user(email="anna@b.example", password=PASSWORD)
    enrol(person)
    link = invited(customer, owner, person.email)
    visitor = Client()
    assert "/2fa/authenticate/" in visitor.post(link, {"password": PASSWORD})["Location"]
    assert visitor.post(link).status_code == 400, "he is not signed in yet"
    for _ in range(10):
        assert visitor.post(link, {"password": "some other parakeets"}).status_code == 403
    assert visitor.post(link, {"password": PASSWORD}).status_code == 429


def test_an_address_that_a_wrong_person_took_is_freed_by_removing_the_member(
    customer: Customer, owner: Client
) -> None:
    """Without a mail server: another organisation's link does not open that account, the next link
    does once the account belongs to nobody."""
    wrong, elsewhere = Client(), new_customer()
    other_owner = browser_of(new_member(elsewhere)[0])
    link = invited(customer, owner, "ceo@b.example")
    assert wrong.post(link, {"password": "wrong persons parakeets"}).status_code == 302
    other = invited(elsewhere, other_owner, "ceo@b.example")
    assert Client().post(other, {"password": PASSWORD}).status_code == 403
    taken = member_of(customer, "ceo@b.example")
    assert taken is not None
    owner.post(f"/t/{customer.slug}/members/", {"do": "remove", "id": str(taken.id)})
    right = Client()
    assert right.post(other, {"password": PASSWORD})["Location"] == f"/t/{elsewhere.slug}/"
    assert wrong.get("/accounts/").status_code == 302, "the wrong person's session has ended"
    assert right.get(f"/t/{elsewhere.slug}/").status_code == 200


def test_somebody_else_is_told_whose_invitation_it_is_and_gets_nothing(
    customer: Customer, owner: Client
) -> None:
    link = invited(customer, owner, "ceo@b.example", "owner")
    stranger = browser_of(create_user(email="stranger@a.example", password=None))
    assert b"Accept the invitation" not in stranger.get(link).content
    assert stranger.post(link).status_code == 403
    assert member_of(customer, "stranger@a.example") is None


def test_with_a_mail_server_the_link_goes_to_the_address_and_is_shown_to_nobody_else(
    customer: Customer, owner: Client, settings: Any
) -> None:
    settings.MAIL_SERVER = True
    answer = owner.post(
        f"/t/{customer.slug}/members/", {"do": "invite", "email": "x@b.example", "role": "viewer"}
    )
    assert answer.status_code == 302
    (sent,) = mail.outbox
    assert sent.to == ["x@b.example"]
    token = re.search(r"/invitation/(\S+)", str(sent.body))
    assert token
    assert token[1] not in owner.get(f"/t/{customer.slug}/members/").content.decode()
    assert Client().post(f"/invitation/{token[1]}", {"password": PASSWORD}).status_code == 302


@pytest.mark.parametrize("service", [False, True])
def test_the_invited_is_told_the_member_or_the_organisation_and_never_what_a_key_is_called(
    customer: Customer, settings: Any, service: bool
) -> None:
    settings.MAIL_SERVER = True
    user, owner = new_member(customer)
    with tenant_scope(customer.tenant_id):
        _key, secret = make_key(by=owner, name="Call 0900 123", service=service)
    wish = {"email": "x@b.example", "role": "viewer"}
    headers = {"Authorization": f"Bearer {secret}"}
    answer = Client().post(
        "/api/v1/invitations", wish, content_type="application/json", headers=headers
    )
    assert answer.json()["invited_by"] == "key:Call 0900 123", "members see which key it was"
    text = str(mail.outbox[0].body)
    link = re.search(r"/invitation/\S+", text)
    assert link
    page = unescape(Client().get(link[0]).content.decode())
    inviter = "Acme & Sons" if service else user.email
    assert f"{inviter} invites you" in text
    assert f"{inviter} 邀请您" in text
    assert f"{inviter} invites x@b.example" in page
    assert "0900" not in text + page


def test_a_mail_server_that_fails_leaves_no_invitation(
    customer: Customer, owner: Client, settings: Any
) -> None:
    settings.MAIL_SERVER = True
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    answer = owner.post(
        f"/t/{customer.slug}/members/", {"do": "invite", "email": "x@b.example", "role": "viewer"}
    )
    assert answer.status_code == 503
    with tenant_scope(customer.tenant_id):
        assert not Invitation.objects.exists()


def test_the_page_of_members_offers_and_does_what_the_role_may(
    customer: Customer, owner: Client
) -> None:
    admin = browser_of(new_member(customer, Role.ADMIN)[0])
    viewer = browser_of(new_member(customer, Role.VIEWER, "v@b.example")[0])
    address = f"/t/{customer.slug}/members/"
    with tenant_scope(customer.tenant_id):
        boss = Membership.objects.get(role=Role.OWNER)
        row = Membership.objects.get(user__email="v@b.example")
    for browser in (admin, viewer):
        for data in ({"do": "remove"}, {"do": "role", "role": "viewer"}):
            assert browser.post(address, data | {"id": str(boss.id)}).status_code == 403
    assert b"Invite somebody" not in viewer.get(address).content
    invite: dict[str, Any] = {"do": "invite", "email": "n@b.example", "role": "viewer"}
    assert viewer.post(address, invite).status_code == 403
    data = {"do": "role", "id": str(row.id), "role": "engineer"}
    assert admin.post(address, data).status_code == 302
    changed = member_of(customer, "v@b.example")
    assert changed is not None
    assert changed.role == Role.ENGINEER
    for bad in ("", "x", str(uuid.uuid4())):
        assert owner.post(address, {"do": "remove", "id": bad}).status_code == 404
    left = viewer.post(address, {"do": "remove", "id": str(row.id)})
    assert left["Location"] == "/"


def test_keys_are_made_shown_once_rotated_and_revoked(customer: Customer) -> None:
    """By an engineer, who has no `tenant:write` and makes keys of their own all the same."""
    browser = browser_of(new_member(customer, Role.ENGINEER)[0])
    address = f"/t/{customer.slug}/keys/"
    wish = {"do": "make", "name": "ci", "scopes": ["files:read"], "days": "30"}

    def secret_of(answer: Any) -> str:
        assert answer.status_code == 200, answer.content.decode()
        found = re.search(r'value="(pt-[^"]+)"', answer.content.decode())
        assert found
        return found[1]

    first = secret_of(browser.post(address, wish))
    assert authenticate_key(first).scopes == {"files:read"}
    assert first not in browser.get(address).content.decode()
    with tenant_scope(customer.tenant_id):
        key = ApiKey.objects.get(name="ci")
        assert key.expires_at is not None
    table = browser.get(address).content.decode().split("<tbody>")[1]
    assert '<span title="files:read">see and download files</span>' in table
    second = secret_of(browser.post(address, {"do": "rotate", "id": str(key.id)}))
    assert authenticate_key(first).key_id == authenticate_key(second).key_id
    assert browser.post(address, {"do": "revoke", "id": str(key.id)}).status_code == 302
    with pytest.raises(NotAuthenticated):
        authenticate_key(second)
    for beyond in ({"scopes": ["tenant:write"]}, {"service": "1"}):
        assert browser.post(address, wish | beyond).status_code == 403
    assert browser.post(address, wish | {"allowed_addresses": "10.0.0.1/8"}).status_code == 400


def test_a_key_is_changed_on_the_page_and_what_ended_with_it_is_told(customer: Customer) -> None:
    user, owner = new_member(customer)
    browser, address = browser_of(user), f"/t/{customer.slug}/keys/"
    with tenant_scope(customer.tenant_id):
        key, secret = make_key(by=owner, name="ci", expires_at=timezone.now() + timedelta(days=9))
        make_key(by=authenticate_key(secret), name="child", expires_at=key.expires_at)
    assert f'name="change" value="{key.id}"' in browser.get(address).content.decode()
    page = browser.get(address, {"change": str(key.id)}).content.decode()
    assert f'value="{key.expires_at:%Y-%m-%d}"' in page
    wish = {"do": "change", "id": str(key.id), "name": "build", "allowed_addresses": "10.0.0.0/8"}
    kept = wish | {"expires": f"{key.expires_at:%Y-%m-%d}"}
    assert browser.post(address, kept).status_code == 302

    def now() -> tuple[str, Any, list[str]]:
        with tenant_scope(customer.tenant_id):
            found = ApiKey.objects.get(id=key.id)
        return found.name, found.expires_at, found.allowed_addresses

    assert now() == ("build", key.expires_at, ["10.0.0.0/8"])
    for beyond in ({"expires": "soon"}, {"expires": "2001-01-01"}, {"name": ""}):
        refused = browser.post(address, kept | {"name": "typed"} | beyond)
        assert refused.status_code == 400
        assert ('value="typed"' in refused.content.decode()) == ("name" not in beyond)
    assert browser.post(address, wish | {"expires": ""}).status_code == 302
    assert now()[1] is None
    told = browser.post(address, {"do": "revoke", "id": str(key.id)}, follow=True)
    assert b"Keys that it had made ended with it: 1." in told.content
    assert f'name="change" value="{key.id}"' not in told.content.decode()
    viewer = browser_of(new_member(customer, Role.VIEWER)[0])
    assert viewer.post(address, wish).status_code == 403
