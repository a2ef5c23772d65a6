"""A browser's `User-Agent` in words, for the list of one's sessions. What it says is the browser's
own claim; nothing is decided by it."""

import re

from django.utils.translation import gettext as _

# The first that fits: nearly every browser also names those that it is like.
BROWSERS = (
    ("Edge", r"Edg(?:e|A|iOS)?/(\d+)"),
    ("Opera", r"OPR/(\d+)"),
    ("Samsung Internet", r"SamsungBrowser/(\d+)"),
    ("Firefox", r"(?:Firefox|FxiOS)/(\d+)"),
    ("Chrome", r"(?:HeadlessChrome|Chromium|Chrome|CriOS)/(\d+)"),
    ("Safari", r"Version/(\d+)[\d.]* .*Safari/"),
)
SYSTEMS = (
    ("Android", r"Android"),
    ("iOS", r"iPhone|iPad|iPod"),
    ("Windows", r"Windows"),
    ("ChromeOS", r"CrOS"),
    ("macOS", r"Mac OS X|Macintosh"),
    ("Linux", r"Linux|X11"),
)
SHOWN = 60  # characters of what is not known


def in_words(user_agent: str) -> str:
    """Such as "Firefox 128 on Windows"; of an unknown one its beginning as it is."""
    known = (
        (name, found[1])
        for name, pattern in BROWSERS
        if (found := re.search(pattern, user_agent)) is not None
    )
    name, version = next(known, (None, None))
    if name is None:
        return user_agent[:SHOWN]
    browser = f"{name} {version}"
    system = next((name for name, pattern in SYSTEMS if re.search(pattern, user_agent)), None)
    if system is None:
        return browser
    return _("%(browser)s on %(system)s") % {"browser": browser, "system": system}
