"""The real application behind a fault: the first attempt at a POST loses its answer after the
commit. `x-test-fault: 503` answers an error instead, `drop` none at all."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tests.fixtures.patient import application as whole

Send = Callable[[Mapping[str, Any]], Awaitable[None]]


async def application(scope: Any, receive: Any, send: Send) -> None:
    headers = dict(scope.get("headers", []))
    fault = headers.get(b"x-test-fault")
    first = headers.get(b"x-stainless-retry-count", b"0") == b"0"
    if fault is None or not first:
        await whole(scope, receive, send)
        return

    async def swallow(message: Mapping[str, Any]) -> None:
        """What is swallowed was a success, or the test shows nothing."""
        assert message.get("status", 200) == 200

    await whole(scope, receive, swallow)
    if fault == b"503":
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b""})
    else:
        raise ConnectionError("the answer is lost")
