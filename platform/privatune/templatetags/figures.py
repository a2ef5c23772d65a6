"""Figures as people read them."""

from django import template
from django.utils.translation import gettext

register = template.Library()


@register.filter
def grouped(number: int) -> str:
    """Like 10,000,000. In every language: Django groups no digits in Chinese."""
    return f"{number:,}"


@register.filter
def time_left(seconds: float) -> str:
    """Like `45 s left`, `1 min 20 s left`, `2 h 5 min left`."""
    whole = round(seconds)
    if whole < 60:
        return gettext("%(seconds)s s left") % {"seconds": whole}
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return gettext("%(minutes)s min %(seconds)s s left") % {"minutes": minutes, "seconds": rest}
    hours, minutes = divmod(minutes, 60)
    return gettext("%(hours)s h %(minutes)s min left") % {"hours": hours, "minutes": minutes}
