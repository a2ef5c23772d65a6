"""Work with the database goes on in the request's thread when the view has returned."""

import asyncio
import threading

import pytest
from asgiref.sync import ThreadSensitiveContext, async_to_sync, sync_to_async

from finetune.services.threads import in_request_thread


def test_a_task_that_outlives_its_view_still_has_a_thread() -> None:
    """As in a request: a synchronous middleware in the request's thread, an async view inside."""
    tasks: list[asyncio.Task[list[int]]] = []

    async def request() -> tuple[list[int], int]:
        returned = asyncio.Event()

        async def begun() -> list[int]:
            seen = [await in_request_thread(threading.get_ident)]
            await returned.wait()
            with pytest.raises(RuntimeError, match="already quit"):
                await sync_to_async(threading.get_ident)()
            return [*seen, *[await in_request_thread(threading.get_ident) for _ in range(2)]]

        async def view() -> None:
            tasks.append(asyncio.create_task(begun()))
            await asyncio.wait(tasks, timeout=0.05)

        def middleware() -> int:
            async_to_sync(view)()
            return threading.get_ident()

        async with ThreadSensitiveContext():
            thread = await sync_to_async(middleware)()
            returned.set()
            return await tasks[0], thread

    seen, thread = asyncio.run(request())
    assert seen == [thread] * 3


def test_an_error_of_the_work_is_told_and_the_work_done_once() -> None:
    done: list[int] = []

    def work() -> None:
        done.append(1)
        raise RuntimeError("the work's own")

    with pytest.raises(RuntimeError, match="the work's own"):
        asyncio.run(in_request_thread(work))
    assert done == [1]
