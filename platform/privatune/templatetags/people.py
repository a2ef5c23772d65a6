"""What the account pages need to know about the session."""

from typing import Any

from django import template
from django.conf import settings

from privatune.people import second_factor

register = template.Library()


@register.simple_tag
def oidc_offered() -> bool:
    """Whether the operator lets organisations name identity providers at all."""
    return bool(settings.OIDC_HOSTS)


@register.simple_tag(takes_context=True)
def come_back(context: dict[str, Any]) -> str | None:
    """Where the person wanted to go before being led to the second factor."""
    return second_factor.come_back(context["request"])
