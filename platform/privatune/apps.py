"""Makes our Celery app the process's own, so that services can nudge by task name alone."""

from django.apps import AppConfig


class PrivatuneConfig(AppConfig):
    name = "privatune"

    def ready(self) -> None:
        from privatune import celery_app

        celery_app.app.set_default()
