"""Coming in by mouse: an owner invites, a colleague accepts, makes a key and revokes it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tenants.roles import Role
from tests.finetune.api.conftest import serving_http
from tests.finetune.api.customers import new_customer
from tests.fixtures.people import PASSWORD, member

pytestmark = pytest.mark.browser

WORDS = {
    "en": {
        "sign_in": "Sign in", "members": "Members", "keys": "Keys", "invite": "Invite",
        "accept": "Make the account and accept", "make": "Make a key", "do_make": "Make the key",
        "rotate": "New secret", "revoke": "Revoke", "revoked": "revoked",
    },
    "zh-hans": {
        "sign_in": "登录", "members": "成员", "keys": "密钥", "invite": "邀请",
        "accept": "创建账号并接受", "make": "创建密钥", "do_make": "创建", "rotate": "更换密文",
        "revoke": "撤销", "revoked": "已撤销",
    },
}  # fmt: skip
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@dataclass(frozen=True)
class Scene:
    url: str
    slug: str
    owners: dict[str, str]


@pytest.fixture(scope="module")
def scene(django_db_setup: None, django_db_blocker: Any) -> Iterator[Scene]:
    """Rows are made before playwright's loop runs."""
    with django_db_blocker.unblock():
        customer = new_customer(name="Acme 工厂")
        owners = {language: member(customer, Role.OWNER).email for language in WORDS}
    with serving_http("privatune.asgi:application") as (url, _):
        yield Scene(url, customer.slug, owners)


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_an_owner_invites_a_colleague_accepts_and_a_key_comes_and_goes(
    scene: Scene, chromium: Any, request: pytest.FixtureRequest, language: str
) -> None:
    words, faults = WORDS[language], list[str]()
    shots = Path(request.config.rootpath) / "var" / "screenshots"
    shots.mkdir(parents=True, exist_ok=True)

    def browser() -> Any:
        options = {"viewport": WIDE, "base_url": scene.url, "locale": language}
        page = chromium.new_context(**options).new_page()
        page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        page.on("dialog", lambda dialog: dialog.accept())
        return page

    def look(page: Any, name: str) -> None:
        for size, label in ((WIDE, "wide"), (NARROW, "narrow")):
            page.set_viewport_size(size)
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= size["width"], f"{name} is wider than the {label} screen"
            page.screenshot(path=shots / f"{name}-{label}-{language}.png", full_page=True)
        page.set_viewport_size(WIDE)

    owner = browser()
    owner.goto("/accounts/login/")
    owner.fill("#id_login", scene.owners[language])
    owner.fill("#id_password", PASSWORD)
    owner.click(f"main button:has-text('{words['sign_in']}')")
    owner.click(f"nav >> text={words['members']}")
    colleague_email = f"colleague-{language}@acme.example"
    owner.fill("#email", colleague_email)
    owner.click(f"button:has-text('{words['invite']}')")
    link = owner.input_value("#link")
    look(owner, "members")

    colleague = browser()
    colleague.goto(link)
    assert "Acme 工厂" in colleague.inner_text("h1")
    look(colleague, "invitation")
    colleague.fill("#password", "seven purple parakeets")
    colleague.click(f"button:has-text('{words['accept']}')")
    colleague.wait_for_url(f"**/t/{scene.slug}/")

    colleague.click(f"nav >> text={words['keys']}")
    colleague.click(f"summary:has-text('{words['make']}')")
    colleague.fill("#name", "nightly")
    look(colleague, "key-new")
    colleague.click(f"form button:has-text('{words['do_make']}')")
    first = colleague.input_value("#secret")
    colleague.click(f"tr:has-text('nightly') >> text={words['rotate']}")
    second = colleague.input_value("#secret")
    look(colleague, "keys")

    def status(secret: str) -> int:
        headers = {"Authorization": f"Bearer {secret}"}
        return httpx.get(f"{scene.url}/v1/files", headers=headers).status_code

    assert (status(first), status(second)) == (200, 200)
    colleague.click(f"tr:has-text('nightly') >> text={words['revoke']}")
    colleague.wait_for_selector(f"tr:has-text('nightly') >> text={words['revoked']}")
    assert (status(first), status(second)) == (401, 401)

    owner.goto(f"/t/{scene.slug}/members/")
    owner.click(f"tr:has-text('{colleague_email}') >> button[value=remove]")
    owner.wait_for_load_state()
    assert colleague.goto(f"/t/{scene.slug}/").status == 404
    assert [fault for fault in faults if "404" not in fault] == []
    for page in (owner, colleague):
        page.context.close()
