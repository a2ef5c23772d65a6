"""Pages of other origins that may call the APIs from a browser: none, unless the operator names
them. A key goes with each call, and never a cookie: no page acts as whoever is signed in."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from finetune.api.problems import is_api

Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

DAY = b"86400"  # seconds for which a browser need not ask again; it caps them itself
METHODS = b"GET, POST, PUT, PATCH, DELETE"


class Origins:
    """`*` among them: any page."""

    def __init__(self, named: Iterable[str]) -> None:
        self._named = frozenset(each.rstrip("/").lower() for each in named)

    def headers(self, path: str, origin: bytes) -> Headers:
        """That let the page of `origin` read the answer; none for other pages."""
        name = origin.decode("latin-1").lower()
        if not name or not is_api(path) or not self._named & {name, "*"}:
            return []
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", b"*, authorization"),
            (b"vary", b"Origin"),
        ]


def is_preflight(scope: Mapping[str, Any], asked: bytes) -> bool:
    return bool(scope["method"] == "OPTIONS" and asked)


async def permit(send: Send, wanted: bytes) -> None:
    """A browser's question before the call: it carries no key, and learns nothing of anybody's."""
    told = [
        (b"access-control-allow-methods", METHODS),
        (b"access-control-allow-headers", wanted),
        (b"access-control-max-age", DAY),
        (b"content-length", b"0"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": told})
    await send({"type": "http.response.body", "body": b""})
