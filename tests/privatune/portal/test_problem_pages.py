"""Whatever goes wrong at a page is told by a page of ours: in both languages, with the right status
and with what to do. Nothing of Django's own is left."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client

from tests.finetune.api.customers import Customer, new_customer
from tests.fixtures.language import WORDS, english_sentences
from tests.fixtures.people import browser_of, member
from tests.privatune.portal.pages import Scene

pytestmark = pytest.mark.django_db

# What is asked, the status, and words of the page in each language.
ASKED: dict[str, tuple[Callable[[Client], Any], int, str, str]] = {
    "forged form": (
        lambda browser: browser.post("/accounts/login/", {"login": "a@b.example"}),
        403, "allow cookies", "Cookie",
    ),
    "forged form of the operator": (
        lambda browser: browser.post("/operator/tenants/tenant/add/", {}),
        403, "allow cookies", "Cookie",
    ),
    "another host": (
        lambda browser: browser.get("/accounts/login/", headers={"host": "evil.example"}),
        400, "Use a name that it serves", "PRIVATUNE_ALLOWED_HOSTS",
    ),
    "a damaged form": (
        lambda browser: browser.post(
            "/i18n/setlang/", b"a", content_type="multipart/form-data"
        ),
        400, "arrived damaged", "损坏",
    ),
    "too many fields": (
        lambda browser: browser.post("/i18n/setlang/", {f"f{n}": "" for n in range(1001)}),
        400, "too many fields", "字段",
    ),
    "a NUL": (lambda browser: browser.get("/accounts/login/?next=%00"), 400, "NUL", "NUL"),
    "nothing there": (lambda browser: browser.get("/nothing"), 404, "mistyped", "地址"),
    "an act opened as a page": (
        lambda browser: browser.get("/accounts/sessions/end-others"),
        405, "no such request", "不接受",
    ),
}  # fmt: skip


def shown(answer: Any, language: str, status: int, words: str) -> str:
    page: str = answer.content.decode()
    assert answer.status_code == status, page
    assert f'<html lang="{language}">' in page
    assert words in page
    assert WORDS[language].search(page.split("<h1")[1].split("</h1>", maxsplit=1)[0])
    if language != "en":
        assert english_sentences(page) == []
    return page


@pytest.mark.parametrize("language", ["en", "zh-hans"])
@pytest.mark.parametrize("asked", ASKED)
def test_a_request_that_is_refused_gets_a_page_of_ours(asked: str, language: str) -> None:
    ask, status, english, chinese = ASKED[asked]
    browser = Client(enforce_csrf_checks="forged" in asked, raise_request_exception=False)
    browser.cookies["django_language"] = language
    shown(ask(browser), language, status, english if language == "en" else chinese)


@pytest.mark.parametrize("language", ["en", "zh-hans"])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ZeroDivisionError(), 500),
        (psycopg.OperationalError("down"), 503),
        (PermissionDenied(), 403),
    ],
)
def test_what_breaks_in_a_room_gets_a_page_of_ours(
    customer: Customer,
    monkeypatch: pytest.MonkeyPatch,
    language: str,
    error: Exception,
    status: int,
) -> None:
    def broken() -> None:
        raise error

    monkeypatch.setattr("privatune.portal.rooms.home.selectors.jobs", broken)
    browser = browser_of(member(customer))
    browser.raise_request_exception = False
    browser.cookies["django_language"] = language
    page = shown(browser.get(f"/t/{customer.slug}/"), language, status, "")
    assert "down" not in page, "nothing of the insides"


@pytest.fixture
def customer() -> Customer:
    return new_customer()


def test_a_script_gets_the_words_without_a_page() -> None:
    browser = Client(headers={"accept": "*/*"})
    browser.cookies["django_language"] = "zh-hans"
    answer = browser.get("/nothing")
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"
    assert WORDS["zh-hans"].search(answer.json()["message"])


def test_what_a_page_may_not_take_is_still_told_by_its_header() -> None:
    assert Client().get("/accounts/sessions/end-others").headers["Allow"] == "POST"


def test_no_page_and_no_answer_may_be_kept() -> None:
    """A proxy's disk, or the button back after signing out, must not show them."""
    scene, browser = Scene(), Client()
    browser.force_login(member(scene.customer))
    pages = [address for _, address in scene.rooms()]
    assert len(pages) > 10
    for address in pages:
        assert "no-store" in browser.get(address)["Cache-Control"], address
    for address in ("/v1/files", "/api/v1/artifacts", "/v1/nothing"):
        answer = Client().get(address, headers={"authorization": f"Bearer {scene.customer.key}"})
        assert answer["Cache-Control"] == "private, no-store"
