"""Figures as people read them."""

from datetime import date, datetime, timedelta

from django import template
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
