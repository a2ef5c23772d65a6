"""The main job by mouse, in both languages, in a real browser against a whole running stack."""

import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.browser import WIDE, faultless_page
from tests.fixtures.language import english_sentences
from tests.fixtures.stack import Stack, StackTenant

pytestmark = [pytest.mark.browser, pytest.mark.slow]

WORDS = {
    "en": {
        "sign_in": "Sign in", "files": "Files", "jobs": "Jobs", "new": "New job",
        "start": "Start training", "usable": "usable", "problems": "Problems",
        "done": "succeeded", "see": "See the model", "download": "Download", "ask": "Ask",
        "question": "Your question", "licences": "Licences", "custom": "My own settings",
        "fix": "How to mend it",
    },
    "zh-hans": {
        "sign_in": "登录", "files": "文件", "jobs": "任务", "new": "新任务", "start": "开始训练",
        "usable": "可用", "problems": "问题", "done": "成功", "see": "查看模型",
        "download": "下载", "ask": "提问", "question": "您的问题", "licences": "许可",
        "custom": "自定义设置", "fix": "如何修正",
    },
}  # fmt: skip
SYSTEM = "You switch lamps."
NARROW = {"width": 390, "height": 844}


def rows(count: int) -> bytes:
    lines = [
        json.dumps({"messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": f"turn on lamp {i % 7}"},
            {"role": "assistant", "content": f"lamp {i % 7} is on"},
        ]})
        for i in range(count)
    ]  # fmt: skip
    return "\n".join(lines).encode()


@pytest.fixture
def shots(request: pytest.FixtureRequest) -> Path:
    """Where screenshots go, to be looked at by people."""
    folder = Path(request.config.rootpath) / "var" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> StackTenant:
    return stack.new_tenant("browser")


@pytest.fixture
def page(chromium: Any, stack: Stack) -> Iterator[Any]:
    with faultless_page(chromium, stack.url) as page:
        yield page


def sign_in(page: Any, tenant: StackTenant, language: str) -> None:
    page.goto("/accounts/login/")
    if language != "en":
        page.click(f"button[value={language}]")
    page.fill("#id_login", tenant.email)
    page.fill("#id_password", tenant.password)
    page.click(f"main button:has-text('{WORDS[language]['sign_in']}')")
    page.wait_for_url(re.compile(rf"/t/{tenant.slug}/$"))


@pytest.mark.parametrize("language", ["zh-hans", "en"])
def test_upload_train_watch_and_download_by_mouse(
    page: Any, tenant: StackTenant, shots: Path, language: str
) -> None:
    words = WORDS[language]
    sign_in(page, tenant, language)
    assert page.locator("html").get_attribute("lang") == language
    page.screenshot(path=shots / f"home-{language}.png")

    page.click(f"nav >> text={words['files']}")
    page.set_input_files(
        "#file", {"name": "lamps.jsonl", "mimeType": "application/jsonl", "buffer": rows(60)}
    )
    page.wait_for_url(re.compile(r"/files/[0-9a-f-]{36}/"))
    page.wait_for_selector(f".bg-green-lt:has-text('{words['usable']}')")
    page.screenshot(path=shots / f"file-{language}.png")

    page.click(f"nav >> text={words['jobs']}")
    page.click(f"a:has-text('{words['new']}')")
    lamps = page.locator("#id_training_file option", has_text="lamps.jsonl · 60 ").first
    page.select_option("#id_training_file", lamps.get_attribute("value"))
    page.fill("#id_suffix", f"lamps-{language[:2]}")
    page.check("input[name=preset][value=custom]")
    page.fill("#id_n_epochs", "2")
    page.screenshot(path=shots / f"job-new-{language}.png", full_page=True)
    if not open_finished_job(page, tenant, words):
        page.click(f"button:has-text('{words['start']}')")
        page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}/"))
        what_was_opened_stays_open(page)
    page.wait_for_selector(f".bg-green-lt:has-text('{words['done']}')")
    page.reload()
    page.wait_for_selector("#curve canvas")
    if language != "en":
        assert english_sentences(page.content()) == []
    page.screenshot(path=shots / f"job-{language}.png", full_page=True)
    page.set_viewport_size(NARROW)
    page.screenshot(path=shots / f"job-narrow-{language}.png", full_page=True)
    page.set_viewport_size(WIDE)

    page.click(f"a:has-text('{words['see']}')")
    with page.expect_download() as download:
        page.click(f"a:has-text('{words['download']}')")
    with tarfile.open(fileobj=io.BytesIO(Path(download.value.path()).read_bytes())) as bundle:
        names = {name.removeprefix("./") for name in bundle.getnames()}
    assert any(name.endswith("adapter/adapter_model.safetensors") for name in names)
    assert any(name.endswith("manifest.json") for name in names)

    model_address = page.url
    page.goto(f"/t/{tenant.slug}/files/")
    page.locator("main table a:has-text('lamps.jsonl')").last.click()  # what was trained on
    page.wait_for_selector(".bars span")
    page.screenshot(path=shots / f"file-read-{language}.png", full_page=True)
    page.goto(model_address)

    assert page.input_value("[name=system]") == SYSTEM, "as it was trained"
    page.get_by_label(words["question"]).fill("turn on lamp 3")
    page.click(f"button:has-text('{words['ask']}')")
    for which in ("base", "tuned"):
        answer = page.locator(f"[data-answer={which}]")
        page.wait_for_function(
            "which => document.querySelector(`[data-answer=${which}]`).textContent.length > 1",
            arg=which,
        )
        assert not answer.inner_text().startswith("[")
    page.screenshot(path=shots / f"model-{language}.png", full_page=True)
    page.click(f"nav >> text={words['licences']}")
    page.wait_for_selector("text=tiny")
    page.screenshot(path=shots / f"licences-{language}.png")

    page.goto(f"/t/{tenant.slug}/audit/")
    page.screenshot(path=shots / f"audit-job-{language}.png", full_page=True)
    with page.expect_download() as download:
        page.click("main a[download]")
    lines = [json.loads(each) for each in Path(download.value.path()).read_bytes().splitlines()]
    assert lines[-1]["type"] == "end"
    assert any(each["type"] == "head" for each in lines), "the worker has signed it"
    acts = {each["action"] for each in lines if each["type"] == "entry"}
    assert acts >= {"file.create", "report.read", "artifact.download", "model.ask", "audit.export"}


