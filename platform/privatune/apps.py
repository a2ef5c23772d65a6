"""Makes our Celery app the process's own, so that services can nudge by task name alone; connects
what listens to allauth."""

from django.apps import AppConfig


class PrivatuneConfig(AppConfig):
    name = "privatune"

    def ready(self) -> None:
        from privatune import celery_app
        from privatune.people import second_factor

        celery_app.app.set_default()
        second_factor.connect()
