"""Only the account pages that the product uses exist, and none of them breaks."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.test import Client, override_settings
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.translation import override

from privatune.people import urls, user_agents
from tenants.models import User
from tests.fixtures.people import (
    PASSWORD,
    browser_of,
    enrol,
    is_signed_in,
    new_person,
    sign_in,
)

pytestmark = pytest.mark.django_db
MOUNTED = {
    "account_login", "account_logout", "account_reauthenticate", "account_change_password",
    "account_reset_password", "account_reset_password_done", "account_reset_password_from_key",
    "account_reset_password_from_key_done", "mfa_index", "mfa_authenticate", "mfa_reauthenticate",
    "mfa_activate_totp", "mfa_deactivate_totp", "mfa_view_recovery_codes",
    "mfa_generate_recovery_codes", "mfa_download_recovery_codes", "mfa_list_webauthn",
    "mfa_add_webauthn", "mfa_reauthenticate_webauthn", "mfa_edit_webauthn", "mfa_remove_webauthn",
}  # fmt: skip
OURS = {
    "account", "account_sessions", "account_end_session", "account_end_other_sessions",
    "account_oidc", "account_oidc_start", "account_oidc_callback",
}  # fmt: skip


CHROME = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 "
    "Safari/537.36"
)


def walk(patterns: list[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(name, address with something in each place) of every view."""
    for each in patterns:
        route = prefix + str(each.pattern).lstrip("^")
        if isinstance(each, URLResolver):
            yield from walk(each.url_patterns, route)
        elif isinstance(each, URLPattern):
            filled = re.sub(r"\(\?P<[^>]+>[^)]*\)|<[^>]+>", "1", route).replace("$", "")
            yield str(each.name), f"/accounts/{filled}"


def allauths() -> list[tuple[str, str]]:
    """Every address of every allauth application that is installed."""
    found = list(walk(get_resolver("allauth.account.urls").url_patterns))
    found += walk(get_resolver("allauth.mfa.urls").url_patterns, "2fa/")
    found += walk(get_resolver("allauth.usersessions.urls").url_patterns, "sessions/")
    return found


def test_the_list_is_what_is_mounted() -> None:
    assert {name for name, _ in walk(urls.urlpatterns)} == MOUNTED | OURS


@pytest.mark.parametrize(
    ("name", "address"),
    [each for each in allauths() if each[0] not in MOUNTED | {"usersessions_list"}],
)
def test_an_account_page_that_is_not_on_the_list_does_not_exist(name: str, address: str) -> None:
    browser = browser_of(new_person(), second_factor=True)
    for client in (Client(), browser):
        assert client.get(address).status_code == 404, name
        assert client.post(address, {"email": "x@y.example"}).status_code == 404, name


def test_something_is_left_out() -> None:
    assert {"account_email", "account_signup", "account_confirm_email"} <= {
        n for n, _ in allauths()
    }


@pytest.mark.parametrize(
    "address",
    ["", "sessions/", "password/change/", "password/reset/", "password/reset/done/", "2fa/",
     "2fa/recovery-codes/", "2fa/recovery-codes/generate/", "2fa/webauthn/", "2fa/webauthn/add/",
     "2fa/totp/deactivate/", "reauthenticate/", "2fa/reauthenticate/", "logout/",
     "password/reset/key/1-set-password/"],
)  # fmt: skip
@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_every_page_opens(address: str, language: str) -> None:
    browser = browser_of(new_person(), second_factor=True)
    browser.cookies["django_language"] = language
    answer = browser.get(f"/accounts/{address}")
    assert answer.status_code == 200, answer.headers
    assert f'lang="{language}"' in answer.content.decode()


@pytest.mark.parametrize("verified", [False, True])
def test_another_address_written_beside_an_account_signs_nobody_in(verified: bool) -> None:
    """The take-over: a stranger's address as one's own. It is neither a name to sign in with nor
    one that a reset is mailed to."""
    person = new_person()
    EmailAddress.objects.create(user=person, email="boss@victim.example", verified=verified)
    client = Client()
    assert sign_in(client, "boss@victim.example") == 200
    assert not is_signed_in(client)
    with override_settings(MAIL_SERVER=True):
        client.post("/accounts/password/reset/", {"email": "boss@victim.example"})
    assert mail.outbox == []


def test_without_a_mail_server_the_reset_page_says_who_can_help() -> None:
    for method in ("get", "post"):
        answer = getattr(Client(), method)("/accounts/password/reset/", {"email": "a@b.example"})
        assert answer.status_code == 200
        assert "privatune user reset" in answer.content.decode()


