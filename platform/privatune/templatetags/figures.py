"""Figures as people read them."""

from datetime import date, datetime, timedelta

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext

from tenants import dates

register = template.Library()


@register.filter
def grouped(number: int) -> str:
    """Like 10,000,000. In every language: Django groups no digits in Chinese."""
    return f"{number:,}"


@register.filter
def percent(share: float) -> str:
    return f"{share:.0%}"


@register.filter
def time_left(seconds: float) -> str:
    """Like `less than a minute left`, `2 minutes left`, `2 h 5 min left`: an estimate, so in
    whole minutes."""
    if seconds < 60:
        return gettext("less than a minute left")
    minutes = round(seconds / 60)
    if minutes < 60:
        told = ngettext("%(minutes)s minute left", "%(minutes)s minutes left", minutes)
        return told % {"minutes": minutes}
    hours, minutes = divmod(minutes, 60)
    return gettext("%(hours)s h %(minutes)s min left") % {"hours": hours, "minutes": minutes}


@register.filter(expects_localtime=True)
def moment(when: datetime | None) -> SafeString | str:
    """Like `2026-11-28 10:57`, in the page's zone, which it names when one points at it."""
    if when is None:
        return ""
    shown = f"{when:%Y-%m-%d %H:%M}"
    told = format_html('<time datetime="{}" title="{} {}">', when.isoformat(), shown, offset(when))
    return format_html("{}{}</time>", told, shown)


@register.simple_tag
def zone() -> str:
    """In which the page shows times, like `Asia/Shanghai (UTC+08:00)`."""
    now = timezone.localtime()
    name = timezone.get_current_timezone_name()
    return "UTC" if name == "UTC" else f"{getattr(now.tzinfo, 'key', name)} ({offset(now)})"


def offset(when: datetime) -> str:
    """Like `UTC+08:00`."""
    told = f"{when:%z}"
    return f"UTC{told[:3]}:{told[3:]}"


@register.filter
def last_day(end: datetime) -> date:
    """Of what ends then, in UTC."""
    return dates.last_day(end)


@register.filter
def lasted(begin: datetime, end: datetime) -> str:
    """Like `45 s`, `1 min 20 s`, `2 h 5 min`: from one moment to the other."""
    return long((end - begin) / timedelta(seconds=1))


@register.filter
def long(seconds: float) -> str:
    """The same of so many seconds."""
    whole = max(0, round(seconds))
    if whole < 60:
        return gettext("%(seconds)s s") % {"seconds": whole}
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return gettext("%(minutes)s min %(seconds)s s") % {"minutes": minutes, "seconds": rest}
    hours, minutes = divmod(minutes, 60)
    return gettext("%(hours)s h %(minutes)s min") % {"hours": hours, "minutes": minutes}
