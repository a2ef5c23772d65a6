"""A file's page leads to what mends it, and tells notices from what cannot be used."""

import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from finetune.models import CatalogModel, Dataset
from tenants.database.scope import tenant_scope
from tenants.models import StoredFile
from tests.finetune.api.customers import new_customer, shelve
from tests.fixtures.people import browser_of, member

pytestmark = pytest.mark.django_db

COLUMNS = b"Frage,Antwort\nwho,me\n"
FORM = '<details class="mt-3" id="mapping-[^"]+" data-kept'
ASKED = b'{"messages": [{"role": "user", "content": "a"}]'
GOOD = ASKED[:-1] + b', {"role": "assistant", "content": "b"}]}\n'
AGAIN = ("file", "state", "format", "report", "rows", "errors_object")
ODD = ASKED + b"}\n" + ASKED + b', "note": 1}\n'


def test_a_table_of_unknown_columns_opens_the_form_that_names_them() -> None:
    """The names are in no list of likely ones, so no mapping is proposed."""
    page = page_of("frage.csv", COLUMNS)
    assert re.search(FORM + " open>", page)
    assert "say which column is which field" in page
    assert re.search(FORM + ">", page_of("odd.jsonl", ODD))


def test_a_notice_looks_unlike_what_cannot_be_used() -> None:
    page = page_of("odd.jsonl", ODD)
    assert re.findall(r'badge bg-(\w+)-lt" title="(\w+)">[A-Z][^<]+\. ×', page) == [
        ("red", "no_assistant"),
        ("yellow", "unknown_field"),
    ]
    assert re.findall(r'<span class="badge bg-yellow-lt">notice</span> ([^<]*)<', page) == [
        "The field &#x27;note&#x27; is not known and is ignored."
    ]


def test_a_name_that_disagrees_and_a_single_row_are_asked_about() -> None:
    page = page_of("notes.pdf", b"Turn left.\n")
    assert "Make sure that this is the file you mean" in page
    assert "one usable row only" in page
    assert "Train with this file" in page
    assert "one usable row only" not in page_of("two.txt", b"Turn left.\fTurn right.\n")


def page_of(name: str, content: bytes) -> str:
    """The page of a file that was uploaded and checked."""
    customer = new_customer()
    client: Client = browser_of(member(customer))
    sent = {"file": SimpleUploadedFile(name, content)}
    address = client.post(f"/t/{customer.slug}/files/upload", sent).json()["next"]
    customer.check_files()
    return client.get(address).content.decode()


def test_questions_of_an_evaluation_are_brought_in_as_such_and_are_no_bad_training_data() -> None:
    customer = new_customer()
    client: Client = browser_of(member(customer))
    rows = b'{"question": "who?", "reference": "me"}\n'
    address = f"/t/{customer.slug}/files/upload"
    bad = client.post(address, {"file": SimpleUploadedFile("suite.jsonl", rows)}).json()["next"]
    customer.check_files()
    assert "If these are questions of an evaluation" in client.get(bad).content.decode()
    sent = {"file": SimpleUploadedFile("suite.jsonl", rows), "purpose": "evals"}
    page = client.get(client.post(address, sent).json()["next"]).content.decode()
    assert "usable" in page
    assert "has problems" not in page
    with tenant_scope(customer.tenant_id):
        made = StoredFile.objects.order_by("created_at").values_list("purpose", flat=True)
        assert list(made) == ["fine-tune", "evals"]


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_times_tell_their_zone_each_and_once_on_the_page(language: str) -> None:
    customer = new_customer()
    client: Client = browser_of(member(customer))
    sent = {"file": SimpleUploadedFile("two.txt", b"Turn left.\n")}
    address = client.post(f"/t/{customer.slug}/files/upload", sent).json()["next"]
    with tenant_scope(customer.tenant_id):
        StoredFile.objects.update(created_at="2026-11-28T20:30Z")
    client.cookies["django_language"] = language
    page = client.get(address).content.decode()
    assert 'title="2026-11-28 20:30 UTC+00:00">2026-11-28 20:30</time>' in page
    assert re.search(r'id="zone">[^<]+ ?UTC</p>|id="zone">[^<]+UTC</p>', page)
    client.cookies["zone"] = "Asia%2FShanghai"
    page = client.get(address).content.decode()
    assert 'title="2026-11-29 04:30 UTC+08:00">2026-11-29 04:30</time>' in page
    assert "Asia/Shanghai (UTC+08:00)</p>" in page


def test_a_problem_of_the_rows_is_not_told_again_for_each_model() -> None:
    shelve()
    customer = new_customer(models=["shelf"])
    client: Client = browser_of(member(customer))
    sent = {"file": SimpleUploadedFile("odd.jsonl", GOOD[:-2] + b', "note": 1}\n' + GOOD)}
    address = client.post(f"/t/{customer.slug}/files/upload", sent).json()["next"]
    customer.check_files()
    with tenant_scope(customer.tenant_id):
        structure = Dataset.objects.get(base=None)
        again = {field: getattr(structure, field) for field in AGAIN}
        Dataset.objects.create(base=CatalogModel.objects.get(name="shelf"), **again)
    page = client.get(address).content.decode()
    assert "Read for shelf" in page
    assert page.count("unknown_field") == 1
    assert page.count("is not known and is ignored") == 1