@override_settings(MAIL_SERVER=True)
def test_with_a_mail_server_a_reset_goes_to_the_accounts_own_address_and_ends_all_sessions() -> (
    None
):
    person, other = new_person(), Client()
    open_session = browser_of(person)
    for _ in range(2):
        assert other.post("/accounts/password/reset/", {"email": person.email}).status_code == 302
    assert [message.to for message in mail.outbox] == [[person.email]] * 2
    link = re.search(
        r"http://testserver(/accounts/password/reset/key/\S+)", str(mail.outbox[-1].body)
    )
    assert link
    form = other.get(link[1]).headers["Location"]
    new = "nine yellow parakeets"
    assert other.post(form, {"password1": new, "password2": new}).status_code == 302
    assert open_session.get("/accounts/").status_code == 302
    assert sign_in(Client(), person.email, new) == 302
    assert sign_in(Client(), person.email) == 200


@override_settings(MAIL_SERVER=True)
def test_nobodys_mailbox_can_be_flooded_with_resets() -> None:
    person = new_person()
    for _ in range(15):
        Client().post("/accounts/password/reset/", {"email": person.email})
    assert len(mail.outbox) == 10


def test_a_new_password_ends_the_other_sessions_and_keeps_this_one() -> None:
    person = new_person()
    here, elsewhere = Client(), Client()
    for client in (here, elsewhere):
        assert sign_in(client, person.email) == 302
    form = {"oldpassword": PASSWORD, "password1": "nine yellow parakeets"}
    form["password2"] = form["password1"]
    assert here.post("/accounts/password/change/", form).status_code == 302
    assert here.get("/accounts/").status_code == 200
    assert elsewhere.get("/accounts/").status_code == 302


def test_sessions_are_listed_and_ended_one_by_one() -> None:
    person = new_person()
    here, elsewhere = Client(), Client()
    sign_in(here, person.email, HTTP_USER_AGENT=CHROME)
    sign_in(elsewhere, person.email, HTTP_USER_AGENT="Elsewhere/1", REMOTE_ADDR="203.0.113.4")
    page = here.get("/accounts/sessions/").content.decode()
    assert ">Chrome 156 on Linux<" in page
    assert f'title="{CHROME}"' in page
    here.cookies["django_language"] = "zh-hans"
    assert ">Linux 上的 Chrome 156<" in here.get("/accounts/sessions/").content.decode()
    assert "Elsewhere/1" in page
    assert "203.0.113.4" in page
    [end] = re.findall(r'action="(/accounts/sessions/\d+/end)"', page)
    assert browser_of(new_person()).post(end).status_code == 404, "somebody else's"
    assert elsewhere.get("/accounts/").status_code == 200
    assert here.post(end).status_code == 302
    assert elsewhere.get("/accounts/").status_code == 302
    assert here.get("/accounts/").status_code == 200


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        (CHROME + " Edg/156.0.0.0", "Edge 156 on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
         "Firefox 140 on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
         "Gecko) Version/18.5 Mobile/15E148 Safari/604.1", "Safari 18 on iOS"),
        ("Mozilla/5.0 (Linux; Android 16; K) AppleWebKit/537.36 (KHTML, like Gecko) "
         "Chrome/155.0.0.0 Mobile Safari/537.36", "Chrome 155 on Android"),
        ("curl/8.5.0", "curl/8.5.0"),
        ("", ""),
    ],
)  # fmt: skip
def test_a_browser_is_told_in_words(user_agent: str, words: str) -> None:
    with override("en"):
        assert user_agents.in_words(user_agent) == words


def test_all_other_sessions_are_ended_at_once() -> None:
    person = new_person()
    clients = [Client() for _ in range(3)]
    for client in clients:
        sign_in(client, person.email)
    assert clients[0].post("/accounts/sessions/end-others").status_code == 302
    assert [client.get("/accounts/").status_code for client in clients] == [200, 302, 302]


def test_signing_in_changes_the_sessions_key() -> None:
    """A key that somebody planted before is worth nothing afterwards."""
    person, client = new_person(), Client()
    session = client.session
    session["planted"] = True
    session.save()
    before = client.cookies["sessionid"].value
    assert sign_in(client, person.email) == 302
    assert client.cookies["sessionid"].value != before
    thief = Client()
    thief.cookies["sessionid"] = before
    assert thief.get("/accounts/").status_code == 302


def test_an_inactive_account_signs_in_nowhere() -> None:
    person, client = new_person(), Client()
    User.objects.filter(pk=person.pk).update(is_active=False)
    enrol(person)
    assert sign_in(client, person.email) == 200
    assert not is_signed_in(client)
