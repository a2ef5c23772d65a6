from django.apps import AppConfig
from django.db.models.signals import post_save
from django.utils.translation import gettext_lazy as _


class FinetuneConfig(AppConfig):
    name = "finetune"
    verbose_name = _("Models and runs")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Licences are kept by a layer that knows no serving, and saved by several of its doors."""
        from finetune.services.models.eviction import after_license_change
        from tenants.models import License

        post_save.connect(after_license_change, sender=License)
