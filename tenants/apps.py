"""Wires the app: after each migration the database roles get exactly the rights they need."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class TenantsConfig(AppConfig):
    name = "tenants"
    verbose_name = _("Tenants")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from tenants.database.grants import grant_after_migrate

        post_migrate.connect(grant_after_migrate, dispatch_uid="tenants.grants")
