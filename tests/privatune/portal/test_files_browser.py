"""A table whose columns have other names, by mouse and in both languages: its problems, the mapping
that is proposed, one click, and the file is usable."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from finetune.models import CatalogModel, Dataset
from finetune.services.files.datasets import request_check
from tenants.database.scope import tenant_scope
from tenants.models import StoredFile
from tests.finetune.api.conftest import serving_http
from tests.finetune.api.customers import Customer, new_customer, shelve
from tests.fixtures.browser import WIDE, faultless_page
from tests.fixtures.language import english_sentences
from tests.fixtures.people import PASSWORD, member

pytestmark = pytest.mark.browser

NARROW = {"width": 390, "height": 844}
WORDS = {
    "en": {"sign_in": "Sign in", "files": "Files", "usable": "usable",
           "read_so": "Read the columns so", "again": "Check again"},
    "zh-hans": {"sign_in": "登录", "files": "文件", "usable": "可用",
                "read_so": "按此读取各列", "again": "重新检查"},
}  # fmt: skip
TABLE = "问题,背景,回答,\r\n" + "".join(
    f"今天第{n}个问题是什么,我们在公司,这是第{n}个回答,\r\n" for n in range(6)
)


@dataclass(frozen=True)
class Scene:
    url: str
    customers: dict[str, Customer]
    people: dict[str, str]


@pytest.fixture(scope="module")
def scene(django_db_setup: None, django_db_blocker: Any) -> Iterator[Scene]:
    """Rows are made before playwright's loop runs."""
    with django_db_blocker.unblock():
        customers = {language: new_customer(name="Acme 工厂") for language in WORDS}
        people = {language: member(each).email for language, each in customers.items()}
        with serving_http("privatune.asgi:application") as (url, _):
            for each in customers.values():
                shelve(each.slug)
            yield Scene(url, customers, people)
        for each in customers.values():
            with tenant_scope(each.tenant_id):
                Dataset.objects.exclude(base=None).delete()


def check_files(customer: Customer) -> None:
    """As a worker does; in a thread, as Django refuses the database beside a running loop."""

    def work() -> None:
        try:
            customer.check_files()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(work).result()


def read_for_a_model(customer: Customer) -> None:
    """Asks for a reading that no worker takes up: the page of the file looks for its end."""

    def work() -> None:
        try:
            with tenant_scope(customer.tenant_id):
                file = StoredFile.objects.get()
                base = CatalogModel.objects.get(name=customer.slug)
                request_check(file=file, base=base, max_length=64)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(work).result()


@pytest.mark.parametrize("language", WORDS)
def test_a_proposed_mapping_is_taken_with_one_click(
    scene: Scene, chromium: Any, request: pytest.FixtureRequest, language: str
) -> None:
    words, customer = WORDS[language], scene.customers[language]
    shots = Path(request.config.rootpath) / "var" / "screenshots"
    shots.mkdir(parents=True, exist_ok=True)

    def look(page: Any, name: str) -> None:
        if language != "en":
            assert english_sentences(page.content()) == [], name
        for size, label in ((WIDE, "wide"), (NARROW, "narrow")):
            page.set_viewport_size(size)
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= size["width"], f"{name} is wider than the {label} screen"
            page.screenshot(path=shots / f"{name}-{label}-{language}.png", full_page=True)
        page.set_viewport_size(WIDE)

    with faultless_page(chromium, scene.url) as page:
        page.goto("/accounts/login/")
        if language != "en":
            page.click(f"button[value={language}]")
        page.fill("#id_login", scene.people[language])
        page.fill("#id_password", PASSWORD)
        page.click(f"main button:has-text('{words['sign_in']}')")
        page.wait_for_url(re.compile(rf"/t/{customer.slug}/$"))
        page.click(f"nav >> text={words['files']}")
        page.set_input_files(
            "#file", {"name": "表格.csv", "mimeType": "text/csv", "buffer": TABLE.encode("gbk")}
        )
        page.wait_for_url(re.compile(r"/files/[0-9a-f-]{36}/"))
        check_files(customer)
        page.wait_for_selector("table.problems")
        look(page, "file-columns-proposed")

        page.click(f"button:has-text('{words['read_so']}')")
        check_files(customer)
        page.wait_for_selector(f".bg-green-lt:has-text('{words['usable']}')")
        look(page, "file-columns-mapped")
        assert page.input_value("#columns") == "instruction=问题, input=背景, output=回答"

        read_for_a_model(customer)
        page.reload()
        columns = page.locator("#columns")
        columns.fill("question=问题")
        for _ in range(2):
            page.evaluate("document.getElementById('readings').className = 'old'")
            page.wait_for_selector("#readings:not(.old) .spinner-border")
        look(page, "file-columns-while-read")
        assert columns.input_value() == "question=问题"
        assert page.evaluate("document.activeElement.id") == "columns"
        page.click(f"button:has-text('{words['again']}')")
        page.wait_for_selector(".alert-danger")
        look(page, "file-columns-refused")
