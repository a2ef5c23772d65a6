"""Guessing is limited, at every door; and nobody is locked out by what a stranger does."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tenants.database.scope import tenant_scope
from tenants.models import AuditEntry, ProofAttempt, User
from tenants.roles import Role
from tenants.services import failures, proofs
from tenants.services.tenants import add_member
from tests.finetune.api.customers import Customer, new_customer
from tests.fixtures.people import (
    PASSWORD,
    browser_of,
    code_of,
    enrol,
    is_signed_in,
    member,
    new_person,
    sign_in,
)

pytestmark = pytest.mark.django_db
DOORS = ("/accounts/login/", "/operator/login/")


@pytest.fixture(autouse=True)
def _no_attempts_yet() -> Iterator[None]:
    ProofAttempt.objects.all().delete()
    yield
    ProofAttempt.objects.all().delete()


def guess(client: Client, email: str, times: int, **headers: str) -> None:
    for number in range(times):
        sign_in(client, email, f"wrong guess {number}", **headers)


def later(**ago: float) -> None:
    """As if so much time had passed: what was counted is that much older."""
    for attempt in ProofAttempt.objects.all():
        attempt.at -= timedelta(**ago)
        attempt.save()


@pytest.mark.parametrize("door", DOORS)
def test_the_right_password_after_25_wrong_ones_does_not_sign_in_until_the_time_is_over(
    door: str,
) -> None:
    person, client = new_person(is_staff=True, is_superuser=True), Client()
    names = {"login": person.email, "username": person.email}
    for number in range(25):
        client.post(door, names | {"password": f"wrong guess {number}"})
    client.post(door, names | {"password": PASSWORD})
    assert not is_signed_in(client)
    # Whichever of the doors counted, the other one counts too.
    guess(client, person.email, 25)
    assert sign_in(client, person.email) == 200
    assert not is_signed_in(client)
    later(hours=1, seconds=1)
    assert sign_in(client, person.email) == 302
    assert is_signed_in(client)


def test_the_operators_door_takes_no_password_itself() -> None:
    person, client = new_person(is_staff=True, is_superuser=True), Client()
    answer = client.post("/operator/login/", {"username": person.email, "password": PASSWORD})
    assert answer.headers["Location"].startswith("/accounts/login/")
    assert not is_signed_in(client)


def test_guesses_at_invented_addresses_lock_no_real_owner_out() -> None:
    """Behind one proxy: everybody has the same address."""
    client, owner = Client(), new_person()
    for number in range(10):
        guess(client, f"invented-{number}@nowhere.example", 10)
    assert sign_in(Client(), owner.email) == 302


def test_a_neighbour_behind_the_same_proxy_locks_only_the_account_he_fails_at() -> None:
    clumsy, other = new_person(), new_person()
    guess(Client(), clumsy.email, 12)
    assert sign_in(Client(), other.email) == 302
    assert sign_in(Client(), clumsy.email) == 200


def test_whoever_knows_an_owners_address_cannot_lock_him_out_from_elsewhere() -> None:
    owner = new_person()
    guess(Client(), owner.email, 25, REMOTE_ADDR="203.0.113.9")
    browser = Client()
    assert sign_in(browser, owner.email, REMOTE_ADDR="198.51.100.1") == 302
    assert is_signed_in(browser)


def test_many_machines_together_are_limited_and_a_known_browser_still_signs_in() -> None:
    owner, known = new_person(), Client()
    assert sign_in(known, owner.email) == 302
    known.post("/accounts/logout/")
    for machine in range(proofs.PASSWORD.subject.count // 5):
        guess(Client(), owner.email, 5, REMOTE_ADDR=f"203.0.113.{machine}")
    stranger = Client()
    assert sign_in(stranger, owner.email, REMOTE_ADDR="192.0.2.77") == 200
    assert not is_signed_in(stranger)
    assert sign_in(known, owner.email) == 302
    assert is_signed_in(known)


def test_a_known_browser_is_known_for_its_own_account_only() -> None:
    attacker, victim, browser = new_person(), new_person(), Client()
    assert sign_in(browser, attacker.email) == 302
    browser.post("/accounts/logout/")
    guess(browser, victim.email, 10)
    assert sign_in(browser, victim.email) == 200
    assert ProofAttempt.objects.filter(device="").count() == 10


def test_one_machine_that_tries_many_accounts_is_stopped() -> None:
    for number in range(proofs.NETWORK.count // 5):
        guess(Client(), f"spray-{number}@nowhere.example", 5, REMOTE_ADDR="203.0.113.5")
    owner, client = new_person(), Client()
    assert sign_in(client, owner.email, REMOTE_ADDR="203.0.113.5") == 200
    assert not is_signed_in(client)


def test_a_header_that_nobody_vouches_for_makes_no_new_place() -> None:
    person, client = new_person(), Client()
    for number in range(12):
        guess(client, person.email, 1, HTTP_X_FORWARDED_FOR=f"198.51.100.{number}")
    assert sign_in(client, person.email, HTTP_X_FORWARDED_FOR="198.51.100.99") == 200
    assert not is_signed_in(client)


def test_the_page_says_what_happened_in_both_languages() -> None:
    person, client = new_person(), Client()
    guess(client, person.email, 10)
    form = {"login": person.email, "password": PASSWORD}
    for language, words in (("en", "Too many failed attempts"), ("zh-hans", "失败次数过多")):
        client.cookies["django_language"] = language
        page = client.post("/accounts/login/", form).content.decode()
        assert words in page


def test_attempts_are_counted_before_their_secret_is_looked_at() -> None:
    """The comparison takes long: attempts side by side must not slip through meanwhile."""
    subject, place = proofs.subject_of("someone@example.org"), proofs.Place("203.0.113.1")
    for _ in range(proofs.PASSWORD.place.count):
        proofs.begin(subject=subject, place=place, limits=proofs.PASSWORD)
    with pytest.raises(proofs.TooManyAttempts):
        proofs.begin(subject=subject, place=place, limits=proofs.PASSWORD)


def test_what_no_limit_looks_at_any_more_is_forgotten() -> None:
    guess(Client(), "a@nowhere.example", 2)
    later(hours=2)
    guess(Client(), "a@nowhere.example", 1)
    assert proofs.forget_old() == 2
    assert ProofAttempt.objects.count() == 1


def codes_at_sign_in(person: User, client: Client, codes: list[str]) -> None:
    assert sign_in(client, person.email) == 302
    for code in codes:
        client.post("/accounts/2fa/authenticate/", {"code": code})


def test_the_second_step_cannot_be_guessed_either() -> None:
    person, client = new_person(), Client()
    secret = enrol(person)
    codes_at_sign_in(person, client, ["000000"] * 10)
    codes_at_sign_in(person, client, [code_of(secret)])
    assert not is_signed_in(client)
    later(hours=1, seconds=1)
    codes_at_sign_in(person, client, [code_of(secret, steps=1)])
    assert is_signed_in(client)


@pytest.mark.parametrize(
    ("page", "field"),
    [
        ("/accounts/reauthenticate/", "password"),
        ("/accounts/password/change/", "oldpassword"),
        ("/accounts/2fa/reauthenticate/", "code"),
    ],
)
def test_a_stolen_session_cannot_guess_on(page: str, field: str) -> None:
    person = new_person()
    secret = enrol(person)
    client = browser_of(person)

    def right() -> str:  # a code is so only for some seconds
        return code_of(secret) if field == "code" else PASSWORD

    form = {"password1": "nine yellow parakeets", "password2": "nine yellow parakeets"}
    for _ in range(10):
        assert client.post(page, form | {field: "000000"}).status_code == 200
    assert client.post(page, form | {field: right()}).status_code == 200
    later(hours=1, seconds=1)
    assert client.post(page, form | {field: right()}).status_code == 302


# --- what the organisations of an account see of it


def told_of(customer: Customer) -> list[tuple[str, str, Any]]:
    """(action, account, figures) of what its log tells of failures, oldest first."""
    with tenant_scope(customer.tenant_id):
        found = AuditEntry.objects.filter(action__startswith="sign_in.").order_by("seq")
        return list(found.values_list("action", "target", "data"))


def test_an_organisations_log_tells_of_failures_at_its_members_and_of_no_others() -> None:
    ours, neighbour = new_customer(), new_customer()
    person, other = member(ours), member(neighbour)
    add_member(tenant_id=neighbour.tenant_id, user=person, role=Role.VIEWER, actor="test")
    guess(Client(), person.email, 3, REMOTE_ADDR="203.0.113.9")
    guess(Client(), person.email, 2, REMOTE_ADDR="2001:db8::1")
    guess(Client(), "invented@nowhere.example", 2)
    guess(Client(), other.email, 1)
    failures.tell_due()
    [(action, account, figures)] = told_of(ours)
    assert (action, account) == ("sign_in.failed", person.email)
    assert (figures["attempts"], figures["more_networks"]) == (5, 0)
    assert figures["networks"] == ["2001:db8::/64", "203.0.113.9"]
    assert {entry[1] for entry in told_of(neighbour)} == {person.email, other.email}


def test_a_guess_that_succeeds_does_not_wipe_out_those_before_it(one_hour: None) -> None:
    customer = new_customer()
    person = member(customer)
    for failures_before in (4, 2):  # in one hour
        guess(Client(), person.email, failures_before)
        failures.tell_due()
        guess(Client(), person.email, 1)
        assert sign_in(Client(), person.email) == 302
    assert [entry[2]["attempts"] for entry in told_of(customer)] == [4, 1, 3]


def test_a_wrong_code_after_the_right_password_is_told_as_such() -> None:
    customer, client = new_customer(), Client()
    person = member(customer)
    enrol(person)
    codes_at_sign_in(person, client, ["000000"] * 2)
    failures.tell_due()
    [(action, account, figures)] = told_of(customer)
    assert (action, account, figures["attempts"]) == ("sign_in.code_failed", person.email, 2)


def test_a_passkey_that_does_not_fit_is_told_as_well() -> None:
    customer, client = new_customer(), Client()
    person = member(customer)
    enrol(person)
    assert sign_in(client, person.email) == 302
    made_up = {"id": "AA", "rawId": "AA", "type": "public-key", "response": {
        "clientDataJSON": "e30", "authenticatorData": "AA", "signature": "AA"}}  # fmt: skip
    for _ in range(2):
        form = {"credential": json.dumps(made_up)}
        assert client.post("/accounts/2fa/authenticate/", form).status_code == 200
    assert not is_signed_in(client)
    failures.tell_due()
    [(action, account, figures)] = told_of(customer)
    assert (action, account, figures["attempts"]) == ("sign_in.passkey_failed", person.email, 2)


def test_nobody_floods_a_log_however_many_machines_guess(
    one_hour: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One entry an hour; what comes after it is told in the next, and forgotten only then."""
    customer = new_customer()
    person = member(customer)
    for machine in range(1, 15):
        guess(Client(), person.email, 1, REMOTE_ADDR=f"203.0.113.{machine}")
        if machine > 1:  # the entry tells of two, and the others wait for the next hour's
            failures.tell_due()
    assert [entry[2]["attempts"] for entry in told_of(customer)] == [2]
    moved = timezone.now() + timedelta(hours=2)
    monkeypatch.setattr("django.utils.timezone.now", lambda: moved)
    proofs.forget_old()
    failures.tell_due()
    last = told_of(customer)[-1][2]
    assert (last["attempts"], len(last["networks"]), last["more_networks"]) == (12, 10, 2)
    proofs.forget_old()
    assert not ProofAttempt.objects.exists()
