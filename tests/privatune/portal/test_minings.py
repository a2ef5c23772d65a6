"""A file of pairs has hard negatives mined from its page, by a real model, and shows what came of
it in both languages; who may not change files, or names what cannot be, is told so."""

import json
import re

import pytest
from django.test import Client

from finetune.models import Mining
from finetune.services.mining.making import MINE
from finetune.work.perform import perform
from tenants.database.scope import tenant_scope
from tenants.roles import Role
from tests.finetune.api.conftest import TINY
from tests.finetune.api.conftest import tiny_model as tiny_model  # noqa: PLC0414  the fixture
from tests.finetune.api.customers import Customer, chat_rows, new_customer
from tests.finetune.api.test_embeddings import EMBEDS
from tests.finetune.api.test_embeddings import embeds as embeds  # noqa: PLC0414  the fixture
from tests.finetune.api.test_embeddings import folder as folder  # noqa: PLC0414  the fixture
from tests.fixtures.people import browser_of, member
from tests.privatune.portal.test_profiles import brought

PAIRS = b"".join(
    json.dumps({"query": f"where is the {thing}?", "positive": f"the {thing} is here"}).encode()
    + b"\n"
    for thing in ("lamp", "fan", "door", "key")
)
FORM = {"model": EMBEDS, "num_negatives": "2", "relative_margin": "", "range_min": "0"}


@pytest.fixture
def customer(committed: None, embeds: str, tiny_model: str, model_server: None) -> Customer:
    return new_customer(models=[embeds, tiny_model])


def in_chinese(client: Client, address: str) -> str:
    client.cookies["django_language"] = "zh-hans"
    page = client.get(address).content.decode()
    client.cookies["django_language"] = "en"
    return page


def test_from_the_button_to_the_new_file_in_both_languages(customer: Customer) -> None:
    client = browser_of(member(customer))
    address = brought(customer, client, PAIRS)
    texts = brought(customer, client, b'{"text": "the roof is far"}\n')
    corpus = re.findall(r'<option value="(file-\w+)">', client.get(address).content.decode())
    page = client.get(address).content.decode()
    assert re.findall(r'<option value="([^"]*)">', page.split('id="mining-model"')[1])[0] == EMBEDS
    assert TINY not in page.split('id="minings"')[1].split("</form>")[0], "it makes no vectors"
    assert client.post(f"{address}mine", FORM | {"corpus": corpus[0]}).status_code == 302
    page = client.get(address).content.decode()
    assert "waiting for its turn" in page
    assert "every 1s" in page, "it looks again by itself"
    with tenant_scope(customer.tenant_id):
        mining = Mining.objects.get()
    assert mining.options["relative_margin"] is None
    assert mining.options["num_negatives"] == 2
    perform(MINE, tenant_id=customer.tenant_id, key=mining.id)
    customer.check_files()
    for page, said in (
        (client.get(address).content.decode(), ("New negatives", "Left out as likely answers")),
        (in_chinese(client, address), ("新增负例", "因可能是答案而排除", "8 个难负例")),
    ):
        assert all(each in page for each in said)
        assert "every 1s" not in page
    assert '<td class="text-end">2</td><td class="text-end">4</td>' in page
    assert 'id="minings"' not in client.get(texts).content.decode()


def test_it_is_stopped_by_its_button(customer: Customer) -> None:
    client = browser_of(member(customer))
    address = brought(customer, client, PAIRS)
    client.post(f"{address}mine", FORM)
    with tenant_scope(customer.tenant_id):
        mining = Mining.objects.get()
    client.post(f"{address}minings/{mining.id}/cancel")
    with tenant_scope(customer.tenant_id):
        assert Mining.objects.get().state == "cancelled"
    assert "every 1s" not in client.get(address).content.decode()


def test_what_cannot_be_is_told_and_a_viewer_asks_for_nothing(customer: Customer) -> None:
    client = browser_of(member(customer))
    address = brought(customer, client, PAIRS)
    chats = brought(customer, client, chat_rows(2))
    for place, form, said in (
        (address, {"model": TINY}, "makes no vectors"),
        (address, {"range_min": "5", "range_max": "6"}, "range_max"),
        (address, {"num_negatives": "many"}, "num_negatives"),
        (chats, {}, "another format"),
    ):
        page = client.post(f"{place}mine", FORM | form, follow=True).content.decode()
        assert said in page, (form, page[:3000])
    viewer = browser_of(member(customer, Role.VIEWER))
    assert viewer.post(f"{address}mine", FORM).status_code == 403
    with tenant_scope(customer.tenant_id):
        assert not Mining.objects.exists()
