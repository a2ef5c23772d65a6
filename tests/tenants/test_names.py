"""What people read as a name shows all that it holds."""

import uuid

import pytest

from tenants.errors import Invalid
from tenants.names import readable
from tenants.services.tenants import create_tenant
from tests.fixtures.people import operator_browser


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \u3000",
        "a\0",
        "a\nb",
        "a\x85b",
        "a\u202eb",
        "\u200bci",
        "a\ud800",
        "a\u2028b",
        "a\u2029b",
    ]
    + [f"a{blank}" for blank in "\u2800\u3164\u115f\u1160\uffa0"],
)
def test_what_hides_or_looks_blank_is_no_name(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        readable(text, param="name")
    assert (refused.value.code, refused.value.param) == ("unreadable_text", "name")


@pytest.mark.parametrize(
    "text", ["ci", "Stadt Zürich", "巴塞尔市 密钥", "مفتاح", "한국 키", "R&D 🚀"]
)
def test_every_script_is_one(text: str) -> None:
    assert readable(f" {text}\n", param="name") == text


@pytest.mark.django_db
def test_no_organisation_is_made_with_one() -> None:
    slug = f"t-{uuid.uuid4().hex[:8]}"
    for name in ("Ac\u200bme", " "):
        with pytest.raises(Invalid):
            create_tenant(slug=slug, name=name, actor="test")
    assert create_tenant(slug=slug, name=" Acme ", actor="test").name == "Acme"


def test_the_operator_is_told_so_in_the_form(committed: None) -> None:
    answer = operator_browser().post(
        "/operator/tenants/tenant/add/", {"slug": "acme", "name": "Ac\u202eme"}
    )
    assert answer.status_code == 200
    assert "visible characters" in answer.content.decode()
