"""A file's page leads to what mends it, and tells notices from what cannot be used."""

import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from tests.finetune.api.customers import new_customer
from tests.fixtures.people import browser_of, member

pytestmark = pytest.mark.django_db

COLUMNS = b"Frage,Antwort\nwho,me\n"
FORM = '<details class="mt-3" id="mapping-[^"]+" data-kept'
ASKED = b'{"messages": [{"role": "user", "content": "a"}]'
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
