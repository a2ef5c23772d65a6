"""What a customer is told while something of ours is missing: no address and no path of ours, which
stand in the worker's log."""

import logging

from faults import Fault
from finetune.events.waits import WAITS, SomethingAway, Wait

log = logging.getLogger(__name__)


def reason_of(error: Fault) -> Wait:
    log.warning("waiting: %s", error)
    kind = WAITS.get(error.code)
    # Of those with parameters none is an outage's.
    return kind() if kind and not kind.model_fields else SomethingAway(error=error.code)
