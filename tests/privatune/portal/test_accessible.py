"""Every page can be used by everybody: axe-core finds nothing on any of them, in English on a wide
screen and in Chinese on a narrow one (WCAG 2.2, levels A and AA), and keys alone lead through."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.db import transaction

from privatune.portal.rooms.chat import _news
from tests.fixtures.browser import PATIENCE_MS, WIDE
from tests.privatune.portal.pages import Page, every_page

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[3]
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
NARROW = {"width": 390, "height": 844}
SIZES = {"en": WIDE, "zh-hans": NARROW}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
LOOK = """async (tags) => {
  const found = await axe.run(document, {
    runOnly: tags, resultTypes: ["violations"], preload: false, iframes: false,
  });
  return found.violations.flatMap((rule) =>
    rule.nodes.map((node) => `${rule.id}: ${node.html} ${node.failureSummary}`));
}"""
# What makes a page wider than the screen, the innermost of each; and a table of scores, whose last
# column is what one came for, that has to be pushed aside.
BEYOND = """() => {
  const pushed = [...document.querySelectorAll("table.scores")].map((each) => each.parentElement)
    .filter((each) => each.scrollWidth > each.clientWidth)
    .map((each) => `scores: ${each.scrollWidth} in ${each.clientWidth} px`);
  const width = document.scrollingElement.scrollWidth;
  if (width <= innerWidth) return pushed;
  const out = (each) => each.getBoundingClientRect().right > innerWidth + 0.5
    && !each.closest(".table-responsive, .visually-hidden");
  return [...document.body.querySelectorAll("*")]
    .filter((each) => out(each) && ![...each.children].some(out))
    .map((each) => each.outerHTML.slice(0, 200)).concat(pushed, `${width} px`);
}"""
MAIN_WAY = {"files", "file-good", "job-new-of-file", "job", "model"}
# What in the page's own part can be used and has not had a visible focus yet. Of radio buttons, the
# arrow keys reach the others.
CONTROLS = """() => [...document.querySelectorAll(
    "main :is(a[href], button, input, select, textarea, summary, [tabindex='0'])")]
  .filter((each) => each.checkVisibility({visibilityProperty: true}) && !each.disabled)
  .filter((each) => !("seen" in each.dataset) && !(each.type === "radio" && !each.checked))
  .map((each) => each.outerHTML)"""
NOTE_FOCUS = """() => {
  const each = document.activeElement, style = getComputedStyle(each);
  if (style.outlineStyle !== "none" || style.boxShadow !== "none") each.dataset.seen = "";
}"""
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@pytest.fixture(scope="module")
def pages(django_db_setup: None, django_db_blocker: Any) -> dict[str, list[Page]]:
    """Rendered before playwright's loop runs; what they show is taken back."""
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        found = {}
        for language in SIZES:
            with transaction.atomic():
                found[language] = every_page(language, patch)
                transaction.set_rollback(True)
    return found


def serve(route: Any, html: str) -> None:
    """A page's own text, and its static files as the server finds them."""
    path = route.request.url.partition("://")[2].partition("/")[2].partition("?")[0]
    file = finders.find(path.removeprefix("static/")) if path.startswith("static/") else None
    if route.request.resource_type == "document":
        route.fulfill(body=html, content_type="text/html; charset=utf-8")
    elif file:
        route.fulfill(body=Path(file).read_bytes(), content_type=TYPES[Path(file).suffix])
    else:
        route.fulfill(status=404)


@contextmanager
def shown_in(chromium: Any, language: str) -> Iterator[Callable[[Page], Any]]:
    """What shows a page: its text as it was rendered, with the styles and scripts of the server."""
    html = ""
    context = chromium.new_context(
        viewport=SIZES[language], base_url="http://page.test", locale=language, bypass_csp=True
    )
    context.set_default_timeout(PATIENCE_MS)
    view = context.new_page()
    view.route("**/*", lambda route: serve(route, html))

    def show(page: Page) -> Any:
        nonlocal html
        html = page.html
        view.goto(page.address)
        return view

    yield show
    context.close()