def open_finished_job(page: Any, tenant: StackTenant, words: dict[str, str]) -> bool:
    """The one that was trained in the first language: in the second its pages are looked at."""
    listed = page.request.get(f"/t/{tenant.slug}/jobs/").text()
    if words["done"] not in listed:
        return False
    page.goto(f"/t/{tenant.slug}/jobs/")
    page.locator("main tr", has_text=words["done"]).locator("a").first.click()
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}/"))
    return True


def what_was_opened_stays_open(page: Any) -> None:
    """The page of a running job fetches its parts again every two seconds."""
    page.click("#job-events summary")
    page.evaluate("() => { document.getElementById('job').className = 'old'; }")
    page.wait_for_selector("#job:not(.old)")
    assert page.get_attribute("#job-events", "open") is not None


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_a_bad_file_shows_line_field_and_fix(
    page: Any, tenant: StackTenant, shots: Path, language: str
) -> None:
    sign_in(page, tenant, language)
    page.goto(f"/t/{tenant.slug}/files/")
    bad = rows(3) + b'\n{"messages": [{"role": "user", "content": ""}]}\n{"messages": NaN}\n'
    page.set_input_files(
        "#file", {"name": "bad.jsonl", "mimeType": "application/jsonl", "buffer": bad}
    )
    page.wait_for_selector(f"th:has-text('{WORDS[language]['fix']}')")
    lines = page.locator("table.table-sm tbody tr td:first-child").all_inner_texts()
    assert {"4", "5"} <= set(lines)
    if language != "en":
        assert english_sentences(page.content()) == []
    page.set_viewport_size(NARROW)
    page.screenshot(path=shots / f"file-bad-narrow-{language}.png", full_page=True)


def test_another_tenants_addresses_do_not_exist(
    page: Any, stack: Stack, tenant: StackTenant
) -> None:
    """Every address that tenant A can see in its rooms, opened by tenant B."""
    sign_in(page, tenant, "en")
    seen: set[str] = set()
    for room in ("files", "jobs", "models"):
        page.goto(f"/t/{tenant.slug}/{room}/")
        hrefs = page.eval_on_selector_all("main a", "links => links.map(a => a.pathname)")
        seen |= {href for href in hrefs if re.search(r"[0-9a-f-]{36}", href)}
    assert len(seen) >= 3
    other = stack.new_tenant("stranger")
    page.context.clear_cookies()
    sign_in(page, other, "en")
    own = {address.replace(f"/t/{tenant.slug}/", f"/t/{other.slug}/") for address in seen}
    for address in sorted(seen | own):
        assert page.goto(address).status == 404, address
        for verb in ("cancel", "delete", "stream", "curve", "download"):
            answer = page.request.get(f"{stack.url}{address}{verb}")
            assert answer.status in {404, 405}, f"{address}{verb}"
