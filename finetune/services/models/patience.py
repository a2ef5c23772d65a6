"""Asking models for work that nobody sits in front of: what says that it may be tried again, is."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from faults import Fault, UserFault
from finetune.services.models.gateway import Still
from tenants.errors import NotFound, Refused

PATIENCE = 600.0  # seconds that the model server, or a grader, may be busy
LONGEST_PAUSE = 5.0  # seconds, until it is asked again whether the work is still wanted

Done = TypeVar("Done")


async def patiently(work: Callable[[], Awaitable[Done]], still: Still) -> Done:
    """Most often it waits for a turn. `still` raises when the work is no longer wanted."""
    ends = time.monotonic() + PATIENCE
    while True:
        still()
        try:
            return await work()
        except Fault as fault:
            if fault.retry_after is None or time.monotonic() > ends:
                raise
            await asyncio.sleep(min(fault.retry_after, LONGEST_PAUSE))


def of_the_row(fault: UserFault) -> bool:
    """Another row may be answered all the same."""
    return not isinstance(fault, Refused | NotFound) and fault.retry_after is None
