"""Puts our own door before Django's admin, and opens it to listed models alone."""

from importlib import import_module

from django.contrib.admin.apps import SimpleAdminConfig


class OperatorAdminConfig(SimpleAdminConfig):
    """Without the habit of collecting whatever any installed package registers."""

    default_site = "privatune.people.operators.OperatorSite"

    def ready(self) -> None:
        super().ready()
        for module in ("tenants.admin", "finetune.admin"):
            import_module(module)
