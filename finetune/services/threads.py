"""Work with the database from coroutines, in the thread that their request has."""

from collections.abc import Callable
from typing import TypeVar

from asgiref.sync import AsyncToSync, sync_to_async

Result = TypeVar("Result")


async def in_request_thread(work: Callable[[], Result]) -> Result:
    """`work()` in the request's thread, also once its view has returned.

    Under a synchronous middleware asgiref lends the view the middleware's thread, and a task that
    was begun in the view goes on asking for that one. When a stream's first token is long in
    coming, it has quit by then ("CurrentThreadExecutor already quit or is broken"), and the
    request's own thread is free. asgiref finishes what it has taken: a refusal means that `work`
    did not begin.
    """
    begun = False

    def noted() -> Result:
        nonlocal begun
        begun = True
        return work()

    try:
        return await sync_to_async(noted)()
    except RuntimeError:
        if begun:
            raise
    AsyncToSync.executors.current = None
    return await sync_to_async(work)()
