"""Celery's entry point: `celery -A privatune.celery_app worker`. Messages are nudges with ids."""

import logging
import os
import signal
from logging.config import dictConfig
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

from billiard.process import current_process  # type: ignore[import-untyped]
from celery import Celery
from celery.signals import beat_embedded_init, setup_logging, worker_init, worker_ready
from celery.worker import state

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "privatune.settings")

from django.conf import settings

from finetune.lifeline import end_with_parent
from privatune import folder_queue

log = logging.getLogger(__name__)
app = Celery("privatune")
app.config_from_object("django.conf:settings", namespace="CELERY")


def _transport(url: str) -> dict[str, object]:
    """kombu's filesystem transport takes its folder as options; the others take the URL as is."""
    if not url.startswith("filesystem://"):
        return {"broker_url": url}
    folder_queue.register()
    folder = Path(unquote(urlsplit(url).path))
    messages, processed, control = folder / "messages", folder / "processed", folder / "control"
    for path in (messages, processed, control):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return {
        "broker_url": "filesystem://",
        "broker_transport_options": {
            "data_folder_in": str(messages),
            "data_folder_out": str(messages),
            "processed_folder": str(processed),
            "control_folder": str(control),
            "store_processed": False,
        },
    }


def _require_installation(**_: object) -> None:
    from privatune.gate import require_installation  # models, and those only once Django is set up

    require_installation()


def _end_with_worker(**_: object) -> None:
    """`-B` forks a process that would outlive a worker killed with -9, and go on nudging."""
    end_with_parent(current_process()._parent_pid)  # billiard's; none of its names is public


def _end_without_beat(sender: Any, **_: object) -> None:
    """A worker whose `-B` process has died works on, but nothing forgotten is looked for any more:
    it stops in good order, and whoever supervises it starts both again."""
    beat = getattr(sender.controller, "beat", None)
    if beat is not None:
        Thread(target=_stop_after, args=(beat,), name="beat-watch", daemon=True).start()


def _stop_after(beat: Any) -> None:
    beat.join()
    if state.should_stop is None and state.should_terminate is None:
        log.error("beat has died; this worker stops, to be started again with it")
        os.kill(os.getpid(), signal.SIGTERM)


app.conf.update(_transport(settings.BROKER_URL))
worker_init.connect(_require_installation)
worker_ready.connect(_end_without_beat)
beat_embedded_init.connect(_end_with_worker)
app.autodiscover_tasks(["finetune"])


def _log_as_the_server_does(**_: Any) -> None:
    """Celery would put handlers of its own in the place of ours, and they print exceptions'
    words."""
    dictConfig(settings.LOGGING)


setup_logging.connect(_log_as_the_server_does)
