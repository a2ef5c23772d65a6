"""What a customer is told while something of ours is missing: no address and no path of ours, which
stand in the worker's log."""

import logging

from faults import Outage

log = logging.getLogger(__name__)


def reason_of(error: Exception) -> str:
    log.warning("waiting: %s", error)
    return error.reason if isinstance(error, Outage) else str(error)
