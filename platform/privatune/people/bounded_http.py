"""What an identity provider answers, fetched for `requests`: the whole of it within a time and a
size, and nothing but a JSON object. A provider is a stranger's server: it may send a byte a second
for ever, or never end, and a timeout for each read would not notice."""

import asyncio
import json
import os
import ssl
import time
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from io import BytesIO
from typing import Any

import httpx
from requests import PreparedRequest, RequestException, Response
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from faults.nesting import NO_JSON

MOST_BYTES = 256 << 10
PLAIN = {"", "identity"}


class Odd(StrEnum):
    SLOW = "slow"
    LONG = "long"
    CUT = "cut"  # none, or no whole one
    FORM = "form"


class OddAnswer(RequestException):
    """An answer that cannot be used. The text says why, for the log, and quotes nothing."""

    def __init__(self, odd: Odd, why: str) -> None:
        super().__init__(why)
        self.odd = odd


class BoundedAdapter(BaseAdapter):
    """`ends`: when everything asked through it must be done, in seconds of time.monotonic()."""

    def __init__(self, ends: float) -> None:
        super().__init__()
        self._ends = ends

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> Response:
        """Raises OddAnswer. Redirects are the session's to follow or not; proxies are those of the
        process's environment."""
        try:
            answer = asyncio.run(self._fetch(request, verify))
        except OddAnswer:
            raise
        except (TimeoutError, httpx.TimeoutException):
            raise OddAnswer(Odd.SLOW, "it came too slowly") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise OddAnswer(Odd.CUT, f"no whole answer ({type(error).__name__})") from error
        answer.url, answer.request = request.url or "", request
        if not answer.is_redirect:
            _require_object(answer.content)
        return answer

    def close(self) -> None:
        """Nothing is kept between two requests."""

    async def _fetch(self, request: PreparedRequest, verify: bool | str) -> Response:
        headers = dict(request.headers) | {"Accept-Encoding": "identity"}
        left = max(0.0, self._ends - time.monotonic())
        async with (
            asyncio.timeout(left),
            httpx.AsyncClient(verify=_trusted(verify), timeout=left) as client,
            client.stream(
                request.method or "GET",
                request.url or "",
                headers={name: str(value) for name, value in headers.items()},
                content=request.body,  # type: ignore[arg-type]  # text or bytes: no form has files
            ) as came,
        ):
            if came.headers.get("content-encoding", "").lower() not in PLAIN:
                raise OddAnswer(Odd.FORM, "it is compressed, unasked")
            body = BytesIO()
            async for piece in came.aiter_raw():
                body.write(piece)
                if body.tell() > MOST_BYTES:
                    raise OddAnswer(Odd.LONG, f"it has more than {MOST_BYTES} bytes")
        body.seek(0)
        answer = Response()
        answer.status_code, answer.reason = came.status_code, came.reason_phrase
        answer.headers = CaseInsensitiveDict(came.headers)
        answer.raw, answer.encoding = body, "utf-8"
        return answer


@cache
def _trusted(verify: bool | str) -> ssl.SSLContext:
    """Reading all authorities takes longer than a request. A text is the file or folder of
    REQUESTS_CA_BUNDLE."""
    if not isinstance(verify, str):
        return httpx.create_ssl_context(verify=verify)
    if os.path.isdir(verify):
        return ssl.create_default_context(capath=verify)
    return ssl.create_default_context(cafile=verify)


def _require_object(body: bytes) -> None:
    try:
        value = json.loads(body)
    except NO_JSON:
        raise OddAnswer(Odd.FORM, "it is no JSON") from None
    if not isinstance(value, dict):
        raise OddAnswer(Odd.FORM, "it is no JSON object")
