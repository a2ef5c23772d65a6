"""A file's page sees its rows through, masks what is personal, and shows what was masked; in both
languages, to who may read files."""

import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from finetune.models import Profile, Scrub
from finetune.services.files.profiling import PROFILE
from finetune.services.files.scrubbing import SCRUB
from finetune.work.perform import perform
from tenants.database.scope import tenant_scope
from tenants.models import StoredFile
from tests.finetune.api.customers import Customer, chat_rows, new_customer
from tests.fixtures.people import browser_of, member

pytestmark = pytest.mark.django_db

PERSONAL = (
    '{"messages": [{"role": "user", "content": "<b>Mail</b> bob@corp.io, 请打 13800138000"},'
    ' {"role": "assistant", "content": "ok"}]}\n'
).encode()


def brought(customer: Customer, client: Client, content: bytes) -> str:
    """The address of the page of a file that was checked."""
    sent = {"file": SimpleUploadedFile("rows.jsonl", content)}
    address: str = client.post(f"/t/{customer.slug}/files/upload", sent).json()["next"]
    customer.check_files()
    return address


def work(customer: Customer) -> None:
    """As workers do, until nothing waits."""
    for model, kind in ((Profile, PROFILE), (Scrub, SCRUB)):
        with tenant_scope(customer.tenant_id):
            waiting = list(model.objects.filter(state="waiting").values_list("id", flat=True))
        for row in waiting:
            perform(kind, tenant_id=customer.tenant_id, key=row)
    customer.check_files()


def test_from_the_button_to_the_masked_row_in_both_languages() -> None:
    customer = new_customer()
    client = browser_of(member(customer))
    address = brought(customer, client, chat_rows(3) + PERSONAL)
    assert client.post(f"{address}profile").status_code == 302
    page = client.get(address).content.decode()
    assert "waiting for its turn" in page
    assert "every 1s" in page, "it looks again by itself"
    work(customer)
    page = client.get(address).content.decode()
    assert "every 1s" not in page
    assert re.findall(r'name="kind" value="(\w+)" checked', page) == ["email", "phone"]
    assert '<th scope="row">≤ 16</th>' in page
    assert "Rows by script" in page
    assert client.post(f"{address}scrub", {"kind": ["email"]}).status_code == 302
    work(customer)
    page = client.get(address).content.decode()
    [changes] = re.findall(r'href="([^"]+/changes/[^"]+)">1</a>', page)
    shown = client.get(changes).content.decode()
    assert "&lt;b&gt;Mail&lt;/b&gt; <del>bob@corp.io</del>, 请打 13800138000" in shown
    assert "<ins>[EMAIL]</ins>" in shown
    client.cookies["django_language"] = "zh-hans"
    page = client.get(address).content.decode()
    for word in ("数据画像", "电子邮箱", "各行的文字分布", "版本", "拉丁字母"):
        assert word in page
    assert "原文" in client.get(changes).content.decode()
    assert client.get(f"{changes}?after=4").content.decode().count("<del>") == 0
    [found] = re.findall(r'href="([^"]+/findings/[^"]+)"', page)
    lines = b"".join(client.get(found)).decode()  # type: ignore[arg-type]
    assert '"finding":"phone"' in lines
    assert "138" not in lines


def test_a_comparison_says_what_stands_in_both() -> None:
    customer = new_customer()
    client = browser_of(member(customer))
    other = brought(customer, client, chat_rows(2))
    address = brought(customer, client, chat_rows(4))
    against = other.rstrip("/").rpartition("/")[2].replace("-", "")
    page = client.get(address).content.decode()
    [option] = re.findall(r'<option value="(file-[^"]+)">', page)
    assert against in option
    client.post(f"{address}profile", {"against": option})
    work(customer)
    page = client.get(address).content.decode()
    assert "Compared with rows.jsonl" in page
    assert "2 rows ask what the other file does" in page


def test_what_cannot_be_done_is_said_at_the_page() -> None:
    customer = new_customer()
    client = browser_of(member(customer))
    address = brought(customer, client, chat_rows(2))
    assert (
        "Choose what is to be masked."
        in client.post(f"{address}scrub", follow=True).content.decode()
    )
    for against in ("nonsense", f"file-{0:032x}"):
        answer = client.post(f"{address}profile", {"against": against}, follow=True)
        assert answer.status_code == 200
        assert 'class="alert' in answer.content.decode()
    assert client.get(f"{address}changes/{'0' * 8}-0000-4000-8000-{'0' * 12}").status_code == 404
    assert client.get(f"{address}findings/{'0' * 8}-0000-4000-8000-{'0' * 12}").status_code == 404


def test_alone_and_beside_another_file_take_one_click() -> None:
    customer = new_customer()
    client = browser_of(member(customer))
    address, other = (
        brought(customer, client, chat_rows(3)),
        brought(customer, client, chat_rows(4)),
    )
    with tenant_scope(customer.tenant_id):
        against = StoredFile.objects.get(id=other.rstrip("/").rpartition("/")[2])
    for _ in range(2):  # what was seen through alone is not asked again
        client.post(f"{address}profile", {"against": against.public_id})
        work(customer)
        with tenant_scope(customer.tenant_id):
            kinds = Profile.objects.values_list("against", "state").order_by("created_at")
            assert list(kinds)[:2] == [(None, "succeeded"), (against.id, "succeeded")]
            assert Profile.objects.filter(against=None).count() == 1
    page = client.get(address).content.decode()
    assert "The file alone" in page
    assert "Compared with rows.jsonl" in page
