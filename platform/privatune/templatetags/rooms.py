"""Addresses inside the organisation that the page is about."""

from typing import Any

from django import template

from privatune.portal.access import address_of

register = template.Library()


@register.simple_tag(takes_context=True)
def room(context: dict[str, Any], name: str, *args: Any) -> str:
    """`{% room 'file' file.id %}`: like `url`, with the organisation of the request."""
    return address_of(context["request"], name, *args)