@pytest.mark.parametrize("language", SIZES)
def test_nothing_is_found_on_any_page(
    pages: dict[str, list[Page]], chromium: Any, language: str
) -> None:
    """Nor does any page go beyond a phone's sides; in the same walk, which takes long."""
    assert AXE.exists(), "axe-core is missing: make setup installs it"
    axe, faults = AXE.read_text("utf-8"), list[str]()
    with shown_in(chromium, language) as show:
        for page in pages[language]:
            view = show(page)
            view.evaluate(axe)
            faults += [f"{page.name}: {each}" for each in view.evaluate(LOOK, RULES)]
            view.set_viewport_size(NARROW)
            faults += [f"{page.name} is too wide: {each}" for each in view.evaluate(BEYOND)]
            view.set_viewport_size(SIZES[language])
    assert faults == [], "\n".join(faults)


@pytest.mark.parametrize("language", SIZES)
def test_the_organisations_name_is_read_at_every_width_that_shows_it(
    pages: dict[str, list[Page]], chromium: Any, language: str
) -> None:
    """However many rooms there are beside it: one more had left a single letter."""
    cut = "(each) => each.scrollWidth > each.clientWidth"
    page = next(page for page in pages[language] if page.name == "home")
    with shown_in(chromium, language) as show:
        name = show(page).locator(".account .organisation")
        for width in (800, 1024, 1199, 1200, 1280, 1399, 1400, 1440, 1920):
            name.page.set_viewport_size({"width": width, "height": 900})
            assert name.is_visible()
            assert not name.evaluate(cut), f"{name.inner_text()} is cut at {width}"


def test_the_main_way_is_gone_by_keys_alone(pages: dict[str, list[Page]], chromium: Any) -> None:
    """From the upload to the chat: whatever can be used is reached, and shows that it is."""
    way = [page for page in pages["en"] if page.name in MAIN_WAY]
    assert {page.name for page in way} == MAIN_WAY
    with shown_in(chromium, "en") as show:
        for page in way:
            view = show(page)
            view.keyboard.press("Tab")
            assert view.evaluate("document.activeElement.className").startswith("skip")
            view.keyboard.press("Enter")
            assert view.evaluate("document.activeElement.id") == "main"
            wanted = view.evaluate(CONTROLS)
            assert wanted
            for _ in range(2 * len(wanted)):
                view.keyboard.press("Tab")
                view.evaluate(NOTE_FOCUS)
            unseen = view.evaluate(CONTROLS)
            assert unseen == [], f"{page.name}: not reached, or without visible focus"


def test_a_page_on_paper_has_its_passport_and_no_buttons(
    pages: dict[str, list[Page]], chromium: Any
) -> None:
    (model,) = [page for page in pages["en"] if page.name == "model"]
    with shown_in(chromium, "en") as show:
        view = show(model)
        view.emulate_media(media="print")
        view.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert view.locator("summary + pre").last.is_visible()
        assert view.locator(".btn:visible, header:visible").count() == 0
        view.evaluate("dispatchEvent(new Event('afterprint'))")
        assert view.locator("details[open]").count() == 0


def test_an_empty_answer_is_said_and_reasoning_is_folded(
    pages: dict[str, list[Page]], chromium: Any
) -> None:
    """The page's own part of the chat; what the room sends is asked of a stack elsewhere."""
    (model,) = [page for page in pages["en"] if page.name == "model"]
    told = {
        "base": _news(reasoning="Which lamp? ") + _news(reasoning="The third.") + _news(text="On."),
        "tuned": _news(text="\n"),
    }

    def answer(route: Any) -> None:
        which = "tuned" if b"tuned" in route.request.post_data_buffer else "base"
        route.fulfill(body=told[which], content_type="application/jsonl; charset=utf-8")

    with shown_in(chromium, "en") as show:
        view = show(model)
        view.route("**/chat", answer)
        view.get_by_label("Your question").fill("lamp?")
        view.keyboard.press("Enter")
        view.wait_for_selector("[data-answer=tuned]:has-text('(empty answer)')")
        view.wait_for_selector("[data-answer=base]:has-text('On.')")
        folded = view.locator("[data-thought=base]")
        assert folded.get_attribute("open") is None
        assert folded.locator("pre").text_content() == "Which lamp? The third."
        assert view.locator("[data-thought=tuned]").is_hidden()
        told["base"] = _news(text="Half") + _news(error="The model server is away.")
        view.keyboard.press("Enter")
        view.wait_for_selector("[data-answer=base]:has-text('[The model server is away.]')")
        assert view.inner_text("[data-answer=base]").startswith("Half")
