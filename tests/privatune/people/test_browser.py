"""Getting in by mouse, in a real browser: a second factor is required, an authenticator app and a
passkey are enrolled and used, sessions are ended. In both languages."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tenants.roles import Role
from tests.finetune.api.conftest import serving_http
from tests.finetune.api.customers import new_customer
from tests.fixtures.browser import WIDE, faultless_page
from tests.fixtures.people import PASSWORD, code_of, member, new_person

pytestmark = pytest.mark.browser

WORDS = {
    "en": {"sign_in": "Sign in", "settings": "Settings", "require": "Require it of all members",
           "go_on": "Go on", "account": "My account", "out": "Sign out"},
    "zh-hans": {"sign_in": "登录", "settings": "设置", "require": "要求所有成员使用",
                "go_on": "继续", "account": "我的账号", "out": "退出"},
}  # fmt: skip
NARROW = {"width": 390, "height": 844}


@dataclass(frozen=True)
class Scene:
    """People as the browser needs them: rows are made before playwright's loop runs."""

    url: str
    slug: str
    people: dict[str, str]


@pytest.fixture(scope="module")
def scene(django_db_setup: None, django_db_blocker: Any) -> Iterator[Scene]:
    with django_db_blocker.unblock():
        customer = new_customer(name="Acme 工厂")
        people = {name: member(customer, Role.OWNER).email for name in ("en", "zh-hans", "key")}
        people["operator"] = new_person(is_staff=True, is_superuser=True).email
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRIVATUNE_OIDC_HOSTS", "login.example.com")
        with serving_http("privatune.asgi:application") as (url, _):
            # A passkey belongs to a host name, and an IP address is none.
            yield Scene(url.replace("127.0.0.1", "localhost"), customer.slug, people)


@pytest.fixture
def page(scene: Scene, chromium: Any) -> Iterator[Any]:
    with faultless_page(chromium, scene.url) as page:
        yield page


@pytest.fixture
def shot(request: pytest.FixtureRequest, page: Any) -> Any:
    """Takes a picture, wide and narrow, for people to look at."""
    folder = Path(request.config.rootpath) / "var" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)

    def take(name: str, *, ours: bool = True) -> None:
        for size, viewport in (("wide", WIDE), ("narrow", NARROW)):
            page.set_viewport_size(viewport)
            page.screenshot(path=folder / f"people-{name}-{size}.png", full_page=True)
            overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert not ours or page.evaluate(overflow) <= 0, (
                f"{name} is wider than the screen ({size})"
            )
        page.set_viewport_size(WIDE)

    return take


def sign_in(page: Any, email: str, language: str = "en") -> None:
    page.fill("#id_login", email)
    page.fill("#id_password", PASSWORD)
    page.click(f"main button:has-text('{WORDS[language]['sign_in']}')")


def enrol_app(page: Any) -> str:
    page.click("main a[href='/accounts/2fa/totp/activate/']")
    page.wait_for_selector("img.qr")
    secret: str = page.input_value("#authenticator_secret")
    page.fill("input[name=code]", code_of(secret))
    return secret


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_an_owner_requires_a_second_factor_and_is_led_to_set_one_up(
    page: Any, scene: Scene, shot: Any, language: str
) -> None:
    words = WORDS[language]
    page.goto("/accounts/login/")
    if language != "en":
        page.click(f"button[value={language}]")
    shot(f"login-{language}")
    page.goto("/accounts/oidc/")
    shot(f"oidc-{language}")
    page.goto("/accounts/login/")
    sign_in(page, scene.people[language], language)
    if language == "en":  # the second one finds it required already
        page.click(f"nav >> text={words['settings']}")
        shot(f"settings-{language}")
        page.click(f"button:has-text('{words['require']}')")
    page.wait_for_url(re.compile(r"/accounts/2fa/$"))
    shot(f"led-{language}")
    enrol_app(page)
    shot(f"enrol-{language}")
    page.click("main form button")
    page.wait_for_url(re.compile(r"/recovery-codes/$"))
    shot(f"codes-{language}")
    page.click(f"a:has-text('{words['go_on']}')")
    page.wait_for_url(re.compile(rf"/t/{scene.slug}/"))
    page.click(f"a:has-text('{words['account']}')")
    shot(f"account-{language}")
    page.goto("/accounts/2fa/")
    assert page.locator(f"text={words['go_on']}").count() == 0, "he has gone on"
    page.goto("/accounts/")
    page.click("a[href='/accounts/sessions/']")
    shot(f"sessions-{language}")
    page.goto("/accounts/2fa/")
    shot(f"factors-{language}")
    page.goto("/accounts/password/change/")
    shot(f"password-{language}")
    page.goto("/accounts/password/reset/")
    shot(f"reset-{language}")


def test_a_passkey_is_enrolled_and_used(page: Any, scene: Scene, shot: Any) -> None:
    """With Chromium's own virtual authenticator."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True,
               "hasUserVerification": True, "isUserVerified": True,
               "automaticPresenceSimulation": True}  # fmt: skip
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    page.goto("/accounts/login/?next=/accounts/2fa/")
    sign_in(page, scene.people["key"])
    page.click("main a[href='/accounts/2fa/webauthn/add/']")
    page.fill("#id_name", "My laptop")
    shot("passkey-add-en")
    page.click("#mfa_webauthn_add")
    page.wait_for_url(re.compile(r"/recovery-codes/$"))
    page.goto("/accounts/2fa/webauthn/")
    assert page.locator("text=My laptop").count() == 1
    shot("passkeys-en")
    page.click(f"button:has-text('{WORDS['en']['out']}')")
    page.wait_for_url(lambda url: "/accounts/login" in url)
    sign_in(page, scene.people["key"])
    page.wait_for_url(re.compile(r"/2fa/authenticate/$"))
    shot("authenticate-en")
    page.click("#mfa_webauthn_authenticate")
    page.wait_for_url(lambda url: "/accounts/" not in url)
    page.goto("/accounts/sessions/")
    assert page.locator("tbody tr").count() == 1


def test_the_first_operator_comes_in(page: Any, scene: Scene, shot: Any) -> None:
    page.goto("/operator/")
    sign_in(page, scene.people["operator"])
    page.wait_for_url(re.compile(r"/accounts/2fa/$"))
    enrol_app(page)
    page.click("main form button")
    page.wait_for_url(re.compile(r"/recovery-codes/$"))
    page.click(f"a:has-text('{WORDS['en']['go_on']}')")
    page.wait_for_url(re.compile(r"/operator/$"))
    shot("operator-en", ours=False)  # Django's own pages
