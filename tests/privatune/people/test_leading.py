"""Led to enrol, and on to where one wanted to go. With real transactions: allauth tells of a new
factor on commit."""

import pytest
from django.test import Client

from tenants.roles import Role
from tests.fixtures.people import PASSWORD, enrol_by_form, member, new_person, sign_in
from tests.privatune.people.conftest import strict_customer

pytestmark = pytest.mark.usefixtures("committed")


def test_a_member_enrols_and_goes_on_where_he_wanted_to() -> None:
    strict = strict_customer()
    person, client = member(strict, Role.VIEWER), Client()
    sign_in(client, person.email)
    wanted = f"/t/{strict.slug}/jobs/"
    page = client.get(wanted, follow=True)
    assert "requires a second factor" in page.content.decode()
    enrol_by_form(client)
    page = client.get("/accounts/2fa/recovery-codes/").content.decode()
    assert f'href="{wanted}"' in page
    assert client.get(wanted).status_code == 200


def test_an_operator_is_led_through_sign_in_and_enrolment_and_comes_in() -> None:
    """What the first operator of `privatune up` meets."""
    operator, client = new_person(is_staff=True, is_superuser=True), Client()
    to_sign_in = client.get("/operator/", follow=True)
    assert to_sign_in.redirect_chain[-1][0].startswith("/accounts/login/?next=/operator/")
    form = {"login": operator.email, "password": PASSWORD, "next": "/operator/"}
    page = client.post("/accounts/login/", form, follow=True)
    assert page.redirect_chain[-1][0] == "/accounts/2fa/"
    assert "Operators must use a second factor" in page.content.decode()
    enrol_by_form(client)
    assert 'href="/operator/"' in client.get("/accounts/2fa/recovery-codes/").content.decode()
    assert client.get("/operator/").status_code == 200
