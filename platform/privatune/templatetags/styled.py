"""Form fields in the portal's clothes."""

from django import template
from django.forms import BoundField
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
def styled(field: BoundField, css: str) -> SafeString:
    """The field's input with a class of ours."""
    return field.as_widget(attrs={"class": css})
