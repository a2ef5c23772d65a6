"""The tenants' own words in the person's language."""

from typing import Any

from django.utils.translation import gettext_lazy as _

from tenants.roles import Role

ROLE_NAMES: dict[Role, Any] = {
    Role.OWNER: _("owner"),
    Role.ADMIN: _("admin"),
    Role.ENGINEER: _("engineer"),
    Role.VIEWER: _("viewer"),
}
