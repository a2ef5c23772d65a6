"""The whole portal by mouse, in both languages: an owner invites, a colleague accepts, a second
factor is required and set up, a key is made, renewed and revoked, the colleague is removed, and the
audit log tells of all of it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tenants.roles import Role
from tests.finetune.api.conftest import serving_http
from tests.finetune.api.customers import new_customer
from tests.fixtures.browser import PATIENCE_MS, WIDE
from tests.fixtures.language import english_sentences
from tests.fixtures.people import PASSWORD, code_of, member

pytestmark = pytest.mark.browser

WORDS = {
    "en": {
        "sign_in": "Sign in", "members": "Members", "keys": "Keys", "invite": "Invite",
        "accept": "Go on", "make": "Make a key", "do_make": "Make the key",
        "rotate": "New secret", "revoke": "Revoke", "revoked": "revoked", "settings": "Settings",
        "require": "Require it of all members", "go_on": "Go on", "copy": "Copy",
        "no_address": "This is no e-mail address.", "nothing": "There is nothing at this address.",
        "taken": "That person is a member already.", "weights": "take the weights away",
        "audit": "Audit log", "show": "Show", "revoked_key": "Revoked the key nightly",
        "removed": "Removed the member",
    },
    "zh-hans": {
        "sign_in": "登录", "members": "成员", "keys": "密钥", "invite": "邀请",
        "accept": "继续", "make": "创建密钥", "do_make": "创建", "rotate": "更换密钥值",
        "revoke": "撤销", "revoked": "已撤销", "settings": "设置", "require": "要求所有成员使用",
        "go_on": "继续", "copy": "复制", "no_address": "这不是有效的电子邮箱地址。",
        "nothing": "此地址没有内容。", "taken": "此人已是成员。", "weights": "下载权重",
        "audit": "审计日志", "show": "显示", "revoked_key": "撤销了密钥 nightly",
        "removed": "移除了成员",
    },
}  # fmt: skip
NARROW = {"width": 390, "height": 844}
# What a screen reader could not name, and a scrolling table that no key reaches.
UNNAMED = """() => [...document.querySelectorAll(
    "input:not([type=hidden]), select, textarea, button, a, th, nav, [role=progressbar]"
  )].filter((each) => !(each.labels?.length || each.ariaLabel || each.textContent.trim()))
  .concat([...document.querySelectorAll(".table-responsive:not([tabindex])")])
  .map((each) => each.outerHTML)"""


@dataclass(frozen=True)
class Scene:
    url: str
    slugs: dict[str, str]
    owners: dict[str, str]


@pytest.fixture(scope="module")
def scene(django_db_setup: None, django_db_blocker: Any) -> Iterator[Scene]:
    """Rows are made before playwright's loop runs."""
    with django_db_blocker.unblock():
        customers = {language: new_customer(name="Acme 工厂 International") for language in WORDS}
        owners = {name: member(each, Role.OWNER).email for name, each in customers.items()}
        slugs = {name: each.slug for name, each in customers.items()}
    with serving_http("privatune.asgi:application") as (url, _):
        yield Scene(url, slugs, owners)


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_the_whole_portal_by_mouse(
    scene: Scene, chromium: Any, request: pytest.FixtureRequest, language: str
) -> None:
    words, slug, faults = WORDS[language], scene.slugs[language], list[str]()
    shots = Path(request.config.rootpath) / "var" / "screenshots"
    shots.mkdir(parents=True, exist_ok=True)

    def browser() -> Any:
        options: dict[str, Any] = {"viewport": WIDE, "base_url": scene.url, "locale": language}
        options["timezone_id"] = "Asia/Shanghai"
        context = chromium.new_context(**options)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        page.on("dialog", lambda dialog: dialog.accept())
        return page

    def look(page: Any, name: str) -> None:
        assert page.evaluate(UNNAMED) == [], name
        if language != "en":
            assert english_sentences(page.content()) == [], name
        for size, label in ((WIDE, "wide"), (NARROW, "narrow")):
            page.set_viewport_size(size)
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= size["width"], f"{name} is wider than the {label} screen"
            cut = (
                "[...document.querySelectorAll('.rooms')].some(r => r.scrollWidth > r.clientWidth)"
            )
            assert label == "narrow" or not page.evaluate(cut), "a room is out of sight"
            page.screenshot(path=shots / f"{name}-{label}-{language}.png", full_page=True)
        page.set_viewport_size(WIDE)

    def enrol(page: Any) -> None:
        """From wherever the portal leads: sets up an authenticator app and goes on."""
        page.wait_for_url(re.compile(r"/accounts/2fa/$"))
        page.click("main a[href='/accounts/2fa/totp/activate/']")
        page.fill("input[name=code]", code_of(page.input_value("#authenticator_secret")))
        page.click("main form button")
        page.click(f"a:has-text('{words['go_on']}')")

    owner = browser()
    owner.goto("/accounts/login/")
    owner.fill("#id_login", scene.owners[language])
    owner.fill("#id_password", PASSWORD)
    owner.click(f"main button:has-text('{words['sign_in']}')")
    owner.click(f"nav >> text={words['members']}")
    colleague_email = f"colleague-{language}@acme.example"
    owner.fill("#email", "colleague@nowhere")
    owner.click(f"button:has-text('{words['invite']}')")
    assert words["no_address"] in owner.inner_text("[role=alert]")
    assert owner.input_value("#email") == "colleague@nowhere", "what was typed is kept"
    owner.fill("#email", colleague_email)
    owner.click(f"button:has-text('{words['invite']}')")
    link = owner.input_value("#link")
    owner.click(f"button:has-text('{words['copy']}')")
    look(owner, "members")

    colleague = browser()
    colleague.goto(link)
    assert "Acme 工厂" in colleague.inner_text("h1")
    look(colleague, "invitation")
    colleague.fill("#password", "123456789012")
    colleague.click(f"button:has-text('{words['accept']}')")
    colleague.wait_for_selector("[role=alert]")  # digits alone are no password
    colleague.fill("#password", "seven purple parakeets")
    colleague.click(f"button:has-text('{words['accept']}')")
    colleague.wait_for_url(f"**/t/{slug}/")

    owner.fill("#email", colleague_email)
    owner.click(f"button:has-text('{words['invite']}')")
    assert words["taken"] in owner.inner_text("[role=alert]")
    owner.click(f"nav >> text={words['settings']}")
    owner.click(f"button:has-text('{words['require']}')")
    enrol(owner)
    owner.wait_for_url(f"**/t/{slug}/settings")
    colleague.click(f"nav >> text={words['keys']}")
    enrol(colleague)
    colleague.wait_for_url(f"**/t/{slug}/keys/")
    colleague.click(f"summary:has-text('{words['make']}')")
    colleague.fill("#name", "nightly")
    assert words["weights"] in colleague.inner_text("fieldset"), "scopes are told in words"
    look(colleague, "key-new")
    colleague.click(f"form button:has-text('{words['do_make']}')")
    first = colleague.input_value("#secret")
    colleague.click(f"tr:has-text('nightly') >> text={words['rotate']}")
    colleague.wait_for_function(
        "first => document.querySelector('#secret').value !== first", arg=first
    )
    second = colleague.input_value("#secret")
    look(colleague, "keys")

    def status(secret: str) -> int:
        headers = {"Authorization": f"Bearer {secret}"}
        return httpx.get(f"{scene.url}/v1/files", headers=headers).status_code

    assert (status(first), status(second)) == (200, 200)
    colleague.click(f"tr:has-text('nightly') >> text={words['revoke']}")
    colleague.wait_for_selector(f"tr:has-text('nightly') >> text={words['revoked']}")
    assert (status(first), status(second)) == (401, 401)

    owner.goto(f"/t/{slug}/members/")
    owner.click(f"tr:has-text('{colleague_email}') >> button[value=remove]")
    owner.wait_for_load_state()
    assert colleague.goto(f"/t/{slug}/").status == 404
    assert colleague.inner_text("h1") == words["nothing"]
    look(colleague, "nothing")

    owner.click(f"nav >> text={words['audit']}")
    owner.wait_for_url("**/audit/")
    assert "Asia/Shanghai" in owner.text_content("thead")
    assert f"{words['removed']} {colleague_email}" in owner.inner_text("tbody tr:first-child")
    look(owner, "audit")
    owner.select_option("#kind", "keys")
    owner.click(f"main button:has-text('{words['show']}')")
    owner.wait_for_url("**kind=keys*")
    assert words["revoked_key"] in owner.inner_text("tbody")
    assert words["removed"] not in owner.inner_text("tbody")
    owner.click(f"tbody a:has-text('{colleague_email}') >> nth=0")
    assert colleague_email in owner.inner_text("#who option:checked"), "gone, and still found"
    assert [fault for fault in faults if not re.search("40[049]", fault)] == []
    for page in (owner, colleague):
        page.context.close()
