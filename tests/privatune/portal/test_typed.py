"""In a browser: what was typed into a form stays while the language changes, and a new job shows
the settings and files of the chosen method alone."""

from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from tests.finetune.api.customers import Customer
from tests.finetune.services.jobs.test_validation import check
from tests.fixtures.jobs import Bench, chat_rows, jsonl, new_bench
from tests.fixtures.people import browser_of, member
from tests.privatune.portal.pages import Page
from tests.privatune.portal.test_accessible import shown_in

pytestmark = pytest.mark.browser


def forms_of(bench: Bench) -> dict[str, Page]:
    browser = browser_of(member(Customer(bench.tenant.id, bench.tenant.slug, key="", base_url="")))
    at = f"/t/{bench.tenant.slug}/"
    return {
        name: Page(name, at + name, browser.get(at + name).content.decode())
        for name in ("jobs/new", "pipelines/new", "keys/")
    }


@pytest.fixture(scope="module")
def forms(tiny_base: Path, django_db_setup: None, django_db_blocker: Any) -> dict[str, Page]:
    """Rendered before playwright's loop runs; what they show is taken back."""
    with django_db_blocker.unblock(), transaction.atomic():
        bench = new_bench(tiny_base)
        check(bench, jsonl(chat_rows(8)))
        rows = [{"prompt": f"lamp {n}?", "chosen": " on", "rejected": " off"} for n in range(8)]
        check(bench, jsonl(rows))
        found = forms_of(bench)
        transaction.set_rollback(True)
    return found


def switch(view: Any, page: Page) -> None:
    """Presses the other language; the server then sends the same address again."""
    view.route("**/i18n/**", lambda route: route.fulfill(status=204))
    with view.expect_request("**/i18n/**"):
        view.click("form.language button")
    view.goto(page.address)


def test_a_half_filled_form_outlives_the_change_of_language(
    forms: dict[str, Page], chromium: Any
) -> None:
    with shown_in(chromium, "en") as show:
        view = show(forms["jobs/new"])
        view.fill("#id_suffix", "kitchen")
        view.check("input[name=preset][value=custom]")
        view.select_option("#id_method", "dpo")
        view.fill("#id_beta", "0.3")
        switch(view, forms["jobs/new"])
        assert view.input_value("#id_suffix") == "kitchen"
        assert view.input_value("#id_method") == "dpo"
        assert view.input_value("#id_beta") == "0.3"
        assert view.is_visible("#id_beta")
        view.goto(forms["jobs/new"].address)
        assert view.input_value("#id_suffix") == "", "it is kept for that change alone"
        view = show(forms["keys/"])
        view.click("summary:has-text('Make a key')")
        view.fill("#name", "ci")
        view.uncheck("input[name=scopes][value='jobs:write']")
        switch(view, forms["keys/"])
        assert view.input_value("#name") == "ci"
        assert view.is_visible("#name")
        assert not view.is_checked("input[name=scopes][value='jobs:write']")
        assert view.is_checked("input[name=scopes][value='jobs:read']")


def test_the_chosen_method_has_its_own_settings_and_files(
    forms: dict[str, Page], chromium: Any
) -> None:
    offered = "option[data-format={}]:not([disabled])"
    with shown_in(chromium, "en") as show:
        view = show(forms["jobs/new"])
        view.check("input[name=preset][value=custom]")
        assert not view.is_visible("#id_beta")
        assert view.locator(f"#id_training_file {offered.format('chat')}").count() == 1
        assert view.locator(f"#id_training_file {offered.format('chosen')}").count() == 0
        view.select_option("#id_method", "kto")
        assert view.is_visible("#id_beta")
        assert view.is_visible("#id_desirable_weight")
        assert not view.is_visible("#id_gamma")
        assert view.locator(f"#id_training_file {offered.format('chosen')}").count() == 1
        assert view.locator(f"#id_training_file {offered.format('chat')}").count() == 0
        view.select_option("#id_method", "reinforcement")
        assert view.is_visible("#id_grader")
        assert not view.is_visible("#id_packing")


def test_a_pipelines_stages_come_one_by_one_and_each_can_be_taken_away(
    forms: dict[str, Page], chromium: Any
) -> None:
    with shown_in(chromium, "en") as show:
        view = show(forms["pipelines/new"])
        shown = view.locator("button[name=remove]:visible")
        assert shown.count() == 2
        view.click("#add-stage")
        assert shown.count() == 3
        view.route("**/pipelines/new", lambda route: route.fulfill(status=204))
        with view.expect_request("**/pipelines/new") as sent:
            shown.nth(1).click()
        assert "remove=1" in sent.value.post_data
        assert "stages=3" in sent.value.post_data
        with view.expect_request("**/pipelines/new") as sent:
            view.fill("#id_name", "house style")
            view.evaluate(
                "document.querySelectorAll('[required]').forEach((one) => { one.required = false })"
            )
            view.press("#id_name", "Enter")
        assert "remove=" not in sent.value.post_data, "the Enter key takes no stage away"
