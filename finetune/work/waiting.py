"""What a customer is told while something of ours is missing: no address and no path of ours, which
stand in the worker's log."""

import logging

from tenants.vault.errors import KeyUnavailable, StorageDown, StorageFull

log = logging.getLogger(__name__)


def reason_of(error: Exception) -> str:
    log.warning("waiting: %s", error)
    match error:
        case StorageFull():
            return "The storage is full."
        case StorageDown():
            return "The storage does not answer."
        case KeyUnavailable():
            return "The key of your data cannot be had now."
    return str(error)
