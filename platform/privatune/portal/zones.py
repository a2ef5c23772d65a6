"""The time zone in which a person's pages show and take times."""

from functools import cache
from urllib.parse import unquote
from zoneinfo import ZoneInfo, available_timezones

from django.http import HttpRequest

COOKIE = "zone"  # portal.js sets it to the browser's time zone


def zone_of(request: HttpRequest) -> ZoneInfo:
    """UTC until the browser has told."""
    name = unquote(request.COOKIES.get(COOKIE, ""))
    return ZoneInfo(name if name in _zones() else "UTC")


@cache
def _zones() -> set[str]:
    return available_timezones()  # reads folders
