"""What no form of ours sends: it is refused, in words, and nothing breaks."""

import pytest
from django.test import Client

from finetune.discretion import without_tokens
from tests.finetune.api.customers import new_customer
from tests.fixtures.people import browser_of, member

pytestmark = pytest.mark.django_db

FORMS = [
    ("keys/", {"do": "make", "name": "a\0", "scopes": "infer"}),
    ("keys/", {"do": "make", "name": "ci\u202egnp", "scopes": "infer"}),
    ("keys/", {"do": "make", "name": "\u3164", "scopes": "infer"}),
    ("settings", {"do": "support", "hours": "1", "reason": "a\0"}),
    ("settings", {"do": "support", "hours": "1", "reason": "a\u200b"}),
    ("settings", {"do": "provider", "issuer": "https://[::1", "client_id": "a"}),
    ("members/", {"do": "invite", "email": "a\0@b.example", "role": "viewer"}),
    ("members/", {"do": "invite", "email": f"a@{'b.' * 130}example", "role": "viewer"}),
    ("jobs/new", {"model": "a\0", "suffix": "\0"}),
]


@pytest.mark.parametrize(("room", "form"), FORMS)
def test_a_room_refuses_text_that_cannot_be_kept(room: str, form: dict[str, str]) -> None:
    customer = new_customer()
    browser = browser_of(member(customer))
    browser.raise_request_exception = False
    answer = browser.post(f"/t/{customer.slug}/{room}", form)
    assert answer.status_code == 400, answer.content.decode()


@pytest.mark.parametrize(
    "address", ["/accounts/oidc/?organisation=%00", "/accounts/login/?next=%00", "/?%00=1"]
)
def test_an_address_with_nul_is_refused_at_every_page(address: str) -> None:
    browser = Client(raise_request_exception=False)
    assert browser.get(address).status_code == 400


@pytest.mark.parametrize("page", ["2fa/webauthn/add/", "2fa/webauthn/reauthenticate/"])
@pytest.mark.parametrize("credential", ["9" * 5000, "[" * 30_000, "{}", "[]", "x"])
def test_a_passkey_that_is_none_breaks_nothing(page: str, credential: str) -> None:
    browser = browser_of(member(new_customer()), second_factor=True)
    browser.raise_request_exception = False
    answer = browser.post(f"/accounts/{page}", {"credential": credential, "name": "a"})
    assert answer.status_code in (200, 302), answer.content.decode()


@pytest.mark.parametrize(
    "line",
    [
        "request='GET /invitation/t0ken' user_agent='x'",
        "Internal Server Error: /invitation/t0ken",
        "request='POST /accounts/password/reset/key/1-t0ken/'",
        "request='GET /accounts/oidc/acme/callback?code=t0ken&state=t0ken' ip='1.2.3.4'",
    ],
)
def test_what_opens_something_is_not_in_the_log(line: str) -> None:
    assert "t0ken" not in without_tokens(line)
