"""How this machine isolates what handles a customer's data; the operator says if it must."""

import logging

from django.conf import settings

from finetune.sandbox.levels import Level, SandboxMissing, require

log = logging.getLogger(__name__)


def isolation() -> Level:
    """Cheap after the first time. Raises SandboxMissing: the worker's own condition, no job's."""
    return require(settings.SANDBOX)


def say() -> None:
    """At a worker's start, in its log: what it has, or that it will take no work, and why."""
    try:
        level = isolation()
    except SandboxMissing as error:
        log.error("this worker takes no work: %s %s", error.message, error.fix)
        return
    if level is Level.NONE:
        log.warning("isolation: none; PRIVATUNE_SANDBOX allows to work without")
    else:
        log.info("isolation: %s", level)
